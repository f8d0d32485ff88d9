"""The seven files from folders and from local hosts that misbehave; nothing leaves 127.0.0.1."""

import errno
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections import Counter, namedtuple
from pathlib import Path

import hosts
import pytest
import torch
import trustme
from hosts import ALWAYS, FileOnFullDisk, Host
from own_gpt2 import write_own_gpt2

from golf_nb_utils.files import CHECKPOINT_FILES, DAMAGED, MANIFEST, MissingArtifactError
from golf_nb_utils.gpt2 import download, transfer
from golf_nb_utils.gpt2.checkpoints import load_base_model
from golf_nb_utils.gpt2.download import DownloadError, download_checkpoint
from golf_nb_utils.settings import GPT_CONFIGS, CheckpointConfig, ConfigError

CHUNK = 16
DATA, META = "model.ckpt.data-00000-of-00001", "model.ckpt.meta"
CONTENT = {
    name: random.Random(name).randbytes(90 + 20 * i) for i, name in enumerate(CHECKPOINT_FILES)
}
CONTENT[DATA] = random.Random(0).randbytes(1000)
TOTAL = sum(map(len, CONTENT.values()))
DIGESTS = {name: hashlib.sha256(body).hexdigest() for name, body in CONTENT.items()}
HASHED = ("encoder.json", DATA)
FILES = {f"/{size}/{name}": body for size in ("124M", "774M") for name, body in CONTENT.items()}
PATH = f"/124M/{DATA}"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch):
    """Tables that fit CONTENT, small chunks, no wait between retries, no proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)
    for name, value in {
        "CHUNK_BYTES": CHUNK,
        "TIMEOUT": (10, 10),
        "BACKOFF_SECONDS": 0,
        "RETRIES": 2,
    }.items():
        monkeypatch.setattr(transfer, name, value)
    # No power fails here, and on a busy disk each costs milliseconds.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    sizes = {name: len(body) for name, body in CONTENT.items()}
    monkeypatch.setattr(download, "KNOWN_SIZES", {"124M": sizes})
    monkeypatch.setattr(
        download,
        "DERIVED_SIZES",
        {"774M": {name: size for name, size in sizes.items() if name != META}},
    )
    monkeypatch.setattr(
        download, "KNOWN_SHA256", {("124M", name): DIGESTS[name] for name in HASHED}
    )


@pytest.fixture
def fault(request):
    """A fault by its name in FAULTS."""
    if "silent" in request.param:
        request.getfixturevalue("impatient")
    return FAULTS[request.param]


@pytest.fixture
def official():
    with Host(FILES) as host:
        yield host


@pytest.fixture
def backup():
    with Host(FILES, "backblaze") as host:
        yield host


@pytest.fixture
def urls(official, backup):
    return official.url, f"{backup.url}/"


@pytest.fixture
def bars(monkeypatch):
    """The progress bars made."""
    made, tqdm = [], download.tqdm
    monkeypatch.setattr(
        download, "tqdm", lambda **options: made.append(tqdm(**options)) or made[-1]
    )
    return made


def contents(folder):
    """What is in a folder, but for the lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def fill(folder, *without):
    """A folder with the seven files, by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(CONTENT) - set(without):
        (folder / name).write_bytes(CONTENT[name])
    return folder


def write_manifest(folder, verified, **sha256):
    """As notebook 02 writes it: the hash, the check and the source of each file."""
    files = {
        name: {"bytes": len(CONTENT[name]), "sha256": sha256.get(name.split(".")[0], DIGESTS[name])}
        for name in CONTENT
    }
    facts = {
        "verified": dict.fromkeys(CONTENT, verified),
        "sources": dict.fromkeys(CONTENT, "https://example.org"),
    }
    (folder / MANIFEST).write_text(json.dumps({"made_by": "02", "files": files} | facts))


def run(folder, urls=(), model_size="124M", **options):
    return download_checkpoint(model_size, folder, urls, progress=False, **options)


# Nothing goes wrong.


def test_the_seven_files_arrive_with_what_is_known_of_them(official, urls, tmp_path, capsys):
    folder = tmp_path / "gpt2_models" / "124M"
    results = download_checkpoint("124M", folder, urls)
    assert contents(folder) == CONTENT
    assert list(results) == list(CHECKPOINT_FILES)
    for name, result in results.items():
        verified = "sha256" if name in HASHED else "size"
        assert result == {
            "bytes": len(CONTENT[name]),
            "sha256": DIGESTS[name],
            "verified": verified,
            "source": official.url,
        }
    assert "100%" in capsys.readouterr().err


def test_without_progress_nothing_is_printed(urls, tmp_path, capsys):
    run(tmp_path, urls)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "told"), [("azure", "md5"), ("backblaze", "sha1"), ("backblaze", "large")]
)
def test_the_digest_of_the_host_is_named_where_no_hash_is_published(tmp_path, kind, told):
    with Host(FILES, kind, told) as host:
        results = run(tmp_path, (host.url,))
    of_host = "md5 of the host" if kind == "azure" else "sha1 of the host"
    assert {name: result["verified"] for name, result in results.items()} == {
        name: "sha256" if name in HASHED else of_host for name in CHECKPOINT_FILES
    }


def test_a_second_run_keeps_what_is_there_without_the_network(official, urls, tmp_path):
    first = run(tmp_path, urls)
    official.heal()
    again = run(tmp_path, urls)
    assert official.requests == []
    assert again == {name: {**result, "source": None} for name, result in first.items()}


def test_the_host_that_served_a_file_is_asked_first_for_the_next_one(
    official, backup, urls, tmp_path
):
    official.fail("/124M/hparams.json", hosts.status(404))
    results = run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT
    assert [result["source"] for result in results.values()] == [urls[0]] * 2 + [urls[1]] * 5
    assert {request.path for request in official.requests} == {
        f"/124M/{name}" for name in CHECKPOINT_FILES[:3]
    }
    assert {request.path for request in backup.requests} == {
        f"/124M/{name}" for name in CHECKPOINT_FILES[2:]
    }


@pytest.mark.parametrize("size", ["124M", "774M"])
def test_the_bar_ends_at_its_total_after_failed_hosts_and_resumed_parts(
    official, urls, bars, tmp_path, size
):
    folder = tmp_path / size
    path = f"/{size}/{DATA}"
    official.fail(path, hosts.cut(500))
    with pytest.raises(DownloadError):
        download_checkpoint(size, folder, urls[:1])
    download_checkpoint(size, folder, urls)
    left = (
        TOTAL
        - len(CONTENT["checkpoint"])
        - len(CONTENT["encoder.json"])
        - len(CONTENT["hparams.json"])
    )
    # The failed run knew of no meta file for 774M.
    assert bars[0].total == TOTAL - (size == "774M") * len(CONTENT[META])
    assert (bars[1].n, bars[1].total) == (left, left)


def test_the_bar_counts_what_a_failed_check_took_back(official, urls, bars, tmp_path):
    official.fail(PATH, hosts.flipped(700))
    official.fail(f"/124M/{META}", hosts.both(hosts.no_ranges, hosts.cut(50)))
    download_checkpoint("124M", tmp_path, urls)
    assert [(bar.n, bar.total) for bar in bars] == [(TOTAL, TOTAL)]


# Faults.


def too_long_a_wait(host, request, answer):
    return hosts.status(429, Retry_After="3600")(host, request, answer)


def redirected_in_circles(host, request, answer):
    return hosts.redirect(host.url + PATH)(host, request, answer)


# What always happens at one host, and what the error then says of it.
FAULTS = {
    "cut at once": (hosts.hung_up, "closed|reset|ended|IncompleteRead|0 bytes read"),
    "ranges lost": (hosts.both(hosts.no_ranges, hosts.cut(700)), "tried 3 times"),
    "length too long": (hosts.announced(9, whole=True), "1,009 bytes announced, 1,000 expected"),
    "length too short": (hosts.announced(-9, whole=True), "991 bytes announced, 1,000 expected"),
    "html": (hosts.page(hosts.HTML_PAGE, "text/html"), "a page of type text/html"),
    "xml": (hosts.page(hosts.XML_PAGE, "application/xml"), "a page of type application/xml"),
    "bare html": (hosts.page(hosts.HTML_PAGE, "application/octet-stream"), "bytes announced, 1,000 expected"),
    "long bare html": (hosts.page(hosts.HTML_PAGE.ljust(1000), "application/octet-stream"), "a page instead of the file"),
    "long bare xml": (hosts.page(hosts.XML_PAGE.ljust(1000), "application/octet-stream"), "a page instead of the file"),
    "404 html": (hosts.page(hosts.HTML_PAGE, "text/html", 404), r"HTTP 404 Not Found\)"),
    "404 xml": (hosts.page(hosts.XML_PAGE, "application/octet-stream", 404), r"HTTP 404 Not Found\)"),
    "403": (hosts.status(403), r"HTTP 403 Forbidden\)"),
    "429": (hosts.status(429, Retry_After="0"), "HTTP 429 Too Many Requests; tried 3 times"),
    "long wait": (too_long_a_wait, "HTTP 429 Too Many Requests, which asks to wait 3,600 s; tried 1 times"),
    "500": (hosts.status(500), "HTTP 500 Internal Server Error; tried 3 times"),
    "503": (hosts.status(503), "HTTP 503 Service Unavailable; tried 3 times"),
    "redirects": (redirected_in_circles, "redirects"),
    "silent": (hosts.silent_from_the_start, "timed out"),
    "silent body": (hosts.silent(500), "timed out"),
    "flipped bit": (hosts.flipped(700), r"sha256 [0-9a-f]{12}\.\.\., [0-9a-f]{12}\.\.\. expected"),
    "extra bytes": (hosts.content(CONTENT[DATA] + b"more"), "1,004 bytes announced, 1,000 expected"),
    "truncated": (hosts.content(CONTENT[DATA][:-1]), "999 bytes announced, 1,000 expected"),
} | {f"cut at {at}": (hosts.cut(at), "tried 3 times") for at in range(0, 1000, 100)}  # fmt: skip
PASSING = (
    "429",
    "500",
    "503",
    "cut at once",
    "silent",
    "silent body",
    *(f"cut at {at}" for at in range(0, 1000, 100)),
)


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_a_fault_of_every_host_is_one_clear_error_and_the_next_run_finishes(
    official, backup, urls, tmp_path, fault
):
    fault, match = fault
    fill(tmp_path, DATA)
    for host in (official, backup):
        host.fail(PATH, fault)
    with pytest.raises(DownloadError) as caught:
        run(tmp_path, urls)
    told = "(?:.+)".join(
        rf"{re.escape(url.rstrip('/'))}{re.escape(PATH)} \([^\n]*?(?:{match})[^\n]*" for url in urls
    )
    wanted = rf"cannot download {re.escape(DATA)} of GPT-2 124M: {told}; check the internet access [^\n]* {re.escape(str(tmp_path))} by hand\."
    assert re.fullmatch(wanted, str(caught.value))
    assert DATA not in contents(tmp_path)
    official.heal()
    assert run(tmp_path, urls[:1])[DATA]["source"] == official.url
    assert contents(tmp_path) == CONTENT


@pytest.mark.parametrize("fault", FAULTS, indirect=True)
def test_a_fault_of_one_host_is_made_good_by_the_second(official, urls, tmp_path, fault):
    fill(tmp_path, DATA)
    official.fail(PATH, fault[0])
    result = run(tmp_path, urls)[DATA]
    assert result == {
        "bytes": 1000,
        "sha256": DIGESTS[DATA],
        "verified": "sha256",
        "source": urls[1],
    }
    assert contents(tmp_path) == CONTENT


@pytest.mark.parametrize("fault", PASSING, indirect=True)
def test_a_fault_that_passes_does_not_need_the_second_host(official, backup, urls, tmp_path, fault):
    fill(tmp_path, DATA)
    official.fail(PATH, fault[0], 1)
    assert run(tmp_path, urls)[DATA]["source"] == official.url
    assert contents(tmp_path) == CONTENT
    assert backup.requests == []


@pytest.mark.parametrize("times", [1, ALWAYS])
def test_a_host_that_loses_its_ranges_still_delivers(official, urls, tmp_path, times):
    official.fail(PATH, hosts.no_ranges, times)
    assert run(tmp_path, urls)[DATA]["source"] == official.url
    assert contents(tmp_path) == CONTENT


def test_a_failed_replacement_leaves_the_old_file(official, urls, tmp_path):
    fill(tmp_path, "checkpoint")
    (tmp_path / "checkpoint").write_bytes(b"old")
    official.fail("/124M/checkpoint", hosts.status(403))
    with pytest.raises(DownloadError):
        run(tmp_path, urls[:1])
    assert contents(tmp_path) == CONTENT | {"checkpoint": b"old"}


def test_without_a_url_the_error_says_so(tmp_path):
    with pytest.raises(
        DownloadError, match=r"cannot download checkpoint of GPT-2 124M: no url given; "
    ):
        run(tmp_path)


def test_no_length_and_nothing_known_is_refused(official, tmp_path):
    official.fail(f"/774M/{META}", hosts.both(hosts.no_ranges, hosts.without("Content-Length")))
    with pytest.raises(DownloadError, match="no Content-Length"):
        run(tmp_path, (official.url,), "774M")


def test_an_unknown_authority_is_one_clear_error_and_the_second_host_is_asked(backup, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with Host(FILES, tls=context) as host:
        with pytest.raises(
            DownloadError,
            match=r"^cannot download checkpoint of [^\n]*certificate verify failed[^\n]*$",
        ):
            run(tmp_path, (host.url,))
        run(tmp_path, (host.url, backup.url))
    assert contents(tmp_path) == CONTENT
    assert host.requests == []


def test_a_proxy_that_cannot_be_reached_is_one_clear_error_and_the_next_run_without_it_finishes(
    official, tmp_path, monkeypatch
):
    with socket.socket() as bound:  # bound but not listening: the port refuses
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(
            DownloadError, match=r"^cannot download checkpoint of [^\n]*Connection refused[^\n]*$"
        ):
            run(tmp_path, ("http://gpt2.example",))
    run(tmp_path, (official.url,))
    assert contents(tmp_path) == CONTENT


def test_what_one_host_spoiled_is_not_held_against_the_next(official, urls, tmp_path):
    fill(tmp_path, DATA)
    official.fail(PATH, hosts.flipped(10), 1)
    official.fail(PATH, hosts.cut(500))
    assert run(tmp_path, urls)[DATA]["source"] == urls[1]
    assert contents(tmp_path) == CONTENT


@pytest.mark.parametrize(
    "bad", ["http://[::1", "http://127.0.0.1:99999999", "gpt2", "ftp://127.0.0.1", "http://a..b"]
)
def test_an_address_that_cannot_be_parsed_is_that_hosts_failure(official, tmp_path, bad):
    with pytest.raises(
        DownloadError, match=rf"^cannot download [^\n]*: {re.escape(bad)}/124M/checkpoint \(.+\); "
    ):
        run(tmp_path, (bad,))
    assert run(tmp_path, (bad, official.url))["checkpoint"]["source"] == official.url


@pytest.mark.parametrize("name", ["encoder.json", META])
@pytest.mark.parametrize(
    "fault",
    [
        hosts.with_headers(Content_Length=str(10**15)),
        hosts.both(hosts.content(b"a" * (3 << 20), whole=True), hosts.without("Content-Length")),
        hosts.content(b""),
    ],
    ids=["announced", "sent", "empty"],
)
def test_a_file_of_unknown_or_derived_size_has_no_more_bytes_than_it_can_have(
    official, backup, tmp_path, monkeypatch, fault, name
):
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 1 << 16)
    monkeypatch.setattr(download, "LARGEST_BYTES", 1 << 20)
    path = f"/774M/{name}"
    monkeypatch.setitem(download.KNOWN_SHA256, ("774M", name), DIGESTS[name])
    official.fail(path, fault)
    results = run(tmp_path, (official.url, backup.url), "774M")
    assert results[name]["source"] == backup.url
    assert contents(tmp_path) == CONTENT


def test_secrets_of_addresses_stay_out_of_results_and_errors(official, tmp_path, capsys):
    base = official.url.replace("//", "//me:s3cret@") + "/?sv=1&sig=s3cret"
    folder = tmp_path / "folder"
    results = download_checkpoint("124M", folder, (base,))
    assert {result["source"] for result in results.values()} == {f"{official.url}/"}
    assert contents(folder) == CONTENT
    assert all(request.path.endswith("?sv=1&sig=s3cret") for request in official.requests)
    for fault in (hosts.status(403), hosts.redirect("ftp://me:s3cret@host/?sig=s3cret")):
        official.heal()
        official.fail(PATH, fault)
        (folder / DATA).unlink(missing_ok=True)
        bad = (
            "https://me:s3/cret@host:x/s3cret@",
            "me:s3cret@host",
            "//me:s3cret@host",
            "http://me:s3cret@[x",
        )
        with pytest.raises(DownloadError) as caught:
            download_checkpoint("124M", folder, (base, *bad))
        assert f"{official.url}/124M/{DATA} (" in str(caught.value)
        assert "s3" not in "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in "".join(capsys.readouterr())


# Interrupted runs, full disks, two runs at once.


@pytest.mark.usefixtures("impatient", "interruptible")
def test_an_interrupted_run_is_gone_on_with(official, urls, tmp_path):
    def interrupt(host, request, answer):
        if request.range:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return hosts.silent(600)(host, request, answer)

    official.fail(PATH, hosts.cut(500), 1)
    official.fail(PATH, interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, urls)
    assert DATA not in contents(tmp_path)
    official.heal()
    run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT
    (asked,) = official.ranges(PATH)
    assert 480 < int(asked.removeprefix("bytes=").removesuffix("-999")) <= 600
    assert official.ranges("/124M/encoder.json") == []


def test_too_small_a_disk_is_refused_before_any_request_and_what_is_there_need_not_fit_again(
    official, urls, tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage(10**9, 10**9 - TOTAL + 1, TOTAL - 1)
    )
    with pytest.raises(
        DownloadError,
        match=f"GPT-2 124M needs {TOTAL:,} bytes in .*, where {TOTAL - 1:,} are free: ",
    ):
        run(tmp_path, urls)
    assert official.requests == []
    assert contents(tmp_path) == {}
    (tmp_path / "checkpoint").write_bytes(CONTENT["checkpoint"])
    run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT


def test_a_part_on_the_disk_need_not_fit_again(official, urls, tmp_path, monkeypatch):
    fill(tmp_path, DATA)
    official.fail(PATH, hosts.cut(500))
    with pytest.raises(DownloadError):
        run(tmp_path, urls[:1])
    left = 1000 - (tmp_path / f"{DATA}.part").stat().st_size
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - left, left))
    official.heal()
    run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_on_the_way_is_one_error_and_the_next_run_goes_on(
    official, backup, urls, tmp_path, monkeypatch, code
):
    fill(tmp_path, DATA)
    room = [500]

    with monkeypatch.context() as patch:
        patch.setattr(
            transfer,
            "open",
            lambda path, mode: FileOnFullDisk(path, mode, room, code),
            raising=False,
        )
        with pytest.raises(
            DownloadError,
            match=rf"^the disk of .* is full before GPT-2 124M is complete: .* {DATA} .*\.$",
        ):
            run(tmp_path, urls)
    # The second host would write to the same disk.
    assert backup.requests == []
    assert DATA not in contents(tmp_path)
    official.heal()
    run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT
    assert official.ranges(PATH) == ["bytes=496-999"]


def test_another_error_of_the_disk_is_passed_on(urls, tmp_path, monkeypatch):
    fill(tmp_path, DATA)

    def broken(path, mode):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(transfer, "open", broken, raising=False)
    with pytest.raises(OSError, match="Input/output error"):
        run(tmp_path, urls)


RUN = f"""
import json, sys
from golf_nb_utils.gpt2 import download
from golf_nb_utils.gpt2 import transfer
facts = json.loads(sys.argv[1])
transfer.CHUNK_BYTES, transfer.BACKOFF_SECONDS = {CHUNK}, 0
download.KNOWN_SIZES, download.DERIVED_SIZES, download.KNOWN_SHA256 = {{"124M": facts["sizes"]}}, {{}}, {{}}
results = download.download_checkpoint("124M", facts["folder"], facts["urls"], progress=facts["progress"])
print(json.dumps(results))
"""


def start(folder, urls, progress=False):
    """The same in a process of its own."""
    sizes = {name: len(body) for name, body in CONTENT.items()}
    facts = json.dumps({"folder": str(folder), "urls": urls, "sizes": sizes, "progress": progress})
    command = [sys.executable, "-c", RUN, facts]
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_runs_at_once_fetch_every_byte_once_and_return_the_same(official, urls, tmp_path):
    # The first run is held at a file until the second one has seen that it has to wait.
    official.fail(PATH, hosts.held, 1)
    first = start(tmp_path, urls)
    wait_until(lambda: official.ranges(PATH))
    second = start(tmp_path, urls, progress=True)
    waiting = second.stderr.read(len("another run works in"))
    official.release()
    answers = []
    for process in (first, second):
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        answers.append(json.loads(out))
    assert waiting.strip().startswith("another run works")
    assert contents(tmp_path) == CONTENT
    assert answers[1] == {name: {**result, "source": None} for name, result in answers[0].items()}
    assert (
        max(Counter((request.path, request.range) for request in official.requests).values()) == 1
    )
    assert sum(n for _, first_byte, n in official.sent) == TOTAL


@pytest.mark.parametrize(
    "code", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL, errno.EIO]
)
def test_a_file_system_without_locks_gets_the_files_all_the_same(urls, tmp_path, monkeypatch, code):
    def refused(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refused)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock takes another kind of lock
        run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT


def test_a_killed_run_is_gone_on_with_and_does_not_lock_the_next_out(official, urls, tmp_path):
    official.fail(PATH, hosts.silent(500))
    process = start(tmp_path, urls)
    part = tmp_path / f"{DATA}.part"
    wait_until(lambda: part.exists() and part.stat().st_size == 496)
    process.kill()
    process.communicate()
    assert DATA not in contents(tmp_path)
    official.heal()
    run(tmp_path, urls)
    assert contents(tmp_path) == CONTENT
    assert official.ranges(PATH) == ["bytes=496-999"]
    assert official.ranges("/124M/encoder.json") == []


# What is there already.


@pytest.mark.parametrize(
    "damage",
    [b"", CONTENT["encoder.json"][:-1], CONTENT["encoder.json"].swapcase()],
    ids=["empty", "wrong size", "wrong hash"],
)
def test_a_damaged_file_is_replaced(official, urls, tmp_path, damage):
    fill(tmp_path)
    (tmp_path / "encoder.json").write_bytes(damage)
    (tmp_path / "encoder.json.part").write_bytes(b"of a killed run" * 1000)
    run(tmp_path, urls)
    assert {request.path for request in official.requests} == {"/124M/encoder.json"}
    assert contents(tmp_path) == CONTENT


def test_a_file_of_unknown_size_is_kept_and_called_unchecked(official, tmp_path):
    (tmp_path / META).write_bytes(b"by hand")
    results = run(tmp_path, (official.url,), "774M")
    assert {name: result["verified"] for name, result in results.items()} == dict.fromkeys(
        CONTENT, "size"
    ) | {META: "unchecked"}
    assert f"/774M/{META}" not in {request.path for request in official.requests}


def test_a_manifest_that_agrees_says_how_far_the_check_went_and_where_the_file_came_from(tmp_path):
    fill(tmp_path)
    write_manifest(tmp_path, "md5 of the host")
    for size in ("124M", "774M"):
        for name, result in run(tmp_path, model_size=size).items():
            verified = "sha256" if size == "124M" and name in HASHED else "md5 of the host"
            expected = {
                "bytes": len(CONTENT[name]),
                "sha256": DIGESTS[name],
                "verified": verified,
                "source": "https://example.org",
            }
            assert result == expected


def test_a_file_that_differs_from_its_manifest_is_fetched_anew(official, urls, tmp_path):
    fill(tmp_path)
    write_manifest(tmp_path, "size")
    (tmp_path / META).write_bytes(CONTENT[META][::-1])
    assert run(tmp_path, urls)[META] == {
        "bytes": len(CONTENT[META]), "sha256": DIGESTS[META], "verified": "size", "source": official.url
    }  # fmt: skip
    assert {request.path for request in official.requests} == {f"/124M/{META}"}
    assert (tmp_path / META).read_bytes() == CONTENT[META]


@pytest.mark.parametrize(
    "manifest", ["", "[]", "null", '{"files": 3}', '{"files": {"checkpoint": {}}, "verified": {}}']
)
def test_a_manifest_that_says_nothing_is_passed_over(tmp_path, manifest):
    fill(tmp_path)
    (tmp_path / MANIFEST).write_text(manifest)
    assert {result["verified"] for result in run(tmp_path).values()} == {"sha256", "size"}


def test_a_derived_size_only_warns(official, tmp_path):
    official.files["/774M/hparams.json"] = b"other layout"
    with pytest.warns(
        UserWarning, match="hparams.json of GPT-2 774M has 12 bytes, 130 were derived"
    ):
        results = run(tmp_path, (official.url,), "774M")
    verified = {name: result["verified"] for name, result in results.items()}
    assert verified == dict.fromkeys(CONTENT, "size") | {"hparams.json": "length", META: "length"}


def test_a_file_of_another_than_the_derived_size_is_not_fetched_again_by_the_next_run(
    official, tmp_path
):
    official.files["/774M/hparams.json"] = b"other layout"
    with pytest.warns(UserWarning, match="were derived"):
        results = run(tmp_path, (official.url,), "774M")
    verified = {name: result["verified"] for name, result in results.items()}
    files = {name: {"sha256": result["sha256"]} for name, result in results.items()}
    facts = {"verified": verified, "sources": dict.fromkeys(results)}
    (tmp_path / MANIFEST).write_text(json.dumps({"made_by": "02", "files": files} | facts))
    official.heal()
    assert {
        name: result["verified"] for name, result in run(tmp_path, (), "774M").items()
    } == verified


def test_a_complete_read_only_folder_is_used_without_lock_network_or_writing(tmp_path, monkeypatch):
    fill(tmp_path)
    before = sorted(tmp_path.iterdir())

    # For root, whom a mode does not keep from writing.
    def refuse(*arguments, **options):
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    for owner, name in (
        (os, "link"),
        (os, "replace"),
        (os, "mkdir"),
        (download, "FileLock"),
        (transfer, "fetch"),
    ):
        monkeypatch.setattr(owner, name, refuse)
    tmp_path.chmod(0o555)
    try:
        results = run(tmp_path, ("http://127.0.0.1:1",))
    finally:
        tmp_path.chmod(0o755)
    assert {result["source"] for result in results.values()} == {None}
    assert sorted(tmp_path.iterdir()) == before


# Given folders.


@pytest.mark.parametrize("refused", [False, True], ids=["linked", "copied"])
@pytest.mark.parametrize("read_only", [False, True], ids=["", "read-only"])
def test_what_a_given_folder_has_is_linked_or_else_copied(
    tmp_path, monkeypatch, refused, read_only
):
    given, folder = fill(tmp_path / "given"), tmp_path / "folder"
    if refused:

        def refuse(*names):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", refuse)
    given.chmod(0o555 if read_only else 0o755)
    try:
        results = run(folder, given=[tmp_path / "nowhere", given])
    finally:
        given.chmod(0o755)
    assert contents(folder) == CONTENT
    assert contents(given) == CONTENT
    assert results == {
        name: {
            "bytes": len(body),
            "sha256": DIGESTS[name],
            "verified": "sha256" if name in HASHED else "size",
            "source": str(given),
        }
        for name, body in CONTENT.items()
    }
    assert all(
        ((folder / name).stat().st_ino == (given / name).stat().st_ino) is not refused
        for name in CONTENT
    )
    # A file that is written anew leaves the given one as it is.
    (folder / DATA).write_bytes(b"") if refused else (folder / DATA).unlink()
    assert contents(given) == CONTENT


def test_only_good_files_are_taken_from_given_folders_and_the_first_one_goes_first(
    official, urls, tmp_path
):
    first, second, folder = (
        fill(tmp_path / "first"),
        fill(tmp_path / "second"),
        fill(tmp_path / "folder", DATA, "vocab.bpe", META),
    )
    (first / DATA).write_bytes(CONTENT[DATA][::-1])
    for given in (first, second):
        (given / META).write_bytes(b"short")
    results = run(folder, urls, given=[first, second])
    assert contents(folder) == CONTENT
    sources = dict.fromkeys(CONTENT) | {
        DATA: str(second),
        "vocab.bpe": str(first),
        META: official.url,
    }
    assert {name: result["source"] for name, result in results.items()} == sources
    assert {request.path for request in official.requests} == {f"/124M/{META}"}


def test_a_damaged_file_gives_way_to_the_given_one(tmp_path):
    given, folder = fill(tmp_path / "given"), fill(tmp_path / "folder")
    (folder / DATA).write_bytes(b"damaged")
    run(folder, given=[given])
    assert contents(folder) == contents(given) == CONTENT
    assert (folder / DATA).samefile(given / DATA)


def test_a_given_folder_without_hosts_has_to_hold_all_that_is_read(tmp_path):
    given = fill(tmp_path / "given", DATA, META, "checkpoint")
    (given / "vocab.bpe").write_bytes(b"short")
    with pytest.raises(
        MissingArtifactError, match=rf"^{given} lacks {DATA}, vocab.bpe as GPT-2 124M has them; "
    ):
        run(tmp_path / "folder", given=[given])
    for name in (DATA, "vocab.bpe"):
        (given / name).write_bytes(CONTENT[name])
    results = run(tmp_path / "another", given=[given])
    assert set(results) == set(CONTENT) - {META, "checkpoint"}
    assert {result["source"] for result in results.values()} == {str(given)}
    assert contents(tmp_path / "another") == contents(given)


def test_a_folder_that_is_named_and_not_there_is_an_error(tmp_path):
    for name in (tmp_path / "mistyped", fill(tmp_path / "given") / "vocab.bpe"):
        with pytest.raises(
            MissingArtifactError, match=rf"^{name} is no folder; correct checkpoint_folder"
        ):
            download.given_folder("124M", str(name))
    assert download.given_folder("124M", "") is None
    assert download.given_folder("own", str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match=rf"tiny is made here and takes nothing from {tmp_path}"):
        download.given_folder("tiny", str(tmp_path))


def test_a_given_file_that_proved_damaged_is_taken_once_it_is_another_one(tmp_path):
    given, folder = fill(tmp_path / "given"), fill(tmp_path / "folder", META)
    (folder / f"{META}{DAMAGED}").write_bytes(CONTENT[META][::-1])
    assert run(folder, given=[given])[META]["source"] == str(given)
    assert contents(folder) == CONTENT


def test_the_manifest_of_a_given_folder_is_heard(tmp_path, official, urls):
    given = fill(tmp_path / "given")
    write_manifest(given, "md5 of the host", checkpoint="0" * 64)
    results = run(tmp_path / "folder", urls, given=[given])
    assert results["hparams.json"]["verified"] == "md5 of the host"
    assert results["hparams.json"]["source"] == str(given)
    assert results["checkpoint"]["source"] == official.url


@pytest.mark.parametrize("lacking", [(), ("checkpoint", META)])
def test_a_checkpoint_of_any_shape_is_taken_with_nothing_known_of_it(tmp_path, lacking):
    given, folder = fill(tmp_path / "gegeben und gut"), tmp_path / "folder"
    (given / DATA).write_bytes(b"of another shape")
    for name in lacking:
        (given / name).unlink()
    for _ in range(2):
        results = download.take_checkpoint(given, folder)
        assert set(results) == set(CHECKPOINT_FILES) - set(lacking)
        assert contents(folder) == contents(given)
        assert {result["verified"] for result in results.values()} == {"unchecked"}
    assert results[DATA]["sha256"] == hashlib.sha256(b"of another shape").hexdigest()


@pytest.fixture
def settings(monkeypatch, official, backup, tmp_path):
    """A function that returns notebook 02's settings, with hosts of ours and one folder of attached inputs."""
    monkeypatch.setattr(download, "OFFICIAL_URL", official.url)
    monkeypatch.setattr(download, "input_roots", lambda: [tmp_path / "input"])
    return lambda model_size, folder="": CheckpointConfig(
        model_size=model_size, backup_url=backup.url, checkpoint_folder=str(folder)
    )


def test_of_a_folder_that_is_named_all_is_taken_and_no_host_is_asked(official, settings, tmp_path):
    given = fill(tmp_path / "given", "checkpoint")
    results = download.bring_checkpoint(settings("124M", given), tmp_path / "folder")
    assert {result["source"] for result in results.values()} == {str(given)}
    (given / "vocab.bpe").unlink()
    with pytest.raises(MissingArtifactError, match=r"vocab\.bpe"):
        download.bring_checkpoint(settings("124M", given), tmp_path / "another")
    own = download.bring_checkpoint(settings("own", fill(tmp_path / "own")), tmp_path / "folder_2")
    assert set(own) == set(CHECKPOINT_FILES)
    assert official.requests == []


def test_without_a_named_folder_the_attached_inputs_come_before_the_hosts(
    official, backup, settings, tmp_path
):
    attached = fill(tmp_path / "input" / "somebody" / "gpt2", "vocab.bpe")
    official.files.clear()
    results = download.bring_checkpoint(settings("124M"), tmp_path / "folder")
    sources = {name: result["source"] for name, result in results.items()}
    assert sources == dict.fromkeys(CONTENT, str(attached)) | {"vocab.bpe": backup.url}


def test_what_transformers_saved_is_a_model_at_once(settings, tmp_path):
    model = write_own_gpt2(tmp_path / "own", ["a swing"], 300, n_ctx=8)
    results = download.bring_checkpoint(settings("own", tmp_path / "own"), tmp_path / "folder")
    assert set(results) == {"encoder.json", "hparams.json", "vocab.bpe"}
    loaded = load_base_model(tmp_path / "folder")
    assert torch.equal(loaded.wte.weight, model.wte.weight)


def test_a_checkpoint_that_lacks_files_is_not_taken(tmp_path):
    given, folder = fill(tmp_path / "given", DATA, "vocab.bpe"), tmp_path / "folder"
    with pytest.raises(MissingArtifactError, match=rf"{given} lacks {DATA}, vocab.bpe; "):
        download.take_checkpoint(given, folder)
    assert not folder.exists()


def renamed(folder, *prefixes):
    """The files of the weights under TensorFlow's own names: the first of them, and copies."""
    for prefix in prefixes:
        for name in (DATA, "model.ckpt.index", META):
            shutil.copy(folder / name, folder / name.replace("model.ckpt", prefix))
            (folder / name.replace("model.ckpt", prefix)).write_text(f"{prefix} {name}")
    for name in (DATA, "model.ckpt.index", META):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("prefixes", "text", "taken"),
    [
        (["model-1000"], "", "model-1000"),
        (["model-500", "model-1000"], 'model_checkpoint_path: "model-500"\n', "model-500"),
        (["model-1000"], 'model_checkpoint_path: "C:\\\\run1\\\\model-1000"\n', "model-1000"),
    ],
)
def test_weights_that_the_saver_numbered_are_taken_under_openais_names(
    tmp_path, prefixes, text, taken
):
    given, folder = renamed(fill(tmp_path / "given"), *prefixes), tmp_path / "folder"
    (given / "checkpoint").write_text(text)
    results = download.take_checkpoint(given, folder)
    assert set(results) == set(CHECKPOINT_FILES) - {"checkpoint"}
    assert {name: (folder / name).read_text() for name in (DATA, "model.ckpt.index", META)} == {
        name: f"{taken} {name}" for name in (DATA, "model.ckpt.index", META)
    }


def test_the_checkpoint_that_is_named_goes_before_openais_name(tmp_path):
    given, folder = fill(tmp_path / "given"), tmp_path / "folder"
    (given / "model-7.index").write_bytes(b"a later index")
    shutil.copy(given / DATA, given / DATA.replace("model.ckpt", "model-7"))
    (given / "checkpoint").write_text('model_checkpoint_path: "model-7"')
    download.take_checkpoint(given, folder)
    assert (folder / "model.ckpt.index").read_bytes() == b"a later index"


def test_of_several_checkpoints_none_is_guessed_and_a_named_one_has_to_be_there(tmp_path):
    given, folder = renamed(fill(tmp_path / "given"), "model-1", "model-2"), tmp_path / "folder"
    (given / "checkpoint").unlink()
    with pytest.raises(MissingArtifactError, match="holds the checkpoints model-1, model-2, and"):
        download.take_checkpoint(given, folder)
    (given / "checkpoint").write_text('model_checkpoint_path: "model-3"')
    with pytest.raises(MissingArtifactError, match=r"lacks model-3\.data-.*, model-3\.index; "):
        download.take_checkpoint(given, folder)
    assert not folder.exists()


@pytest.mark.parametrize("form", ["run1/model-1000.index", "snapshots/607a30d7/config.json"])
def test_a_folder_above_the_models_own_is_refused_with_that_folder(tmp_path, form):
    file = tmp_path / "models" / form
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(MissingArtifactError, match=rf"saves it, as in {file.parent}\."):
        download.take_checkpoint(tmp_path / "models", tmp_path / "folder")


def test_what_proved_damaged_is_fetched_anew_and_not_taken_from_a_given_folder(
    official, urls, tmp_path
):
    given, folder = fill(tmp_path / "given"), fill(tmp_path / "folder", META)
    (folder / f"{META}{DAMAGED}").write_bytes(CONTENT[META])
    official.fail(f"/124M/{META}", hosts.status(403))
    with pytest.raises(DownloadError):
        run(folder, urls[:1], given=[given])
    assert contents(folder)[f"{META}{DAMAGED}"] == CONTENT[META]
    official.heal()
    assert run(folder, urls, given=[given])[META]["source"] == official.url
    assert contents(folder) == CONTENT


def test_folders_with_a_checkpoint_of_the_size_are_found_at_any_depth(tmp_path):
    first, second = fill(tmp_path / "input" / "a" / "b" / "124M"), fill(tmp_path / "other")
    wrong = fill(tmp_path / "input" / "wrong")
    (wrong / DATA).write_bytes(b"another size")
    roots = [tmp_path / "input", tmp_path / "nowhere", tmp_path / "other"]
    assert download.find_folders("124M", roots) == [first, second]
    assert download.find_folders("774M", roots[:1]) == [first]


@pytest.mark.parametrize(
    ("model_size", "near"),
    [("tiny", ""), ("124m", "'124M'"), ("7744M", "'774M'"), ("", ""), (None, "")],
)
def test_a_size_without_a_download_is_refused_and_a_typo_names_the_nearest(
    tmp_path, model_size, near
):
    with pytest.raises(
        ConfigError,
        match=rf"no download for model_size {model_size!r}.*{near}.*; expected one of 124M, 774M\.",
    ):
        run(tmp_path / "x", model_size=model_size)
    assert not (tmp_path / "x").exists()


class TestTables:
    """The real tables, against what can be computed here."""

    @pytest.fixture(autouse=True)
    def small_and_fast(self):
        """Overrides the module's fixture: the tables stay real."""

    @pytest.mark.parametrize(
        ("size", "width", "layers"),
        [("124M", 768, 12), ("355M", 1024, 24), ("774M", 1280, 36), ("1558M", 1600, 48)],
    )
    def test_data_file_is_four_bytes_per_parameter(self, size, width, layers):
        embeddings = 50257 * width + 1024 * width
        attention = (width * 3 * width + 3 * width) + (width * width + width)
        mlp = (width * 4 * width + 4 * width) + (4 * width * width + width)
        norm = width + width
        n_parameters = embeddings + layers * (norm + attention + norm + mlp) + norm
        sizes = download.KNOWN_SIZES | download.DERIVED_SIZES
        assert sizes[size][DATA] == 4 * n_parameters == 4 * GPT_CONFIGS[size].n_parameters

    def test_hashes_of_the_two_small_files(self):
        checkpoint = (
            b'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
        )
        hparams = b'{\n  "n_vocab": 50257,\n  "n_ctx": 1024,\n  "n_embd": 768,\n  "n_head": 12,\n  "n_layer": 12\n}\n'
        for name, text in (("checkpoint", checkpoint), ("hparams.json", hparams)):
            assert len(text) == download.KNOWN_SIZES["124M"][name]
            assert hashlib.sha256(text).hexdigest() == download.KNOWN_SHA256["124M", name]

    def test_tables_are_complete(self):
        assert all(list(sizes) == list(CHECKPOINT_FILES) for sizes in download.KNOWN_SIZES.values())
        assert all(
            set(CHECKPOINT_FILES) - set(sizes) == {META}
            for sizes in download.DERIVED_SIZES.values()
        )
        for size in ("124M", "355M", "774M", "1558M"):
            assert {(size, "encoder.json"), (size, "vocab.bpe")} <= set(download.KNOWN_SHA256)
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in download.KNOWN_SHA256.values())


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_fetched(
    official, urls, tmp_path, monkeypatch, code
):
    def refused(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(download, "_only_run", refused)
    with pytest.raises(
        PermissionError, match=rf"{tmp_path} cannot be written \(.*\); choose an output_root"
    ):
        run(tmp_path, urls)
    assert official.requests == []
