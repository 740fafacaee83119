"""The CONNECT request that opens a WebTransport session, and its response, as fields.

RFC 9220; draft-ietf-webtrans-http3, section 3 (`wt-available-protocols`, `wt-protocol`).
Firefox (153) can't send the former; a page names its one protocol in the query instead.
"""

import urllib.parse
from collections.abc import Sequence
from typing import Final

import msgspec

from moqvox.transport.aioquic.http3 import Fields
from moqvox.transport.aioquic.sfv import parse_string, parse_strings, write_strings
from moqvox.transport.failures import ConnectFailed, NoCommonProtocol, RequestRefused

__all__ = ["Request", "accept_fields", "agree", "choose", "parse_request", "request_fields"]

CONNECT_PROTOCOLS: Final = frozenset((b"webtransport", b"webtransport-h3"))
"""Extended CONNECT's `:protocol`, before and since draft 15."""

PROTOCOL_FIELD: Final = "wt-protocol"
"""Of the query: the one protocol of a client that can't offer several (docs/browser.md)."""


class Request(msgspec.Struct, frozen=True):
    """What a client asks for.

    Attributes:
        authority: host and port, as in a URL.
        path: path and query.
        protocols: application protocols, the preferred first.
        origin: the page's origin; "" from programs.
        is_draft_02: the client names draft 02, and wants it named in the response.
    """

    authority: str
    path: str
    protocols: tuple[str, ...]
    origin: str = ""
    is_draft_02: bool = True


def request_fields(request: Request) -> Fields:
    """Write a client's request."""
    return [
        (b":method", b"CONNECT"),
        (b":scheme", b"https"),
        (b":authority", request.authority.encode()),
        (b":path", request.path.encode()),
        (b":protocol", b"webtransport"),
        (b"sec-webtransport-http3-draft02", b"1"),
        (b"wt-available-protocols", write_strings(request.protocols).encode()),
    ]


def parse_request(fields: Fields) -> Request | None:
    """Read a client's request; None when it is for something else than WebTransport."""
    found = dict(fields)
    if found.get(b":method") != b"CONNECT" or found.get(b":protocol") not in CONNECT_PROTOCOLS:
        return None
    offers = b",".join(value for name, value in fields if name == b"wt-available-protocols")
    path = _text(found.get(b":path", b""))
    return Request(
        authority=_text(found.get(b":authority", b"")),
        path=path,
        protocols=tuple(parse_strings(_text(offers))) if offers else _in_query(path),
        origin=_text(found.get(b"origin", b"")),
        is_draft_02=b"sec-webtransport-http3-draft02" in found,
    )


def _in_query(path: str) -> tuple[str, ...]:
    """The protocol that the query names, if it names one."""
    try:
        fields = urllib.parse.parse_qsl(path.partition("?")[2], max_num_fields=32)
    except ValueError:
        return ()
    return tuple(value for name, value in fields if name == PROTOCOL_FIELD)[:1]


def choose(request: Request, protocols: Sequence[str]) -> str | None:
    """Choose the first of our protocols that the client offers; None without a common one."""
    return next((name for name in protocols if name in request.protocols), None)


def accept_fields(request: Request, protocol: str) -> Fields:
    """Write the response that opens the session."""
    fields = [(b":status", b"200"), (b"wt-protocol", write_strings((protocol,)).encode())]
    if request.is_draft_02:
        fields.append((b"sec-webtransport-http3-draft", b"draft02"))
    return fields


def agree(fields: Fields, request: Request) -> str | ConnectFailed:
    """Read the response: the protocol agreed on, or why there is no session."""
    found = dict(fields)
    status = int(found[b":status"])
    where = f"{request.authority}{request.path}"
    if not 200 <= status < 300:
        return RequestRefused(status, f"the server refuses https://{where}: HTTP status {status}")
    protocol = parse_string(_text(found.get(b"wt-protocol", b"")))
    if protocol is None or protocol not in request.protocols:
        return NoCommonProtocol(f"https://{where} speaks none of the protocols offered")
    return protocol


def _text(value: bytes) -> str:
    return value.decode("utf-8", errors="replace")
