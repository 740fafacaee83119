"""Frames that carry when they were written. Shaped as Opus packets, so that voice takes them."""

import struct
import time
from collections.abc import Iterable

__all__ = ["Tally", "packet", "packet_bytes", "read"]

_STAMP = struct.Struct("<BIq")

_TOC = {20: 0x08, 60: 0x18}
"""First byte of an Opus packet: SILK, narrow band, mono, one frame of 20 or 60 ms (RFC 6716)."""

_BYTES_PER_MS = 3
"""24 kbit/s: 60 bytes for 20 ms, 180 bytes for 60 ms."""


def packet_bytes(frame_ms: int) -> int:
    """Return the size of a packet."""
    return _BYTES_PER_MS * frame_ms


def packet(number: int, frame_ms: int) -> bytes:
    """Make a packet that says its number and the time of now."""
    head = _STAMP.pack(_TOC[frame_ms], number, time.monotonic_ns())
    return head + bytes(packet_bytes(frame_ms) - len(head))


def read(payload: bytes, frame_ms: int) -> tuple[int, int]:
    """Return a packet's number and the nanosecond at which it was written.

    What a container puts before the packet is skipped.
    """
    _, number, written_ns = _STAMP.unpack_from(payload, len(payload) - packet_bytes(frame_ms))
    return number, written_ns


class Tally:
    """What one receiver got.

    Attributes:
        arrived: number, time written and time read (0: read later than it came) of each.
    """

    def __init__(self, frame_ms: int) -> None:
        self.arrived: list[tuple[int, int, int]] = []
        self._frame_ms = frame_ms

    def add(self, payload: bytes, *, live: bool) -> None:
        """Count a frame; `live` when it is read as soon as it came."""
        number, written_ns = read(payload, self._frame_ms)
        self.arrived.append((number, written_ns, time.monotonic_ns() if live else 0))

    def within(self, start_ns: int, end_ns: int) -> set[int]:
        """Return the numbers of the frames written in a window."""
        return {n for n, written_ns, _ in self.arrived if start_ns <= written_ns < end_ns}

    def delays_ms(self, start_ns: int, end_ns: int) -> Iterable[float]:
        """Yield how long the frames written in a window took, of those read at once."""
        for _, written_ns, read_ns in self.arrived:
            if read_ns and start_ns <= written_ns < end_ns:
                yield (read_ns - written_ns) / 1e6
