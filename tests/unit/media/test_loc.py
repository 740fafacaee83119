import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.errors import LocalError, MediaError
from moqvox.media.loc import (
    MAX_PROPERTIES_BYTES,
    AudioLevel,
    Coding,
    LocProperties,
    decode_loc,
    decode_properties,
    encode_loc,
    encode_properties,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors/loc_frames.json").read_text())
OURS = (0x08, 0x0C, 0x0F, 0x10)


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_a_loc_frame_is_read(vector):
    data = bytes.fromhex(vector["frame"])
    frame = decode_loc(data)
    assert frame.timestamp_us == vector["timestamp_us"]
    assert frame.payload.hex() == vector["payload"]
    if vector.get("canonical", True):
        assert encode_loc(frame.timestamp_us, frame.payload) == data


@pytest.mark.parametrize("vector", VECTORS["invalid"], ids=lambda vector: vector["name"])
def test_a_broken_loc_frame_is_refused(vector):
    with pytest.raises(MediaError):
        decode_loc(bytes.fromhex(vector["frame"]))


def test_the_track_properties_that_moq_rs_sends_are_read():
    # Timescale 1e6, then 0x0e (default priority 128) and 0x22 (descending), drafts 17 and later.
    block = bytes.fromhex("08cf42400680801402")
    assert decode_properties(block) == LocProperties(
        timescale=1_000_000, others=((0x0E, 128), (0x22, 2))
    )
    assert encode_properties(decode_properties(block)) == block


def test_a_timestamp_of_moq_rs_is_read():
    assert decode_properties(bytes.fromhex("10cc3500")).timestamp == 0xC3500 == 800_000


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        (Coding.PLAIN, "0880 00bb80 0c407f 0f0161 1080004e20"),
        (Coding.DELTA, "088000bb80 04407f 030161 0180004e20"),
        (Coding.DELTA_VI64, "08c0bb80 047f 030161 01c04e20"),
    ],
)
def test_each_draft_has_its_integers(coding, expected):
    properties = LocProperties(
        timestamp=20_000, timescale=48_000, audio_level=AudioLevel(127), audio_config=b"a"
    )
    assert encode_properties(properties, coding) == bytes.fromhex(expected)
    assert decode_properties(bytes.fromhex(expected), coding) == properties


def others():
    even = st.tuples(st.integers(0, 2**40).map(lambda n: 2 * n), st.integers(0, 2**62 - 1))
    odd = st.tuples(st.integers(0, 2**40).map(lambda n: 2 * n + 1), st.binary(max_size=20))
    pairs = st.lists(st.one_of(even, odd), max_size=5, unique_by=lambda pair: pair[0])
    return pairs.map(lambda found: tuple(sorted(p for p in found if p[0] not in OURS)))


number = st.integers(0, 2**62 - 1)
properties = st.builds(
    LocProperties,
    timestamp=st.none() | number,
    timescale=st.none() | st.integers(1, 2**62 - 1),
    audio_level=st.none() | st.builds(AudioLevel, st.integers(0, 127), st.booleans()),
    audio_config=st.none() | st.binary(max_size=40),
    others=others(),
)


@settings(max_examples=150)
@given(properties, st.sampled_from(Coding))
def test_properties_come_back_in_every_coding(wanted, coding):
    assert decode_properties(encode_properties(wanted, coding), coding) == wanted


@settings(max_examples=300)
@given(st.binary(max_size=60), st.sampled_from(Coding))
def test_garbage_is_a_media_error_or_properties(garbage, coding):
    try:
        decode_properties(garbage, coding)
    except MediaError as error:
        assert str(error)  # noqa: PT017 - some garbage is properties


@pytest.mark.parametrize(
    ("timestamp", "timescale", "expected"),
    [(20_000, None, 20_000), (960, 48_000, 20_000), (1, 3, 333_333), (None, 48_000, None)],
)
def test_a_timestamp_is_told_in_microseconds(timestamp, timescale, expected):
    assert LocProperties(timestamp=timestamp, timescale=timescale).timestamp_us == expected


def test_an_audio_level_has_a_voice_bit():
    block = encode_properties(LocProperties(audio_level=AudioLevel(30, voice=True)))
    assert decode_properties(block).audio_level == AudioLevel(30, voice=True)
    assert block == bytes.fromhex("0c809e")


def test_only_the_low_byte_of_an_audio_level_counts():
    block = encode_properties(LocProperties(others=((0x0A, 0),))) + bytes.fromhex("02c1ff05")
    assert decode_properties(block).audio_level == AudioLevel(5)


@pytest.mark.parametrize(
    "wrong",
    [
        LocProperties(timescale=0),
        LocProperties(timestamp=2**64),
        LocProperties(timestamp=-1),
        LocProperties(audio_level=AudioLevel(128)),
        LocProperties(timestamp=1, others=((0x10, 2),)),
        LocProperties(others=((0x0, 2), (0x0, 3))),
        LocProperties(others=((0x11, 2),)),
        LocProperties(others=((0x12, b"x"),)),
        LocProperties(audio_config=bytes(MAX_PROPERTIES_BYTES)),
    ],
)
def test_properties_that_cannot_be_written_are_refused(wrong):
    with pytest.raises(LocalError):
        encode_properties(wrong)


def test_a_block_beyond_its_bound_is_refused():
    with pytest.raises(MediaError, match="at most"):
        decode_properties(bytes(MAX_PROPERTIES_BYTES + 1))


def test_a_property_number_beyond_64_bits_is_refused():
    step = "fffffffffffffffffe"
    with pytest.raises(MediaError, match="out of range"):
        decode_properties(bytes.fromhex(step + "00" + step + "00"))
