"""Windows of flow control begin small, and grow by what is read."""

import pytest
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits

FIRST, ALL_FIRST = 10_000, 30_000
WINDOW, ALL = 40_000, 80_000
GROWING = Limits(
    stream_window_bytes=WINDOW,
    connection_window_bytes=ALL,
    first_stream_window_bytes=FIRST,
    first_connection_window_bytes=ALL_FIRST,
)
FIXED = Limits(
    first_stream_window_bytes=Limits().stream_window_bytes,
    first_connection_window_bytes=Limits().connection_window_bytes,
)
STEP = 0.75
"""Of a window is at least open: a quarter may have been read without news of it."""


def begin(wire, size, streams=1):
    numbers = [wire.client.open_stream(bidirectional=False, priority=0) for _ in range(streams)]
    for number in numbers:
        wire.client.table.feed(number, bytes(size), fin=True)
    wire.run(3.0)
    return numbers


def arrived(wire, stream):
    return wire.server.table[stream].receiver.highest_offset


def read(wire, stream, size):
    wire.server.table.hand_over(stream, size)
    wire.run(1.0)


@pytest.mark.parametrize(
    ("limits", "of_one", "of_all"),
    [
        pytest.param(GROWING, FIRST, ALL_FIRST, id="given"),
        pytest.param(Limits(), 64 * 1024, 256 * 1024, id="default"),
    ],
)
def test_who_sends_what_nobody_reads_finds_the_first_windows(limits, of_one, of_all):
    wire = Wire(limits=limits).handshake()
    (stream,) = begin(wire, 1 << 20)
    assert arrived(wire, stream) == of_one
    begin(wire, 1 << 20, streams=8)
    assert sum(one.receiver.highest_offset for _, one in wire.server.table.items()) == of_all


def test_a_window_grows_by_what_is_read_to_its_size_and_no_further():
    wire = Wire(limits=GROWING).handshake()
    (stream,) = begin(wire, 10 * WINDOW)
    was_read, widest = 0, 0
    while was_read < 8 * WINDOW:
        unread = arrived(wire, stream) - was_read
        assert STEP * min(WINDOW, FIRST + was_read) <= unread <= min(WINDOW, FIRST + was_read)
        widest = max(widest, unread)
        read(wire, stream, 5000)
        was_read += 5000
    assert widest == WINDOW


def test_a_connection_s_window_grows_by_what_is_read_of_all_streams():
    wire = Wire(limits=GROWING).handshake()
    streams = begin(wire, WINDOW, streams=20)
    was_read, most = 0, 0
    for stream in streams:
        read(wire, stream, unread := arrived(wire, stream))
        was_read += unread
        table = wire.server.table
        held = sum(one.receiver.highest_offset - one.handed_bytes for _, one in table.items())
        assert held <= min(ALL, ALL_FIRST + was_read)
        most = max(most, held)
    assert most >= STEP * ALL


def test_a_first_window_is_no_larger_than_the_window():
    wire = Wire(limits=Limits(stream_window_bytes=500, connection_window_bytes=900)).handshake()
    streams = begin(wire, 2000, streams=2)
    assert [arrived(wire, stream) for stream in streams] == [500, 400]


@pytest.mark.parametrize("rtt", [0.03, 0.1])
def test_bulk_that_is_read_at_once_is_no_slower_for_windows_that_begin_small(rtt):
    took = []
    for limits in (Limits(), FIXED):
        wire = Wire(limits=limits, delay=rtt / 2).handshake()
        wire.run(1.0)
        stream = wire.client.open_stream(bidirectional=False, priority=0)
        wire.client.table.feed(stream, bytes(1 << 20), fin=True)
        began = wire.now
        while not (stream in wire.server.table and wire.server.table[stream].receiver.is_finished):
            wire.run(0.001)
            if stream in wire.server.table:
                held = wire.server.table[stream]
                if unread := held.receiver.starting_offset() - held.handed_bytes:
                    wire.server.table.hand_over(stream, unread)
        took.append(wire.now - began)
    small, fixed = took
    assert small <= fixed + rtt
