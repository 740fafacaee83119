import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.signals import chunks, samples_of, snr_db, tone

from moqvox.errors import LocalError
from moqvox.media.resample import Resampler, to_mono, to_stereo


def resampled(pcm, in_rate, out_rate, channels=1):
    resampler = Resampler(in_rate, out_rate, channels)
    return resampler.push(pcm) + resampler.flush()


@pytest.mark.parametrize("in_rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("out_rate", [16_000, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_keeps_its_pitch_and_its_length(in_rate, out_rate, channels):
    out = resampled(tone(in_rate // 2, in_rate, channels=channels), in_rate, out_rate, channels)
    wanted = tone(out_rate // 2, out_rate, channels=channels)
    assert abs(len(out) - len(wanted)) <= 4 * channels
    heard = samples_of(out)[2000:-2000]
    assert snr_db(samples_of(wanted)[2000 : 2000 + len(heard)], heard) > 60


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([(44_100, 48_000), (48_000, 16_000), (16_000, 48_000), (16_000, 16_000)]),
    st.sampled_from([1, 2]),
    st.lists(st.integers(0, 10**6), max_size=12),
)
def test_chunking_changes_nothing(rates, channels, cuts):
    pcm = tone(3000, rates[0], channels=channels)
    resampler = Resampler(*rates, channels)
    out = b"".join([*(resampler.push(chunk) for chunk in chunks(pcm, cuts)), resampler.flush()])
    assert out == resampled(pcm, *rates, channels)


def test_after_a_flush_a_new_stream_begins():
    resampler = Resampler(44_100, 48_000)
    runs = [resampler.push(tone(2000, 44_100) + b"\x01") + resampler.flush() for _ in range(3)]
    assert runs[0] == runs[1] == runs[2]


def test_full_scale_is_clipped_and_never_wraps():
    square = np.repeat(np.array([32767, -32768] * 20, "<i2"), 50).tobytes()
    out = samples_of(resampled(square, 16_000, 48_000))
    middle = out.reshape(-1, 150)[:, 60:90]
    assert (np.abs(middle) > 25_000).all()


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0), (10**6, 1), (1, 1, 3), (1, 1, 0)])
def test_a_stream_that_cannot_be_is_refused(arguments):
    with pytest.raises(LocalError):
        Resampler(*arguments)


def test_stereo_is_averaged_into_mono():
    stereo = np.array([100, 200, -5, -6, 32767, 32767, -32768, -32768], "<i2").tobytes()
    assert samples_of(to_mono(stereo, 2)).tolist() == [150, -6, 32767, -32768]


def test_mono_doubles_into_stereo_and_back():
    pcm = tone(100)
    assert to_mono(to_stereo(pcm), 2) == pcm
    assert to_mono(pcm, 1) == pcm


def test_a_part_of_a_sample_is_refused():
    with pytest.raises(LocalError, match="whole"):
        to_mono(b"abc", 2)
    with pytest.raises(LocalError, match="whole"):
        to_stereo(b"abc")
