"""An audio oracle: finds the source's audio in what was played, counting on no counter.

The source, decoded anew, is looked for in the samples that were played, sample by sample.
What was not played as it is must be one of the joins that playback makes, made anew here
too; what is left of the source was not heard, and what is left of the sound was not said.
"""

import bisect
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

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
        gap_ms: of the pauses between two frames' arrivals in order the one that had to cost most
            (the longest, if none had to).
        in_hand_ms: audio that had arrived and was not played yet when that pause began.
        expected_ms: the silence that this pause must cost, max(0, gap - in hand).
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
    gap_ms: float | None = None
    in_hand_ms: float | None = None
    expected_ms: float | None = None


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
    heard = _sum_up(sound, source, runs)
    if not runs or not arrived or not began_ns:
        return heard
    return _account(heard, runs, _first_word(source), arrived, began_ns)


def _decoded(packets: Sequence[bytes], begins: Sequence[int]) -> Iterator[bytes]:
    for index, packet in enumerate(packets):
        if not index or index in begins:
            decoder = Decoder(RATE, 1)
        yield decoder.decode(packet)


def compare(played: Samples, source: Samples) -> Heard:
    """Look for all of `source` in `played`, in order."""
    return _sum_up(played, source, find_runs(played, source))


def _sum_up(played: Samples, source: Samples, runs: Sequence[Run]) -> Heard:
    first_word = _first_word(source)
    joins = [(b.at, explain(played, source, a, b)) for a, b in pairwise(runs)]
    joins.append((len(source), _ends(played, source, runs)))
    silences = [join.silence for until, join in joins if until > first_word]
    total = Join(*map(sum, zip(*(join for _, join in joins), strict=True)))
    return Heard(
        source_ms=_ms(len(source)),
        found_ms=_ms(len(source) - total.altered - total.removed - total.missing),
        altered_ms=_ms(total.altered),
        missing_ms=_ms(total.missing),
        silence_ms=_ms(sum(silences)),
        longest_ms=_ms(max(silences, default=0)),
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


def _account(
    heard: Heard,
    runs: Sequence[Run],
    first_word: int,
    arrived: Sequence[int | None],
    began_ns: int,
) -> Heard:
    """Work out which pause in the arrivals had to cost most, and what.

    Of those since the first block that says something: a pause before it can't be heard.
    """
    came = [(at, index) for index, at in enumerate(arrived) if at is not None]
    costliest: tuple[float, float, float] | None = None
    for (before, index), (after, _) in pairwise(came):
        if (index + 1) * BLOCK <= first_word:
            continue
        gap_ms = round((after - before) / 1e6, 1)
        now = (before - began_ns) * RATE // 1_000_000_000
        in_hand_ms = _ms((index + 1) * BLOCK - _position(runs, now))
        cost = (round(max(0.0, gap_ms - in_hand_ms), 1), gap_ms, in_hand_ms)
        costliest = cost if costliest is None else max(costliest, cost)
    if costliest is None:
        return heard
    expected_ms, gap_ms, in_hand_ms = costliest
    return msgspec.structs.replace(
        heard, gap_ms=gap_ms, in_hand_ms=in_hand_ms, expected_ms=expected_ms
    )


def _position(runs: Sequence[Run], now: int) -> int:
    """Tell which sample of the source is due when `now` samples were played."""
    nearest = bisect.bisect(runs, now, key=lambda run: run.played)
    before = runs[max(0, nearest - 1)]
    return max(0, min(before.at + now - before.played, before.end))


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)


def _ms(samples: int) -> float:
    return round(1000 * samples / RATE, 1)
