"""What lies between two runs of a source in what was played: is it a join that playback makes?

Playback falls silent and goes on, with glides of 5 ms; and it leaves out or repeats at most
15 ms where the sound before and after is alike, cross-faded in 5 ms. Each of these is made
anew here from the source and compared, so that nothing else passes for one: what a join
does not account for of the source was not heard, and of the sound was not said.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from moqvox_client.lab.runs import Run, Samples

__all__ = ["GLIDE", "Join", "explain"]

GLIDE: Final = 240
"""Samples in which playback joins sounds: 5 ms."""

SPLICE: Final = 720
"""Most samples that one splice leaves out or repeats: 15 ms."""

ROUNDING: Final = 1.0
"""How far a sample made anew may be from the one played."""

CHANCE: Final = 12
"""Samples of a glide that may happen to equal the source, and so seem to be part of a run."""


class Join(NamedTuple):
    """Samples between two runs.

    `altered` were faded; `removed` and `repeated` moved by splices; `silence` was inserted;
    `missing` is of the source and nowhere, `strange` is sound that is none of these.
    """

    altered: int = 0
    removed: int = 0
    repeated: int = 0
    silence: int = 0
    missing: int = 0
    strange: int = 0


def explain(played: Samples, source: Samples, before: Run, after: Run) -> Join:
    """Account for what lies between two runs that follow each other."""
    if _is_splice(played, source, before, after):
        shift = (after.at - before.end) - (after.played - before.played_end)
        altered = max(0, after.at - before.end - max(0, shift))
        return Join(altered=altered, removed=max(0, shift), repeated=max(0, -shift))
    return _silence(played, source, before, after) or _account(played, source, before, after)


def _is_splice(played: Samples, source: Samples, before: Run, after: Run) -> bool:
    """Tell whether one run goes over into the other in a cross-fade of the right length.

    Its ends may equal a run by chance, most of all where nothing is said: its place is tried.
    """
    lag, other = before.played - before.at, after.played - after.at
    between = after.played - before.played_end
    moved = abs(lag - other)
    length = GLIDE if other < lag else min(GLIDE, moved)
    if not moved <= SPLICE or between > length:
        return False
    weight = (np.arange(length) + 0.5) / length
    for start in range(before.played_end - (length - between), before.played_end + 1):
        leaving = source[max(0, start - lag) :][:length]
        coming = source[max(0, start - other) :][:length]
        sound = played[start : start + length]
        if start < max(lag, other) or not len(leaving) == len(coming) == len(sound) == length:
            continue
        if _same(sound, leaving * (1 - weight) + coming * weight):
            return True
    return False


def _silence(played: Samples, source: Samples, before: Run, after: Run) -> Join | None:
    """Account for a silence: the sound before it glides to zero, the one after it is faded in."""
    for chance in range(min(CHANCE, before.samples) + 1):
        end, played_end = before.end - chance, before.played_end - chance
        faded = after.at - end
        if not 0 <= faded <= GLIDE + CHANCE or after.played - played_end < faded:
            continue
        start = after.played - faded  # of the fade
        inserted = start - played_end
        for sound in _silences(source[end - 1], inserted, source[end : after.at]):
            if _same(played[played_end : after.played], sound):
                return Join(altered=faded, silence=inserted)
    return None


def _silences(last: float, inserted: int, coming: Samples) -> Iterator[Samples]:
    """Make an inserted silence, and what comes after it, as they would sound: glided, or cut."""
    weight = (np.arange(GLIDE) + 0.5) / GLIDE
    silence = np.zeros(inserted)
    falling = np.rint(last * (1 - weight))[:inserted]
    silence[: len(falling)] = falling
    held = silence[-1] if inserted else last
    fade = np.ones(len(coming))
    fade[:GLIDE] = weight[: len(coming)]
    yield np.concatenate((silence, held * (1 - fade) + coming * fade))
    if not len(coming):
        yield np.zeros(inserted)


def _account(played: Samples, source: Samples, before: Run, after: Run) -> Join:
    """Say what is missing and what is too much where no join was made.

    What is played twice of a source's silence, as a decoder begins with, is more silence.
    """
    missing = max(0, after.at - before.end)
    twice = source[after.at : before.end]
    again = int(np.count_nonzero(twice))
    sound = played[before.played_end : after.played]
    loud = int(np.count_nonzero(sound))
    silence = max(0, len(sound) + len(twice) - again - missing - loud)
    return Join(missing=missing, silence=silence, strange=again + loud)


def _same(one: Samples, other: Samples) -> bool:
    return bool(np.all(np.abs(one - other) <= ROUNDING))
