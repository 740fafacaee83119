"""The part of HTTP/3 that WebTransport stands on, without I/O. RFC 9114, RFC 9204, RFC 9220.

QPACK's dynamic table is not used in either direction, so that a small field section can't
become a large one; sections, fields and frames are bounded.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import pylsqpack
from aioquic.h3.connection import (
    FrameType,
    ProtocolError,
    Setting,
    encode_frame,
    encode_settings,
    parse_settings,
    validate_request_headers,
    validate_response_headers,
)

from moqvox.transport.aioquic.varint import pull_varint

__all__ = [
    "Fields",
    "FrameReader",
    "H3Code",
    "H3Error",
    "SectionCodec",
    "WebTransportSetting",
    "check_encoder_stream",
    "read_settings",
    "settings_frame",
    "takes_webtransport",
]

Fields = list[tuple[bytes, bytes]]

MAX_SECTION_BYTES: Final = 8192
"""Encoded field section; a browser's CONNECT takes 200 to 1000 bytes."""

MAX_FIELDS: Final = 64
MAX_FIELDS_BYTES: Final = 16384
"""Decoded, 32 bytes for each field added (RFC 9114, section 4.2.2); this is advertised."""

MAX_SETTINGS_BYTES: Final = 1024

RESERVED: Final = frozenset((0x2, 0x6, 0x8, 0x9))
"""HTTP/2's; an error anywhere (RFC 9114, section 7.2.8)."""

REFUSED_ON_CONTROL: Final = RESERVED | {FrameType.DATA, FrameType.HEADERS, FrameType.PUSH_PROMISE}
REFUSED_ON_REQUEST: Final = RESERVED | {
    FrameType.CANCEL_PUSH,
    FrameType.SETTINGS,
    FrameType.PUSH_PROMISE,
    FrameType.GOAWAY,
    FrameType.MAX_PUSH_ID,
    FrameType.WEBTRANSPORT_STREAM,
}


class H3Code(IntEnum):
    """Error codes that we send. RFC 9114, section 8.1; RFC 9204, section 6; RFC 9297."""

    DATAGRAM_ERROR = 0x33
    NO_ERROR = 0x100
    STREAM_CREATION_ERROR = 0x103
    CLOSED_CRITICAL_STREAM = 0x104
    FRAME_UNEXPECTED = 0x105
    FRAME_ERROR = 0x106
    EXCESSIVE_LOAD = 0x107
    ID_ERROR = 0x108
    SETTINGS_ERROR = 0x109
    MISSING_SETTINGS = 0x10A
    REQUEST_REJECTED = 0x10B
    MESSAGE_ERROR = 0x10E
    DECOMPRESSION_FAILED = 0x200
    ENCODER_STREAM_ERROR = 0x201


class H3Error(Exception):
    """The peer broke HTTP/3: closes the connection with `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebTransportSetting(IntEnum):
    """What announces WebTransport, by draft; peers look for the one they know."""

    ENABLED_DRAFT_02 = 0x2B603742
    MAX_SESSIONS_DRAFT_07 = 0xC671706A
    MAX_SESSIONS_DRAFT_13 = 0x14E9CD29
    ENABLED_DRAFT_15 = 0x2C7CF000


LOCAL_SETTINGS: Final[dict[int, int]] = {
    Setting.QPACK_MAX_TABLE_CAPACITY: 0,
    Setting.MAX_FIELD_SECTION_SIZE: MAX_FIELDS_BYTES,
    Setting.QPACK_BLOCKED_STREAMS: 0,
    Setting.ENABLE_CONNECT_PROTOCOL: 1,
    Setting.H3_DATAGRAM: 1,
    **dict.fromkeys(WebTransportSetting, 1),
}
"""One session at most: with more, Safari demands initial flow control settings."""


def settings_frame() -> bytes:
    """Encode our SETTINGS frame."""
    return encode_frame(FrameType.SETTINGS, encode_settings(LOCAL_SETTINGS))


def read_settings(payload: bytes, *, has_datagrams: bool) -> dict[int, int]:
    """Decode the peer's SETTINGS.

    Args:
        payload: of the frame.
        has_datagrams: whether the peer's transport parameters allow QUIC datagrams.

    Raises:
        H3Error: malformed, or at odds with each other.
    """
    try:
        settings = parse_settings(payload)
    except ProtocolError as exc:
        raise H3Error(exc.error_code, exc.reason_phrase) from exc
    for key in (Setting.ENABLE_CONNECT_PROTOCOL, Setting.H3_DATAGRAM):
        if settings.get(key, 0) not in (0, 1):
            raise H3Error(H3Code.SETTINGS_ERROR, f"{key.name} is {settings[key]}, not 0 or 1")
    if settings.get(Setting.H3_DATAGRAM) == 1 and not has_datagrams:
        raise H3Error(H3Code.SETTINGS_ERROR, "H3_DATAGRAM without QUIC datagrams")
    return settings


def takes_webtransport(settings: dict[int, int]) -> bool:
    """Whether a server with these settings takes an extended CONNECT for WebTransport."""
    return any(settings.get(key, 0) for key in WebTransportSetting)


class FrameReader:
    """Cuts a stream into frames: whole ones of the kinds asked for, DATA as it comes.

    Payloads of other kinds are skipped without being kept.

    Attributes:
        first_kind: kind of the stream's first frame, as soon as it is known.
    """

    def __init__(self, whole: dict[int, int], refused: frozenset[int]) -> None:
        """Read frames.

        Args:
            whole: the kinds that are kept, and their most bytes.
            refused: the kinds that have no business on this stream.
        """
        self._whole = whole
        self._refused = refused
        self.first_kind: int | None = None
        self._held = bytearray()
        self._kind: int | None = None
        self._left = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether the stream may end here."""
        return self._kind is None and not self._held

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Take bytes; yields kind and payload, of DATA the part that is there.

        Raises:
            H3Error: a kept frame is too long, or a kind is refused.
        """
        self._held += data
        while self._kind is not None or self._start():
            kind = self._kind or 0
            if kind in self._whole and len(self._held) < self._left:
                return
            part = bytes(self._held[: self._left])
            del self._held[: len(part)]
            self._left -= len(part)
            if not self._left:
                self._kind = None
            if kind in self._whole or kind == FrameType.DATA:
                yield kind, part
            if self._left:
                return

    def _start(self) -> bool:
        """Read the next frame's header; False when it is not all there."""
        kind = pull_varint(self._held, 0)
        length = pull_varint(self._held, kind[1]) if kind is not None else None
        if kind is None or length is None:
            return False
        self._kind, self._left = kind[0], length[0]
        if self.first_kind is None:
            self.first_kind = self._kind
        del self._held[: length[1]]
        if self._kind in self._refused:
            raise H3Error(H3Code.FRAME_UNEXPECTED, f"frame type {self._kind:#x} on this stream")
        if self._left > self._whole.get(self._kind, self._left):
            raise H3Error(
                H3Code.EXCESSIVE_LOAD,
                f"a frame of {self._left} bytes, at most {self._whole[self._kind]} are read",
            )
        return True


class SectionCodec:
    """QPACK with the static table only, and the checks of RFC 9114, section 4."""

    def __init__(self) -> None:
        self._decoder = pylsqpack.Decoder(0, 0)
        self._encoder = pylsqpack.Encoder()

    def encode(self, stream: int, fields: Fields) -> bytes:
        """Encode a HEADERS frame."""
        _, section = self._encoder.encode(stream, fields)
        return encode_frame(FrameType.HEADERS, section)

    def request(self, stream: int, section: bytes) -> Fields:
        """Decode and check a request's fields.

        Raises:
            H3Error: malformed or too large.
        """
        fields = self._decode(stream, section)
        try:
            validate_request_headers(fields)
        except ProtocolError as exc:
            raise H3Error(exc.error_code, exc.reason_phrase) from exc
        return fields

    def response(self, stream: int, section: bytes) -> Fields:
        """Decode and check a response's fields.

        Raises:
            H3Error: malformed or too large.
        """
        fields = self._decode(stream, section)
        try:
            validate_response_headers(fields)
        except ProtocolError as exc:
            raise H3Error(exc.error_code, exc.reason_phrase) from exc
        return fields

    def _decode(self, stream: int, section: bytes) -> Fields:
        try:
            _, fields = self._decoder.feed_header(stream, section)
        except (pylsqpack.DecompressionFailed, pylsqpack.StreamBlocked) as exc:
            raise H3Error(H3Code.DECOMPRESSION_FAILED, "a field section can't be decoded") from exc
        size = sum(len(name) + len(value) + 32 for name, value in fields)
        if len(fields) > MAX_FIELDS or size > MAX_FIELDS_BYTES:
            raise H3Error(H3Code.EXCESSIVE_LOAD, f"{len(fields)} fields of {size} bytes")
        return fields


def check_encoder_stream(data: bytes) -> None:
    """Check what comes on the peer's QPACK encoder stream: with no table, only capacity 0.

    Raises:
        H3Error: an insertion into the table that does not exist.
    """
    if data.strip(b"\x20"):  # Set Dynamic Table Capacity 0 (RFC 9204, section 4.3.1)
        raise H3Error(H3Code.ENCODER_STREAM_ERROR, "an insertion into a table of capacity 0")
