"""One file over HTTP: in closed ranges, several at a time, resumable, and checked before it takes its name.

`name.part` holds the bytes at their places; `name.part.json` says of which file they are and which segments are whole. So
whatever ends a run, the next one goes on where it stopped.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from golf_nb_utils.files import write_json

SEGMENT_BYTES = 8 << 20
"""What one request asks for, and the most that a killed run loses of each connection."""
CHUNK_BYTES = 1 << 18
CONNECTIONS = 8
"""Segments fetched at the same time; benchmarks/results says what that buys where a host limits each connection."""
TIMEOUT = (10, 60)
"""Seconds to connect, and between two bytes."""
RETRIES = 4
"""Failures in a row, without a byte of progress between them, after which a host is given up."""
BACKOFF_SECONDS = 1.0
"""The wait before the first retry; it doubles with each further one."""
LONGEST_WAIT = 60.0
"""A host that asks in Retry-After for more seconds than this is given up."""

_TEMPORARY = (408, 429, 500, 502, 503, 504)
_PAGE = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype|html|error)", re.IGNORECASE)


class DownloadError(RuntimeError):
    """A file could not be fetched, or did not pass its checks."""


class _TryAgain(Exception):
    """A failure that may pass; `wait` is what the host asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class Fetched:
    """A file that passed; `checked_by` is the strongest check: sha256, md5, sha1, size, or length (as many bytes as announced)."""

    bytes: int
    sha256: str
    checked_by: str


@dataclass(frozen=True)
class _Remote:
    """What a host says of a file; without `size` it knows no ranges."""

    url: str
    size: int | None
    etag: str
    digests: dict[str, str]


def fetch(
    url: str,
    target: Path,
    size: int | None = None,
    sha256: str | None = None,
    advance: Callable[[int], object] = lambda n_bytes: None,
    connections: int = CONNECTIONS,
) -> Fetched:
    """Fetch `url` to `target` by way of `target`.part, going on with what an earlier run left there.

    Another size or hash than the known ones is refused, and so are a page in place of the file, a change of the file on the
    way, and a body that differs from the digests in the host's own headers (Azure's Content-MD5, Backblaze's SHA-1). What was
    begun at another address is only continued if the size agrees and a hash will decide. `advance` is told of all bytes that
    arrive, and of those lost as a negative number.

    Raises:
        DownloadError: this host does not deliver the file; what has arrived is kept, unless it is what failed the check or the
            host knows no ranges.
        requests.RequestException: it cannot be reached, redirects without end, or its certificate or the proxy refuses.
        OSError: the file cannot be written.
    """
    lock, counted = threading.Lock(), 0

    def count(n_bytes: int) -> None:
        nonlocal counted
        with lock:
            counted += n_bytes
            advance(n_bytes)

    try:
        return _fetch(url, target, size, sha256, count, connections)
    except BaseException:
        count(-counted)
        raise


def _fetch(
    url: str,
    target: Path,
    size: int | None,
    sha256: str | None,
    count: Callable[[int], None],
    connections: int,
) -> Fetched:
    part, journal = (
        target.with_name(f"{target.name}.part"),
        target.with_name(f"{target.name}.part.json"),
    )
    remote = _ask(url, size, sha256)
    is_continued = False
    if remote.size is None:
        journal.unlink(missing_ok=True)
        received = _fetch_whole(url, part, size, count)
    else:
        received = remote.size
        done = _begin(part, journal, remote, bool(sha256 or remote.digests))
        is_continued = bool(done)
        _fetch_segments(remote, part, done, journal, count, connections)
    try:
        found, checked_by = _check(part, sha256, remote.digests)
    except DownloadError:
        part.unlink()
        journal.unlink(missing_ok=True)
        if is_continued:
            # The fault may lie in what an earlier run, or another host, had left.
            count(-received)
            return _fetch(url, target, size, sha256, count, connections)
        raise
    os.replace(part, target)
    journal.unlink(missing_ok=True)
    return Fetched(received, found, checked_by or ("size" if size is not None else "length"))


def part_bytes(target: Path) -> int:
    """Return the bytes on the disk that an earlier run left of `target`."""
    part = target.with_name(f"{target.name}.part")
    return part.stat().st_blocks * 512 if part.exists() and hasattr(part.stat(), "st_blocks") else 0


# What the host says.


def _session() -> requests.Session:
    session = requests.Session()
    # The bytes are to be those of the file, so that ranges and lengths mean its own.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _get(session: requests.Session, url: str, **headers: str) -> requests.Response:
    """Ask, and refuse what is no answer: a status, or a page instead of the file."""
    response = session.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    status = f"HTTP {response.status_code} {response.reason or ''}".strip()
    kind = response.headers.get("Content-Type", "")
    if response.status_code in (200, 206) and not re.search("html|xml", kind, re.IGNORECASE):
        return response
    response.close()
    if response.status_code in _TEMPORARY:
        raise _TryAgain(status, _retry_after(response))
    raise DownloadError(
        status
        if response.status_code not in (200, 206)
        else f"a page of type {kind} instead of the file"
    )


def _retry_after(response: requests.Response) -> float | None:
    try:
        return Retry().parse_retry_after(response.headers["Retry-After"])
    except (KeyError, InvalidHeader):
        return None


def _retried(
    action: Callable[[], object],
    progress: Callable[[], int] = lambda: 0,
    stop: threading.Event | None = None,
):
    """Call `action` until it succeeds, with back-off, as long as what fails may pass."""
    stop = stop or threading.Event()
    failures, reached = 0, progress()
    while True:
        try:
            return action()
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
            raise
        except (
            _TryAgain,
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            wait = getattr(error, "wait", None)
            if failures > RETRIES or (wait or 0) > LONGEST_WAIT:
                asked = f", which asks to wait {wait:,.0f} s" if wait else ""
                raise DownloadError(f"{innermost(error)}{asked}; tried {failures} times") from error
            if stop.wait(BACKOFF_SECONDS * 2 ** (failures - 1) if wait is None else wait):
                raise


def _ask(url: str, size: int | None, sha256: str | None) -> _Remote:
    """Ask for the first byte: the answer tells the size of the file, its digests, and whether the host knows ranges."""

    def action() -> _Remote:
        # A closed range: Azure answers an open one ("bytes=0-") with 200 unless the request names a version.
        with _session() as session, _get(session, url, Range="bytes=0-0") as response:
            headers = response.headers
            total = (
                _content_range(response)[1] if response.status_code == 206 else _length(response)
            )
            if size is not None and total not in (None, size):
                raise DownloadError(f"{total:,} bytes announced, {size:,} expected")
            if size is total is sha256 is None:
                raise DownloadError(
                    "no Content-Length, so nothing tells whether the file is complete"
                )
            if response.status_code != 206:
                return _Remote(url, None, "", _digests(response))
            next(response.iter_content(1), b"")  # a body left unread would be answered with a reset
            return _Remote(url, total, headers.get("ETag", ""), _digests(response))

    return _retried(action)


def _length(response: requests.Response) -> int | None:
    length = response.headers.get("Content-Length", "")
    # The length of an encoded body is not that of the file.
    return int(length) if length.isdigit() and "Content-Encoding" not in response.headers else None


def _content_range(response: requests.Response) -> tuple[int, int | None]:
    """(first byte, size of the file) of a partial answer."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text)
    if not match:
        raise DownloadError(f"a partial answer with the Content-Range {text!r}")
    return int(match[1]), None if match[2] == "*" else int(match[2])


def _digests(response: requests.Response) -> dict[str, str]:
    """{md5 or sha1: hexadecimal digest of the whole file}, where the host tells.

    https://learn.microsoft.com/rest/api/storageservices/get-blob: with a range the whole blob's MD5 has a header of its own.
    https://www.backblaze.com/apidocs/b2-download-file-by-name: `none` for a large file, whose uploader may have given it.
    """
    headers, found = response.headers, {}
    encoded = headers.get(
        "Content-MD5" if response.status_code == 200 else "x-ms-blob-content-md5", ""
    )
    if re.fullmatch("[0-9A-Za-z+/]{22}==", encoded):
        found["md5"] = base64.b64decode(encoded).hex()
    for name in ("X-Bz-Content-Sha1", "X-Bz-Info-large_file_sha1"):
        text = headers.get(name, "").removeprefix("unverified:").lower()
        if re.fullmatch("[0-9a-f]{40}", text):
            found["sha1"] = text
    return found


# Getting it.


def _begin(part: Path, journal: Path, remote: _Remote, has_hash: bool) -> list[int]:
    """The segments that an earlier run has completed, if what it left is of this file; otherwise begin anew."""
    here = {"url": remote.url, "size": remote.size, "etag": remote.etag, "segment": SEGMENT_BYTES}
    try:
        left = json.loads(journal.read_text(encoding="utf-8"))
        done = [int(index) for index in left.pop("done")]
        is_whole = part.stat().st_size == remote.size and all(
            0 <= index * SEGMENT_BYTES < remote.size for index in done
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        left, done, is_whole = None, [], False
    from_elsewhere = left is not None and left.get("url") != remote.url
    if is_whole and (
        left == here or (has_hash and from_elsewhere and left.get("segment") == SEGMENT_BYTES)
    ):
        return done
    part.parent.mkdir(parents=True, exist_ok=True)
    # The journal goes first: beside an empty part it would call zeros complete.
    journal.unlink(missing_ok=True)
    with open(part, "wb") as file:
        file.truncate(remote.size)
    return []


def _fetch_segments(
    remote: _Remote,
    part: Path,
    done: list[int],
    journal: Path,
    count: Callable[[int], None],
    connections: int,
) -> None:
    todo = deque(
        index for index in range(-(-remote.size // SEGMENT_BYTES)) if index not in set(done)
    )
    count(
        remote.size - sum(min(SEGMENT_BYTES, remote.size - index * SEGMENT_BYTES) for index in todo)
    )
    lock, stop = threading.Lock(), threading.Event()

    def work() -> None:
        with _session() as session:
            while not stop.is_set():
                try:
                    index = todo.popleft()
                except IndexError:
                    return
                first = index * SEGMENT_BYTES
                _fetch_segment(
                    session,
                    remote,
                    part,
                    first,
                    min(first + SEGMENT_BYTES, remote.size),
                    count,
                    stop,
                )
                with lock:
                    done.append(index)
                    facts = {
                        "url": remote.url,
                        "size": remote.size,
                        "etag": remote.etag,
                        "segment": SEGMENT_BYTES,
                    }
                    write_json(journal, facts | {"done": sorted(done)})

    with ThreadPoolExecutor(max(1, min(connections, len(todo)))) as pool:
        workers = [pool.submit(work) for _ in range(min(connections, len(todo)))]
        try:
            for worker in as_completed(workers):
                worker.result()
        except BaseException:
            stop.set()
            raise


def _fetch_segment(
    session: requests.Session,
    remote: _Remote,
    part: Path,
    first: int,
    end: int,
    count: Callable[[int], None],
    stop: threading.Event,
) -> None:
    position = first

    def action() -> None:
        nonlocal position
        if position == end:  # all of it had come when the connection failed
            return
        with (
            _get(session, remote.url, Range=f"bytes={position}-{end - 1}") as response,
            open(part, "r+b") as file,
        ):
            if response.status_code == 200 or _content_range(response) != (position, remote.size):
                raise DownloadError(
                    f"the host had ranges, and answers bytes={position}-{end - 1} with something else"
                )
            if response.headers.get("ETag", remote.etag) != remote.etag:
                raise DownloadError("the file changed on the host while it was fetched")
            file.seek(position)
            for chunk in response.iter_content(CHUNK_BYTES):
                if position + len(chunk) > end:
                    raise DownloadError(f"more bytes than bytes={position}-{end - 1} asks for")
                file.write(chunk)
                position += len(chunk)
                count(len(chunk))
                if stop.is_set():
                    raise DownloadError("stopped")
            file.flush()
            os.fsync(file.fileno())
        if position < end:
            # urllib3 before 2 does not notice a body that ends early.
            raise _TryAgain(f"the connection ended {end - position:,} bytes early")

    _retried(action, lambda: position, stop)


def _fetch_whole(url: str, part: Path, size: int | None, count: Callable[[int], None]) -> int:
    """From a host without ranges: each attempt begins at the first byte."""
    received = 0

    def action() -> None:
        nonlocal received
        count(-received)
        received = 0
        with _session() as session, _get(session, url) as response, open(part, "wb") as file:
            expected = size if size is not None else _length(response)
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
                count(len(chunk))
                if expected is not None and received > expected:
                    raise DownloadError(f"more than the {expected:,} bytes expected")
            file.flush()
            os.fsync(file.fileno())
        if expected is not None and received < expected:
            raise _TryAgain(f"the connection ended {expected - received:,} bytes early")

    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        _retried(action)
    except BaseException:
        # Nothing of it can be continued.
        part.unlink(missing_ok=True)
        raise
    return received


def _check(part: Path, sha256: str | None, digests: dict[str, str]) -> tuple[str, str]:
    """(sha256, the strongest digest that agreed or nothing) of a complete part."""
    wanted = {"sha256": sha256, **digests} if sha256 else digests
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in ("sha256", *digests)}
    with open(part, "rb") as file:
        start = file.read(64)
        if _PAGE.match(start):
            raise DownloadError(f"a page instead of the file: {start[:40]!r}")
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            for digest in hashes.values():
                digest.update(chunk)
    found = {name: digest.hexdigest() for name, digest in hashes.items()}
    for name, value in wanted.items():
        if found[name] != value:
            raise DownloadError(f"{name} {found[name][:12]}..., {value[:12]}... expected")
    return found["sha256"], next(iter(wanted), "")


def innermost(error: BaseException) -> str:
    """Return the innermost cause: `[Errno 111] Connection refused` rather than the layers that requests and urllib3 put around it."""
    while True:
        inner = error.__cause__ or next(
            (arg for arg in getattr(error, "args", ()) if isinstance(arg, BaseException)), None
        )
        if inner is None:
            text = str(error)
            # What is no HTTP at all is quoted by http.client byte for byte.
            return (text if text.isprintable() else repr(text)) or type(error).__name__
        error = inner
