"""One file from hosts that misbehave: it arrives whole, or the error is clear and the next run finishes the job."""

import contextlib
import email.utils
import errno
import hashlib
import json
import os
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

import hosts
import pytest
import requests
import trustme
from hosts import FileOnFullDisk, Host
from hypothesis import given, settings
from hypothesis import strategies as st

from golf_nb_utils.gpt2 import transfer
from golf_nb_utils.gpt2.transfer import DownloadError, Fetched, fetch

CHUNK = 16
CONTENT = random.Random(3).randbytes(1000)
OTHER = random.Random(4).randbytes(1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATH = "/124M/file.bin"
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def small_and_fast(monkeypatch):
    """Small chunks, no wait between retries, no proxy of the machine's own."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(transfer, "CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(transfer, "TIMEOUT", (10, 10))
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0)
    # No power fails here, and on a busy disk each costs milliseconds.
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def host():
    with Host({PATH: CONTENT}) as host:
        yield host


@pytest.fixture
def other():
    with Host({PATH: CONTENT}) as host:
        yield host


@pytest.fixture
def target(tmp_path):
    return tmp_path / "file.bin"


class Counted:
    """Sums what `advance` is told; the sum is never below nothing or above the file."""

    def __init__(self, size=1000):
        self.n, self.size = 0, size

    def __call__(self, n_bytes):
        self.n += n_bytes
        assert 0 <= self.n <= self.size


def part_of(target):
    return target.with_name(f"{target.name}.part")


def note_of(target):
    return target.with_name(f"{target.name}.part.json")


def rest(first):
    """The range that asks for what follows the first bytes."""
    return f"bytes={first}-{len(CONTENT) - 1}"


def assert_arrived(target, content=CONTENT):
    assert target.read_bytes() == content
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def arrived(target):
    """How many bytes of the file are there."""
    return part_of(target).stat().st_size if part_of(target).exists() else 0


def fails(host, target, match="", **options):
    """The host does not deliver, in one line; the file is not there."""
    with pytest.raises((DownloadError, requests.RequestException)) as caught:
        fetch(host.url + PATH, target, **options)
    reason = (
        transfer.innermost(caught.value)
        if isinstance(caught.value, requests.RequestException)
        else str(caught.value)
    )
    assert re.search(match, reason)
    assert reason
    assert "\n" not in reason
    assert not target.exists()


def finishes(host, target, **options):
    """Healed, the host delivers, and is only asked for what was missing."""
    there = arrived(target)
    host.heal()
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted, **options)
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    # Of a whole part the last byte is asked for.
    assert host.ranges(PATH) == [rest(min(there, len(CONTENT) - 1)) if there else None]


# Nothing goes wrong.


def test_the_file_is_asked_for_once(host, target):
    counted = Counted()
    result = fetch(host.url + PATH, target, advance=counted)
    assert result == Fetched(len(CONTENT), SHA256, "length")
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    assert host.ranges(PATH) == [None]


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_a_file_may_end_anywhere_in_its_last_chunk(host, target, size):
    host.files[PATH] = CONTENT[:size]
    assert fetch(host.url + PATH, target, size).bytes == size
    assert_arrived(target, CONTENT[:size])


@pytest.mark.parametrize("resumed", [False, True], ids=["whole", "resumed"])
@pytest.mark.parametrize(
    ("kind", "told", "known", "checked_by"),
    [
        ("azure", "md5", {}, "md5"),
        ("azure", "nothing", {}, "length"),
        ("azure", "nothing", {"size": len(CONTENT)}, "size"),
        ("azure", "md5", {"size": len(CONTENT), "sha256": SHA256}, "sha256"),
        ("backblaze", "sha1", {}, "sha1"),
        ("backblaze", "unverified", {}, "sha1"),
        ("backblaze", "large", {"size": len(CONTENT)}, "sha1"),
        ("backblaze", "nothing", {}, "length"),
    ],
)
def test_the_strongest_check_is_named_and_a_flipped_bit_is_found_by_it(
    target, kind, told, known, checked_by, resumed
):
    with Host({PATH: CONTENT}, kind, told) as host:
        if resumed:
            host.fail(PATH, hosts.cut(300), 1)
        assert fetch(host.url + PATH, target, **known).checked_by == checked_by
        assert_arrived(target)
        target.unlink()
        if checked_by in ("length", "size"):
            return
        host.heal()
        if resumed:
            host.fail(PATH, hosts.cut(300), 1)
        host.fail(PATH, hosts.flipped(500))
        counted = Counted()
        fails(
            host,
            target,
            rf"^{checked_by} [0-9a-f]{{12}}\.\.\., [0-9a-f]{{12}}\.\.\. expected$",
            advance=counted,
            **known,
        )
        assert counted.n == 0
        # Nothing of the bad bytes stays to be continued.
        assert list(target.parent.iterdir()) == []
        finishes(host, target, **known)


def test_a_file_that_is_there_is_replaced_only_by_a_whole_one(host, target):
    target.write_bytes(b"old")
    host.fail(PATH, hosts.cut(500))
    with pytest.raises(DownloadError):
        fetch(host.url + PATH, target)
    assert target.read_bytes() == b"old"
    finishes(host, target)


# The connection ends.


@pytest.mark.parametrize("tenth", range(10))
def test_a_connection_cut_once_is_taken_up_where_it_ended(host, target, tenth):
    at = len(CONTENT) * tenth // 10
    host.fail(PATH, hosts.cut(at), 1)
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted)
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    there = at - at % CHUNK
    assert host.ranges(PATH) == [None, rest(there) if there else None]
    # The chunk that the cut fell into comes twice at the most.
    assert sum(n for _, _, n in host.sent) <= len(CONTENT) + CHUNK


@pytest.mark.parametrize("tenth", range(10))
def test_a_connection_that_is_always_cut_fails_and_the_next_run_goes_on(host, target, tenth):
    at = len(CONTENT) * tenth // 10
    host.fail(PATH, hosts.cut(at))
    fails(host, target, rf"; tried {transfer.RETRIES + 1} times$")
    assert at - CHUNK < arrived(target) <= at
    finishes(host, target)


@pytest.mark.parametrize("tenth", range(10))
def test_a_host_without_ranges_that_is_cut_once_is_asked_for_all_again(host, target, tenth):
    host.fail(PATH, hosts.both(hosts.no_ranges, hosts.cut(len(CONTENT) * tenth // 10)), 1)
    host.fail(PATH, hosts.no_ranges)
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted)
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    assert [n for _, _, n in host.sent][1:] == [len(CONTENT)]


def test_a_host_without_ranges_that_is_always_cut_is_given_up(host, target):
    """The same bytes again are no progress."""
    host.fail(PATH, hosts.both(hosts.no_ranges, hosts.cut(700)))
    counted = Counted()
    fails(host, target, "tried 5 times", advance=counted)
    assert counted.n == 0
    finishes(host, target)


@settings(max_examples=60)
@given(st.data())
def test_any_cuts_with_fewer_failures_in_a_row_than_retries_leave_the_file_unchanged(
    tmp_path_factory, data
):
    content = b"x" + data.draw(st.binary(min_size=1, max_size=600), label="content")
    cuts = data.draw(st.lists(st.integers(0, len(content) - 1), max_size=12), label="cuts")
    # Those in one chunk come without a byte of progress between them.
    cuts = [
        at
        for i, at in enumerate(cuts)
        if sum(abs(at - earlier) < CHUNK for earlier in cuts[:i]) < transfer.RETRIES
    ]
    target = tmp_path_factory.mktemp("property") / "file.bin"
    digest, counted = hashlib.sha256(content).hexdigest(), Counted(len(content))
    with pytest.MonkeyPatch.context() as patch, Host({PATH: content}) as host:
        patch.setattr(transfer, "CHUNK_BYTES", CHUNK)
        for at in cuts:
            host.fail(PATH, hosts.cut(at), 1)
        result = fetch(host.url + PATH, target, advance=counted)
    assert result == Fetched(len(content), digest, "length")
    assert_arrived(target, content)
    assert counted.n == len(content)
    # A byte comes again only if a cut followed it within the same chunk.
    deliveries = Counter(place for _, first, n in host.sent for place in range(first, first + n))
    for place in range(len(content)):
        assert 1 <= deliveries[place] <= 1 + sum(place < at < place + CHUNK for at in cuts)


def test_a_first_question_that_is_hung_up_on_is_asked_again(host, target):
    host.fail(PATH, hosts.hung_up, 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)


# Other answers than the file.


TEMPORARY = (408, 429, 500, 502, 503, 504)


@pytest.mark.parametrize("code", TEMPORARY)
def test_a_temporary_status_is_tried_again_and_named_if_it_lasts(host, target, code):
    host.fail(PATH, hosts.status(code), transfer.RETRIES)
    fetch(host.url + PATH, target)
    assert_arrived(target)
    assert len(host.requests) == transfer.RETRIES + 1
    target.unlink()
    host.heal()
    host.fail(PATH, hosts.status(code))
    fails(host, target, f"^HTTP {code} .*; tried {transfer.RETRIES + 1} times$")
    assert len(host.requests) == transfer.RETRIES + 1
    finishes(host, target)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 416, 501])
def test_a_lasting_status_is_not_tried_again(host, target, code):
    host.fail(PATH, hosts.status(code))
    fails(host, target, f"^HTTP {code}")
    assert len(host.requests) == 1
    finishes(host, target)


def test_retries_start_anew_after_progress_and_back_off_twice_as_long_each(
    host, target, monkeypatch
):
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0.02)
    host.fail(PATH, hosts.status(503), 3)
    fetch(host.url + PATH, target)
    times = [request.at for request in host.requests]
    assert all(times[i + 1] - times[i] >= 0.02 * 2**i for i in range(3))
    target.unlink()
    host.heal()
    # Each comes after some bytes.
    for at in (20, 60, 100):
        host.fail(PATH, hosts.cut(at), 1)
    monkeypatch.setattr(transfer, "BACKOFF_SECONDS", 0)
    monkeypatch.setattr(transfer, "RETRIES", 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(host, target, code, form):
    # A date has whole seconds: it is more than one second away and at the most two.
    asked = "1" if form == "seconds" else email.utils.formatdate(time.time() + 2, usegmt=True)
    host.fail(PATH, hosts.status(code, Retry_After=asked), 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)
    assert 0.9 < host.requests[1].at - host.requests[0].at < 5


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_host_that_asks_for_too_long_a_wait_is_given_up_at_once(host, target, form):
    asked = "3600" if form == "seconds" else email.utils.formatdate(time.time() + 3600, usegmt=True)
    host.fail(PATH, hosts.status(429, Retry_After=asked))
    fails(host, target, r"^HTTP 429 Too Many Requests, which asks to wait 3,(600|599|598) s")
    assert len(host.requests) == 1
    finishes(host, target)


def test_a_retry_after_that_says_nothing_is_passed_over(host, target):
    host.fail(PATH, hosts.status(429, Retry_After="soon"), 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)


PAGES = [
    (hosts.page(hosts.HTML_PAGE, "text/html; charset=utf-8"), "a page of type text/html"),
    (hosts.page(hosts.XML_PAGE, "Application/XML"), "a page of type Application/XML"),
    (
        hosts.page(hosts.HTML_PAGE, "application/octet-stream"),
        "a page instead of the file: b'.n<!DOCTYPE html>",
    ),
    (
        hosts.page(hosts.XML_PAGE, "application/octet-stream"),
        "a page instead of the file: b'.*xml version",
    ),
    (hosts.page(hosts.HTML_PAGE, "text/html", 404), "^HTTP 404 Not Found$"),
    (hosts.page(hosts.XML_PAGE, "application/octet-stream", 404), "^HTTP 404 Not Found$"),
]


@pytest.mark.parametrize(
    ("fault", "match"), PAGES, ids=["html", "xml", "bare html", "bare xml", "404", "bare 404"]
)
def test_a_page_in_place_of_the_file_is_refused_where_nothing_is_known_of_the_file(
    host, target, fault, match
):
    host.fail(PATH, fault)
    fails(host, target, match)
    assert list(target.parent.iterdir()) == []
    finishes(host, target)


def test_a_page_as_long_as_the_file_is_refused(host, target):
    long_page = hosts.HTML_PAGE.ljust(len(CONTENT))
    host.fail(PATH, hosts.content(long_page))
    fails(host, target, "a page instead of the file", size=len(CONTENT))
    finishes(host, target, size=len(CONTENT))


def test_a_redirect_is_followed_with_its_range_and_a_loop_of_them_is_one_error(host, other, target):
    host.fail(PATH, hosts.redirect(other.url + PATH))
    other.fail(PATH, hosts.cut(CHUNK), 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)
    assert other.ranges(PATH) == [None, rest(CHUNK)]
    target.unlink()
    host.heal()
    host.fail(PATH, hosts.redirect(host.url + PATH))
    fails(host, target, "redirects")
    finishes(host, target)


def test_a_refused_connection_is_named(target):
    with socket.socket() as bound:  # bound but not listening: the port refuses
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(
            DownloadError, match=r"^\[Errno \d+\] Connection refused; tried 5 times$"
        ):
            fetch(f"http://127.0.0.1:{bound.getsockname()[1]}/x", target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [hosts.silent_from_the_start, hosts.silent(20), hosts.silent(500)],
    ids=["headers", "first", "later"],
)
@pytest.mark.usefixtures("impatient")
def test_a_silent_host_is_hung_up_on_and_asked_again(host, target, fault, monkeypatch):
    host.fail(PATH, fault, 1)
    fetch(host.url + PATH, target)
    assert_arrived(target)
    target.unlink()
    host.heal()
    monkeypatch.setattr(transfer, "RETRIES", 1)
    host.fail(PATH, fault)
    fails(host, target, "timed out.*; tried 2 times$")
    finishes(host, target)


def test_a_host_that_does_not_speak_http_is_named_without_its_bytes(target):
    def answer(server):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(b"\x07\x1b[2J\xff\x00 bytes\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with pytest.raises(DownloadError, match=r"\w.*; tried 5 times$") as caught:
            fetch(f"http://127.0.0.1:{server.getsockname()[1]}/x", target)
        server.shutdown(socket.SHUT_RDWR)
    # A terminal obeys what is not printable.
    assert str(caught.value).isprintable()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("at", [0, 500])
def test_a_host_that_sends_a_byte_now_and_then_is_hung_up_on_and_gone_on_with(
    host, target, at, monkeypatch
):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    host.fail(PATH, hosts.byte_by_byte(at))
    fails(host, target, "timed out.*; tried 2 times$")
    assert at - CHUNK < arrived(target) <= at
    finishes(host, target)


# Headers and addresses that cannot be parsed.


@pytest.mark.parametrize(
    "length", ["²", "-1", "1e3", "0x10", "1000 bytes", "١٠٠٠", "9" * 5000, "1000, 1001"]
)
@pytest.mark.parametrize("known", [{}, {"size": len(CONTENT), "sha256": SHA256}], ids=["", "known"])
def test_a_length_that_cannot_be_parsed_is_that_hosts_failure(host, target, length, known):
    length = length.encode().decode("latin-1")
    host.fail(PATH, hosts.with_headers(Content_Length=length))
    fails(host, target, "Content-Length", **known)
    finishes(host, target, **known)


@pytest.mark.parametrize(
    "wait",
    ["Fri, 31 Dec 99999 23:59:59 GMT", "9" * 5000, "-1", "1e9", "Fri, 99 Foo 2026 99:99:99 +9999999", "²"],
)  # fmt: skip
def test_a_wait_that_cannot_be_parsed_is_that_hosts_failure(host, target, wait, monkeypatch):
    monkeypatch.setattr(transfer, "RETRIES", 1)
    wait = wait.encode().decode("latin-1")
    host.fail(PATH, hosts.status(503, Retry_After=wait))
    fails(host, target, "^HTTP 503 Service Unavailable; tried 2 times$")
    finishes(host, target)


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999999/x", "ftp://a/b", "//["])
def test_a_redirect_that_cannot_be_parsed_is_that_hosts_failure(host, target, url):
    host.fail(PATH, hosts.redirect(url))
    fails(host, target)
    assert len(host.requests) == 1
    finishes(host, target)


def test_what_a_host_says_is_told_in_few_printable_characters(host, target):
    host.fail(PATH, hosts.page(b"", f"text/html; {'a' * 5000}\x1b[2J"))
    fails(host, target, r"^a page of type .{150,220} instead of the file$")
    host.heal()
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.of_the_rest(hosts.with_headers(Content_Range="a" * 5000)))
    fails(host, target, r"^a partial answer with the Content-Range .{150,220}$")


# More, or less, than a file can have.


def test_an_empty_file_is_refused(host, target):
    host.files[PATH] = b""
    for known in ({}, {"sha256": hashlib.sha256(b"").hexdigest()}):
        fails(host, target, "^an empty file$", **known)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        hosts.with_headers(Content_Length="1000000000000000"),
        hosts.both(hosts.no_ranges, hosts.without("Content-Length")),
    ],
    ids=["announced", "sent"],
)
def test_a_file_has_no_more_than_the_bytes_that_it_can_have(host, target, fault):
    host.fail(PATH, fault)
    fails(host, target, "at most 600 expected|more than the 600 bytes", at_most=600, sha256=SHA256)
    assert list(target.parent.iterdir()) == []
    host.heal()
    fails(host, target, "^1,000 bytes announced, at most 600 expected$", at_most=600)
    fetch(host.url + PATH, target, at_most=1000)
    assert_arrived(target)


def test_the_total_of_a_range_may_not_be_more_than_the_file_can_have(host, target):
    stopped_at(host, target)
    (huge := json.loads(note_of(target).read_text()))["size"] = 10**15
    note_of(target).write_text(json.dumps(huge))
    host.fail(
        PATH, hosts.of_the_rest(hosts.with_headers(Content_Range="bytes 496-999/1000000000000000"))
    )
    fetch(host.url + PATH, target)
    assert_arrived(target)
    assert host.ranges(PATH) == [None]


# Secrets.


def test_no_secret_of_an_address_is_written_or_raised(host, target):
    url = host.url.replace("//", "//me:s3cret@") + PATH + "?sig=s3cret"
    host.fail(PATH, hosts.cut(500))
    with pytest.raises(DownloadError) as caught:
        fetch(url, target)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in note_of(target).read_text()
    host.heal()
    # A signature is another one the next time.
    fetch(url.replace("sig=s3cret", "sig=other"), target)
    assert_arrived(target)
    assert [request.range for request in host.requests] == [rest(496)]


# Ranges and lengths that are not what they seem.


def test_a_host_that_loses_its_ranges_on_the_way_sends_the_whole_file(host, target):
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.no_ranges)
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted)
    assert_arrived(target)
    assert counted.n == len(CONTENT)


def test_a_resumed_run_that_meets_no_ranges_any_more_fetches_the_whole_file(host, target):
    host.fail(PATH, hosts.cut(500))
    fails(host, target)
    host.heal()
    host.fail(PATH, hosts.no_ranges)
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted)
    assert_arrived(target)
    assert counted.n == len(CONTENT)


@pytest.mark.parametrize("more", [7, -7])
@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {}], ids=["known size", "unknown size"])
@pytest.mark.parametrize("chunk", [CHUNK, 20, 100])
def test_a_wrong_length_of_the_rest_is_made_good(host, target, more, known, chunk, monkeypatch):
    # The rest may end with a chunk: then all is there when what was announced fails to come.
    monkeypatch.setattr(transfer, "CHUNK_BYTES", chunk)
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.announced(more), 1)
    counted = Counted()
    fetch(host.url + PATH, target, advance=counted, **known)
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    asked = [tuple(map(int, re.findall(r"\d+", text))) for text in host.ranges(PATH)[1:]]
    assert all(first <= last for first, last in asked)


@pytest.mark.parametrize("more", [7, -7])
@pytest.mark.parametrize("known", [{"size": len(CONTENT)}, {}], ids=["known size", "unknown size"])
def test_a_wrong_length_of_every_range_ends_in_the_file_or_in_a_clear_error(
    host, target, more, known
):
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.announced(more))
    try:
        fetch(host.url + PATH, target, **known)
    except DownloadError as raised:
        error = str(raised)
    else:
        error = ""
    if error:
        assert re.search("ended|Broken|IncompleteRead|expected|closed|reset", error)
        assert not target.exists()
        finishes(host, target, **known)
    assert_arrived(target)


@pytest.mark.parametrize("more", [7, -7])
def test_a_wrong_length_of_a_whole_answer_is_refused_if_the_size_is_known(host, target, more):
    host.fail(PATH, hosts.announced(more, whole=True))
    fails(
        host,
        target,
        f"^{len(CONTENT) + more:,} bytes announced, 1,000 expected$",
        size=len(CONTENT),
    )
    assert len(host.requests) == 1
    finishes(host, target, size=len(CONTENT))


def test_too_long_a_length_of_a_whole_answer_is_refused_if_the_size_is_unknown(host, target):
    host.fail(PATH, hosts.announced(7, whole=True))
    fails(host, target, "7 more expected|7 bytes early")
    host.heal()
    fetch(host.url + PATH, target)
    assert_arrived(target)


def test_too_short_a_length_of_a_whole_answer_is_found_by_the_digest_of_the_host(target):
    with Host({PATH: CONTENT}, told="md5") as host:
        host.fail(PATH, hosts.announced(-7, whole=True))
        fails(host, target, "^md5 ")
        finishes(host, target)


@pytest.mark.parametrize(
    "change", [CONTENT + b"more", CONTENT[:-1], b""], ids=["extra bytes", "truncated", "empty"]
)
def test_a_file_of_another_size_is_refused_before_it_is_fetched(host, target, change):
    host.fail(PATH, hosts.content(change))
    fails(
        host,
        target,
        f"^{len(change):,} bytes announced, 1,000 expected$",
        size=len(CONTENT),
    )
    assert len(host.requests) == 1
    finishes(host, target, size=len(CONTENT))


@pytest.mark.parametrize(
    ("change", "match"),
    [(CONTENT + b"more", "more than the 1,000 bytes"), (CONTENT[:-7], "7 bytes early")],
    ids=["extra bytes", "truncated"],
)
def test_a_body_of_another_size_without_a_length_is_refused(host, target, change, match):
    host.fail(PATH, hosts.both(hosts.content(change, whole=True), hosts.without("Content-Length")))
    fails(host, target, match, size=len(CONTENT))
    host.heal()
    fetch(host.url + PATH, target, size=len(CONTENT))
    assert_arrived(target)


def test_without_a_length_a_known_hash_decides_and_nothing_known_is_refused(host, target):
    host.fail(PATH, hosts.both(hosts.no_ranges, hosts.without("Content-Length")))
    fails(host, target, "^no Content-Length")
    assert fetch(host.url + PATH, target, sha256=SHA256).checked_by == "sha256"
    assert_arrived(target)


def test_a_partial_answer_of_another_place_is_refused(host, target):
    other_place = hosts.Request("GET", PATH, "bytes=1-130", 0)
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.of_the_rest(lambda host, *call: host.answer(other_place, CONTENT)))
    fails(host, target, "a partial answer with the Content-Range 'bytes 1-130/1000'")
    finishes(host, target)


def test_a_partial_answer_to_a_question_for_the_whole_is_refused(host, target):
    partial = hosts.Request("GET", PATH, "bytes=0-99", 0)
    host.fail(PATH, lambda host, *call: host.answer(partial, CONTENT))
    fails(host, target, "HTTP 206")
    finishes(host, target)


@pytest.mark.parametrize("text", [None, "bytes 0-0", "items 0-0/1000"])
def test_a_partial_answer_that_does_not_say_what_it_is_is_refused(host, target, text):
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(
        PATH,
        lambda host, request, answer: hosts.replace(
            answer, headers=answer.headers | {"Content-Range": text}
        ),
    )
    fails(host, target, "a partial answer with the Content-Range")
    finishes(host, target)


def test_more_bytes_than_the_range_are_refused(host, target):
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, lambda host, request, answer: hosts.replace(answer, body=answer.body + b"more"))
    fails(host, target, "more than the 1,000 bytes expected")
    finishes(host, target)


# Going on with what an earlier run left.


def stopped_at(host, target, at=500, **options):
    """A run that ends at the byte `at`: what came before is there, up to a chunk."""
    host.fail(PATH, hosts.cut(at))
    fails(host, target, **options)
    assert at - CHUNK < arrived(target) <= at
    host.heal()


@pytest.mark.parametrize(
    "change",
    [OTHER, OTHER + b"longer", OTHER[:700], OTHER[:300]],
    ids=["", "longer", "shorter", "ends before the part"],
)
def test_a_file_that_changes_on_the_way_is_begun_anew(host, target, change):
    def changed(host, request, answer):
        host.files[PATH] = change
        return host.answer(request, change)

    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, hosts.of_the_rest(changed))
    counted = Counted(len(OTHER) + 6)
    fetch(host.url + PATH, target, advance=counted)
    assert_arrived(target, change)
    assert counted.n == len(change)


@pytest.mark.parametrize(
    "change",
    [OTHER, OTHER + b"longer", OTHER[:700], OTHER[:300]],
    ids=["", "longer", "shorter", "ends before the part"],
)
def test_a_file_that_changed_between_two_runs_is_begun_anew(host, target, change):
    stopped_at(host, target)
    host.files[PATH] = change
    fetch(host.url + PATH, target)
    assert_arrived(target, change)


def test_a_file_that_changed_on_a_host_with_digests_is_begun_anew(target):
    with Host({PATH: OTHER}, told="md5") as host:
        stopped_at(host, target)
        host.files[PATH] = CONTENT
        fetch(host.url + PATH, target)
        assert_arrived(target)


def test_a_part_is_continued_from_another_host_if_a_hash_decides(host, other, target):
    stopped_at(host, target, sha256=SHA256)
    counted = Counted()
    fetch(other.url + PATH, target, sha256=SHA256, advance=counted)
    assert_arrived(target)
    assert counted.n == len(CONTENT)
    assert other.ranges(PATH) == [rest(496)]


@pytest.mark.parametrize("told", hosts.TOLD["backblaze"])
def test_the_digest_of_the_other_host_allows_to_continue_a_part(host, target, told):
    stopped_at(host, target, size=len(CONTENT))
    with Host({PATH: CONTENT}, "backblaze", told) as other:
        fetch(other.url + PATH, target, size=len(CONTENT))
        assert_arrived(target)
        assert other.ranges(PATH) == [rest(496), *([None] if told == "nothing" else [])]


def test_a_part_is_begun_anew_on_another_host_if_nothing_would_find_a_mixture(host, other, target):
    other.files[PATH] = OTHER
    stopped_at(host, target, size=len(CONTENT))
    fetch(other.url + PATH, target, size=len(CONTENT))
    assert_arrived(target, OTHER)


def test_a_part_of_a_file_of_another_size_is_begun_anew_on_another_host(host, target):
    stopped_at(host, target)
    longer = CONTENT + b"more"
    with Host({PATH: longer}, told="md5") as other:
        fetch(other.url + PATH, target)
        assert_arrived(target, longer)


def test_a_healthy_host_makes_good_what_another_one_has_spoiled(host, other, target):
    host.fail(PATH, hosts.flipped(10))
    host.fail(PATH, hosts.cut(500))
    with pytest.raises(DownloadError):
        fetch(host.url + PATH, target, sha256=SHA256)
    fetch(other.url + PATH, target, sha256=SHA256)
    assert_arrived(target)


NOTES = {
    "empty": "", "no object": "[]", "null": "null", "half": '{"url": "http', "nothing said": "{}", "binary": b"\xff\xfe\x00",
    "brackets": "[" * 200_000, "digits": "9" * 5000, "words": '{"url": "a", "size": "b", "etag": "c"}',
    "infinite": '{"url": "a", "size": Infinity, "etag": "c"}',
    "a part with holes, of version 1.0": '{"url": "a", "size": 1000, "etag": "", "segment": 8388608, "done": [0]}',
}  # fmt: skip


@pytest.mark.parametrize("note", NOTES.values(), ids=NOTES)
@pytest.mark.parametrize("known", [{}, {"sha256": SHA256}], ids=["unknown", "known"])
def test_a_note_that_says_nothing_is_passed_over(host, target, note, known):
    stopped_at(host, target)
    part_of(target).write_bytes(OTHER)
    note_of(target).write_bytes(note.encode() if isinstance(note, str) else note)
    fetch(host.url + PATH, target, **known)
    assert_arrived(target)
    assert host.ranges(PATH) == [None]


@pytest.mark.parametrize(
    "change", [{"size": 999}, {"size": 1001}, {"url": "http://elsewhere/x"}, {"etag": "0x8D"}]
)
def test_a_note_of_another_file_is_passed_over(host, target, change):
    stopped_at(host, target)
    note = json.loads(note_of(target).read_text())
    part_of(target).write_bytes(OTHER[:500])
    note_of(target).write_text(json.dumps(note | change))
    fetch(host.url + PATH, target)
    assert_arrived(target)


@pytest.mark.parametrize("left", [None, b"", OTHER + b"!"], ids=["missing", "empty", "longer"])
def test_a_part_that_is_not_the_beginning_of_the_file_is_begun_anew(host, target, left):
    stopped_at(host, target)
    if left is None:
        part_of(target).unlink()
    else:
        part_of(target).write_bytes(left)
    fetch(host.url + PATH, target)
    assert_arrived(target)
    assert host.ranges(PATH) == [None]


def test_the_length_of_the_part_says_how_far_it_came(host, target):
    stopped_at(host, target)
    part_of(target).write_bytes(CONTENT[:123])
    finishes(host, target)
    assert host.ranges(PATH) == [rest(123)]


@pytest.mark.parametrize("step", ["write_bytes", "unlink"])
def test_a_run_killed_while_it_clears_what_is_not_of_this_file_leaves_no_false_word(
    host, other, target, monkeypatch, step
):
    stopped_at(host, target)

    def killed(*arguments, **options):
        raise KeyboardInterrupt

    # Another host without a hash: the part is begun anew.
    for owner, name in ((Path, step), (transfer, "write_json")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(KeyboardInterrupt):
                fetch(other.url + PATH, target)
    fetch(host.url + PATH, target)
    assert_arrived(target)


def test_a_run_that_was_killed_after_the_last_byte_only_has_to_check(host, target, monkeypatch):
    def killed(*names):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(
            os,
            "replace",
            lambda source, to: killed() if Path(to) == target else os.rename(source, to),
        )
        with pytest.raises(KeyboardInterrupt):
            fetch(host.url + PATH, target)
    finishes(host, target)
    assert host.ranges(PATH) == ["bytes=999-999"]


def interrupting(at):
    """Ctrl-C while the host is waited for to send the byte `at`, which never comes."""
    interrupted = []

    def fault(host, request, answer):
        changed = hosts.silent(at)(host, request, answer)
        if changed and not interrupted:
            interrupted.append(True)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return changed

    return fault


@pytest.mark.usefixtures("impatient", "interruptible")
def test_an_interrupted_run_is_gone_on_with(host, target):
    host.fail(PATH, hosts.cut(500), 1)
    host.fail(PATH, interrupting(800))
    with pytest.raises(KeyboardInterrupt):
        fetch(host.url + PATH, target)
    assert not target.exists()
    assert 480 < arrived(target) <= 800
    finishes(host, target)


RUN = """
import sys
from pathlib import Path
from golf_nb_utils.gpt2 import transfer
transfer.CHUNK_BYTES, transfer.BACKOFF_SECONDS = {chunk}, 0
transfer.fetch(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_run_killed_in_the_middle_is_gone_on_with(host, target):
    command = [sys.executable, "-c", RUN.format(chunk=CHUNK), host.url + PATH, str(target)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    host.fail(PATH, hosts.silent(500))
    process = subprocess.Popen(command, env=environment)
    deadline = time.monotonic() + 20
    while arrived(target) < 496 and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not target.exists()
    assert arrived(target) == 496
    host.heal()
    subprocess.run(command, env=environment, check=True)
    assert_arrived(target)
    assert host.ranges(PATH) == [rest(496)]


def test_what_arrived_before_the_disk_was_full_is_kept(host, target, monkeypatch):
    room = [500]
    with monkeypatch.context() as patch:
        patch.setattr(
            transfer, "open", lambda path, mode: FileOnFullDisk(path, mode, room), raising=False
        )
        with pytest.raises(OSError, match="No space") as caught:
            fetch(host.url + PATH, target)
    assert caught.value.errno == errno.ENOSPC
    assert not target.exists()
    assert arrived(target) == 496
    finishes(host, target)


def test_part_bytes_are_those_of_the_part(target):
    assert transfer.part_bytes(target) == 0
    part_of(target).write_bytes(CONTENT[:300])
    assert transfer.part_bytes(target) == 300


# Proxies and certificates.


@pytest.fixture
def authority():
    return trustme.CA()


@pytest.fixture
def secure_host(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Host({PATH: CONTENT}, tls=context) as host:
        yield host


def bundle(authority, path):
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_the_environment_can_name_the_authority_of_a_certificate(
    secure_host, authority, target, tmp_path_factory, monkeypatch
):
    monkeypatch.setenv(
        "REQUESTS_CA_BUNDLE", bundle(authority, tmp_path_factory.mktemp("ca") / "ca.pem")
    )
    fetch(secure_host.url + PATH, target)
    assert_arrived(target)


@pytest.mark.parametrize("named", [False, True], ids=["none", "another"])
def test_an_unknown_authority_is_one_error_without_retries(
    secure_host, target, tmp_path_factory, monkeypatch, named
):
    if named:
        monkeypatch.setenv(
            "REQUESTS_CA_BUNDLE", bundle(trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem")
        )
    connections = []
    connect = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda *address: connections.append(address) or connect(*address)
    )
    with pytest.raises(requests.exceptions.SSLError) as caught:
        fetch(secure_host.url + PATH, target)
    assert "certificate verify failed" in transfer.innermost(caught.value)
    assert len(connections) == 1
    assert secure_host.requests == []
    assert list(target.parent.iterdir()) == []


def test_the_environment_can_name_a_proxy_and_what_goes_without_it(
    host, other, target, monkeypatch
):
    monkeypatch.setenv("http_proxy", other.url)
    url, port = "http://gpt2.example", int(host.url.rpartition(":")[2])
    fetch(url + PATH, target)
    assert_arrived(target)
    assert {request.path for request in other.requests} == {url + PATH}
    target.unlink()
    other.heal()
    # This machine's own addresses do in any case.
    fetch(host.url + PATH, target)
    target.unlink()
    find = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda name, *more: find(name.replace(url[7:], "127.0.0.1"), *more)
    )
    monkeypatch.setenv("no_proxy", url[7:])
    fetch(f"{url}:{port}{PATH}", target)
    assert_arrived(target)
    assert other.requests == []
    assert host.ranges(PATH) == [None, None]


def test_a_proxy_that_cannot_be_reached_is_one_error_without_retries(target, monkeypatch):
    connections = []
    connect = socket.socket.connect
    monkeypatch.setattr(
        socket.socket, "connect", lambda *address: connections.append(address) or connect(*address)
    )
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        proxy = f"127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setenv("http_proxy", f"http://me:s3cret@{proxy}")
        with pytest.raises(requests.exceptions.ProxyError) as caught:
            fetch(f"http://gpt2.example{PATH}", target)
    assert "Connection refused" in transfer.innermost(caught.value)
    assert "s3cret" not in transfer.innermost(caught.value)
    assert len(connections) == 1
