"""QUIC's variable-length integers. RFC 9000, section 16."""

__all__ = ["encode_varint", "pull_varint"]


def pull_varint(data: bytes | bytearray, offset: int) -> tuple[int, int] | None:
    """Read one at `offset`: its value and the offset after it; None when bytes are missing."""
    if offset >= len(data):
        return None
    size = 1 << (data[offset] >> 6)
    end = offset + size
    if end > len(data):
        return None
    value = int.from_bytes(data[offset:end], "big")
    return value & ((1 << (8 * size - 2)) - 1), end


def encode_varint(value: int) -> bytes:
    """Write one in its shortest form; `value` is below 2**62."""
    for size, mark in ((1, 0x00), (2, 0x40), (4, 0x80)):
        if value < 1 << (8 * size - 2):
            return (value | mark << (8 * (size - 1))).to_bytes(size, "big")
    return (value | 0xC0 << 56).to_bytes(8, "big")
