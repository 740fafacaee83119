"""Make speech a little shorter or longer without changing its pitch.

Speech nearly repeats itself every pitch period. Leaving one period out, or playing one
twice, at a place where the sound before and after is alike, is not heard; the edges are
cross-faded. How often to do so is decided elsewhere (`moqvox.media.pace`); here is found
where a cut fits, and it is made. Each cut is a whole number of source samples, so that the
account of what was heard stays exact.

PCM is an int16 array of shape (samples, channels).
"""

import numpy as np
import numpy.typing as npt

from moqvox.media.clock import us_to_samples

__all__ = ["Pcm", "Stretch"]

Pcm = npt.NDArray[np.int16]

_SHORTEST_US = 2_500
"""A period of 400 Hz; for higher voices several periods go at once."""

_OVERLAP_US = 5_000
_ALIKE = 0.7
"""Normalised correlation below which a cut would be heard, and waits for a better place."""

_NEARLY_BEST = 0.95
_QUIET = 30.0
"""Root mean square, of 32767, below which any place fits."""


class Stretch:
    """Plays PCM through, remembers the last of it, and makes cuts where the caller asks.

    `longest` is the most samples one cut takes.
    """

    def __init__(self, sample_rate: int, channels: int, longest_us: int = 15_000) -> None:
        self._shortest = us_to_samples(_SHORTEST_US, sample_rate)
        self._overlap = us_to_samples(_OVERLAP_US, sample_rate)
        self.longest = us_to_samples(longest_us, sample_rate)
        self._none: Pcm = np.zeros((0, channels), np.int16)
        self._history = self._none
        self._leaving = self._none
        self._left = 0
        self._repeat = self._none

    @property
    def reach(self) -> int:
        """How many samples ahead `choose` and the cuts look at."""
        return self.longest + self._overlap

    def choose(self, ahead: Pcm, room: int) -> int:
        """Find the best cut here: samples to leave out (> 0), to repeat (< 0), or 0 for none.

        `ahead` is the source from the next sample on, `room` the largest cut allowed, with
        its sign.
        """
        if self._left < len(self._leaving) or not room:
            return 0
        overlap = ahead[: self._overlap]
        if len(overlap) < self._overlap:
            return 0
        if room > 0:
            longest = min(room, self.longest, len(ahead) - self._overlap)
            return self._best(overlap, ahead[: longest + self._overlap], longest, +1)
        longest = min(-room, self.longest, len(self._history))
        track = np.concatenate((self._history[len(self._history) - longest :], overlap))
        return -self._best(overlap, track, longest, -1)

    def remove(self, ahead: Pcm) -> None:
        """Leave out the next samples: what is played next fades in over what is here."""
        self._leaving = ahead[: self._overlap].copy()
        self._left = 0

    def repeat(self, ahead: Pcm, samples: int) -> None:
        """Prepare to play the last `samples` again; `repeated` returns them."""
        again = self._history[len(self._history) - samples :].copy()
        count = min(self._overlap, samples, len(ahead))
        again[:count] = _cross_fade(ahead[:count], again[:count], 0, count)
        self._repeat = again

    def repeated(self, samples: int) -> Pcm:
        """Take the next `samples` of what `repeat` prepared."""
        pcm, self._repeat = self._repeat[:samples], self._repeat[samples:]
        self._remember(pcm)
        return pcm

    def play(self, pcm: Pcm) -> Pcm:
        """Pass source samples through, finishing the cross-fade of a cut."""
        total = len(self._leaving)
        count = min(total - self._left, len(pcm))
        if count > 0:
            leaving = self._leaving[self._left : self._left + count]
            pcm = pcm.copy()
            pcm[:count] = _cross_fade(leaving, pcm[:count], self._left, total)
            self._left += count
        self._remember(pcm)
        return pcm

    def forget(self) -> None:
        """Note a break: nothing before it is like what follows."""
        self._history = self._leaving = self._repeat = self._none
        self._left = 0

    def _remember(self, pcm: Pcm) -> None:
        recent = np.concatenate((self._history, pcm[-self.longest :]))
        self._history = recent[max(0, len(recent) - self.longest) :]

    def _best(self, overlap: Pcm, track: Pcm, longest: int, sign: int) -> int:
        """The lag at which `track` is most like `overlap`; of the nearly best the longest.

        `track` runs forwards from `overlap` (sign 1), or ends with it (sign -1).
        """
        if longest < self._shortest:
            return 0
        here = overlap.astype(np.float64).sum(axis=1)
        other = track.astype(np.float64).sum(axis=1)
        sums = np.concatenate(((0.0,), np.cumsum(other * other)))
        energies = (sums[len(here) :] - sums[: -len(here)])[::sign]
        products = np.correlate(other, here, "valid")[::sign]
        energies, products = energies[self._shortest :], products[self._shortest :]
        energy = float(here @ here)
        if max(energy, float(energies.max())) <= len(here) * _QUIET**2:
            return longest
        scores = products / np.sqrt(np.maximum(energies * energy, 1.0))
        best = float(scores.max())
        if best < _ALIKE:
            return 0
        # A best at either end is the slope of a period that lies outside.
        inner = scores[1:-1]
        peaks = (inner >= scores[:-2]) & (inner >= scores[2:])
        good = np.flatnonzero(peaks & (inner >= best * _NEARLY_BEST))
        return self._shortest + 1 + int(good[-1]) if len(good) else 0


def _cross_fade(leaving: Pcm, coming: Pcm, start: int, total: int) -> Pcm:
    """Go from one sound to another, from step `start` of `total`."""
    weight = ((np.arange(start, start + len(coming)) + 0.5) / total)[:, None]
    mixed: Pcm = np.rint(leaving * (1.0 - weight) + coming * weight).astype(np.int16)
    return mixed
