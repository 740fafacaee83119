"""Frames of 20 ms on their way: in files, and with a number before them.

Runs in environments without moqvox, so it imports the standard library only.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ["FRAME_NS", "pack", "read_frames", "unpack", "write_frames"]

FRAME_NS: Final = 20_000_000
"""One Opus frame."""


def write_frames(path: Path, frames: Sequence[bytes]) -> None:
    """Write frames, each after its length in two bytes, big-endian."""
    path.write_bytes(b"".join(len(one).to_bytes(2, "big") + one for one in frames))


def read_frames(path: str) -> list[bytes]:
    """Read what `write_frames` wrote."""
    data = Path(path).read_bytes()
    frames, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        frames.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    return frames


def pack(index: int, frame: bytes) -> bytes:
    """Put a frame's number before it, for protocols that have no timestamps."""
    return index.to_bytes(4, "big") + frame


def unpack(message: bytes) -> tuple[int, bytes]:
    """Take apart what `pack` made."""
    return int.from_bytes(message[:4], "big"), message[4:]
