"""The harness' own Ogg and sound checks, without which its verdicts mean nothing."""

import wave

import numpy as np
import pytest
from interop.failure import Failure
from interop.ogg import packet_digests, read_packets, write_opus
from interop.payload import digest
from interop.sound import check_tone, listen, read_raw, read_wav

RATE = 48_000
HEAD = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00"


def _tone(frequency_hz=440.0, duration_ms=500, lead_ms=0):
    samples = np.arange(RATE * duration_ms // 1000)
    wave_ = 0.5 * np.sin(2 * np.pi * frequency_hz * samples / RATE)
    return np.concatenate([np.zeros(RATE * lead_ms // 1000), wave_])


@pytest.mark.parametrize("size", [1, 254, 255, 256, 510, 1275])
def test_packets_survive_the_file_at_every_lacing_boundary(tmp_path, size):
    packets = [bytes([at % 256]) * size for at in range(5)]
    write_opus(tmp_path / "a.opus", HEAD, packets)
    assert read_packets(tmp_path / "a.opus") == packets
    assert packet_digests(tmp_path / "a.opus") == [digest(packet) for packet in packets]


def test_a_damaged_file_is_refused(tmp_path):
    file = tmp_path / "a.opus"
    write_opus(file, HEAD, [b"x" * 100] * 3)
    data = bytearray(file.read_bytes())
    for at, what in ((-1, "damaged"), (0, "no Ogg page")):
        broken = data.copy()
        broken[at] ^= 1
        file.write_bytes(broken)
        with pytest.raises(Failure, match=what):
            read_packets(file)
    file.write_bytes(data[:-10])
    with pytest.raises(Failure, match="damaged"):
        read_packets(file)


def test_a_packet_that_is_continued_on_the_next_page_is_put_together(tmp_path):
    from interop import ogg

    head = ogg._page(HEAD, 0, 0, ogg.FIRST)
    tags = ogg._page(ogg.TAGS, 1, 0, 0)
    first = ogg._page(b"a" * 254, 2, -1, 0)
    start = bytearray(first)
    start[27] = 255
    start.append(ord("a"))
    start[22:26] = bytes(4)
    start[22:26] = ogg._crc(bytes(start)).to_bytes(4, "little")
    rest = ogg._page(b"b" * 10, 3, 960, ogg.CONTINUED | ogg.LAST)
    (tmp_path / "a.opus").write_bytes(head + tags + bytes(start) + rest)
    assert read_packets(tmp_path / "a.opus") == [b"a" * 255 + b"b" * 10]


def test_a_tone_is_measured_without_the_silence_around_it():
    heard = listen(RATE, _tone(lead_ms=300))
    assert heard.total_ms == 800
    assert heard.sounding_ms == pytest.approx(500, abs=1)
    assert heard.frequency_hz == pytest.approx(440, abs=2)
    check_tone(heard, frequency_hz=440, duration_ms=500)


def test_wav_and_raw_give_the_same_samples(tmp_path):
    pcm = (_tone() * 32767).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as stream:
        stream.setparams((2, 2, RATE, 0, "NONE", ""))
        stream.writeframes(np.repeat(pcm, 2).tobytes())
    (tmp_path / "a.pcm").write_bytes(pcm.tobytes())
    rate, samples = read_wav(tmp_path / "a.wav")
    assert rate == RATE
    assert np.array_equal(samples, read_raw(tmp_path / "a.pcm"))


def test_what_is_not_a_wav_file_is_a_failure_not_a_crash(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFFnonsense")
    for name in ("a.wav", "none.wav"):
        with pytest.raises(Failure, match="not a WAV file"):
            read_wav(tmp_path / name)


def _with_gap(samples):
    torn = samples.copy()
    for at in range(0, len(torn), 2400):
        torn[at : at + 480] = 0
    return torn


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        (_tone(450), "450.0 Hz was heard, not 440 Hz"),
        (_tone(duration_ms=400), "400 ms of tone were heard, not 500 ms"),
        (_with_gap(_tone()), "torn or noisy"),
        (_tone() + np.random.default_rng(1).normal(0, 0.2, 24_000), "torn or noisy"),
    ],
    ids=["pitch", "length", "gaps", "noise"],
)
def test_a_bad_tone_fails(samples, verdict):
    with pytest.raises(Failure, match=verdict):
        check_tone(listen(RATE, samples), frequency_hz=440, duration_ms=500)


def test_silence_is_not_a_tone():
    with pytest.raises(Failure, match="silent"):
        listen(RATE, np.zeros(4800))
