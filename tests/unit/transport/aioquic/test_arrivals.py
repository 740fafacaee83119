"""What a peer's streams are, by their first bytes, however these are cut."""

import pytest
from aioquic.h3.connection import FrameType, StreamType

from moqvox.transport.aioquic.arrivals import MAX_EARLY_STREAMS, Arrivals, Head
from moqvox.transport.aioquic.varint import encode_varint

BIDI, UNI = 4, 6
SESSION = 400
OURS_BIDI = encode_varint(FrameType.WEBTRANSPORT_STREAM) + encode_varint(SESSION)
OURS_UNI = encode_varint(StreamType.WEBTRANSPORT) + encode_varint(SESSION)


@pytest.mark.parametrize(
    ("stream", "data", "head"),
    [
        (BIDI, OURS_BIDI + b"x", Head(FrameType.WEBTRANSPORT_STREAM, SESSION, 4, b"x")),
        (UNI, OURS_UNI + b"x", Head(StreamType.WEBTRANSPORT, SESSION, 4, b"x")),
        (UNI, b"\x00\x04\x00", Head(StreamType.CONTROL, None, 1, b"\x04\x00")),
        (BIDI, b"\x01\x02ab", Head(FrameType.HEADERS, None, 0, b"\x01\x02ab")),
    ],
    ids=["session's, both ways", "session's, one way", "control", "request"],
)
def test_a_stream_is_known_by_its_first_bytes_however_they_are_cut(stream, data, head):
    assert Arrivals().read(stream, data) == head
    for cut in range(1, len(data)):
        arrivals = Arrivals()
        found = arrivals.read(stream, data[:cut])
        if found is None:
            found = arrivals.read(stream, data[cut:])
            assert found == head
        else:
            assert found == head._replace(rest=head.rest[: len(head.rest) - len(data) + cut])


def test_what_is_forgotten_begins_anew():
    arrivals = Arrivals()
    assert arrivals.read(UNI, OURS_UNI[:1]) is None
    arrivals.forget(UNI)
    assert arrivals.read(UNI, b"\x00") == Head(StreamType.CONTROL, None, 1, b"")


def test_so_many_streams_wait_for_their_session_and_no_more():
    arrivals = Arrivals()
    for number in range(MAX_EARLY_STREAMS):
        held = arrivals.hold(4 * number, SESSION)
        assert held is not None
        held.add(b"%d" % number, fin=number == 1)
    assert arrivals.hold(4 * MAX_EARLY_STREAMS, SESSION) is None
    arrivals.forget(0)
    waiting = arrivals.take_early()
    assert (next(iter(waiting)), bytes(waiting[4].data), waiting[4].fin) == (4, b"1", True)
    assert arrivals.early(4) is None
