"""Bytes in any chunking to whole messages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moqvox.errors import SessionCode
from moqvox.wire.framing import Framer, Oversized
from moqvox.wire.varint import encode_varint

bodies = st.lists(st.binary(max_size=100), max_size=5)


def packed(messages: list[bytes]) -> bytes:
    return b"".join(encode_varint(len(body)) + body for body in messages)


def fed_in_pieces(framer: Framer, data: bytes, cuts: list[int], take) -> list:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    taken = []
    for start, end in pairwise(edges):
        framer.feed(data[start:end])
        while (unit := take()) is not None:
            taken.append(unit)
    return taken


@given(bodies, st.lists(st.integers(0, 40), max_size=8))
def test_messages_come_out_whole_however_they_are_cut(messages, cuts):
    framer = Framer(100)
    assert fed_in_pieces(framer, packed(messages), cuts, framer.message) == messages
    assert framer.buffered == 0


@given(bodies, st.lists(st.integers(0, 40), max_size=8))
def test_typed_messages_come_out_whole_however_they_are_cut(messages, cuts):
    framer = Framer(100)
    data = b"".join(encode_varint(n * 70) + packed([body]) for n, body in enumerate(messages))
    expected = [(n * 70, body) for n, body in enumerate(messages)]
    assert fed_in_pieces(framer, data, cuts, framer.typed) == expected


def test_a_message_taken_from_gathered_pieces_leaves_the_next_ones_beginning():
    framer = Framer(100)
    taken = []
    for piece in (b"\x02", b"ab\x03", b"c", b"de\x01", b"f"):
        framer.feed(piece)
        while (body := framer.message()) is not None:
            taken.append(body)
    assert taken == [b"ab", b"cde", b"f"]


def test_the_rest_is_what_was_not_taken():
    framer = Framer(10)
    framer.feed(b"\x05\x01a")
    assert framer.varint() == 5
    assert framer.message() == b"a"
    framer.feed(b"bc")
    framer.feed(b"d")
    assert framer.rest() == b"bcd"
    assert framer.buffered == 0


def test_a_size_over_the_limit_is_refused_before_its_bytes_come():
    framer = Framer(100)
    framer.feed(encode_varint(101))
    with pytest.raises(Oversized, match="101 bytes, 100 are allowed") as caught:
        framer.message()
    assert caught.value.code == SessionCode.EXCESSIVE_LOAD


def test_what_waits_is_bounded_by_one_message_however_small_the_pieces():
    framer = Framer(1000)
    framer.feed(encode_varint(1000))
    for _ in range(999):
        assert framer.message() is None
        framer.feed(b"x")
    assert framer.buffered == 1001
    framer.feed(b"x")
    assert framer.message() == b"x" * 1000
