"""Which spoken frames RTP packets carry that were encoded anew: found by their sound."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moqvox.media.codec import Decoder

__all__ = ["number"]

RATE: Final = 48_000
FRAME: Final = RATE // 50
WRAP: Final = 1 << 32
MAX_SAMPLES: Final = 120 * RATE
"""Timestamps that are further from the first one belong to nothing that was spoken."""

LEAST_ALIKE: Final = 0.5
"""Normalised correlation below which what came is not what was spoken."""

Samples = NDArray[np.float64]


def number(
    packets: Sequence[tuple[int, int, bytes]], prompt: Sequence[bytes]
) -> list[tuple[int, int]]:
    """Number Opus packets of 20 ms as the prompt's frames: the one that has a frame's end is it.

    Args:
        packets: RTP timestamp (48 kHz), arrival and payload of each.
        prompt: Opus packets that were played to the encoder.

    Returns:
        Frame and arrival of each packet; nothing if none of it sounds like the prompt.
    """
    if not packets:
        return []
    first = packets[0][0]
    offsets = [(at - first + WRAP // 2) % WRAP - WRAP // 2 for at, _, _ in packets]
    placed = [
        (offset, arrived, payload)
        for offset, (_, arrived, payload) in zip(offsets, packets, strict=True)
        if abs(offset) <= MAX_SAMPLES
    ]
    least = min(offset for offset, _, _ in placed)
    sound = np.zeros(max(offset for offset, _, _ in placed) - least + FRAME)
    decoder = Decoder(RATE, 1)
    for offset, _, payload in sorted(placed):
        decoded = _samples(decoder.decode(payload))[:FRAME]
        sound[offset - least : offset - least + len(decoded)] = decoded
    source_decoder = Decoder(RATE, 1)
    source = _samples(b"".join(map(source_decoder.decode, prompt)))
    begins = _find(sound, source)
    if begins is None:
        return []
    return [
        ((begins + offset - least + FRAME) // FRAME - 1, arrived) for offset, arrived, _ in placed
    ]


def _find(sound: Samples, source: Samples) -> int | None:
    """Tell at which sample of the source a sound begins; None if it is something else."""
    size = 1 << (len(sound) + len(source)).bit_length()
    spectrum = np.fft.rfft(source, size) * np.conj(np.fft.rfft(sound, size))
    products = np.fft.irfft(spectrum, size)
    best = int(np.argmax(products))
    begins = best if best < len(source) else best - size
    there = source[max(0, begins) : begins + len(sound)]
    heard = sound[max(0, -begins) : max(0, -begins) + len(there)]
    norm = float(np.sqrt((there @ there) * (heard @ heard)))
    return begins if norm and float(there @ heard) / norm >= LEAST_ALIKE else None


def _samples(pcm: bytes) -> Samples:
    return np.frombuffer(pcm, dtype="<i2").astype(np.float64)
