"""Where in what was played a source is, sample by sample.

A decoder that is fed the same packets makes the same samples, so what was played as it is
equals the source; only around joins, of a few ms, it does not. Five hundredths of a word's
samples in a row are found nowhere else.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEAST", "Run", "Samples", "find_runs"]

LEAST: Final = 120
"""Samples that must be equal in a row: 2.5 ms, the least that lies between two joins."""

STEP: Final = 60
"""Samples of the source from one place that is looked for to the next."""

SPAN: Final = 2400
"""Samples of the source of which any may come next: what a join takes away, and a frame more."""

NEAR: Final = 2400
"""Samples of what was played in which it is looked for first."""

FAR: Final = 12 * 48_000
"""Samples in which it is looked for then."""

TELLING: Final = 8.0
"""Least span of values (of 65536) by which samples can be told from others."""

Samples = NDArray[np.float64]


class Run(NamedTuple):
    """A stretch of the source from sample `at` on that was played as it is."""

    at: int
    played: int
    samples: int

    @property
    def end(self) -> int:
        """The sample of the source after the last."""
        return self.at + self.samples

    @property
    def played_end(self) -> int:
        """Where its last sample was played, and one more."""
        return self.played + self.samples


def find_runs(played: Samples, source: Samples) -> list[Run]:
    """Find what was played as it is, in the order of playing.

    A run may begin before the last one's end in the source: that was played twice.
    """
    runs: list[Run] = []
    at = since = 0
    while (found := _next(played, source, at, since)) is not None:
        run = _extended(played, source, *found, since)
        runs.append(run)
        at, since = run.end, run.played_end
    return runs


def _next(played: Samples, source: Samples, at: int, since: int) -> tuple[int, int] | None:
    """Find the source from about `at` on in what was played from `since` on.

    What is near comes first, and what needs the least inserted: voices say things twice.
    """
    for start in range(at, len(source), SPAN):
        windows = [
            window
            for window in range(start, min(start + SPAN, len(source) - LEAST + 1), STEP)
            if np.ptp(source[window : window + LEAST]) >= TELLING
        ]
        for reach in (NEAR, FAR):
            found = []
            for window in windows:
                where = _occurs(played, source[window : window + LEAST], since, since + reach)
                if where is not None:
                    found.append((where - window, window, where))
                    if reach == NEAR:
                        break
            if found:
                _, window, where = min(found)
                return window, where
    return None


def _occurs(played: Samples, wanted: Samples, start: int, end: int) -> int | None:
    """Find the first place at which these very samples were played."""
    stretch = played[start : end + len(wanted)]
    tries = len(stretch) - len(wanted) + 1
    if tries <= 0:
        return None
    places = np.flatnonzero(stretch[:tries] == wanted[0])
    for more in (1, 2, 3, len(wanted) // 2, len(wanted) - 1):
        places = places[stretch[places + more] == wanted[more]]
    for place in places:
        if np.array_equal(stretch[place : place + len(wanted)], wanted):
            return start + int(place)
    return None


def _extended(played: Samples, source: Samples, at: int, where: int, since: int) -> Run:
    """Make a run as long as it is, both ways, but not before `since` in what was played."""
    before = min(at, where - since)
    back = _alike(source[at - before : at][::-1], played[where - before : where][::-1])
    forth = _alike(source[at:], played[where:])
    return Run(at - back, where - back, back + forth)


def _alike(one: Samples, other: Samples) -> int:
    """Count the samples until two sounds differ."""
    count = min(len(one), len(other))
    differ = np.flatnonzero(one[:count] != other[:count])
    return int(differ[0]) if len(differ) else count
