"""Addresses on the network: the secrets in them, and which machines they mean.

Only the standard library is imported, so that whoever prints an address can ask here first.
"""

import ipaddress
import re
import socket
from urllib.parse import urlsplit, urlunsplit

_CLOSING = re.compile(r"['\"),.;:\]}>]*$")


def without_secrets(text: str) -> str:
    """Return a text in which no address has a user, a password, a query (`?sig=...`) or a fragment.

    For all that is printed, raised or written where an address may stand in it, at any place.
    """
    return re.sub(r"\S+", lambda word: _shown(word[0]), text) if re.search("[@?#]", text) else text


def _shown(word: str) -> str:
    before, _, after = word.rpartition("@")
    start, scheme, _ = before.partition("://")
    if scheme or ":" in before:  # jane@example.org holds no secret
        # Up to the last "@": a password may hold all of "/", ":" and "@".
        word = (start + scheme if scheme else "") + after
    is_address, (query, mark, rest) = "://" in word, word.partition("?")
    if mark and (is_address or "=" in rest):
        word = query + _CLOSING.search(rest)[0]
    part, mark, rest = word.partition("#")
    return part + _CLOSING.search(rest)[0] if mark and is_address else word


def below(base: str, *parts: str) -> str:
    """Return the address of what lies below `base`, whose query (a signature, say) stays behind it.

    Raises:
        ValueError: `base` is no address.
    """
    found = urlsplit(base)
    return urlunsplit(found._replace(path="/".join((found.path.rstrip("/"), *parts))))


def is_own_machine(host: str) -> bool:
    """Say whether a host name or IP address is this machine's own, which no proxy can reach."""
    if host.rstrip(".").lower().rsplit(".")[-1] == "localhost":
        return True
    found = _ip_address(host)
    return bool(found and (found.is_loopback or found.is_unspecified))


def is_link_local(host: str) -> bool:
    """Say whether an IP address counts in one network only, as those of clouds' metadata do."""
    found = _ip_address(host)
    return bool(found and found.is_link_local)


def _ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host.strip("[]"))
        return getattr(found, "ipv4_mapped", None) or found
    except ValueError:
        pass
    try:
        # 2852039166 and 0xa9fea9fe are 169.254.169.254, too.
        return ipaddress.ip_address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
