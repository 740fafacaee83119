import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.media.signals import chunks, tone

from moqvox.errors import LocalError, MediaError
from moqvox.media.wav import Reader, WavFormat, decode_wav, encode_wav, wav_header


def wav(
    data, code=1, channels=1, bits=16, rate=16_000, before=b"", size=None, riff=None, extra=b""
):
    frame = channels * bits // 8
    fmt = struct.pack("<HHIIHH", code, channels, rate, rate * frame, frame, bits) + extra
    body = b"WAVE" + b"fmt " + struct.pack("<I", len(fmt)) + fmt + before
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body


def test_what_is_written_python_reads_and_the_reverse():
    pcm = tone(500, 16_000, channels=2)
    with wave.open(io.BytesIO(encode_wav(pcm, 16_000, 2))) as file:
        assert file.getparams()[:4] == (2, 2, 16_000, 500)
        assert file.readframes(500) == pcm
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm)
    assert decode_wav(out.getvalue()) == (WavFormat(16_000, 2, 16), pcm)


@pytest.mark.parametrize(
    ("code", "bits", "raw", "expected"),
    [
        (1, 8, bytes([0, 128, 255, 129]), [-32768, 0, 32512, 256]),
        (1, 16, struct.pack("<4h", -32768, 0, 32767, 5), [-32768, 0, 32767, 5]),
        (1, 24, b"\x00\x00\x80\xff\xff\x7f\x00\x01\x00\xff\xff\xff", [-32768, 32767, 1, -1]),
        (1, 32, struct.pack("<4i", -(2**31), 2**31 - 1, 65536, 0), [-32768, 32767, 1, 0]),
        (3, 32, struct.pack("<4f", -1.0, 1.0, 0.5, 1 / 32768), [-32768, 32767, 16384, 1]),
        (3, 32, struct.pack("<4f", -9.0, np.inf, -np.inf, np.nan), [-32768, 32767, -32768, 0]),
    ],
)
def test_every_kind_of_sample_becomes_16_bits(code, bits, raw, expected):
    kind, pcm = decode_wav(wav(raw, code, bits=bits))
    assert np.frombuffer(pcm, "<i2").tolist() == expected
    assert (kind.bits, kind.is_float) == (bits, code == 3)


def test_the_extensible_format_names_its_samples_further_in():
    guid = struct.pack("<H", 3) + bytes.fromhex("000000001000800000aa00389b71")
    extra = struct.pack("<HHI", 22, 32, 4) + guid
    pcm = decode_wav(wav(struct.pack("<f", 0.5), 0xFFFE, bits=32, extra=extra))[1]
    assert np.frombuffer(pcm, "<i2").tolist() == [16384]


@settings(max_examples=60)
@given(
    st.binary(max_size=400),
    st.sampled_from([(1, 8), (1, 16), (1, 24), (1, 32), (3, 32)]),
    st.sampled_from([1, 2]),
    st.lists(st.integers(0, 10**6), max_size=8),
)
def test_chunking_changes_nothing(raw, kind, channels, cuts):
    code, bits = kind
    data = wav(raw, code, channels, bits, before=b"LIST\x03\x00\x00\x00abc\x00")
    reader = Reader()
    pcm = b"".join(reader.push(chunk) for chunk in chunks(data, cuts))
    reader.finish()
    assert pcm == decode_wav(data)[1]
    assert len(pcm) == len(raw) // (bits // 8 * channels) * channels * 2
    assert not reader.truncated


@pytest.mark.parametrize(
    ("size", "riff"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0, 0),
        (0, 0xFFFFFFFF),
        (0, 36),
        (0x7FFFF000, 0x7FFFF024),
        (0xFFFFFFFF, 0),
    ],
)
def test_a_pipe_that_does_not_know_its_length_is_read_to_its_end(size, riff):
    pcm = tone(333)
    reader = Reader()
    assert reader.push(wav(pcm, size=size, riff=riff)) == pcm
    reader.finish()
    assert not reader.truncated


def test_a_header_without_a_length_is_the_one_that_is_read():
    assert decode_wav(wav_header(48_000) + tone(10)) == (WavFormat(48_000, 1, 16), tone(10))


def test_a_file_of_no_samples_and_a_list_after_them_is_silent():
    data = wav(b"")
    data = data[:4] + struct.pack("<I", len(data) - 8 + 12) + data[8:] + b"LIST\x04\x00\x00\x00abcd"
    assert decode_wav(data)[1] == b""


def test_what_follows_the_samples_is_not_played():
    assert decode_wav(wav(tone(5)) + b"LIST\x04\x00\x00\x00abcd")[1] == tone(5)


def test_rf64_tells_its_length_in_a_chunk_of_its_own():
    ds64 = b"ds64" + struct.pack("<IQQQI", 28, 0, 10, 5, 0)
    body = wav(tone(5) + b"tail", size=0xFFFFFFFF)
    data = b"RF64\xff\xff\xff\xffWAVE" + ds64 + body[12:]
    assert decode_wav(data)[1] == tone(5)


def test_a_file_cut_short_gives_what_it_has_and_says_so():
    reader = Reader()
    assert reader.push(wav(tone(100))[:-50]) == tone(100)[:-50]
    reader.finish()
    assert reader.truncated


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "inside its header"),
        (b"OggS", "not a wav file"),
        (b"RIFF\0\0\0\0AVI LIST", "not WAVE"),
        (wav(b"")[:30], "inside its header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "before their format"),
        (b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0abcd", "at least 16 bytes"),
        (b"RIFF\0\0\0\0WAVEJUNK\xff\xff\xff\x7f", "before the samples"),
        (wav(b"", code=7, bits=8), "mu-law"),
        (wav(b"", code=85), "MP3"),
        (wav(b"", code=0xFFFE), "encoding 65534"),
        (wav(b"", bits=12), "of 12 bits"),
        (wav(b"", code=3, bits=64), "floats of 64 bits"),
        (wav(b"", channels=6), "6 channels"),
        (wav(b"", channels=0), "0 channels"),
        (wav(b"", rate=0), "at 0 Hz"),
        (wav(b"")[:32] + b"\x07" + wav(b"")[33:], "frames of 7 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_its_reason(data, reason):
    with pytest.raises(MediaError, match=reason):
        decode_wav(data)


@pytest.mark.parametrize(
    "arguments", [(0, 1, 0), (16_000, 3, 0), (16_000, 1, -1), (16_000, 1, 2**32 - 36)]
)
def test_a_header_that_cannot_be_written_is_refused(arguments):
    with pytest.raises(LocalError):
        wav_header(*arguments)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 3))
def test_garbage_is_a_media_error_or_read(garbage, prefix):
    start = [b"", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0", wav(b"")][prefix]
    try:
        decode_wav(start + garbage)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - some garbage is a file
