"""Events on the wire, and receipts against a plain digest."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import MediaError
from moqvox.voice.digest import Tally
from moqvox.voice.words import (
    Ack,
    Cancel,
    Caption,
    Heard,
    Interrupt,
    Message,
    Receipt,
    decode,
    encode,
)

EVENTS = [
    Ack(3, 10),
    Receipt(3, 10, 200.0, "ab", 1.5, complete=True, worst_delay_ms=2.0),
    Heard(3, 12345, "playing", 1, 2, 3),
    Interrupt(3),
    Cancel(3),
    Caption(3, "hi", 5, final=False),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: type(e).__name__)
def test_event_reads_as_it_was_written(event):
    assert decode(encode(event)) == event


def test_message_keeps_its_json():
    message = decode(b'{"type":"message","name":"x","data":{"a":[1,null]},"more":1}')
    assert isinstance(message, Message)
    assert bytes(message.data) == b'{"a":[1,null]}'


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_nothing_or_a_media_error(data):
    with contextlib.suppress(MediaError):
        decode(data)


def test_event_over_the_bound_is_refused_both_ways():
    with pytest.raises(MediaError, match="allowed"):
        encode(Caption(0, "x" * 70_000))
    with pytest.raises(MediaError, match="allowed"):
        decode(b'"' + b"x" * 70_000 + b'"')


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_digest_covers_lengths_and_bytes_of_every_frame(frames):
    tally = Tally()
    for frame in frames:
        tally.add(frame, 20_000)
    plain = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    assert tally.digest == hashlib.sha256(plain).hexdigest()
    assert (tally.frames, tally.duration_us) == (len(frames), 20_000 * len(frames))


def test_added_delay_is_relative_to_the_fastest_frame():
    tally = Tally()
    assert (tally.added_delay_ms, tally.worst_delay_ms) == (0.0, 0.0)
    for timestamp_us, now in ((0, 10.05), (20_000, 10.04), (40_000, 10.54), (60_000, 10.09)):
        tally.add(b"x", 20_000)
        tally.arrived(timestamp_us, now)
    assert tally.added_delay_ms == pytest.approx(10, abs=0.01)
    assert tally.worst_delay_ms == pytest.approx(480, abs=0.01)
