"""moq-lite stream types, GROUP header, FRAME and datagrams: the hot path.

draft-lcurley-moq-lite, sections STREAM_TYPE, GROUP, FRAME and Datagrams.
"""

from enum import IntEnum
from typing import Final, Self

import msgspec

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame
from moqvox.wire.cursor import Reader, Writer
from moqvox.wire.varint import MAX_VARINT, Truncated, decode_varint, encode_varint
from moqvox.wire.version import LiteVersion

__all__ = [
    "MAX_DATAGRAM_BYTES",
    "MAX_FIRST_TIMESTAMP",
    "BidiType",
    "Datagram",
    "FrameParser",
    "GroupHeader",
    "UniType",
    "encode_frame_header",
    "zigzag",
]

MAX_DATAGRAM_BYTES: Final = 1200

MAX_FIRST_TIMESTAMP: Final = MAX_VARINT >> 1
"""Largest timestamp that a group's first frame can carry: its zigzag form fills a varint."""

_NOTHING: Final[tuple[Frame, ...]] = ()


class BidiType(IntEnum):
    """First varint of a bidirectional stream."""

    ANNOUNCE = 0x1
    SUBSCRIBE = 0x2
    FETCH = 0x3
    PROBE = 0x4
    GOAWAY = 0x5
    TRACK = 0x6


class UniType(IntEnum):
    """First varint of a unidirectional stream."""

    GROUP = 0x0
    SETUP = 0x1


class GroupHeader(msgspec.Struct, frozen=True, gc=False):
    """GROUP: whose group follows.

    Attributes:
        subscription: the number that its SUBSCRIBE chose.
        frame_start: number of the first frame that follows.
    """

    subscription: int
    sequence: int
    frame_start: int = 0

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.subscription)
        out.varint(self.sequence)
        if version.frame_ranges:
            out.varint(self.frame_start)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varint(), body.varint() if version.frame_ranges else 0)


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """A whole group of one frame; it has no size in front.

    Attributes:
        timestamp: absolute, unlike a frame's on a stream.
    """

    subscription: int
    sequence: int
    timestamp: int
    payload: bytes

    def write(self, out: Writer, version: LiteVersion) -> None:
        """Append the fields."""
        out.varint(self.subscription)
        out.varint(self.sequence)
        out.varint(self.timestamp)
        out.raw(self.payload)

    @classmethod
    def read(cls, body: Reader, version: LiteVersion) -> Self:
        """Take the fields."""
        return cls(body.varint(), body.varint(), body.varint(), body.rest())


def zigzag(value: int) -> int:
    """Fold a signed number into an unsigned one: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def encode_frame_header(size: int, timestamp: int | None, previous: int | None) -> bytes:
    """Encode what stands before a frame's payload.

    Args:
        size: of the payload, in bytes.
        timestamp: of this frame; unused when `previous` is None.
        previous: the former frame's timestamp, 0 for a group's first; None where the
            version carries no timestamps.

    Raises:
        LocalError: the timestamp is missing, negative or too far from the previous one.
    """
    if previous is None:
        return encode_varint(size)
    if timestamp is None:
        raise LocalError("a frame without timestamp, where the version carries them")
    delta = timestamp - previous
    if timestamp < 0 or not -MAX_FIRST_TIMESTAMP <= delta <= MAX_FIRST_TIMESTAMP:
        raise LocalError(f"timestamp {timestamp} can't follow {previous}")
    return encode_varint(zigzag(delta)) + encode_varint(size)


class FrameParser:
    """Bytes of one group, in any chunking, to frames.

    Holds less than one frame: `max_frame_bytes` and a header.

    Attributes:
        failed: why the bytes are of no more use; None while they are. Frames before the
            broken one have been handed out.
    """

    __slots__ = ("_buffer", "_limit", "_need", "_previous", "failed")

    def __init__(self, version: LiteVersion, max_frame_bytes: int) -> None:
        self._limit = max_frame_bytes
        self._previous: int | None = 0 if version.timestamps else None
        self._buffer = bytearray()
        self._need = 1
        self.failed: StreamCode | None = None

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished frame wait."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame] | tuple[Frame, ...]:
        """Take bytes; return the frames that became whole."""
        buffer = self._buffer
        if not buffer:
            return self._parse(data, len(data))
        buffer += data
        if len(buffer) < self._need:
            return _NOTHING
        self._buffer = bytearray()
        return self._parse(buffer, len(buffer))

    def _parse(self, data: bytes | bytearray, have: int) -> list[Frame]:
        frames: list[Frame] = []
        start = 0
        while start < have:
            try:
                timestamp, size, at = self._header(data, start)
            except Truncated:
                self._need = have - start + 1
                break
            if self.failed is not None:
                return frames
            end = at + size
            if end > have:
                self._need = end - start
                break
            frames.append(Frame(bytes(memoryview(data)[at:end]), timestamp))
            self._previous = timestamp
            start = end
        if start < have:
            self._buffer += memoryview(data)[start:]
        return frames

    def _header(self, data: bytes | bytearray, at: int) -> tuple[int | None, int, int]:
        timestamp: int | None = None
        if self._previous is not None:
            folded, at = decode_varint(data, at)
            timestamp = self._previous + ((folded >> 1) ^ -(folded & 1))
            if not 0 <= timestamp <= MAX_VARINT:
                self.failed = StreamCode.MALFORMED_TRACK
        size, at = decode_varint(data, at)
        if size > self._limit and self.failed is None:
            self.failed = StreamCode.EXCESSIVE_LOAD
        return timestamp, size, at
