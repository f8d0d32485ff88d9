"""Requests over HTTP to hosts that nothing is known of: within a time, a size, and where they may
lead.

requests alone waits for the next byte as long as one comes now and then, reads what a redirect
brings to its end, follows it anywhere, and lets other libraries' errors about addresses and headers
through.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL, ReadTimeout, TooManyRedirects
from requests.utils import get_environ_proxies, select_proxy

from golf_nb_utils.addresses import is_link_local, is_own_machine, without_secrets

MAX_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_SHOWN_CHARACTERS = 200


@contextmanager
def ask(method: str, url: str, timeout: tuple[float, float], **options) -> Iterator["Reply"]:
    """Send a request and yield the reply, whose body is not read yet.

    `timeout` is the seconds to connect, and those until the reply has begun; Reply says what it
    means for the body. `options` are those of requests.request. This machine's own addresses are
    asked without a proxy. A redirect is followed with the same method and body, but neither from
    https to http nor to a link-local address.

    Raises:
        requests.RequestException: of a host that cannot be reached or does not answer, also where
            an address or a header cannot be parsed.
    """
    limit = _TimeLimit(timeout[1])
    with _Session() as session, limit.kept():
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(limit))
        for _ in range(1 + MAX_REDIRECTS):
            with _foreign_errors(limit, url):
                own = is_own_machine(urlsplit(url).hostname or "")
                # None stands before what the environment says.
                proxies = dict.fromkeys(("http", "https", "all")) if own else None
                response = session.request(
                    method, url, timeout=timeout, proxies=proxies, stream=True, **options
                )
                limit.refuse_late()
            with _foreign_errors(limit):
                target = response.status_code in _REDIRECTS and session.target(response)
                url = _redirected(response.url, target) if target else url
            if not target:
                break
            # To the next host by a connection of its own, of which the time limit is told.
            limit.pause()
            response.close()
            session.close()
        else:
            raise TooManyRedirects(f"more than {MAX_REDIRECTS} redirects")
        with response:
            yield Reply(response, limit)


@dataclass(frozen=True)
class Reply:
    """What a host answers."""

    response: requests.Response
    """Its status and headers; its body is read by the methods below alone."""
    _limit: "_TimeLimit"

    def chunks(self, n_bytes: int) -> Iterator[bytes]:
        """Yield the body in chunks of `n_bytes`, each of which has to come within the time limit.

        Raises:
            requests.RequestException: it does not, the connection breaks, or the body is not
                encoded as it says.
        """
        found = self.response.iter_content(n_bytes)
        while True:
            with _foreign_errors(self._limit):
                chunk = next(found, b"")
                # The end may be that the limit hung up.
                self._limit.refuse_late()
            if not chunk:
                return
            self._limit.pause()
            yield chunk
            self._limit.begin()

    def read(self, at_most: int) -> bytes:
        """Return the whole body, which has to come within the time limit.

        Raises:
            requests.RequestException: see chunks; or it has more than `at_most` bytes.
        """
        found, body = self.response.iter_content(1 << 14), b""
        with _foreign_errors(self._limit):
            while chunk := next(found, b""):
                body += chunk
                if len(body) > at_most:
                    raise requests.RequestException(f"more than {at_most:,} bytes")
            self._limit.refuse_late()
        return body


def proxy_of(url: str) -> str:
    """Return the address of the proxy by which `ask` goes to a url, or an empty text."""
    try:
        if is_own_machine(urlsplit(url).hostname or ""):
            return ""
        return without_secrets(select_proxy(url, get_environ_proxies(url)) or "")
    except ValueError:  # no address
        return ""


def innermost(error: BaseException) -> str:
    """Return the innermost cause of an error, without the layers of requests and urllib3.

    `[Errno 111] Connection refused` rather than all that they put around it.
    """
    while True:
        inner = error.__cause__ or next(
            (arg for arg in getattr(error, "args", ()) if isinstance(arg, BaseException)), None
        )
        if inner is None:
            return shown(str(error)) or type(error).__name__
        error = inner


def shown(text: str) -> str:
    """Return what a host said, fit for an error: short, printable and without secrets."""
    text = without_secrets(text)
    # A terminal obeys what is not printable.
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _redirected(url: str, target: str) -> str:
    """Where a redirect leads from `url`. Raises InvalidURL where it may not."""
    found, before = urlsplit(urljoin(url, target)), urlsplit(url)
    if (before.scheme, found.scheme) == ("https", "http"):
        raise InvalidURL(f"a redirect from https to http, to {shown(found.geturl())}")
    host = found.hostname or ""
    if is_link_local(host) and not is_link_local(before.hostname or ""):
        raise InvalidURL(f"a redirect to the link-local address {shown(host)}")
    return found.geturl()


@contextmanager
def _foreign_errors(limit: "_TimeLimit", url: str = "") -> Iterator[None]:
    """Make one kind of all errors of a request, where it was not the time limit that hung up."""
    try:
        yield
    except Exception as error:
        limit.refuse_late()
        if isinstance(error, ValueError) and without_secrets(url) != url:
            # What cannot be parsed is quoted in pieces, and one may be half a password.
            raise InvalidURL("it cannot be read as an address") from None
        if isinstance(error, requests.RequestException):
            raise
        # What parses addresses and headers below requests raises ValueError, OverflowError,
        # UnicodeError, urllib3's own and more.
        raise InvalidURL(innermost(error)) from None


class _TimeLimit:
    """Hangs up on a host that takes longer than `seconds`, whatever it is being waited for.

    A thread does it: the timeout of a socket begins anew with every byte.
    """

    def __init__(self, seconds: float):
        self.seconds, self.is_over = seconds, False
        self._deadline = inf
        self._ended = threading.Event()
        self._socket: socket.socket | None = None
        self._may_be_link_local: bool | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Watch, until the block ends."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    def connected(self, connection: socket.socket) -> None:
        """Take up a new connection. Raises ValueError where a redirect led where it may not."""
        # TLS within TLS, as with a proxy, wraps the socket in what is none.
        self._socket = getattr(connection, "socket", connection)
        address = self._socket.getpeername()[0]
        if self._may_be_link_local is None:
            self._may_be_link_local = is_link_local(address)
        elif is_link_local(address) and not self._may_be_link_local:
            raise ValueError(f"a redirect to the link-local address {address}")
        self.begin()

    def begin(self) -> None:
        """Begin to count anew."""
        self._deadline = time.monotonic() + self.seconds

    def pause(self) -> None:
        """Do not count until the next `begin`."""
        self._deadline = inf

    def refuse_late(self) -> None:
        """Raise ReadTimeout if the time is over."""
        if self.is_over:
            raise ReadTimeout(f"timed out: too little came in {self.seconds:g} s") from None

    def _watch(self) -> None:
        while not self._ended.wait(min(self.seconds, max(0.0, self._deadline - time.monotonic()))):
            if time.monotonic() >= self._deadline:
                self.is_over = True
                with suppress(OSError, TypeError):
                    # Not the method of a TLS socket, which would end the encryption, too.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
                return


class _Session(requests.Session):
    """A session that leaves redirects to `ask`."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Say that there is none: requests would read the body of a redirect, however long."""
        return None

    def target(self, response: requests.Response) -> str | None:
        """Return where a redirect leads."""
        return super().get_redirect_target(response)


class _Adapter(HTTPAdapter):
    """Tells a time limit of each connection."""

    def __init__(self, limit: _TimeLimit):
        self.limit = limit
        super().__init__()

    def get_connection_with_tls_context(self, *arguments, **options):
        """As HTTPAdapter has it."""
        pool = super().get_connection_with_tls_context(*arguments, **options)
        limit = self.limit

        class Connection(pool.ConnectionCls):
            def connect(self):
                super().connect()
                limit.connected(self.sock)

        pool.ConnectionCls = Connection
        return pool
