"""Counts what crossed the wire, the same way on both sides."""

import hashlib
import math

from moqvox.voice.words import Receipt

__all__ = ["Tally"]


class Tally:
    """Frames, duration, digest and delay of one speech, frame by frame."""

    def __init__(self) -> None:
        self.frames = 0
        self.duration_us = 0
        self._hash = hashlib.sha256()
        self._fastest = math.inf
        self._slowest = -math.inf
        self._last = 0.0

    def add(self, frame: bytes, duration_us: int) -> None:
        """Count one frame as it crosses the wire."""
        self.frames += 1
        self.duration_us += duration_us
        self._hash.update(len(frame).to_bytes(4, "big"))
        self._hash.update(frame)

    def arrived(self, timestamp_us: int, now: float) -> None:
        """Note when a frame came (seconds, any fixed clock)."""
        self._last = now - timestamp_us / 1e6
        self._fastest = min(self._fastest, self._last)
        self._slowest = max(self._slowest, self._last)

    @property
    def digest(self) -> str:
        """SHA-256 so far, hex."""
        return self._hash.hexdigest()

    @property
    def added_delay_ms(self) -> float:
        """How much later the last frame came than the fastest, relative to timestamps."""
        return round(1000 * (self._last - self._fastest), 3) if self.frames else 0.0

    @property
    def worst_delay_ms(self) -> float:
        """How much later the latest frame came than the fastest, relative to timestamps."""
        return round(1000 * (self._slowest - self._fastest), 3) if self.frames else 0.0

    def receipt(self, speech: int, *, complete: bool) -> Receipt:
        """Write the receipt."""
        return Receipt(
            speech=speech,
            frames=self.frames,
            ms=self.duration_us / 1000,
            digest=self.digest,
            added_delay_ms=self.added_delay_ms,
            complete=complete,
            worst_delay_ms=self.worst_delay_ms,
        )
