"""An audio oracle: finds the source's audio in what was played, counting on no counter.

The source, decoded anew, is looked for in the samples that were played, sample by sample.
What was not played as it is must be one of the joins that playback makes, made anew here
too; what is left of the source was not heard, and what is left of the sound was not said.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
import numpy as np

from moqvox.media.codec import Decoder
from moqvox_client.lab.joins import Join, explain
from moqvox_client.lab.runs import Run, Samples, find_runs

__all__ = ["Heard", "compare", "listen"]

RATE: Final = 48_000
BLOCK: Final = RATE // 50
"""Samples of a packet: 20 ms."""

QUIET: Final = 100.0
"""Root mean square (of 32768) below which a block says nothing."""


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a source.

    Attributes:
        source_ms: length of the source.
        found_ms: of it, what was played as it is.
        altered_ms: what was faded or joined.
        missing_ms: what was neither.
        silence_ms: silence that was inserted, once something was said.
        longest_ms: the longest of it.
        removed_ms: what playing faster has won back.
        repeated_ms: what playing slower has filled in.
        strange_ms: sound that is none of these, parts of the source that were played again
            among them; None where nobody asked.
        expected_ms: what of the longest silence was due: while it lasted, the time in which
            all that had arrived by then was played, or could have been, but for the silence.
            Over one pause in the arrivals that is its length less the audio in hand; a silence
            may span several, each of which costs its own.
        undue_ms: of the silence that is furthest beyond what was due, how far it is.
    """

    source_ms: float
    found_ms: float
    altered_ms: float
    missing_ms: float
    silence_ms: float
    longest_ms: float
    removed_ms: float
    repeated_ms: float = 0.0
    strange_ms: float | None = None
    expected_ms: float | None = None
    undue_ms: float | None = None


def listen(
    played: bytes,
    packets: Sequence[bytes],
    arrived: Sequence[int | None] = (),
    began_ns: int = 0,
    begins: Sequence[int] = (),
) -> Heard:
    """Compare what was played (s16le, 48 kHz, mono) with the packets that were sent.

    Args:
        played: from the first frame's arrival on, without a break.
        packets: of 20 ms each.
        arrived: when each was there in order, for the account of the pauses.
        began_ns: when the first sample of `played` was due.
        begins: packets, besides the first, at which another response begins: each is decoded
            by a decoder of its own, which knows nothing of what came before.
    """
    source = _samples(b"".join(_decoded(packets, begins)))
    sound = _samples(played)
    runs = find_runs(sound, source)
    joins, silences = _joined(sound, source, runs)
    heard = _sum_up(source, joins, silences)
    if not runs or not arrived or not began_ns:
        return heard
    came = [None if at is None else (at - began_ns) * RATE // 1_000_000_000 for at in arrived]
    dues = [(each.samples, _due(each, came)) for each in silences]
    return msgspec.structs.replace(
        heard,
        expected_ms=_ms(max(dues, default=(0, 0))[1]),
        undue_ms=_ms(max((samples - due for samples, due in dues), default=0)),
    )


def _decoded(packets: Sequence[bytes], begins: Sequence[int]) -> Iterator[bytes]:
    for index, packet in enumerate(packets):
        if not index or index in begins:
            decoder = Decoder(RATE, 1)
        yield decoder.decode(packet)


def compare(played: Samples, source: Samples) -> Heard:
    """Look for all of `source` in `played`, in order."""
    return _sum_up(source, *_joined(played, source, find_runs(played, source)))


class _Silence(NamedTuple):
    """One that was inserted: `at` in what was played, before sample `source` of the source."""

    at: int
    samples: int
    source: int


def _joined(
    played: Samples, source: Samples, runs: Sequence[Run]
) -> tuple[list[Join], list[_Silence]]:
    """Account for all that lies between runs, and tell the silences once something was said."""
    first_word = _first_word(source)
    joins, silences = [], []
    for before, after in pairwise(runs):
        join = explain(played, source, before, after)
        joins.append(join)
        if join.silence and after.at > first_word:
            silences.append(_Silence(before.played_end, join.silence, before.end))
    return [*joins, _ends(played, source, runs)], silences


def _sum_up(source: Samples, joins: Sequence[Join], silences: Sequence[_Silence]) -> Heard:
    total = Join(*map(sum, zip(*joins, strict=True)))
    return Heard(
        source_ms=_ms(len(source)),
        found_ms=_ms(len(source) - total.altered - total.removed - total.missing),
        altered_ms=_ms(total.altered),
        missing_ms=_ms(total.missing),
        silence_ms=_ms(sum(each.samples for each in silences)),
        longest_ms=_ms(max((each.samples for each in silences), default=0)),
        removed_ms=_ms(total.removed),
        repeated_ms=_ms(total.repeated),
        strange_ms=_ms(total.strange),
    )


def _ends(played: Samples, source: Samples, runs: Sequence[Run]) -> Join:
    """Account for what comes before the first run and after the last."""
    if not runs:
        return Join(missing=len(source), strange=int(np.count_nonzero(played)))
    first, last = runs[0], runs[-1]
    after = Run(len(source), len(played), 0)
    closing = explain(played, source, last, after)
    strange = int(np.count_nonzero(played[: first.played])) + closing.strange
    return Join(missing=first.at + len(source) - last.end, strange=strange)


def _first_word(source: Samples) -> int:
    """Find the first block that says something: a pause before it can't be heard."""
    for at in range(0, len(source) - BLOCK + 1, BLOCK):
        block = source[at : at + BLOCK]
        if float(np.sqrt(np.mean(block * block))) >= QUIET:
            return at
    return len(source)


def _due(silence: _Silence, came: Sequence[int | None]) -> int:
    """Tell how many samples of a silence the arrivals ask for.

    Nothing is withheld in this account: each frame sounds at its arrival, or when those before
    it are over. What is left of the time is due. A frame that never came is passed over.

    Args:
        silence: the one that was played instead.
        came: when each frame was there in order, in samples of what was played.
    """
    now, end, position, due = silence.at, silence.at + silence.samples, silence.source, 0
    while now < end and (index := position // BLOCK) < len(came):
        at = came[index]
        left = (index + 1) * BLOCK - position
        position += left
        if at is None:
            continue
        waits = max(0, min(at, end) - now)
        due += waits
        now += waits + left
    return due


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)


def _ms(samples: int) -> float:
    return round(1000 * samples / RATE, 1)
