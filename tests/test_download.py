"""The downloader against a local server that misbehaves on request; nothing leaves 127.0.0.1."""

import hashlib
import os
import re
import shutil
import socket
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from golf_nb_utils import download
from golf_nb_utils.config import GPT_CONFIGS, ConfigError
from golf_nb_utils.download import FILES, DownloadError, download_checkpoint

Page = namedtuple("Page", "body status type length", defaults=(200, "application/octet-stream", None))
CONTENT = {name: f"content of {name} ".encode() * (50 + i) for i, name in enumerate(FILES)}
XML = Page(b"<?xml version='1.0'?><Error><Code>BlobNotFound</Code></Error>", 404, "application/xml")
HTML = Page(b"<html>please log in</html>", 200, "text/html; charset=utf-8")
DATA = "model.ckpt.data-00000-of-00001"


class Handler(BaseHTTPRequestHandler):
    """Serves server.pages[path] (one Page, or a list of Pages used up one by one), CONTENT where nothing else is set."""

    def do_GET(self):
        self.server.requests.append(self.path)
        page = self.server.pages.get(self.path, Page(CONTENT.get(self.path.rsplit("/", 1)[1], b"")))
        if isinstance(page, list):
            page = page.pop(0)
        self.send_response(page.status)
        self.send_header("Content-Type", page.type)
        if page.length != "none":
            self.send_header("Content-Length", str(page.length or len(page.body)))
        self.end_headers()
        self.wfile.write(page.body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.pages, server.requests = {}, []
        base = f"http://127.0.0.1:{server.server_port}"
        server.urls = (f"{base}/official", f"{base}/backup/")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch):
    """Tables that fit CONTENT, no wait between retries, no proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    sizes = {name: len(body) for name, body in CONTENT.items()}
    hashed = ("encoder.json", DATA)
    monkeypatch.setattr(download, "BACKOFF_SECONDS", 0)
    monkeypatch.setattr(download, "KNOWN_SIZES", {"124M": sizes})
    monkeypatch.setattr(download, "DERIVED_SIZES", {"774M": {name: size for name, size in sizes.items() if not name.endswith("meta")}})
    monkeypatch.setattr(download, "KNOWN_SHA256", {("124M", name): hashlib.sha256(CONTENT[name]).hexdigest() for name in hashed})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_refused(server, folder, *fragments):
    """Both hosts' hparams.json fail: the error holds the fragments, and neither the file nor a .part remains."""
    with pytest.raises(DownloadError) as caught:
        download_checkpoint("124M", folder, server.urls, progress=False)
    for fragment in ("hparams.json", *(f"{url.rstrip('/')}/124M/hparams.json" for url in server.urls), *fragments, str(folder)):
        assert fragment in str(caught.value)
    assert set(contents(folder)) == {"checkpoint", "encoder.json"}
    return str(caught.value)


def serve_on_both(server, name, page):
    server.pages |= {f"/{host}/124M/{name}": page for host in ("official", "backup")}


def test_fetches_seven_files(server, tmp_path, capsys):
    folder = tmp_path / "gpt2_models" / "124M"
    results = download_checkpoint("124M", folder, server.urls)
    assert contents(folder) == CONTENT
    assert list(results) == list(FILES)
    for name, result in results.items():
        verified = "sha256" if name in ("encoder.json", DATA) else "size"
        sha256 = hashlib.sha256(CONTENT[name]).hexdigest()
        url = f"{server.urls[0]}/124M/{name}"
        assert result == {"bytes": len(CONTENT[name]), "sha256": sha256, "verified": verified, "url": url}
    assert "100%" in capsys.readouterr().err


def test_no_progress_prints_nothing(server, tmp_path, capsys):
    download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert capsys.readouterr() == ("", "")


def test_backup_is_used_and_then_asked_first(server, tmp_path):
    server.pages["/official/124M/hparams.json"] = XML
    results = download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert contents(tmp_path) == CONTENT
    hosts = [result["url"].split("/")[3] for result in results.values()]
    assert hosts == ["official"] * 2 + ["backup"] * 5
    assert len(server.requests) == 8


def test_bar_ends_at_the_total_after_a_failed_attempt(server, tmp_path, monkeypatch):
    bars, tqdm = [], download.tqdm
    monkeypatch.setattr(download, "tqdm", lambda **options: bars.append(tqdm(**options)) or bars[-1])
    server.pages[f"/official/124M/{DATA}"] = Page(b"x" * len(CONTENT[DATA]))
    server.pages["/official/774M/model.ckpt.meta"] = Page(b"short", length=50)
    for size in ("124M", "774M"):
        download_checkpoint(size, tmp_path / size, server.urls)
    total = sum(map(len, CONTENT.values()))
    assert [(bar.n, bar.total) for bar in bars] == [(total, total)] * 2


def test_both_hosts_fail(server, tmp_path):
    server.pages["/official/124M/hparams.json"] = XML
    server.pages["/backup/124M/hparams.json"] = Page(b"no", 403, "text/plain")
    message = assert_refused(server, tmp_path, "HTTP 404", "HTTP 403", "internet access", "by hand")
    assert re.fullmatch(r"cannot download [^\n]*\.", message)


@pytest.mark.parametrize(
    ("page", "fragment"),
    [
        (HTML, "a page of type text/html"),
        (Page(CONTENT["hparams.json"], type="Application/XML"), "a page of type Application/XML"),
        (Page(CONTENT["hparams.json"][:-5], length=len(CONTENT["hparams.json"])), " expected)"),
        (Page(CONTENT["hparams.json"][:-5]), f"bytes announced, {len(CONTENT['hparams.json']):,} expected"),
        (Page(CONTENT["hparams.json"] + b"!"), f"bytes announced, {len(CONTENT['hparams.json']):,} expected"),
        (Page(CONTENT["hparams.json"][:-5], length="none"), f"{len(CONTENT['hparams.json']) - 5:,} bytes received"),
    ],
    ids=["html", "xml", "cut off", "too short", "too long", "short without length"],
)
def test_refused_bodies(server, tmp_path, page, fragment):
    serve_on_both(server, "hparams.json", page)
    assert_refused(server, tmp_path, fragment)


def test_cut_off_body_passed_silently_by_an_old_urllib3(server, tmp_path, monkeypatch):
    def silent(self, n):
        body = self.raw.read()
        yield body[:4] if "hparams" in self.url else body

    monkeypatch.setattr(download.requests.Response, "iter_content", silent)
    assert_refused(server, tmp_path, "4 bytes received")


def test_wrong_hash(server, tmp_path, monkeypatch):
    monkeypatch.setitem(download.KNOWN_SHA256, ("124M", "hparams.json"), "0" * 64)
    assert_refused(server, tmp_path, "sha256", "000000000000")


def test_no_length_and_nothing_known(server, tmp_path):
    server.pages |= {f"/{host}/774M/model.ckpt.meta": Page(b"meta", length="none") for host in ("official", "backup")}
    with pytest.raises(DownloadError, match="no Content-Length"):
        download_checkpoint("774M", tmp_path, server.urls, progress=False)


def test_server_errors_are_retried_on_the_same_host(server, tmp_path):
    busy = Page(b"busy", 503, "text/plain")
    server.pages["/official/124M/checkpoint"] = [busy, Page(b"slow down", 429), busy, Page(CONTENT["checkpoint"])]
    results = download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert server.requests[:5] == ["/official/124M/checkpoint"] * 4 + ["/official/124M/encoder.json"]
    assert results["checkpoint"]["url"].startswith(server.urls[0])


def test_lasting_server_error_names_its_status(server, tmp_path):
    serve_on_both(server, "hparams.json", Page(b"busy", 503, "text/plain"))
    assert_refused(server, tmp_path, "HTTP 503")


def test_nobody_listens(tmp_path):
    with socket.socket() as bound:  # bound but not listening: the port refuses
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadError, match=r"checkpoint \(\[Errno \d+\] Connection refused\)"):
            download_checkpoint("124M", tmp_path, (f"http://127.0.0.1:{bound.getsockname()[1]}",), progress=False)
    assert contents(tmp_path) == {}


def test_present_files_are_kept_without_network(server, tmp_path):
    first = download_checkpoint("124M", tmp_path, server.urls, progress=False)
    n_requests = len(server.requests)
    again = download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert len(server.requests) == n_requests == 7
    assert again == {name: {**result, "url": None} for name, result in first.items()}
    assert download_checkpoint("124M", tmp_path, urls=()) == again


@pytest.mark.parametrize(
    "damage", [b"", CONTENT["encoder.json"][:-1], CONTENT["encoder.json"].swapcase()], ids=["empty", "wrong size", "wrong hash"]
)
def test_damaged_file_is_replaced(server, tmp_path, damage):
    download_checkpoint("124M", tmp_path, server.urls, progress=False)
    (tmp_path / "encoder.json").write_bytes(damage)
    (tmp_path / "encoder.json.part").write_bytes(b"of a killed run" * 1000)
    server.requests.clear()
    download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert server.requests == ["/official/124M/encoder.json"]
    assert contents(tmp_path) == CONTENT


def test_failed_replacement_leaves_the_old_file(server, tmp_path):
    (tmp_path / "checkpoint").write_bytes(b"old")
    serve_on_both(server, "checkpoint", XML)
    with pytest.raises(DownloadError):
        download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert contents(tmp_path) == {"checkpoint": b"old"}


def test_interrupt_leaves_no_part(server, tmp_path, monkeypatch):
    def interrupted(self, n):
        yield b"half"
        raise KeyboardInterrupt

    monkeypatch.setattr(download.requests.Response, "iter_content", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert contents(tmp_path) == {}


def test_derived_size_only_warns(server, tmp_path):
    server.pages["/official/774M/hparams.json"] = Page(b"other layout")
    with pytest.warns(UserWarning, match="hparams.json of GPT-2 774M has 12 bytes"):
        results = download_checkpoint("774M", tmp_path, server.urls, progress=False)
    verified = {name: result["verified"] for name, result in results.items()}
    assert verified == dict.fromkeys(FILES, "size") | {"hparams.json": "length", "model.ckpt.meta": "length"}


def test_file_of_unknown_size_is_kept_and_called_unchecked(server, tmp_path):
    (tmp_path / "model.ckpt.meta").write_bytes(b"by hand")
    results = download_checkpoint("774M", tmp_path, server.urls, progress=False)
    assert results["model.ckpt.meta"]["verified"] == "unchecked"
    assert len(server.requests) == 6


def test_full_disk_fails_before_any_request(server, tmp_path, monkeypatch):
    total = sum(map(len, CONTENT.values()))
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - total + 1, total - 1))
    with pytest.raises(DownloadError, match=f"needs {total:,} bytes .* {total - 1:,} are free"):
        download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert server.requests == []
    assert contents(tmp_path) == {}
    (tmp_path / "checkpoint").write_bytes(CONTENT["checkpoint"])  # what is there need not fit again
    download_checkpoint("124M", tmp_path, server.urls, progress=False)
    assert contents(tmp_path) == CONTENT


@pytest.mark.parametrize("model_size", ["tiny", "117M", "", None])
def test_unknown_size(tmp_path, model_size):
    with pytest.raises(ConfigError, match="expected one of 124M"):
        download_checkpoint(model_size, tmp_path / "x")
    assert not (tmp_path / "x").exists()


class TestTables:
    """The real tables, against what can be computed here."""

    @pytest.fixture(autouse=True)
    def small_and_fast(self):
        """Overrides the module's fixture: the tables stay real."""

    @pytest.mark.parametrize(("size", "width", "layers"), [("124M", 768, 12), ("355M", 1024, 24), ("774M", 1280, 36), ("1558M", 1600, 48)])
    def test_data_file_is_four_bytes_per_parameter(self, size, width, layers):
        embeddings = 50257 * width + 1024 * width
        attention = (width * 3 * width + 3 * width) + (width * width + width)
        mlp = (width * 4 * width + 4 * width) + (4 * width * width + width)
        norm = width + width
        n_parameters = embeddings + layers * (norm + attention + norm + mlp) + norm
        sizes = download.KNOWN_SIZES | download.DERIVED_SIZES
        assert sizes[size][DATA] == 4 * n_parameters == 4 * GPT_CONFIGS[size].n_parameters

    def test_hashes_of_the_two_small_files(self):
        checkpoint = b'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
        hparams = b'{\n  "n_vocab": 50257,\n  "n_ctx": 1024,\n  "n_embd": 768,\n  "n_head": 12,\n  "n_layer": 12\n}\n'
        for name, text in (("checkpoint", checkpoint), ("hparams.json", hparams)):
            assert len(text) == download.KNOWN_SIZES["124M"][name]
            assert hashlib.sha256(text).hexdigest() == download.KNOWN_SHA256["124M", name]

    def test_tables_are_complete(self):
        assert all(list(sizes) == list(FILES) for sizes in download.KNOWN_SIZES.values())
        assert all(set(FILES) - set(sizes) == {"model.ckpt.meta"} for sizes in download.DERIVED_SIZES.values())
        for size in ("124M", "355M", "774M", "1558M"):
            assert {(size, "encoder.json"), (size, "vocab.bpe")} <= set(download.KNOWN_SHA256)
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in download.KNOWN_SHA256.values())
