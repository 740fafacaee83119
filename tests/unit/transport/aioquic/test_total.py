"""What a hostile peer can make one connection hold that nobody reads: no more than is printed."""

import asyncio

import pytest
from aioquic.quic.packet import QuicErrorCode
from tests.aio import run
from tests.attack.attacker import stream_frame
from tests.unit.transport.aioquic.links import link_up
from tests.unit.transport.aioquic.test_guard import forge
from tests.unit.transport.aioquic.wires import Wire

from moqvox.transport.aioquic import Limits
from moqvox.transport.aioquic.raw import RawConnection
from moqvox.transport.interface import DatagramReceived

DATAGRAM_BYTES = 1000
WINDOW_BYTES, ALL_BYTES = 40_000, 300_000
LIMITS = Limits(
    stream_window_bytes=WINDOW_BYTES,
    connection_window_bytes=ALL_BYTES,
    first_connection_window_bytes=ALL_BYTES,
    max_datagrams=16,
)


def make_raw(link, is_client):
    return RawConnection(link, protocol="x", is_client=is_client)


def gaps(engine) -> int:
    """Count the bytes kept behind missing ones, with the room for those."""
    return sum(len(stream.receiver._buffer) for _, stream in engine.table.items())


def waiting(connection) -> tuple[dict[int, int], int]:
    """Count the bytes that wait for the application: of each stream, and of datagrams."""
    streams: dict[int, int] = {}
    datagrams = 0
    for event in connection._inbox._waiting:
        if isinstance(event, DatagramReceived):
            datagrams += len(event.data)
        elif hasattr(event, "data"):
            streams[event.stream] = streams.get(event.stream, 0) + len(event.data)
    return streams, datagrams


@pytest.mark.parametrize("count", [1, 4, 200])
def test_who_sends_all_that_may_be_sent_fills_the_windows_and_no_more(count):
    async def main():
        (_, desk), (server, home) = await link_up(make_raw, limits=LIMITS)
        engine = desk.link.engine
        streams = [engine.open_stream(bidirectional=False, priority=0) for _ in range(count)]
        for number in range(40):
            home.link.engine.send_ping(number)  # a packet in which upstream would raise limits
            home.touch(home.link)
            for stream in streams:
                engine.table.feed(stream, bytes(10_000), fin=False)
            for _ in range(2 * LIMITS.max_datagrams):
                engine.send_datagram_frame(bytes(DATAGRAM_BYTES))
            desk.touch(desk.link)
            await asyncio.sleep(1.0)
            held, datagrams = waiting(server)
            assert max(held.values()) <= WINDOW_BYTES
            assert sum(held.values()) + gaps(home.link.engine) <= ALL_BYTES
            assert datagrams <= LIMITS.max_datagrams * DATAGRAM_BYTES
        assert sum(held.values()) >= 0.99 * min(count * WINDOW_BYTES, ALL_BYTES)
        assert datagrams == LIMITS.max_datagrams * DATAGRAM_BYTES
        assert home.link.engine.ending() is None

    run(main())


def test_who_sends_last_bytes_of_windows_first_has_room_kept_for_all_of_them_and_no_more():
    wire = Wire(limits=LIMITS).handshake()
    fits = ALL_BYTES // WINDOW_BYTES
    for number in range(fits):
        frame = stream_frame(2 + 4 * number, WINDOW_BYTES - 1, b"x")
        forge(wire, wire.client, wire.server, frame)
    assert gaps(wire.server) == fits * WINDOW_BYTES <= ALL_BYTES
    assert wire.server.ending() is None
    forge(wire, wire.client, wire.server, stream_frame(2 + 4 * fits, WINDOW_BYTES - 1, b"x"))
    assert wire.server.ending().code == QuicErrorCode.FLOW_CONTROL_ERROR
    assert gaps(wire.server) <= ALL_BYTES


def test_one_byte_beyond_a_streams_window_ends_the_connection_and_is_not_kept():
    wire = Wire(limits=LIMITS).handshake()
    forge(wire, wire.client, wire.server, stream_frame(2, WINDOW_BYTES, b"x"))
    assert wire.server.ending().code == QuicErrorCode.FLOW_CONTROL_ERROR
    assert gaps(wire.server) == 0
