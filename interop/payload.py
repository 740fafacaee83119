"""Frames that prove where they belong: each byte follows from generation, group and index.

Standard library only; publishers, subscribers and the harness all import it, each with its
own interpreter.
"""

import hashlib
import struct

HEADER = struct.Struct(">III")

SIZES = (160, 1, 1200, 0, 40, 5000, 333, 70_000)
"""Bytes per frame, by index: empty, tiny, Opus-like, around a packet, many packets.

Those below the header's 12 bytes can't name their place; their neighbours do.
"""

FRAME_US = 20_000
"""Distance of two frames' timestamps."""


def frame_payload(generation: int, group: int, index: int) -> bytes:
    """Make the payload of one frame."""
    size = SIZES[index % len(SIZES)]
    head = HEADER.pack(generation, group, index)
    if size <= HEADER.size:
        return head[HEADER.size - size :]
    return head + hashlib.shake_128(head).digest(size - HEADER.size)


def frame_timestamp_us(group: int, index: int, frames: int) -> int:
    """Return a frame's timestamp when every group holds `frames` frames."""
    return (group * frames + index) * FRAME_US


def generation_of(payload: bytes) -> int | None:
    """Read back which generation a frame belongs to; None when it is too small to tell."""
    if len(payload) < HEADER.size:
        return None
    generation: int = HEADER.unpack_from(payload)[0]
    return generation


def digest(payload: bytes) -> str:
    """Name a payload by its content."""
    return hashlib.sha256(payload).hexdigest()
