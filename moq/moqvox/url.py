"""Addresses of MoQ servers as people write them.

`https://host[:port]/path` is WebTransport, `moqt://` and `moql://` are raw QUIC, `wss://` is
WebSocket; a token travels as `?jwt=`, which every shipping voice and browser peer uses.
"""

from enum import Enum
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from moqvox.errors import LocalError

__all__ = ["Address", "Scheme", "parse_bind", "parse_url", "split_path"]

DEFAULT_PORT: Final = 443
TOKEN: Final = "jwt"  # noqa: S105  # the parameter's name, not a secret


class Scheme(Enum):
    """How to reach a server."""

    WEBTRANSPORT = "https"
    QUIC = "moqt"
    QUIC_LITE = "moql"
    WEBSOCKET = "wss"


class Address(msgspec.Struct, frozen=True):
    """A parsed URL.

    Attributes:
        host: name or IP address, without brackets.
        path: begins with `/`; the query, tokens included, is part of it.
    """

    scheme: Scheme
    host: str
    port: int
    path: str

    @property
    def is_webtransport(self) -> bool:
        """Whether HTTP/3 carries the session."""
        return self.scheme is Scheme.WEBTRANSPORT

    def shown(self) -> str:
        """Write the URL without its query, which may hold a token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme.value}://{host}:{self.port}{self.path.partition('?')[0]}"


def parse_url(url: str, token: str = "") -> Address:
    """Parse a server's URL and add a token to its query.

    Raises:
        LocalError: says what is wrong and which schemes there are.
    """
    schemes = ", ".join(f"{scheme.value}://" for scheme in Scheme)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise LocalError(f"bad URL {url!r}: {exc}") from exc
    try:
        scheme = Scheme(parts.scheme)
    except ValueError as exc:
        raise LocalError(f"unknown scheme in {url!r}; known are {schemes}") from exc
    if not parts.hostname:
        raise LocalError(f"no host in {url!r}; write {scheme.value}://host:port/path")
    if port == 0:
        raise LocalError(f"bad URL {url!r}: port 0 can't be dialled")
    if parts.username is not None or parts.password is not None:
        raise LocalError("a URL with a user name; tokens go into ?jwt= or --token")
    query = parse_qsl(parts.query, keep_blank_values=True)
    if token:
        query = [(key, value) for key, value in query if key != TOKEN] + [(TOKEN, token)]
    path = parts.path or "/"
    if query:
        path += "?" + urlencode(query)
    return Address(scheme, parts.hostname, port or DEFAULT_PORT, path)


def parse_bind(bind: str) -> tuple[str, int]:
    """Split `host:port`, with brackets around IPv6 addresses; an empty host is `::`.

    Raises:
        LocalError: no port, or not a number between 0 and 65535.
    """
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise LocalError(f"bad address {bind!r}; write host:port, as [::]:4443 or 127.0.0.1:0")
    return host.strip("[]") or "::", int(port)


def split_path(path: str) -> tuple[str, str]:
    """Split a connection path into the plain path without outer slashes, and its token."""
    plain, _, query = path.partition("?")
    token = next((value for key, value in parse_qsl(query) if key == TOKEN), "")
    return plain.strip("/"), token
