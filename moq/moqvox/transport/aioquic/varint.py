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
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
