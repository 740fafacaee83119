import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.voice.calls import packets

from moqvox.media.container import encode_legacy
from moqvox.voice.chronicle import (
    MAGIC,
    Began,
    ChronicleError,
    Dropped,
    Ended,
    Framed,
    HungUp,
    Listened,
    Opened,
    Read,
    Shown,
    Told,
    Took,
    pack,
    read,
    written,
)
from moqvox.voice.proof import Chain
from moqvox.voice.words import (
    Cancel,
    Heard,
    Hello,
    Interrupt,
    Message,
    Receipt,
    encode,
)

CHAIN = Chain(8)
BEGAN = Began("call", "session", 0, CHAIN.token(0))
PAYLOADS = [encode_legacy(20_000 * n, packet) for n, packet in enumerate(packets(3))]


def receipt(speech: int = 0) -> Receipt:
    return Receipt(speech, 3, 60.0, "x", 0.0, True)


def told(number, event):
    return Told(number, encode(event, number))


def took(number, event):
    return Took(number, encode(event, number))


def answer(speech: int = 0) -> list:
    frames = [Framed(speech, payload) for payload in PAYLOADS]
    return [Opened(speech, 0), *frames]


def tale(*records):
    return read(written([BEGAN, *records]))[0]


EVERYTHING = [
    BEGAN,
    Listened(0),
    told(1, receipt()),
    *answer(),
    Ended(0),
    took(1, Message("note", msgspec.Raw(b"1"))),
    Read(),
    Shown(1, CHAIN.token(1)),
    took(2, Interrupt(0)),
    told(2, Cancel(0)),
    *answer(1),
    Ended(1, short=True),
    Dropped(1),
    HungUp(),
]


def test_what_was_said_is_read_back():
    came = tale(*answer(), Ended(0))
    said = came.said[0]
    assert (said.payloads, said.duration_us, said.ended) == (PAYLOADS, 60_000, True)
    assert (came.next, came.media_us) == (1, 60_000)


def test_a_response_without_an_end_is_not_ended():
    assert not tale(*answer()).said[0].ended


@pytest.mark.parametrize("last", [Heard(0, 60_000, "ended"), Heard(0, 60_000, "interrupted")])
def test_a_response_that_arrived_and_was_heard_is_done_with(last):
    came = tale(*answer(), Ended(0), took(1, receipt()), took(2, last))
    assert (came.said, came.next, came.taken) == ({}, 1, 2)


def test_a_response_that_was_cut_waits_for_the_last_word_without_its_audio():
    came = tale(*answer(), took(1, Interrupt(0)))
    assert came.said[0].cut
    assert (came.said[0].payloads, came.said[0].duration_us) == ([], 60_000)
    assert tale(*answer(), told(1, Cancel(0)), took(1, Heard(0, 1, "interrupted"))).said == {}


def test_frames_that_come_after_the_listener_was_done_are_passed_over():
    came = tale(
        *answer(), took(1, receipt()), took(2, Heard(0, 60_000, "ended")), Framed(0, PAYLOADS[0])
    )
    assert came.said == {}


def test_an_utterance_is_answered_by_the_response_that_begins_after_its_receipt():
    came = tale(told(1, receipt(0)), *answer(), told(2, receipt(1)))
    assert (came.receipts, came.answered) == ({0: 1, 1: 2}, 1)


def test_an_event_that_is_dropped_is_not_told_again():
    came = tale(told(1, receipt(0)), told(2, receipt(1)), Dropped(1))
    assert (list(came.told), came.receipts) == ([(2, receipt(1))], {1: 2})


def test_messages_are_kept_until_they_are_read():
    notes = [Message("note", msgspec.Raw(b"%d" % n)) for n in range(3)]
    assert tale(*(took(n + 1, note) for n, note in enumerate(notes)), Read()).unread == notes[1:]


def test_only_the_next_link_proves_a_caller():
    came = tale(Shown(2, CHAIN.token(2)))
    assert came.proves(Hello(leg=2, token=CHAIN.token(2)))
    assert came.proves(Hello(leg=4, token=CHAIN.token(4)))
    assert not came.proves(Hello(leg=1, token=CHAIN.token(1)))
    assert not came.proves(Hello(leg=3, token=Chain(8).token(3)))


def test_a_file_that_was_cut_off_anywhere_tells_what_was_whole():
    records = [pack(record) for record in EVERYTHING]
    ends = [len(MAGIC) + sum(map(len, records[:n])) for n in range(1, len(records) + 1)]
    text = written(EVERYTHING)
    for end in range(len(text) + 1):
        if end < ends[0]:
            with pytest.raises(ChronicleError):
                read(text[:end])
        else:
            assert read(text[:end])[1] == max(whole for whole in ends if whole <= end)


@given(st.integers(0, len(written(EVERYTHING)) - 1), st.integers(1, 255))
def test_a_byte_that_changed_never_adds_anything(at, mask):
    text = bytearray(written(EVERYTHING))
    text[at] ^= mask
    try:
        _, whole = read(bytes(text))
    except ChronicleError:
        return
    assert whole <= at  # what is damaged counts as not written


@given(st.binary(max_size=300))
def test_garbage_is_no_journal(garbage):
    for text in (garbage, MAGIC + garbage, written([BEGAN]) + garbage):
        try:
            read(text)
        except ChronicleError:
            continue
        assert text.startswith(written([BEGAN]))


@pytest.mark.parametrize(
    "records",
    [
        [],
        [Ended(0)],
        [BEGAN, BEGAN],
        [BEGAN, Framed(0, PAYLOADS[0])],
        [BEGAN, Opened(0, 0), Framed(0, b"")],
        [BEGAN, Told(1, b"{")],
    ],
)
def test_records_that_no_session_writes_are_refused(records):
    with pytest.raises(ChronicleError):
        read(written(records))
