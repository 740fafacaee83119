"""The part of a QUIC packet that a stranger's datagram is judged by. RFC 8999, RFC 9000, 17.2."""

from typing import Final

import msgspec
from aioquic.quic.packet import QuicProtocolVersion

from moqvox.transport.aioquic.varint import pull_varint

__all__ = ["LONG_HEADER", "MIN_INITIAL_BYTES", "LongHeader", "parse_long_header"]

MIN_INITIAL_BYTES: Final = 1200
"""A client's first datagram is at least this long (RFC 9000, section 14.1)."""

MAX_CONNECTION_ID_BYTES: Final = 20
LONG_HEADER: Final = 0x80


class LongHeader(msgspec.Struct, frozen=True):
    """A long header; `token` is of Initial packets, else empty."""

    version: int
    destination: bytes
    source: bytes
    is_initial: bool
    token: bytes


def parse_long_header(data: bytes) -> LongHeader | None:
    """Parse the first packet's header; None when it is short, malformed or not QUIC."""
    if len(data) < 7 or not data[0] & LONG_HEADER:
        return None
    version = int.from_bytes(data[1:5], "big")
    destination_end = 6 + data[5]
    if destination_end >= len(data):
        return None
    source_end = destination_end + 1 + data[destination_end]
    if source_end > len(data):
        return None
    destination, source = data[6:destination_end], data[destination_end + 1 : source_end]
    if max(len(destination), len(source)) > MAX_CONNECTION_ID_BYTES:
        return None
    kind = data[0] >> 4 & 0x3
    if kind != (1 if version == QuicProtocolVersion.VERSION_2 else 0):
        return LongHeader(version, destination, source, is_initial=False, token=b"")
    pulled = pull_varint(data, source_end)
    if pulled is None or pulled[0] > len(data) - pulled[1]:
        return None
    token = data[pulled[1] : pulled[1] + pulled[0]]
    return LongHeader(version, destination, source, is_initial=True, token=token)
