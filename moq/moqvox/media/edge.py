"""Join sounds that do not follow from each other, without a click."""

import numpy as np

from moqvox.media.clock import us_to_samples
from moqvox.media.stretch import Pcm

__all__ = ["Edge"]

_JOIN_US = 5_000


class Edge:
    """Passes output through; after a `cut` the last value glides into what follows.

    Also a sound that stops glides to zero, within 5 ms of the silence after it.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._total = us_to_samples(_JOIN_US, sample_rate)
        self._last = np.zeros((1, channels), np.int16)
        self._held = self._last
        self._left = 0

    def cut(self) -> None:
        """Note that the next output does not follow from the last."""
        self._held = self._last
        self._left = self._total

    def join(self, pcm: Pcm) -> Pcm:
        """Pass output through, changed only within 5 ms of a cut."""
        count = min(self._left, len(pcm))
        if count:
            done = self._total - self._left
            weight = ((np.arange(done, done + count) + 0.5) / self._total)[:, None]
            joined = pcm.copy()
            joined[:count] = np.rint(self._held * (1.0 - weight) + pcm[:count] * weight)
            pcm = joined
            self._left -= count
        if len(pcm):
            self._last = pcm[-1:].copy()
        return pcm
