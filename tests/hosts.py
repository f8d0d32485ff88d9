"""A host on 127.0.0.1 that answers as Azure's or Backblaze's does, misbehaves on request, and records what it was asked.

And a file on a disk that fills up.
"""

import base64
import errno
import hashlib
import os
import re
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

ALWAYS = float("inf")
XML_PAGE = b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><Error><Code>BlobNotFound</Code><Message>gone</Message></Error>'
HTML_PAGE = b"\n<!DOCTYPE html><html><body>please log in</body></html>"
TOLD = {"azure": ("md5", "nothing"), "backblaze": ("sha1", "unverified", "large", "nothing")}
"""The digests that the headers of a host can hold."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    at: float = field(compare=False)


@dataclass(frozen=True)
class Answer:
    """`first` is the place in the file of the body's first byte; after `sent` bytes of the body the host hangs up, or is silent."""

    status: int
    headers: dict[str, str]
    body: bytes
    first: int = 0
    sent: int | None = None
    is_silent: bool = False
    before_headers: bool = False
    is_held: bool = False
    is_slow: bool = False


Fault = Callable[["Host", Request, Answer], Answer | None]
"""What becomes of an answer; None where the fault does not concern it, which then does not count as one of its times."""


class Host:
    """Serves `files` ({path: content}) until its `with` block ends; `fail` sets what goes wrong with a path."""

    def __init__(
        self,
        files: dict[str, bytes] | None = None,
        kind: str = "azure",
        told: str = "nothing",
        tls: ssl.SSLContext | None = None,
    ):
        assert told in TOLD[kind]
        self.files, self.kind, self.told = dict(files or {}), kind, told
        self.requests: list[Request] = []
        self.sent: list[tuple[str, int, int]] = []
        self._faults: dict[str, list] = {}
        self._lock, self._closed, self._released = (
            threading.Lock(),
            threading.Event(),
            threading.Event(),
        )
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.host = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Host":
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True
        ).start()
        return self

    def __exit__(self, *error) -> None:
        self._closed.set()
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def fail(self, path: str, fault: Fault, times: float = ALWAYS) -> None:
        """Let `fault` change the next `times` answers for `path` that it concerns; of several faults the first one set goes first."""
        self._faults.setdefault(path, []).append([fault, times])

    def heal(self) -> None:
        """Forget the faults and the requests."""
        self._faults.clear()
        self.requests.clear()
        self.sent.clear()

    def ranges(self, path: str) -> list[str | None]:
        """The Range headers of the requests for a path, in order."""
        return [request.range for request in self.requests if request.path == path]

    def respond(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            path = urlsplit(request.path).path
            answer = self.answer(request, self.files.get(path))
            for entry in self._faults.get(path, []):
                changed = entry[0](self, request, answer) if entry[1] > 0 else None
                if changed is not None:
                    entry[1] -= 1
                    answer = changed
                    break
            if answer.status in (200, 206):
                self.sent.append((path, answer.first, len(answer.body[: answer.sent])))
            return answer

    def answer(self, request: Request, body: bytes | None) -> Answer:
        """What this kind of host says where nothing is wrong."""
        if body is None:
            not_found = {
                "azure": ("application/xml", XML_PAGE),
                "backblaze": ("application/json", b'{"code": "not_found", "status": 404}'),
            }
            kind, page = not_found[self.kind]
            return Answer(404, {"Content-Type": kind}, page)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.range or "")
        # Azure reads an open range as no range unless the request names a version of its protocol.
        is_partial = bool(wanted and (wanted[2] or self.kind == "backblaze"))
        first, end = (
            (int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else len(body))
            if is_partial
            else (0, len(body))
        )
        if is_partial and (first >= len(body) or first >= end):
            return Answer(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
        end = min(end, len(body))
        headers = {"Content-Type": "application/octet-stream"} | self._digests(body, is_partial)
        if self.kind == "azure":
            headers["ETag"] = (
                f"0x8D{hashlib.sha1(body, usedforsecurity=False).hexdigest()[:13].upper()}"
            )
        if is_partial:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{len(body)}"
        return Answer(206 if is_partial else 200, headers, body[first:end], first)

    def _digests(self, body: bytes, is_partial: bool) -> dict[str, str]:
        sha1 = hashlib.sha1(body, usedforsecurity=False).hexdigest()
        if self.kind == "azure":
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            return (
                {"x-ms-blob-content-md5" if is_partial else "Content-MD5": md5}
                if self.told == "md5"
                else {}
            )
        large = {"X-Bz-Info-large_file_sha1": sha1} if self.told == "large" else {}
        return {
            "X-Bz-Content-Sha1": {"sha1": sha1, "unverified": f"unverified:{sha1}"}.get(
                self.told, "none"
            )
        } | large

    def release(self) -> None:
        """Let the answers go that were held."""
        self._released.set()

    def hold(self) -> None:
        self._released.wait(30)

    def silence(self) -> None:
        self._closed.wait(30)

    def pause(self, seconds: float) -> None:
        self._closed.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that has gone is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the body waits for the acknowledgement of the headers.
    disable_nagle_algorithm = True

    def do_GET(self):
        host = self.server.host
        answer = host.respond(
            Request(self.command, self.path, self.headers.get("Range"), time.monotonic())
        )
        if answer.is_held:
            host.hold()
        if answer.before_headers:
            host.silence()
            return self._hang_up()
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body[: answer.sent])
        if answer.is_slow:
            for byte in answer.body[answer.sent :]:
                host.pause(0.05)
                self.wfile.write(bytes([byte]))
        if answer.is_silent:
            host.silence()
        if answer.sent is not None or answer.headers.get("Content-Length", "") is None:
            self._hang_up()

    def _hang_up(self):
        self.close_connection = True

    def log_message(self, *args):
        pass


# Faults.


def cut(at: int) -> Fault:
    """The connection ends before the file's byte `at`."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        is_there = answer.first <= at < answer.first + len(answer.body)
        return replace(answer, sent=at - answer.first) if is_there else None

    return fault


def silent(at: int) -> Fault:
    """Nothing comes from the file's byte `at` on, and the connection stays."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        changed = cut(at)(host, request, answer)
        return changed and replace(changed, is_silent=True)

    return fault


def byte_by_byte(at: int) -> Fault:
    """From the file's byte `at` on they come one by one, each soon enough for a client that waits for the next."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        changed = cut(at)(host, request, answer)
        return changed and replace(changed, is_slow=True)

    return fault


def hung_up(host: Host, request: Request, answer: Answer) -> Answer:
    return replace(answer, sent=0)


def silent_from_the_start(host: Host, request: Request, answer: Answer) -> Answer:
    return replace(answer, before_headers=True)


def held(host: Host, request: Request, answer: Answer) -> Answer:
    """The answer waits until the host is told to release it."""
    return replace(answer, is_held=True)


def page(body: bytes, kind: str, status: int = 200, **headers: str) -> Fault:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda host, request, answer: Answer(status, {"Content-Type": kind} | headers, body)


def status(code: int, **headers: str) -> Fault:
    return page(b"no", "text/plain", code, **headers)


def redirect(url: str) -> Fault:
    return lambda host, request, answer: Answer(302, {"Location": url}, b"")


def of_the_rest(fault: Fault) -> Fault:
    """The fault concerns only the requests that go on with a part."""
    return lambda host, request, answer: fault(host, request, answer) if request.range else None


def no_ranges(host: Host, request: Request, answer: Answer) -> Answer:
    return host.answer(replace(request, range=None), host.files[urlsplit(request.path).path])


def content(body: bytes, whole: bool = False) -> Fault:
    """Another body under the old digests, with an ETag of its own; `whole`: without ranges."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer:
        request = replace(request, range=None) if whole else request
        right, changed = (
            host.answer(request, host.files[urlsplit(request.path).path]),
            host.answer(request, body),
        )
        told = {
            name: value
            for name, value in right.headers.items()
            if "md5" in name.lower() or "sha1" in name.lower()
        }
        return replace(changed, headers=changed.headers | told)

    return fault


def flipped(at: int) -> Fault:
    """One bit of the file's byte `at` is another on the way; the headers tell of the right one."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        place = at - answer.first
        if not 0 <= place < len(answer.body):
            return None
        return replace(
            answer,
            body=answer.body[:place] + bytes([answer.body[place] ^ 16]) + answer.body[place + 1 :],
        )

    return fault


def announced(more: int, whole: bool = False) -> Fault:
    """A Content-Length that is `more` (or, negative, fewer) bytes than there are, and no more than that; `whole`: without ranges."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        answer = no_ranges(host, request, answer) if whole else answer
        length = max(0, len(answer.body) + more)
        return replace(
            answer,
            headers=answer.headers | {"Content-Length": str(length)},
            sent=min(length, len(answer.body)),
        )

    return fault


def without(*names: str) -> Fault:
    """The answer lacks these headers."""
    return lambda host, request, answer: replace(
        answer, headers=answer.headers | dict.fromkeys(names)
    )


def with_headers(**headers: str) -> Fault:
    """The answer has these headers."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda host, request, answer: replace(answer, headers=answer.headers | headers)


def both(first: Fault, second: Fault) -> Fault:
    """The second fault changes what the first has made."""

    def fault(host: Host, request: Request, answer: Answer) -> Answer | None:
        changed = first(host, request, answer)
        return second(host, request, changed or answer) or changed

    return fault


class FileOnFullDisk:
    """An open file on a disk that has `room[0]` bytes left; to be put in the place of `open`."""

    def __init__(self, path, mode: str, room: list[int], code: int = errno.ENOSPC):
        self._file, self._room, self._code = open(path, mode), room, code  # noqa: SIM115

    def __getattr__(self, name: str):
        return getattr(self._file, name)

    def __enter__(self) -> "FileOnFullDisk":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> int:
        self._room[0] -= len(chunk)
        if self._room[0] < 0:
            raise OSError(self._code, os.strerror(self._code))
        return self._file.write(chunk)
