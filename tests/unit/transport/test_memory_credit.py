"""Bounds in memory: windows, places for streams, high-water marks, and who goes first."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.transport.ends import Ear, on_pair, write_all

from moqvox.errors import LocalError
from moqvox.transport.interface import (
    StreamData,
    StreamReset,
    StreamWritable,
)
from moqvox.transport.memory import Limits, LinkSettings, pair
from moqvox.transport.send_queue import Marks


def now() -> float:
    return asyncio.get_running_loop().time()


def test_what_an_unread_peer_holds_is_bounded_by_its_windows():
    limits = Limits(stream_window_bytes=4000, connection_window_bytes=10_000, linger=0)

    async def main():
        client, server = pair(limits=limits, link=LinkSettings(delay_ms=5))
        streams = [client.open_stream(bidirectional=False) for _ in range(5)]
        for stream in streams:
            client.write(stream, bytes(20_000), fin=True)
        await asyncio.sleep(60)
        assert client.stats().unsent_bytes == 90_000
        assert client.stats().sent_packets <= 12
        first = await server.events()
        read = [e for e in first if isinstance(e, StreamData)]
        assert sum(len(e.data) for e in read) == 10_000
        ear = Ear(server)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ear.listen())
            await ear.until(lambda e: sum(event.fin for event in e.of(StreamData)) == 5)
            client.close()
        assert sum(len(e.data) for e in ear.of(StreamData)) == 90_000

    run(main())


def test_one_stream_alone_has_no_more_than_its_own_window():
    async def main():
        client, server = pair(limits=Limits(stream_window_bytes=4000, linger=0))
        write_all(client, bytes(20_000))
        await asyncio.sleep(1)
        assert client.stats().unsent_bytes == 16_000
        client.close()
        server.close()

    run(main())


def test_short_streams_cost_no_packets_of_credit():
    async def body(client, server):
        for _ in range(20):
            stream = write_all(client.connection, bytes(1000))
            await server.until(lambda ear: ear.ended(stream))  # noqa: B023
        assert server.connection.stats().sent_packets == 0

    on_pair(body)


def test_an_answer_that_ends_first_does_not_free_the_streams_place():
    async def body(client, server):
        first, second = (client.connection.open_stream(bidirectional=True) for _ in range(2))
        for stream in (first, second):
            client.connection.write(stream, b"?")
        await server.until(lambda ear: first in ear.opened)
        server.connection.write(first, b"!", fin=True)
        for _ in range(5):
            server.connection.send_datagram(b"")
            await asyncio.sleep(1)
        assert second not in server.opened
        client.connection.write(first, b"", fin=True)
        await server.until(lambda ear: second in ear.opened)

    on_pair(body, limits=Limits(max_bidi_streams=1), link=LinkSettings(delay_ms=1))


def test_resets_and_stops_give_the_connections_credit_back():
    limits = Limits(stream_window_bytes=4000, connection_window_bytes=8000)

    async def body(client, server):
        for number in range(50):
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, bytes(6000))
            if number % 2:
                await asyncio.sleep(0.001)
                client.connection.reset(stream, 1)
            else:
                await server.until(lambda ear: stream in ear.opened)  # noqa: B023
                server.connection.stop(stream, 1)
            await server.until(
                lambda ear: stream in {e.stream for e in ear.of(StreamReset)}  # noqa: B023
            )
        last = write_all(client.connection, bytes(30_000))
        await server.until(lambda ear: ear.ended(last))

    on_pair(body, limits=limits, link=LinkSettings(delay_ms=2, loss=10, reorder=10), seed=3)


def test_a_stream_reset_before_the_peer_allows_it_does_not_cost_a_place():
    limits = Limits(max_uni_streams=2)

    async def body(client, server):
        streams = [client.connection.open_stream(bidirectional=False) for _ in range(8)]
        for stream in streams[2:7]:
            client.connection.reset(stream, 9)
        client.connection.write(streams[7], b"at last", fin=True)
        await asyncio.sleep(1)
        assert server.opened == []
        for stream in streams[:2]:
            client.connection.write(stream, b"", fin=True)
        await server.until(lambda ear: ear.ended(streams[7]))
        assert [e.stream for e in server.of(StreamReset)] == streams[2:7]

    on_pair(body, limits=limits)


def test_bidirectional_places_are_free_when_both_halves_have_ended():
    limits = Limits(max_bidi_streams=1)

    async def body(client, server):
        for number in range(6):
            stream = client.connection.open_stream(bidirectional=True)
            client.connection.write(stream, b"?", fin=True)
            await server.until(lambda ear: ear.ended(stream))  # noqa: B023
            following = client.connection.open_stream(bidirectional=True)
            client.connection.write(following, b"?", fin=True)
            await asyncio.sleep(1)
            assert following not in server.opened
            if number % 2:
                server.connection.write(stream, b"!", fin=True)
            else:
                server.connection.reset(stream, 0)
            await server.until(lambda ear: ear.ended(following))  # noqa: B023
            server.connection.write(following, b"!", fin=True)
            await client.until(lambda ear: ear.ended(following))  # noqa: B023

    on_pair(body, limits=limits, link=LinkSettings(delay_ms=1))


def test_more_streams_than_may_wait_for_permission_are_the_callers_error():
    async def body(client, server):
        for _ in range(5):
            client.connection.open_stream(bidirectional=False)
        with pytest.raises(LocalError, match="3 streams wait"):
            client.connection.open_stream(bidirectional=False)

    on_pair(body, limits=Limits(max_uni_streams=2, max_blocked_streams=3))


def test_lower_priorities_go_first_and_equal_ones_share():
    order: list[int] = []

    async def body(client, server):
        bulk = [write_all(client.connection, bytes(60_000), priority=7) for _ in range(2)]
        await asyncio.sleep(0.2)
        urgent = write_all(client.connection, bytes(6000), priority=1)
        sent_at = now()
        done = await server.until(lambda ear: ear.ended(urgent))
        assert done - sent_at == pytest.approx(0.01 + 6000 * 8 / 1e6, abs=0.015)
        shares = [len(server.data(stream)) for stream in bulk]
        assert abs(shares[0] - shares[1]) <= 2 * 1200
        client.connection.set_priority(bulk[1], 2)
        await server.until(lambda ear: ear.ended(bulk[1]))
        assert not server.ended(bulk[0])
        order.extend(bulk)
        await server.until(lambda ear: ear.ended(bulk[0]))

    on_pair(body, link=LinkSettings(delay_ms=10, rate_kbps=1000))


def test_writers_pause_at_the_high_mark_and_are_told_when_to_go_on():
    marks = Marks(stream_high=10_000, stream_low=2000, hard=20_000)

    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, bytes(10_001))
        assert not client.connection.writable(stream)
        await client.connection.drain(stream)
        assert client.connection.writable(stream)
        assert client.connection.stats().unsent_bytes <= 2000
        await client.until(lambda ear: ear.of(StreamWritable))
        with pytest.raises(LocalError, match="at most 20000"):
            client.connection.write(stream, bytes(20_001))
        client.connection.reset(stream, 0)

    on_pair(body, limits=Limits(marks=marks), link=LinkSettings(rate_kbps=1000))


@pytest.mark.parametrize("how", ["reset", "stop", "fin", "close"])
def test_drain_ends_with_the_stream_however_it_ends(how):
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, bytes(300_000), fin=how == "fin")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.connection.drain(stream))
            tasks.create_task(client.connection.drain(stream))
            await asyncio.sleep(0.1)
            if how == "reset":
                client.connection.reset(stream, 1)
            elif how == "stop":
                server.connection.stop(stream, 1)
            elif how == "close":
                server.connection.close(1)
        await client.connection.drain(stream)

    on_pair(body, link=LinkSettings(delay_ms=5, rate_kbps=8000))
