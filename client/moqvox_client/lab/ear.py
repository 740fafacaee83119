"""An audio oracle: finds the source's audio in what was played, counting on no counter.

The source, decoded anew, is looked for block by block in the samples that were played. What
lies between two blocks of the source that follow one another was inserted; a block that is
nowhere was lost. Blocks too quiet to tell apart are taken to lie where their neighbours say.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

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


Samples = NDArray[np.float64]


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What was heard of a source.

    Attributes:
        source_ms: length of the source.
        found_ms: of it, what can be told apart and was found.
        missing_ms: of it, what can be told apart and was not.
        silence_ms: what was inserted between parts of the source.
        longest_ms: the longest insertion.
        removed_ms: what was left out or played faster.
    """

    source_ms: float
    found_ms: float
    missing_ms: float
    silence_ms: float
    longest_ms: float
    removed_ms: float


def listen(played: bytes, packets: Sequence[bytes]) -> Heard:
    """Compare what was played (s16le, 48 kHz, mono) with the packets that were sent."""
    decoder = Decoder(RATE, 1)
    source = b"".join(decoder.decode(packet) for packet in packets)
    return compare(_samples(played), _samples(source))


def compare(played: Samples, source: Samples) -> Heard:
    """Look for each block of `source` in `played`, in order."""
    places: list[tuple[int, int]] = []
    missing = 0
    expected: int | None = None
    for at in range(0, len(source) - BLOCK + 1, BLOCK):
        block = source[at : at + BLOCK]
        if _loudness(block) < QUIET:
            if expected is not None:
                expected += BLOCK
            continue
        place = _find(played, source[at : at + CONTEXT * BLOCK], expected)
        if place is None:
            missing += BLOCK
            if expected is not None:
                expected += BLOCK
            continue
        places.append((at, place))
        expected = place + BLOCK
    shifts = [
        (place - before_place) - (at - before_at)
        for (before_at, before_place), (at, place) in pairwise(places)
    ]
    return Heard(
        source_ms=_ms(len(source)),
        found_ms=_ms(BLOCK * len(places)),
        missing_ms=_ms(missing),
        silence_ms=_ms(sum(shift for shift in shifts if shift > 0)),
        longest_ms=_ms(max((shift for shift in shifts if shift > 0), default=0)),
        removed_ms=_ms(-sum(shift for shift in shifts if shift < 0)),
    )


def _find(played: Samples, blocks: Samples, expected: int | None) -> int | None:
    """Find the first of some blocks near its expected place, or else all behind that."""
    if expected is None:
        return _best(played, blocks, 0, len(played), CERTAIN)
    near = _best(played, blocks[:BLOCK], expected - NEAR, expected + NEAR + BLOCK, ALIKE)
    if near is not None:
        return near
    return _best(played, blocks, expected - NEAR, expected + FAR, CERTAIN)


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
