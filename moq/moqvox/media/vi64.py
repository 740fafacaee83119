"""The integer encoding of moq-transport from draft 17 on, "vi64" (section 1.4.1).

The leading 1 bits of the first byte count the bytes that follow it, 0 to 8; the rest is the
value, big-endian. Unlike QUIC's encoding it holds all 64 bits, and any length that fits is
valid, so a value has several encodings; this writes the shortest.
"""

from moqvox.errors import LocalError, MediaError

__all__ = ["MAX_VI64", "decode_vi64", "encode_vi64"]

MAX_VI64 = (1 << 64) - 1


def encode_vi64(value: int) -> bytes:
    """Return the shortest encoding.

    Raises:
        LocalError: the value has a sign or more than 64 bits.
    """
    if not 0 <= value <= MAX_VI64:
        raise LocalError(f"a vi64 is 0 to 2^64-1, got {value}")
    extra = min(8, max(0, value.bit_length() - 1) // 7)
    if extra == 8:
        return b"\xff" + value.to_bytes(8)
    prefix = (0xFF00 >> extra) & 0xFF
    return (prefix << (8 * extra) | value).to_bytes(extra + 1)


def decode_vi64(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Read the integer at `offset`; return it and the offset after it.

    Raises:
        MediaError: it is cut short.
    """
    if offset >= len(data):
        raise MediaError("a vi64 is missing")
    first = data[offset]
    extra = 8 - (first ^ 0xFF).bit_length()
    end = offset + extra + 1
    if end > len(data):
        raise MediaError(f"a vi64 of {extra + 1} bytes is cut at {len(data) - offset}")
    high = first & (0x7F >> extra)
    return high << (8 * extra) | int.from_bytes(data[offset + 1 : end]), end
