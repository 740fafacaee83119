"""Time-stretch: the pitch stays, nothing clicks, and the account is exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.media.stretch import Pcm, Stretch

RATE = 16_000


def tone(hz: float, seconds: float = 2.0, level: int = 9_000) -> Pcm:
    time = np.arange(int(RATE * seconds)) / RATE
    return np.rint(level * np.sin(2 * np.pi * hz * time)).astype(np.int16)[:, None]


def voice(seconds: float = 2.0) -> Pcm:
    """A buzz of ten harmonics whose pitch wanders from 110 to 190 Hz, with some breath."""
    time = np.arange(int(RATE * seconds)) / RATE
    phase = 2 * np.pi * np.cumsum(150 + 40 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    buzz = sum(np.sin(k * phase) / k for k in range(1, 11))
    breath = np.random.default_rng(7).normal(0, 60, len(time))
    return np.rint(4_000 * buzz + breath).astype(np.int16)[:, None]


def stretched(source: Pcm, ppm: int, step: int = 320) -> tuple[Pcm, int, int]:
    """Play all of `source`, cutting `ppm` millionths; returns output, removed, repeated."""
    stretch = Stretch(RATE, source.shape[1])
    parts: list[Pcm] = []
    cursor = earned = removed = repeated = 0
    while cursor < len(source):
        room = min(abs(earned) // 1_000_000, stretch.longest)
        ahead = source[cursor : cursor + stretch.reach]
        cut = 0
        if room * 3 >= stretch.longest * 2:
            cut = stretch.choose(ahead, room if ppm > 0 else -room)
        if cut > 0:
            stretch.remove(ahead)
            cursor += cut
            removed += cut
        elif cut < 0:
            stretch.repeat(ahead, -cut)
            parts += [stretch.repeated(7), stretch.repeated(-cut - 7)]
            repeated -= cut
        played = source[cursor : cursor + step]
        parts.append(stretch.play(played))
        cursor += len(played)
        earned += len(played) * abs(ppm) - abs(cut) * 1_000_000
    return np.concatenate(parts), removed, repeated


def pitch(pcm: Pcm) -> float:
    """The strongest frequency, interpolated between the bins of a windowed spectrum."""
    mono = pcm[:, 0].astype(float)
    spectrum = np.log(np.abs(np.fft.rfft(mono * np.hanning(len(mono)))) + 1e-9)
    top = int(np.argmax(spectrum))
    low, mid, high = spectrum[top - 1 : top + 2]
    return (top + (low - high) / (2 * (low - 2 * mid + high))) * RATE / len(mono)


def largest_jump(pcm: Pcm) -> int:
    return int(np.abs(np.diff(pcm[:, 0].astype(int))).max())


@pytest.mark.parametrize("ppm", [100_000, 60_000, -60_000, -100_000])
@pytest.mark.parametrize("hz", [95, 220, 440, 1_000])
def test_a_tone_keeps_its_pitch_and_does_not_click(hz: int, ppm: int) -> None:
    source = tone(hz)
    output, removed, repeated = stretched(source, ppm)
    assert len(output) == len(source) - removed + repeated
    assert abs(removed - repeated) > len(source) * abs(ppm) / 1e6 * 0.7
    assert pitch(output) == pytest.approx(hz, abs=0.5)
    assert largest_jump(output) <= largest_jump(source) * 1.05 + 1


@pytest.mark.parametrize("ppm", [60_000, -60_000])
def test_a_voice_gets_no_jumps_it_did_not_have(ppm: int) -> None:
    source = voice()
    output, removed, repeated = stretched(source, ppm)
    assert removed + repeated > len(source) * 0.03
    assert largest_jump(output) <= largest_jump(source) * 1.1


@pytest.mark.parametrize("ppm", [60_000, -60_000])
def test_a_voice_keeps_its_loudness_everywhere(ppm: int) -> None:
    """A cut out of phase would leave a hole."""
    source = voice()
    output, _, _ = stretched(source, ppm)
    power = [
        np.sqrt(np.mean(pcm[start : start + 320].astype(float) ** 2))
        for pcm in (source, output)
        for start in range(0, len(pcm) - 320, 320)
    ]
    assert min(power) > np.median(power) * 0.8


def test_without_stretch_every_sample_passes_unchanged() -> None:
    source = voice(0.5)
    output, removed, repeated = stretched(source, 0)
    assert (removed, repeated) == (0, 0)
    assert np.array_equal(output, source)


def test_noise_is_left_alone() -> None:
    noise = np.random.default_rng(3).normal(0, 5_000, (4_000, 1)).astype(np.int16)
    stretch = Stretch(RATE, 1)
    stretch.play(noise[:1_000])
    assert stretch.choose(noise[1_000:], 240) == 0
    assert stretch.choose(noise[1_000:], -240) == 0


def test_silence_is_cut_by_as_much_as_there_is_room_for() -> None:
    quiet = np.random.default_rng(3).normal(0, 8, (4_000, 1)).astype(np.int16)
    stretch = Stretch(RATE, 1)
    stretch.play(quiet[:1_000])
    assert stretch.choose(quiet[1_000:], 201) == 201
    assert stretch.choose(quiet[1_000:], -201) == -201


def test_no_cut_is_chosen_without_room_history_or_audio() -> None:
    source = tone(200)
    stretch = Stretch(RATE, 1)
    assert stretch.choose(source, 0) == 0
    assert stretch.choose(source, 39) == 0  # less than the shortest, 2.5 ms
    assert stretch.choose(source, -240) == 0  # nothing was played yet
    assert stretch.choose(source[:79], 240) == 0  # less than the overlap, 5 ms
    assert stretch.choose(source[:110], 240) == 0
    stretch.play(source[:1_000])
    stretch.forget()
    assert stretch.choose(source[1_000:], -240) == 0


def test_a_cut_waits_until_the_last_one_has_faded_over() -> None:
    source = tone(200)
    stretch = Stretch(RATE, 1)
    cut = stretch.choose(source, 240)
    stretch.remove(source)
    stretch.play(source[cut : cut + 79])
    assert stretch.choose(source[cut + 79 :], 240) == 0
    stretch.play(source[cut + 79 : cut + 80])
    assert stretch.choose(source[cut + 80 :], 240) > 0


def test_both_channels_are_cut_at_the_same_place() -> None:
    left, right = tone(200), tone(400, level=4_000)
    output, removed, _ = stretched(np.hstack((left, right)), 60_000)
    assert removed > 0
    assert pitch(output[:, :1]) == pytest.approx(200, abs=0.5)
    assert pitch(output[:, 1:]) == pytest.approx(400, abs=0.5)
    assert largest_jump(output) <= largest_jump(left) * 1.05 + 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_how_playing_is_cut_up_changes_nothing(sizes: list[int]) -> None:
    source = tone(200, 0.5)
    whole, parts = Stretch(RATE, 1), Stretch(RATE, 1)
    for each in (whole, parts):
        each.play(source[:500])
        each.remove(source[500:])
    total = sum(sizes)
    expected = whole.play(source[620 : 620 + total])
    at = 620
    came = []
    for size in sizes:
        came.append(parts.play(source[at : at + size]))
        at += size
    assert np.array_equal(np.concatenate(came), expected)


def test_what_is_remembered_is_bounded() -> None:
    stretch = Stretch(RATE, 1)
    for _ in range(50):
        stretch.play(tone(300, 0.1))
    assert len(stretch._history) == stretch.longest
