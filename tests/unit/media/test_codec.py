import ctypes.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.signals import chunks, opus_packets, samples_of, snr_db, tone

from moqvox.errors import LocalError, MediaError
from moqvox.media import codec, libopus
from moqvox.media.codec import Application, Decoder, Encoder, StreamEncoder
from moqvox.media.opus import SAMPLE_RATES, packet_samples, parse_packet


def forget(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def only_opuslib(monkeypatch):
    """A machine with a system libopus and no bundled wrapper."""
    path = libopus.find().path
    forget(monkeypatch, "opuslib")
    forget(monkeypatch, "opuslib_next")
    monkeypatch.setitem(sys.modules, "opuslib_next", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: path if name == "opus" else None)
    monkeypatch.setattr(codec, "load", libopus.find)
    yield
    forget(monkeypatch, "opuslib")


@pytest.mark.parametrize("rate", SAMPLE_RATES)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_tone_comes_back_delayed_by_the_lookahead(rate, channels):
    encoder = Encoder(rate, channels, bitrate=64_000)
    decoder = Decoder(rate, channels)
    pcm = tone(encoder.frame_samples * 25, rate, channels=channels)
    size = encoder.frame_bytes
    out = b"".join(
        decoder.decode(encoder.encode(pcm[at : at + size])) for at in range(0, len(pcm), size)
    )
    assert len(out) == len(pcm)
    delay = encoder.lookahead * channels
    wanted = samples_of(pcm)[: -delay or None]
    heard = samples_of(out)[delay:]
    settled = len(wanted) // 4
    assert snr_db(wanted[settled:], heard[settled:]) > 10
    assert encoder.pre_skip == 312


def test_one_packet_decodes_at_every_rate():
    packets = opus_packets(10)
    for rate in SAMPLE_RATES:
        decoder = Decoder(rate)
        assert all(len(decoder.decode(packet)) == rate // 50 * 2 for packet in packets)


def test_a_mono_packet_decodes_to_stereo_and_back():
    assert len(Decoder(48_000, 2).decode(opus_packets(1)[0])) == 960 * 2 * 2
    assert len(Decoder(48_000, 1).decode(opus_packets(1, channels=2)[0])) == 960 * 2


def test_a_lost_frame_is_filled_with_something_like_it():
    packets = opus_packets(20, bitrate=32_000)
    decoder = Decoder()
    for packet in packets[:15]:
        before = decoder.decode(packet)
    made_up = decoder.conceal(960)
    assert len(made_up) == 960 * 2
    assert np.abs(samples_of(made_up)).max() > 0.3 * np.abs(samples_of(before)).max()
    assert len(decoder.decode(packets[16])) == 960 * 2


@pytest.mark.parametrize("samples", [0, 1, 119, 120, 121, 960, 5760, 5761, 48_000])
def test_concealment_makes_exactly_the_samples_asked_for(samples):
    decoder = Decoder()
    decoder.decode(opus_packets(1)[0])
    assert len(decoder.conceal(samples)) == samples * 2


def test_concealment_of_a_long_gap_ends_in_silence():
    decoder = Decoder()
    for packet in opus_packets(10):
        decoder.decode(packet)
    tail = samples_of(decoder.conceal(48_000))[-4800:]
    assert np.abs(tail).max() < 100


@pytest.mark.parametrize("samples", [-1, 48_001])
def test_concealment_beyond_a_second_is_refused(samples):
    with pytest.raises(LocalError, match="samples to conceal"):
        Decoder().conceal(samples)


def test_a_lost_frame_is_recovered_from_the_copy_in_the_next():
    options = {"fec": True, "expected_loss_percent": 30, "bitrate": 24_000, "sample_rate": 16_000}
    packets = opus_packets(20, **options)
    whole = Decoder(16_000)
    wanted = [whole.decode(packet) for packet in packets]
    lossy = Decoder(16_000)
    for packet in packets[:10]:
        lossy.decode(packet)
    recovered = lossy.decode_fec(packets[11])
    assert len(recovered) == 320 * 2
    assert snr_db(samples_of(wanted[10]), samples_of(recovered)) > 3
    lossy.decode(packets[11])


@pytest.mark.parametrize("samples", [0, -120, 7, 6000])
def test_a_length_that_cannot_be_recovered_is_refused(samples):
    with pytest.raises(LocalError, match="recovers multiples"):
        Decoder().decode_fec(opus_packets(1)[0], samples)


def test_silence_with_dtx_is_recognised_as_such():
    encoder = Encoder(16_000, dtx=True)
    packets = [encoder.encode(bytes(encoder.frame_bytes)) for _ in range(50)]
    assert not parse_packet(packets[0]).is_dtx
    assert sum(parse_packet(packet).is_dtx for packet in packets) > 10


@pytest.mark.parametrize(
    "arguments",
    [
        {"sample_rate": 44_100},
        {"channels": 3},
        {"bitrate": 100},
        {"bitrate": 600_000},
        {"frame_ms": 15},
        {"application": "music"},
        {"expected_loss_percent": 101},
        {"complexity": 11},
    ],
)
def test_an_encoder_refuses_what_opus_does_not_have(arguments):
    with pytest.raises(LocalError):
        Encoder(**arguments)


@pytest.mark.parametrize("arguments", [{"sample_rate": 44_100}, {"channels": 0}])
def test_a_decoder_refuses_what_opus_does_not_have(arguments):
    with pytest.raises(LocalError):
        Decoder(**arguments)


@pytest.mark.parametrize("size", [0, 1, 1918, 1922])
def test_a_frame_of_another_length_is_refused(size):
    with pytest.raises(LocalError, match="takes 1920 bytes"):
        Encoder().encode(bytes(size))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3000),
    st.sampled_from([(16_000, 1, 20), (48_000, 2, 10), (8_000, 1, 60)]),
    st.lists(st.integers(0, 10**6), max_size=6),
)
def test_a_stream_of_any_length_and_chunks_is_heard_to_its_last_sample(samples, kind, cuts):
    rate, channels, frame_ms = kind
    encoder = StreamEncoder(Encoder(rate, channels, frame_ms=frame_ms))
    pcm = tone(samples, rate, channels=channels)
    for _ in range(2):
        packets = [packet for chunk in chunks(pcm, cuts) for packet in encoder.push(chunk)]
        last, trim = encoder.flush()
        heard = sum(packet_samples(packet) for packet in [*packets, *last]) - trim
        assert heard == (samples * 48_000 // rate + 312 if samples else 0)
        assert trim < frame_ms * 48 or not samples


def test_a_stream_gives_the_packets_of_its_frames():
    encoder = StreamEncoder(Encoder())
    assert encoder.push(tone(960 * 5 + 7)[:-1]) == opus_packets(5)
    assert encoder.samples == 4800
    last, trim = encoder.flush()
    assert (len(last), trim) == (1, 960 - 312 - 6)


@pytest.mark.parametrize("application", [*Application, "voip"])
def test_every_application_encodes(application):
    assert len(Encoder(application=application, complexity=0).encode(bytes(1920))) > 0


@pytest.mark.parametrize("frame_ms", [20, 60])
def test_a_bitrate_is_kept_to(frame_ms):
    encoder = Encoder(bitrate=24_000, frame_ms=frame_ms)
    noise = np.random.default_rng(7).normal(0, 3000, encoder.frame_samples * 20).astype("<i2")
    pcm, size = noise.tobytes(), encoder.frame_bytes
    total = sum(len(encoder.encode(pcm[at : at + size])) for at in range(0, len(pcm), size))
    assert 0.7 < total * 8 / (20 * frame_ms / 1000) / 24_000 < 1.3


def test_after_a_reset_the_same_audio_gives_the_same_bytes():
    encoder, decoder = Encoder(), Decoder()
    pcm = tone(960)
    first = encoder.encode(pcm)
    heard = decoder.decode(first)
    encoder.encode(tone(960, hertz=1000))
    encoder.reset()
    decoder.reset()
    assert encoder.encode(pcm) == first
    assert decoder.decode(first) == heard


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_garbage_decodes_or_is_a_media_error_and_the_decoder_lives(garbage):
    decoder = Decoder(16_000)
    for read in (decoder.decode, decoder.decode_fec):
        try:
            assert len(read(garbage)) <= 16_000 * 120 // 1000 * 2
        except (MediaError, LocalError) as error:
            assert str(error)  # noqa: PT017 - most garbage fails, some decodes
    assert len(decoder.decode(opus_packets(1)[0])) == 640


def test_the_bundled_library_is_preferred():
    found = libopus.find()
    assert found.wrapper == "opuslib_next"
    assert Path(found.path).is_file()
    assert "opus" in found.version


@pytest.mark.usefixtures("only_opuslib")
def test_opuslib_with_a_system_library_does_all_of_it():
    assert libopus.find().wrapper == "opuslib"
    encoder = Encoder(16_000, fec=True, expected_loss_percent=20, dtx=True, complexity=5)
    assert encoder.lookahead == 104
    state, api = encoder._state.encoder_state, sys.modules["opuslib"].api
    got = [
        api.encoder.encoder_ctl(state, getattr(api.ctl, f"get_{name}"))
        for name in ("bitrate", "inband_fec", "packet_loss_perc", "dtx", "complexity")
    ]
    assert got == [24_000, 1, 20, 1, 5]
    decoder = Decoder(16_000)
    packet = encoder.encode(tone(320, 16_000))
    assert len(decoder.decode(packet)) == 640
    assert len(decoder.decode_fec(packet)) == 640
    assert len(decoder.conceal(100)) == 200
    encoder.reset()
    with pytest.raises(MediaError, match="corrupted packet"):
        decoder.decode(b"\xff\x41\xff\xff")


def test_without_any_libopus_the_error_says_what_to_install(monkeypatch):
    forget(monkeypatch, "opuslib")
    forget(monkeypatch, "opuslib_next")
    monkeypatch.setitem(sys.modules, "opuslib_next", None)
    monkeypatch.setattr(ctypes.util, "find_library", lambda _name: None)
    with pytest.raises(libopus.OpusUnavailable) as caught:
        libopus.find()
    text = str(caught.value)
    assert "Could not find Opus library" in text
    assert "pip install opuslib-next-bundled" in text
    assert "apt install libopus0" in text


def test_a_bundled_library_that_does_not_load_gives_way_to_the_system_one(
    only_opuslib, monkeypatch
):
    monkeypatch.delitem(sys.modules, "opuslib_next")
    monkeypatch.setenv("OPUSLIB_NEXT_USE_SYSTEM_LIB", "1")
    real = ctypes.CDLL
    calls = []

    def broken_once(path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 1:
            raise OSError("wrong ELF class")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(ctypes, "CDLL", broken_once)
    found = libopus.find()
    assert found.wrapper == "opuslib"
    forget(monkeypatch, "opuslib_next")
