"""Test signals, and packets made of them."""

from itertools import pairwise

import numpy as np

from moqvox.media.codec import Encoder


def tone(samples, sample_rate=48_000, hertz=440.0, channels=1, amplitude=8000):
    wave = amplitude * np.sin(2 * np.pi * hertz * np.arange(samples) / sample_rate)
    return np.repeat(wave.astype("<i2"), channels).tobytes()


def samples_of(pcm):
    return np.frombuffer(pcm, "<i2").astype(np.float64)


def snr_db(wanted, got):
    """Signal-to-noise ratio, after the best gain is allowed for."""
    gain = float(wanted @ got) / float(wanted @ wanted)
    noise = got - gain * wanted
    return 10 * np.log10(float(got @ got) / max(float(noise @ noise), 1e-9))


def opus_packets(count, frame_ms=20, channels=1, sample_rate=48_000, **options):
    encoder = Encoder(sample_rate, channels, frame_ms=frame_ms, **options)
    pcm = tone(encoder.frame_samples * count, sample_rate, channels=channels)
    size = encoder.frame_bytes
    return [encoder.encode(pcm[at : at + size]) for at in range(0, len(pcm), size)]


def chunks(data, cuts):
    """Split at the given offsets."""
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]
