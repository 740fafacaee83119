"""Streams of one priority share the wire: on two engines, seen by who receives."""

import itertools

import pytest
from aioquic.quic.events import StreamDataReceived
from tests.unit.transport.aioquic.wires import Wire

PACKETS = 10
PACKET_BYTES = 1150
"""Nearly a packet's room: what is left of it holds a piece of the next stream at most."""


def turns(*priorities: int) -> tuple[list[int], list[int]]:
    """Write to one stream for each priority at once; their IDs, and whose bytes came in turn."""
    wire = Wire().handshake()
    streams = [wire.client.open_stream(bidirectional=False, priority=p) for p in priorities]
    wire.events[wire.server].clear()
    for stream in streams:
        wire.client.table.feed(stream, bytes(PACKETS * PACKET_BYTES), fin=True)
    wire.run(1.0)
    came = [e for e in wire.events[wire.server] if isinstance(e, StreamDataReceived)]
    for stream in streams:
        sizes = [len(event.data) for event in came if event.stream_id == stream]
        assert sum(sizes) == PACKETS * PACKET_BYTES
    return streams, [event.stream_id for event in came]


@pytest.mark.parametrize("count", [2, 3])
def test_streams_of_one_priority_take_turns_packet_by_packet(count):
    streams, came = turns(*[0] * count)
    assert came[: count * (PACKETS - 1)] == streams * (PACKETS - 1)


def test_a_stream_of_lower_priority_comes_when_the_others_have_had_their_turns():
    (low, *urgent), came = turns(1, 0, 0)
    assert [stream for stream, _ in itertools.groupby(came)][-1] == low
    first = came.index(low)
    assert set(came[:first]) == set(urgent)
    assert set(came[first + 1 :]) == {low}
