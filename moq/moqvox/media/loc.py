"""Low Overhead Container: what rides along with a codec's bytes (draft-ietf-moq-loc-04).

Two forms are in use.

- IETF LOC: the payload is the codec's bytes alone, and the properties are object properties of
  moq-transport. `encode_properties` and `decode_properties` make and read that block, whose
  integers are those of the transport's draft: QUIC varints up to draft 16, vi64 from 17 on.
- hang's `loc` container, over any transport: the frame itself begins with the length of such a
  block and the block, in QUIC varints always. See `encode_loc` and `decode_loc`.
"""

from collections.abc import Iterator
from enum import Enum

from msgspec import Struct

from moqvox.errors import LocalError, MediaError
from moqvox.media.clock import MICROSECONDS, rescale
from moqvox.media.vi64 import MAX_VI64, decode_vi64, encode_vi64
from moqvox.wire.varint import MAX_VARINT, Truncated, decode_varint, encode_varint

__all__ = [
    "MAX_PROPERTIES_BYTES",
    "AudioLevel",
    "Coding",
    "LocFrame",
    "LocProperties",
    "Value",
    "decode_loc",
    "decode_properties",
    "encode_loc",
    "encode_properties",
]

MAX_PROPERTIES_BYTES = 65_535
"""Largest block of properties, and largest value in it (moq-transport, section 1.4.3)."""

TIMESCALE = 0x08
AUDIO_LEVEL = 0x0C
AUDIO_CONFIG = 0x0F
TIMESTAMP = 0x10
_TIMESTAMP_DRAFT_03 = 0x06

Value = int | bytes
"""Of a property: an integer if its number is even, bytes if it is odd."""


class Coding(Enum):
    """How a block of properties is written, by moq-transport draft."""

    PLAIN = "plain"
    """Draft 14: property numbers in full, QUIC varints."""
    DELTA = "delta"
    """Drafts 15 and 16, and hang's container: numbers as differences, QUIC varints."""
    DELTA_VI64 = "delta-vi64"
    """Drafts 17 and later: numbers as differences, vi64."""


class AudioLevel(Struct, frozen=True):
    """Loudness of one frame (RFC 6464, section 3).

    `level_dbov` is 0 (loudest) to 127 (silence) below overload; `voice` if speech was detected.
    """

    level_dbov: int
    voice: bool = False


class LocProperties(Struct, frozen=True):
    """The properties that matter for audio; the rest is in `others`, by ascending number.

    Without `timescale` a timestamp is microseconds: since the Unix epoch in IETF LOC, of the
    track's media time in hang's container. With it, it is media time in that many units a
    second.
    """

    timestamp: int | None = None
    timescale: int | None = None
    audio_level: AudioLevel | None = None
    audio_config: bytes | None = None
    others: tuple[tuple[int, Value], ...] = ()

    @property
    def timestamp_us(self) -> int | None:
        """The timestamp in microseconds, nearest."""
        if self.timestamp is None or self.timescale is None:
            return self.timestamp
        return rescale(self.timestamp, self.timescale, MICROSECONDS)


class LocFrame(Struct, frozen=True):
    """A frame of hang's `loc` container."""

    timestamp_us: int
    payload: bytes
    properties: LocProperties


def encode_properties(properties: LocProperties, coding: Coding = Coding.DELTA_VI64) -> bytes:
    """Return the block, without a length before it.

    Raises:
        LocalError: a value out of range or of the wrong kind, a number twice, or too large.
    """
    out = bytearray()
    previous = 0
    for number, value in sorted(_pairs(properties), key=lambda pair: pair[0]):
        if out and number == previous:
            raise LocalError(f"property {number:#x} is given twice")
        out += _encode_integer(number if coding is Coding.PLAIN else number - previous, coding)
        previous = number
        if isinstance(value, int) != (number % 2 == 0):
            raise LocalError(f"property {number:#x} takes {'bytes' if number % 2 else 'a number'}")
        if isinstance(value, int):
            out += _encode_integer(value, coding)
        else:
            out += _encode_integer(len(value), coding) + value
    if len(out) > MAX_PROPERTIES_BYTES:
        raise LocalError(f"properties of {len(out)} bytes, at most {MAX_PROPERTIES_BYTES}")
    return bytes(out)


def decode_properties(block: bytes, coding: Coding = Coding.DELTA_VI64) -> LocProperties:
    """Read a whole block.

    Raises:
        MediaError: cut short, too large, a property of ours twice, or a timescale of 0.
    """
    if len(block) > MAX_PROPERTIES_BYTES:
        raise MediaError(f"properties of {len(block)} bytes, at most {MAX_PROPERTIES_BYTES}")
    found: dict[int, Value] = {}
    others: list[tuple[int, Value]] = []
    for number, value in _read_pairs(block, coding):
        if number not in (TIMESTAMP, TIMESCALE, AUDIO_LEVEL, AUDIO_CONFIG):
            others.append((number, value))
        elif number in found:
            raise MediaError(f"property {number:#x} is given twice")
        else:
            found[number] = value
    timescale = _integer(found, TIMESCALE)
    if timescale == 0:
        raise MediaError("a timescale of 0 gives no time")
    level = _integer(found, AUDIO_LEVEL)
    config = found.get(AUDIO_CONFIG)
    return LocProperties(
        timestamp=_integer(found, TIMESTAMP),
        timescale=timescale,
        audio_level=None if level is None else AudioLevel(level & 0x7F, bool(level & 0x80)),
        audio_config=config if isinstance(config, bytes) else None,
        others=tuple(others),
    )


def encode_loc(timestamp_us: int, payload: bytes) -> bytes:
    """Return a frame of hang's `loc` container with nothing but its timestamp.

    Raises:
        LocalError: the timestamp is out of range.
    """
    block = encode_properties(LocProperties(timestamp=timestamp_us), Coding.DELTA)
    return b"".join((encode_varint(len(block)), block, payload))


def decode_loc(frame: bytes) -> LocFrame:
    """Read a frame of hang's `loc` container.

    The timestamp's number in draft 03, 0x06, is taken too.

    Raises:
        MediaError: cut short, or without a timestamp.
    """
    length, at = _decode_integer(frame, 0, Coding.DELTA)
    if length > len(frame) - at:
        raise MediaError(f"loc properties claim {length} of {len(frame) - at} bytes")
    properties = decode_properties(frame[at : at + length], Coding.DELTA)
    timestamp_us = properties.timestamp_us
    if timestamp_us is None:
        timestamp_us = _draft_03_timestamp_us(properties)
    return LocFrame(timestamp_us=timestamp_us, payload=frame[at + length :], properties=properties)


def _integer(found: dict[int, Value], number: int) -> int | None:
    value = found.get(number)
    return value if isinstance(value, int) else None


def _draft_03_timestamp_us(properties: LocProperties) -> int:
    for number, value in properties.others:
        if number == _TIMESTAMP_DRAFT_03 and isinstance(value, int):
            return rescale(value, properties.timescale or MICROSECONDS, MICROSECONDS)
    raise MediaError("loc frame has no timestamp")


def _pairs(properties: LocProperties) -> Iterator[tuple[int, Value]]:
    if properties.timescale is not None:
        if properties.timescale == 0:
            raise LocalError("a timescale of 0 gives no time")
        yield TIMESCALE, properties.timescale
    if properties.audio_level is not None:
        level = properties.audio_level
        if not 0 <= level.level_dbov <= 127:
            raise LocalError(f"an audio level is 0 to 127 dBov down, not {level.level_dbov}")
        yield AUDIO_LEVEL, level.voice << 7 | level.level_dbov
    if properties.audio_config is not None:
        yield AUDIO_CONFIG, properties.audio_config
    if properties.timestamp is not None:
        yield TIMESTAMP, properties.timestamp
    yield from properties.others


def _read_pairs(block: bytes, coding: Coding) -> Iterator[tuple[int, Value]]:
    at = 0
    number = 0
    limit = MAX_VI64 if coding is Coding.DELTA_VI64 else MAX_VARINT
    while at < len(block):
        step, at = _decode_integer(block, at, coding)
        number = step if coding is Coding.PLAIN else number + step
        if number > limit:
            raise MediaError(f"property number {number:#x} is out of range")
        value, at = _decode_integer(block, at, coding)
        if number % 2 == 0:
            yield number, value
            continue
        if value > len(block) - at:
            raise MediaError(f"property {number:#x} claims {value} of {len(block) - at} bytes")
        yield number, block[at : at + value]
        at += value


def _encode_integer(value: int, coding: Coding) -> bytes:
    return encode_vi64(value) if coding is Coding.DELTA_VI64 else encode_varint(value)


def _decode_integer(data: bytes, at: int, coding: Coding) -> tuple[int, int]:
    if coding is Coding.DELTA_VI64:
        return decode_vi64(data, at)
    try:
        return decode_varint(data, at)
    except Truncated as error:
        raise MediaError(f"properties are cut short: {error}") from error
