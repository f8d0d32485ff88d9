"""One file over HTTP: one stream, resumed where it was cut, checked before the file takes its name.

`name.part` only ever grows, so its length says how far the download came. `name.part.json` says of
which file its bytes are (address, size, ETag): without that, the beginning of one file and the end
of another could be glued together. A run that is killed leaves both, and the next one asks for the
rest with `Range: bytes=N-M`.

Left out on purpose: several ranges of a file at a time. They pay only where a host limits each
connection, and then a journal has to say which pieces of a file with holes are there.
"""

import base64
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests
from urllib3.exceptions import InvalidHeader
from urllib3.util.retry import Retry

from golf_nb_utils.addresses import without_secrets
from golf_nb_utils.files import read_json, sync, write_json
from golf_nb_utils.network import Reply, ask, innermost, shown

CHUNK_BYTES = 1 << 18
TIMEOUT = (10, 60)
"""Seconds to connect, and for the answer to begin or CHUNK_BYTES of it to arrive."""
LARGEST_BYTES = 1 << 34
"""A file of which nothing is known has no more than this."""
RETRIES = 4
"""Failures in a row, without a byte of progress between them, after which a host is given up."""
BACKOFF_SECONDS = 1.0
"""The wait before the first retry; it doubles with each further one."""
LONGEST_WAIT = 60.0
"""A host that asks in Retry-After for more seconds than this is given up."""

_TEMPORARY = (408, 429, 500, 502, 503, 504)
# How a login page or an error of a storage service begins, which some hosts send with status 200.
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
    """A file that passed its checks; `checked_by` is the strongest of them.

    That is sha256, md5, sha1, size, or length (as many bytes as the host announced).
    """

    bytes: int
    sha256: str
    checked_by: str


@dataclass(frozen=True)
class _Origin:
    """The file that the bytes of a .part are of, as .part.json describes it."""

    url: str
    """Without its secrets: a signature may be another one when the rest is fetched."""
    size: int
    etag: str


def fetch(
    url: str,
    target: Path,
    size: int | None = None,
    sha256: str | None = None,
    advance: Callable[[int], object] = lambda n_bytes: None,
    at_most: int = LARGEST_BYTES,
) -> Fetched:
    """Fetch `url` to `target` by way of `target`.part.

    What an earlier run left there is gone on with. Another `size` (bytes) or `sha256` than the
    known ones is refused, and so are a file that is empty or has more than `at_most` bytes, a page
    in place of the file and a body that differs from the digests in the host's headers (Azure's
    Content-MD5, Backblaze's SHA-1). `advance` is told of all bytes that arrive, of those lost as a
    negative number.

    Raises:
        DownloadError: this host does not deliver the file; what has arrived is kept, unless it is
            what failed the check.
        requests.RequestException: it cannot be reached, redirects without end or to where it may
            not, says what cannot be parsed, or its certificate or the proxy refuses.
        OSError: the file cannot be written.
    """
    transfer = _Transfer(url, target, size, sha256, advance, at_most)
    try:
        return transfer.run()
    except BaseException:
        transfer.move_to(0)
        raise


def part_bytes(target: Path) -> int:
    """Return the bytes on the disk that an earlier run left of `target`."""
    part = target.with_name(f"{target.name}.part")
    return part.stat().st_size if part.exists() else 0


class _Transfer:
    """One file on its way; `position` is the length of its .part, and what `advance` knows of."""

    def __init__(self, url, target, size, sha256, advance, at_most):
        self.url, self.target, self.size, self.sha256 = url, target, size, sha256
        self.advance, self.at_most, self.position = advance, at_most, 0
        self.part = target.with_name(f"{target.name}.part")
        self.note = target.with_name(f"{target.name}.part.json")
        self.origin: _Origin | None = None

    def run(self) -> Fetched:
        """Ask until the file is there, with back-off, as long as what fails may pass."""
        self.is_resumed = self.resume()
        failures, furthest = 0, self.position
        while True:
            try:
                return self.finish(self.receive())
            except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
                raise
            except (
                _TryAgain,
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ) as error:
                # Progress is what no attempt had reached before: a host without ranges sends from
                # the first byte each time, and the same half file again is none.
                failures = 1 if self.position > furthest else failures + 1
                furthest = max(furthest, self.position)
                wait = getattr(error, "wait", None)
                if failures > RETRIES or (wait or 0) > LONGEST_WAIT:
                    asked = f", which asks to wait {wait:,.0f} s" if wait else ""
                    tried = f"{innermost(error)}{asked}; tried {failures} times"
                    # What lies below names the address, with its secrets.
                    raise DownloadError(tried) from None
                time.sleep(BACKOFF_SECONDS * 2 ** (failures - 1) if wait is None else wait)

    def resume(self) -> bool:
        """Take up what an earlier run left, and say whether that is anything."""
        try:
            origin = _Origin(**read_json(self.note))
            length = self.part.stat().st_size
        except (OSError, ValueError, TypeError, RecursionError):
            return False  # nothing there, or nothing that makes sense
        if type(origin.size) is not int or self.size not in (None, origin.size):
            return False
        if not 0 < length <= origin.size <= self.at_most:
            return False
        self.origin = origin
        self.move_to(length)
        return True

    def receive(self) -> dict[str, str]:
        """Ask for what is missing, once; return the digests that the host tells of."""
        is_rest = bool(self.origin and self.position)
        if is_rest and self.position == self.origin.size:
            # All of it is there: the last byte is fetched again, with the host's digests.
            os.truncate(self.part, self.position - 1)
            self.move_to(self.position - 1)
        # A closed range: an open one, "bytes=500-", Azure answers with the whole file unless the
        # request names a version of its protocol.
        wanted = f"bytes={self.position}-{self.origin.size - 1}" if is_rest else None
        with _get(self.url, wanted) as reply:
            response = reply.response
            if response.status_code == 200:  # also from a host that knows no ranges
                self.begin_anew(response)
            elif not self.is_continued_by(response):
                self.discard()
                raise _TryAgain("the file on the host is not the one that the part is of", wait=0)
            largest = self.origin.size if self.origin else self.at_most
            with open(self.part, "ab") as file:
                for chunk in reply.chunks(CHUNK_BYTES):
                    end = self.position + len(chunk)
                    if end > largest:
                        self.discard()
                        raise DownloadError(f"more than the {largest:,} bytes expected")
                    file.write(chunk)
                    file.flush()  # a kill loses at most a chunk
                    self.move_to(end)
                sync(file)
        if self.origin and self.position < self.origin.size:
            # urllib3 before 2 does not notice a body that ends early.
            early = self.origin.size - self.position
            raise _TryAgain(f"the connection ended {early:,} bytes early")
        return _digests(response)

    def finish(self, digests: dict[str, str]) -> Fetched:
        """Check the whole part, and let it take its name."""
        try:
            found, checked_by = _check(self.part, self.sha256, digests)
        except DownloadError as error:
            self.discard()
            if self.is_resumed:
                # The fault may lie in what an earlier run, or another host, had left.
                self.is_resumed = False
                raise _TryAgain(str(error), wait=0) from error
            raise
        os.replace(self.part, self.target)
        self.note.unlink(missing_ok=True)
        checked_by = checked_by or ("size" if self.size is not None else "length")
        return Fetched(self.position, found, checked_by)

    def move_to(self, position: int) -> None:
        """Note how long the part is now."""
        self.advance(position - self.position)
        self.position = position

    def discard(self) -> None:
        """Forget all that has arrived."""
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.origin = None
        self.move_to(0)

    def begin_anew(self, response: requests.Response) -> None:
        """Take a whole answer for the file; refuse one of another size than the known one."""
        # The length of an encoded body is not that of the file.
        is_encoded = "Content-Encoding" in response.headers
        length = None if is_encoded else response.headers.get("Content-Length")
        if length is not None and not re.fullmatch("[0-9]{1,18}", length):
            raise DownloadError(f"the Content-Length {shown(repr(length))}")
        total = self.size if length is None else int(length)
        if self.size not in (None, total):
            raise DownloadError(f"{total:,} bytes announced, {self.size:,} expected")
        if total is self.sha256 is None:
            raise DownloadError("no Content-Length, so nothing tells whether the file is complete")
        if total == 0:
            raise DownloadError("an empty file")
        if total is not None and total > self.at_most:
            raise DownloadError(f"{total:,} bytes announced, at most {self.at_most:,} expected")
        self.part.parent.mkdir(parents=True, exist_ok=True)
        # Emptied before it is described: a note beside bytes of another file would vouch for them.
        self.part.write_bytes(b"")
        self.move_to(0)
        if total is None:
            self.origin = None
            self.note.unlink(missing_ok=True)
        else:
            etag = response.headers.get("ETag", "")
            self.origin = _Origin(without_secrets(self.url), total, etag)
            write_json(self.note, asdict(self.origin))

    def is_continued_by(self, response: requests.Response) -> bool:
        """Whether a partial answer is the rest of the file that the part is the beginning of.

        At the part's own address size and ETag have to agree. From another address it is taken only
        if the size agrees and a hash of the whole file will find a mixture of two.
        """
        if response.status_code == 416:  # the file ends before the part does
            return False
        text = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]+|\*)", text)
        if not match or int(match[1]) != self.position:
            raise DownloadError(f"a partial answer with the Content-Range {shown(repr(text))}")
        if match[2] != str(self.origin.size):
            return False
        if without_secrets(self.url) != self.origin.url:
            return bool(self.sha256 or _digests(response))
        return response.headers.get("ETag", "") == self.origin.etag


@contextmanager
def _get(url: str, wanted: str | None) -> Iterator[Reply]:
    """Ask, and refuse what is no answer: a status, or a page instead of the file."""
    # The bytes are to be those of the file, so that ranges and lengths mean its own.
    headers = {"Accept-Encoding": "identity"} | ({"Range": wanted} if wanted else {})
    with ask("GET", url, TIMEOUT, headers=headers) as reply:
        response = reply.response
        status, kind = response.status_code, response.headers.get("Content-Type", "")
        is_page = re.search("html|xml", kind, re.IGNORECASE) and status in (200, 206)
        if is_page:
            raise DownloadError(f"a page of type {shown(kind)} instead of the file")
        if status not in (200, *((206, 416) if wanted else ())):
            reason = f"HTTP {status} {shown(response.reason or '')}".strip()
            if status in _TEMPORARY:
                raise _TryAgain(reason, _retry_after(response))
            raise DownloadError(reason)
        yield reply


def _retry_after(response: requests.Response) -> float | None:
    """The seconds that a host asks to wait, which it may give as a date."""
    try:
        return min(1e9, Retry().parse_retry_after(response.headers["Retry-After"]))
    except (KeyError, InvalidHeader, ValueError, OverflowError):
        return None  # also a date in the year 99999, or a number of thousands of digits


def _digests(response: requests.Response) -> dict[str, str]:
    """{md5 or sha1: hexadecimal digest of the whole file}, where the host tells.

    Azure gives the MD5 of a range under the usual name and the whole blob's under one of its own
    (https://learn.microsoft.com/rest/api/storageservices/get-blob); Backblaze says `none` for a
    large file, whose uploader may have given it
    (https://www.backblaze.com/apidocs/b2-download-file-by-name).
    """
    headers, found = response.headers, {}
    name = "Content-MD5" if response.status_code == 200 else "x-ms-blob-content-md5"
    if re.fullmatch("[0-9A-Za-z+/]{22}==", headers.get(name, "")):
        found["md5"] = base64.b64decode(headers[name]).hex()
    for name in ("X-Bz-Content-Sha1", "X-Bz-Info-large_file_sha1"):
        text = headers.get(name, "").removeprefix("unverified:").lower()
        if re.fullmatch("[0-9a-f]{40}", text):
            found["sha1"] = text
    return found


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
