"""Look at PCM: how long it is, and whether it is the tone it should be."""

import wave
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from interop.failure import Failure

__all__ = ["Heard", "check_tone", "listen", "read_raw", "read_wav", "write_tone"]

Samples = npt.NDArray[np.float64]

SILENCE: Final = 0.01
"""Peak below which a sample counts as silence; a tone here has a peak of 0.2 or more."""

FULL_SCALE: Final = 32768.0
TONE_HALF_WIDTH_HZ: Final = 8.0


class Heard(msgspec.Struct, frozen=True):
    """What is in a recording.

    Attributes:
        total_ms: its length.
        sounding_ms: from the first to the last sample that is not silent.
        frequency_hz: where most of the sounding part's energy is.
        purity: share of the energy near that frequency, 0 to 1.
    """

    total_ms: float
    sounding_ms: float
    frequency_hz: float
    purity: float


def read_wav(file: Path) -> tuple[int, Samples]:
    """Read 16-bit WAV: its rate, and its first channel from -1 to 1.

    Raises:
        Failure: it is not there, not WAV, or not 16-bit.
    """
    try:
        with wave.open(str(file)) as stream:
            if stream.getsampwidth() != 2:
                raise Failure(f"{file.name} has {8 * stream.getsampwidth()} bits, not 16")
            rate, channels = stream.getframerate(), stream.getnchannels()
            data = stream.readframes(stream.getnframes())
    except (OSError, EOFError, wave.Error) as exc:
        raise Failure(f"{file.name} is not a WAV file: {exc}") from exc
    return rate, np.frombuffer(data, "<i2")[::channels] / FULL_SCALE


def write_tone(file: Path, frequency_hz: float, *, seconds: float, rate: int = 48_000) -> None:
    """Write mono 16-bit WAV of a sine at half of full scale."""
    wave_ = np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)
    with wave.open(str(file), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((wave_ * FULL_SCALE / 2).astype("<i2").tobytes())


def read_raw(file: Path) -> Samples:
    """Read mono s16le without a header."""
    return np.frombuffer(file.read_bytes(), "<i2") / FULL_SCALE


def listen(rate: int, samples: Samples) -> Heard:
    """Measure a recording.

    Raises:
        Failure: there is no sound in it.
    """
    loud = np.flatnonzero(np.abs(samples) > SILENCE)
    if not loud.size:
        raise Failure(f"the recording of {len(samples)} samples is silent")
    part = samples[loud[0] : loud[-1] + 1]
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
    frequencies = np.fft.rfftfreq(len(part), 1 / rate)
    peak = float(frequencies[int(np.argmax(power))])
    near = np.abs(frequencies - peak) <= TONE_HALF_WIDTH_HZ
    return Heard(
        total_ms=1000 * len(samples) / rate,
        sounding_ms=1000 * len(part) / rate,
        frequency_hz=peak,
        purity=float(power[near].sum() / power.sum()),
    )


def check_tone(
    heard: Heard, *, frequency_hz: float, duration_ms: float, tolerance_ms: float = 60.0
) -> None:
    """Compare what was heard to the tone that was sent.

    Args:
        tolerance_ms: the codec's delay, and one packet of padding at the end.

    Raises:
        Failure: another frequency, another length, or torn by gaps and clicks.
    """
    if abs(heard.frequency_hz - frequency_hz) > 3:
        raise Failure(f"a tone of {heard.frequency_hz:.1f} Hz was heard, not {frequency_hz:g} Hz")
    if abs(heard.sounding_ms - duration_ms) > tolerance_ms:
        raise Failure(f"{heard.sounding_ms:.0f} ms of tone were heard, not {duration_ms:.0f} ms")
    if heard.purity < 0.97:
        raise Failure(f"only {heard.purity:.1%} of the energy is the tone: it is torn or noisy")
