"""What one client may cost the others: bounds on bodies, time and connections; and who may ask."""

import asyncio
import hmac
import ipaddress
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from golf_nb_utils.coach.protocol import RefusedError

BODY_BYTES = 1 << 20
CONNECTIONS = 512
"""Open at once; each costs a few kB."""
SECONDS_TO_ASK = 10.0
"""A client has so long for the head of a request, and as long again for its body."""
SECONDS_TO_READ = 30.0
"""And so long to take the next piece of an answer."""


class BoundedProtocol(H11Protocol):
    """HTTP over one connection, which is closed if there are too many, or nothing is asked.

    uvicorn's own time limit holds between two requests of a connection, not for the first, and ends
    with the first byte.
    """

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Take a connection, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
            return
        self._wait_for_a_head()

    def data_received(self, data: bytes) -> None:
        """Take bytes; uvicorn stops the clock of a kept connection at the first of them."""
        super().data_received(data)
        if self.cycle and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._head_timer is None:
            self._wait_for_a_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_a_head(self) -> None:
        self._head_timer = self.loop.call_later(SECONDS_TO_ASK, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None


async def read_body(request: Request) -> bytes:
    """Return the body of a request.

    Raises:
        RefusedError: 413, it is too long; 408, it takes too long to come.
    """
    too_long = RefusedError(
        413, f"the body has more than {BODY_BYTES:,} bytes", {"Connection": "close"}
    )
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > BODY_BYTES:
        raise too_long
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS_TO_ASK):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES:
                    raise too_long
    except TimeoutError:
        closing = {"Connection": "close"}
        raise RefusedError(408, "the body of the request did not come in time", closing) from None
    return bytes(body)


def require_allowed(request: Request, api_key: str, is_local: bool) -> None:
    """Let a request pass that has the key, and comes from no page of another host.

    A page that is open in a browser may send requests to this machine, and with a name of its own
    that leads here (DNS rebinding) even read the answers; so `Origin` must be the host that is
    asked, and a server of this machine alone answers to no other name.

    Raises:
        RefusedError: 401 or 403.
    """
    host = request.headers.get("host", "")
    if is_local and not is_loopback(urlsplit(f"//{host}").hostname or ""):
        raise RefusedError(403, "this server answers to the names of this machine alone")
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise RefusedError(403, "this server answers no page of another origin")
    if api_key:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), api_key.encode()):
            raise RefusedError(401, "unauthorized: send the key as `Authorization: Bearer ...`")


def is_loopback(name: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def bounded(app: ASGIApp, note: Callable[[str, int, float], None]) -> ASGIApp:
    """Return an app that gives up on clients that do not read, and notes path, status, seconds."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        status, begun = 499, time.monotonic()

        async def patient_send(message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            async with asyncio.timeout(SECONDS_TO_READ):
                await send(message)

        try:
            await app(scope, receive, patient_send)
        finally:
            note(scope["path"], status, time.monotonic() - begun)

    return wrapped
