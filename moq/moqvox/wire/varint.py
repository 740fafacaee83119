"""QUIC variable-length integers. RFC 9000, section 16."""

from typing import Final

from moqvox.errors import LocalError

__all__ = ["MAX_VARINT", "Truncated", "decode_varint", "encode_varint", "varint_size"]

MAX_VARINT: Final = (1 << 62) - 1
"""Largest value that the encoding can hold."""

_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(1 << 6))


class Truncated(ValueError):
    """The bytes end before the value does; not an error until no more can come."""


def encode_varint(value: int) -> bytes:
    """Encode in the fewest bytes.

    Raises:
        LocalError: `value` lies outside 0 to 2**62 - 1.
    """
    if 0 <= value < 1 << 6:
        return _ONE_BYTE[value]
    if 0 <= value < 1 << 14:
        return (value | 0x4000).to_bytes(2, "big")
    if 0 <= value < 1 << 30:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if 0 <= value <= MAX_VARINT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise LocalError(f"varint holds 0 to 2**62 - 1, not {value}")


def decode_varint(data: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """Decode at `offset`; return the value and the offset behind it.

    Longer forms than needed are taken, as the RFC allows.

    Raises:
        Truncated: the data ends first.
    """
    if offset >= len(data):
        raise Truncated("no byte of a varint")
    first = data[offset]
    if first < 0x40:
        return first, offset + 1
    size = 1 << (first >> 6)
    end = offset + size
    if end > len(data):
        raise Truncated(f"{len(data) - offset} of {size} bytes of a varint")
    mask = (1 << (8 * size - 2)) - 1
    return int.from_bytes(data[offset:end], "big") & mask, end


def varint_size(value: int) -> int:
    """Return how many bytes `encode_varint` makes of a value in range."""
    if value < 1 << 6:
        return 1
    if value < 1 << 14:
        return 2
    return 4 if value < 1 << 30 else 8
