"""Frames of a moq-lite group, in any chunking."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame
from moqvox.wire.lite.streams import MAX_FIRST_TIMESTAMP, FrameParser, encode_frame_header
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import lite_version

TIMED, UNTIMED = lite_version("moq-lite-06"), lite_version("moq-lite-04")

payloads = st.binary(max_size=200)
timed = st.lists(st.builds(Frame, payloads, st.integers(0, MAX_FIRST_TIMESTAMP)), max_size=6)
untimed = st.lists(st.builds(Frame, payloads), max_size=6)


def wire_of(frames: list[Frame], *, timestamps: bool) -> bytes:
    previous = 0 if timestamps else None
    wire = b""
    for frame in frames:
        wire += encode_frame_header(len(frame.payload), frame.timestamp, previous) + frame.payload
        previous = frame.timestamp
    return wire


@given(st.booleans(), st.data(), st.lists(st.integers(0, 1500), max_size=10))
def test_frames_come_out_whole_however_they_are_cut(timestamps, data, cuts):
    frames = data.draw(timed if timestamps else untimed)
    wire = wire_of(frames, timestamps=timestamps)
    parser = FrameParser(TIMED if timestamps else UNTIMED, 200)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    parsed = []
    for start, end in pairwise(edges):
        parsed += parser.feed(wire[start:end])
    assert parsed == frames
    assert parser.failed is None
    assert parser.buffered == 0


def test_frames_before_a_broken_one_are_handed_out():
    parser = FrameParser(TIMED, 10)
    assert parser.feed(bytes.fromhex("0a01610001620040ff")) == [Frame(b"a", 5), Frame(b"b", 5)]
    assert parser.failed is StreamCode.EXCESSIVE_LOAD


def test_a_timestamp_below_zero_breaks_the_group():
    parser = FrameParser(TIMED, 10)
    assert parser.feed(bytes.fromhex("020161050162")) == [Frame(b"a", 1)]
    assert parser.failed is StreamCode.MALFORMED_TRACK


def test_a_timestamp_beyond_62_bits_breaks_the_group():
    half = encode_varint(2**62 - 2) + b"\0"
    parser = FrameParser(TIMED, 10)
    assert [frame.timestamp for frame in parser.feed(half)] == [2**61 - 1]
    assert [frame.timestamp for frame in parser.feed(half)] == [2**62 - 2]
    assert parser.feed(half) == []
    assert parser.failed is StreamCode.MALFORMED_TRACK


def test_a_frame_that_never_ends_waits_in_no_more_memory_than_its_own():
    parser = FrameParser(UNTIMED, 1 << 20)
    parser.feed(encode_varint(1 << 20))
    for _ in range(1 << 10):
        assert not parser.feed(b"x" * 1023)
    assert parser.buffered == 4 + 1023 * (1 << 10)


@pytest.mark.parametrize(("timestamp", "previous"), [(None, 0), (-1, 0), (2**61, 0), (0, 2**61)])
def test_a_timestamp_that_can_not_be_sent_is_the_callers_error(timestamp, previous):
    with pytest.raises(LocalError, match="timestamp"):
        encode_frame_header(1, timestamp, previous)
