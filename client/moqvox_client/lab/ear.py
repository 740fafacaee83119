"""An audio oracle: finds the source's audio in what was played, counting on no counter.

The source, decoded anew, is looked for block by block in the samples that were played. What
lies between two blocks of the source that follow one another was inserted; a block that is
nowhere was lost, unless audio as loud lies where it should be: playback fades at its edges and
catches up by splicing. Blocks too quiet to tell apart lie where their neighbours say.
"""

import bisect
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from moqvox.media.codec import Decoder

__all__ = ["Heard", "compare", "listen"]

RATE: Final = 48_000
BLOCK: Final = RATE // 50
"""Samples compared at a time: 20 ms."""

ALIKE: Final = 0.9
"""Normalised correlation from which on a block is found where it was expected."""

CONTEXT: Final = 4
"""Blocks that must agree together to be found elsewhere: voices repeat themselves."""

CERTAIN: Final = 0.95
"""Normalised correlation that they need for that."""

QUIET: Final = 100.0
"""Root mean square (of 32768) below which a block says nothing."""

NEAR: Final = RATE // 50
"""Samples around the expected place that are looked at first: playback may be stretched."""

FAR: Final = 12 * RATE
"""Samples that are looked at then."""


LEAST_ROOM: Final = 0.85
"""Least share of its length that stretched audio takes; playback catches up by 6 percent."""

SPLICE: Final = RATE * 20 // 1000
"""Samples that one splice or fade may take away besides."""

FAINT: Final = 0.25
"""Share of its loudness from which on altered audio counts as there."""

Samples = NDArray[np.float64]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a source.

    Attributes:
        source_ms: length of the source.
        found_ms: of it, what can be told apart and was found as it is.
        altered_ms: what is there but was faded, joined or stretched.
        missing_ms: what can be told apart and is not there.
        silence_ms: what was inserted between parts of the source.
        longest_ms: the longest insertion.
        removed_ms: what playing faster has won back, and what was left out.
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
    gap_ms: float | None = None
    in_hand_ms: float | None = None
    expected_ms: float | None = None


class Place(NamedTuple):
    """A block of the source that begins at sample `at`, and where it was played."""

    at: int
    played: int


def listen(
    played: bytes,
    packets: Sequence[bytes],
    arrived: Sequence[int | None] = (),
    began_ns: int = 0,
) -> Heard:
    """Compare what was played (s16le, 48 kHz, mono) with the packets that were sent.

    Args:
        played: from the first frame's arrival on, without a break.
        packets: of 20 ms each.
        arrived: when each was there in order, for the account of the pauses.
        began_ns: when the first sample of `played` was due.
    """
    decoder = Decoder(RATE, 1)
    source = _samples(b"".join(decoder.decode(packet) for packet in packets))
    sound = _samples(played)
    places, unfound = locate(sound, source)
    heard = _sum_up(sound, source, places, unfound)
    if not places or not arrived or not began_ns:
        return heard
    return _account(heard, places, arrived, began_ns)


def compare(played: Samples, source: Samples) -> Heard:
    """Look for each block of `source` in `played`, in order."""
    return _sum_up(played, source, *locate(played, source))


def locate(played: Samples, source: Samples) -> tuple[list[Place], list[int]]:
    """Find the blocks of the source that say something: where they are, and which are not."""
    places: list[Place] = []
    unfound: list[int] = []
    for at in range(0, len(source) - BLOCK + 1, BLOCK):
        if _loudness(source[at : at + BLOCK]) < QUIET:
            continue
        place = _find(played, source[at : at + CONTEXT * BLOCK], at, places[-1:])
        if place is None:
            unfound.append(at)
        else:
            places.append(Place(at, place))
    return _with_islands(played, source, places, unfound)


def _with_islands(
    played: Samples, source: Samples, places: list[Place], unfound: Sequence[int]
) -> tuple[list[Place], list[int]]:
    """Find blocks of which too few were played together, between those that were found."""
    left_over = []
    for at in unfound:
        after = bisect.bisect(places, at, key=lambda place: place.at)
        found = None
        if 0 < after < len(places):
            start, end = places[after - 1].played + BLOCK, places[after].played
            found = _best(played, source[at : at + BLOCK], start, end, ALIKE)
        if found is None:
            left_over.append(at)
        else:
            places.insert(after, Place(at, found))
    return places, left_over


def _sum_up(
    played: Samples, source: Samples, places: Sequence[Place], unfound: Sequence[int]
) -> Heard:
    missing = sum(not _is_altered(played, source, places, at) for at in unfound)
    shifts = [(b.played - a.played) - (b.at - a.at) for a, b in pairwise(places)]
    inserted = [shift for shift in shifts if shift > 0]
    return Heard(
        source_ms=_ms(len(source)),
        found_ms=_ms(BLOCK * len(places)),
        altered_ms=_ms(BLOCK * (len(unfound) - missing)),
        missing_ms=_ms(BLOCK * missing),
        silence_ms=_ms(sum(inserted)),
        longest_ms=_ms(max(inserted, default=0)),
        removed_ms=_ms(-sum(shift for shift in shifts if shift < 0)),
    )


def _is_altered(played: Samples, source: Samples, places: Sequence[Place], at: int) -> bool:
    """Tell whether something as loud, or as long, lies between a block's neighbours, with room."""
    after = bisect.bisect(places, at, key=lambda place: place.at)
    if not 0 < after < len(places):
        return False
    left, right = places[after - 1], places[after]
    source_room = right.at - left.at - BLOCK
    played_room = right.played - left.played - BLOCK
    if played_room < source_room * LEAST_ROOM - SPLICE:
        return False
    block = source[at : at + BLOCK]
    for start in {left.played + at - left.at, right.played - (right.at - at)}:
        sound = played[max(0, start) : start + BLOCK]
        if len(sound) and _loudness(sound) >= FAINT * _loudness(block):
            return True
    said = _audible(source[left.at + BLOCK : right.at])
    return _audible(played[left.played + BLOCK : right.played]) >= said * LEAST_ROOM - SPLICE


def _audible(sound: Samples) -> int:
    """Count the samples that are no silence, by quarters of a block."""
    step = BLOCK // 4
    chunks = (sound[at : at + step] for at in range(0, len(sound) - step + 1, step))
    return step * sum(_loudness(chunk) >= FAINT * QUIET for chunk in chunks)


def _account(
    heard: Heard, places: Sequence[Place], arrived: Sequence[int | None], began_ns: int
) -> Heard:
    """Work out which pause in the arrivals had to cost most, and what.

    Of those since the first block that says something: a pause before it can't be heard.
    """
    came = [(at, index) for index, at in enumerate(arrived) if at is not None]
    costliest: tuple[float, float, float] | None = None
    for (before, index), (after, _) in pairwise(came):
        if (index + 1) * BLOCK <= places[0].at:
            continue
        gap_ms = round((after - before) / 1e6, 1)
        now = (before - began_ns) * RATE // 1_000_000_000
        in_hand_ms = _ms((index + 1) * BLOCK - _position(places, now))
        cost = (round(max(0.0, gap_ms - in_hand_ms), 1), gap_ms, in_hand_ms)
        costliest = cost if costliest is None else max(costliest, cost)
    if costliest is None:
        return heard
    expected_ms, gap_ms, in_hand_ms = costliest
    return msgspec.structs.replace(
        heard, gap_ms=gap_ms, in_hand_ms=in_hand_ms, expected_ms=expected_ms
    )


def _position(places: Sequence[Place], now: int) -> int:
    """Tell which sample of the source is due when `now` samples were played."""
    nearest = bisect.bisect(places, now, key=lambda place: place.played)
    before = places[max(0, nearest - 1)]
    position = max(0, before.at + now - before.played)
    return min(position, places[nearest].at) if nearest < len(places) else position


def _find(played: Samples, blocks: Samples, at: int, last: Sequence[Place]) -> int | None:
    """Find the first of some blocks near its expected place, or else all around that.

    The longer ago the last one was found, the earlier it may come: playback catches up.
    """
    if not last:
        return _best(played, blocks, 0, len(played), CERTAIN)
    since = at - last[-1].at
    expected = last[-1].played + since
    near = _best(played, blocks[:BLOCK], expected - NEAR, expected + NEAR + BLOCK, ALIKE)
    if near is not None:
        return near
    earliest = expected - NEAR - int((1 - LEAST_ROOM) * since)
    return _best(played, blocks, earliest, expected + FAR, CERTAIN)


def _best(played: Samples, block: Samples, start: int, end: int, least: float) -> int | None:
    """Find where a stretch of the played samples is most like a block, if enough so."""
    start = max(0, start)
    stretch = played[start:end]
    if len(stretch) < len(block):
        return None
    size = 1 << (len(stretch) + len(block)).bit_length()
    spectrum = np.fft.rfft(stretch, size) * np.conj(np.fft.rfft(block, size))
    products = np.fft.irfft(spectrum, size)[: len(stretch) - len(block) + 1]
    sums = np.concatenate(([0.0], np.cumsum(stretch * stretch)))
    energies = sums[len(block) :] - sums[: -len(block)]
    norms = np.sqrt(np.maximum(energies, 1.0) * float(block @ block))
    alike = products / norms
    best = int(np.argmax(alike))
    return start + best if alike[best] >= least else None


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)


def _loudness(block: Samples) -> float:
    return float(np.sqrt(np.mean(block * block)))


def _ms(samples: int) -> float:
    return round(1000 * samples / RATE, 1)
