"""The transport contract, on every kind of transport that there is."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests import aio
from tests.loopback.pairs import HASTY, KINDS, PATIENCE, PROTOCOL, Pair, pair

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.aioquic import Limits
from moqvox.transport.interface import Closed, Connection, Kind
from moqvox.transport.send_queue import Marks

pytestmark = [pytest.mark.net, pytest.mark.parametrize("kind", KINDS)]

Body = Callable[[Pair], Awaitable[None]]


def on_pair(kind: str, body: Body, limits: Limits = HASTY) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE), pair(kind, limits=limits) as both:
            await body(both)

    aio.run(main(), virtual=kind != "websocket", sockets=kind != "memory")


def open_streams(connection: Connection, count: int) -> list[int]:
    return [connection.open_stream(bidirectional=False) for _ in range(count)]


def write_often(connection: Connection, stream: int, data: bytes, times: int) -> None:
    for _ in range(times):
        connection.write(stream, data)


def test_both_ends_know_what_they_agreed_on(kind):
    async def body(both):
        client, server = both.client.connection, both.server.connection
        assert (client.is_client, server.is_client) == (True, False)
        for end in (client, server):
            assert end.protocol == PROTOCOL
            assert end.kind is Kind(kind)
            assert end.path == ("" if kind == "quic" else "/room?x=1")
            assert end.remote_address.rpartition(":")[2].isdecimal()

    on_pair(kind, body)


def test_a_ping_is_answered(kind):
    async def body(both):
        client = both.client.connection
        async with asyncio.timeout(PATIENCE):
            while client.stats().unacked_bytes:  # noqa: ASYNC110  # counters tell nobody
                await asyncio.sleep(0.01)
            before = client.stats().received_packets
            client.ping()
            while client.stats().received_packets == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    on_pair(kind, body)


def test_a_ping_of_a_closed_connection_is_none(kind):
    async def body(both):
        client = both.client.connection
        client.close()
        client.ping()
        await client.wait_closed()
        client.ping()

    on_pair(kind, body)


def test_a_stream_is_settled_when_it_needs_nothing_more_of_us(kind):
    """Where nothing overtakes, it is enough that it has left."""

    async def body(both):
        client = both.client.connection
        whole, given_up, held = open_streams(client, 3)
        client.write(whole, bytes(100_000), fin=True)
        client.write(given_up, bytes(100_000))
        client.write(held, b"more will come")
        assert not any(map(client.settled, (whole, given_up, held)))
        await both.server.until(lambda server: given_up in server.data)
        client.reset(given_up, 7)
        await both.server.until(
            lambda server: {whole, given_up} <= server.ended | set(server.resets)
        )
        async with asyncio.timeout(PATIENCE):
            while not (client.settled(whole) and client.settled(given_up)):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not client.settled(held)

    on_pair(kind, body)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_bytes_arrive_in_order_and_once_with_their_end(kind, bidirectional):
    payload = bytes(range(256)) * 1000

    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=bidirectional)
        for start in range(0, len(payload), 7000):
            client.write(stream, payload[start : start + 7000])
        client.write(stream, b"", fin=True)
        await both.server.until(lambda server: stream in server.ended)
        assert both.server.opened == {stream: bidirectional}
        assert both.server.data[stream] == payload

    on_pair(kind, body)


def test_the_server_opens_streams_too_and_the_client_replies(kind):
    async def body(both):
        server, client = both.server.connection, both.client.connection
        one_way = server.open_stream(bidirectional=False)
        server.write(one_way, b"to you", fin=True)
        both_ways = server.open_stream(bidirectional=True)
        server.write(both_ways, b"question", fin=True)
        await both.client.until(lambda reader: {one_way, both_ways} <= reader.ended)
        assert both.client.opened == {one_way: False, both_ways: True}
        client.write(both_ways, b"answer", fin=True)
        await both.server.until(lambda reader: both_ways in reader.ended)
        assert both.server.data[both_ways] == b"answer"
        assert both.server.opened == {}

    on_pair(kind, body)


def test_a_stream_may_end_without_a_byte(kind):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        client.write(stream, b"", fin=True)
        await both.server.until(lambda server: stream in server.ended)
        assert both.server.data[stream] == b""

    on_pair(kind, body)


def test_writes_after_the_end_are_dropped(kind):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        client.write(stream, b"all", fin=True)
        client.write(stream, b"too late")
        client.write(stream, b"", fin=True)
        await both.server.until(lambda server: stream in server.ended)
        assert both.server.data[stream] == b"all"

    on_pair(kind, body)


@pytest.mark.parametrize("code", [0, 5, 0x1E, 0x34, 0xFFFF_FFFF])
def test_a_reset_arrives_with_its_code(kind, code):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        client.write(stream, b"beginning")
        await both.server.until(lambda server: stream in server.data)
        client.reset(stream, code)
        client.write(stream, b"dropped")
        await both.server.until(lambda server: stream in server.resets)
        assert both.server.resets == {stream: code}

    on_pair(kind, body)


@pytest.mark.parametrize("code", [0, 1, 0x33, 0xFFFF_FFFF])
def test_a_stop_arrives_with_its_code_and_ends_our_side(kind, code):
    async def body(both):
        client, server = both.client.connection, both.server.connection
        stream = client.open_stream(bidirectional=True)
        client.write(stream, b"question")
        await both.server.until(lambda reader: stream in reader.data)
        server.stop(stream, code)
        await both.client.until(lambda reader: stream in reader.stops)
        assert both.client.stops == {stream: code}
        client.write(stream, b"dropped")
        await both.server.until(lambda reader: stream in reader.resets)
        server.write(stream, b"still answering", fin=True)
        await both.client.until(lambda reader: stream in reader.ended)
        assert both.client.data[stream] == b"still answering"
        assert both.server.data[stream] == b"question"

    on_pair(kind, body)


def test_data_of_a_stopped_stream_is_suppressed_even_if_it_is_here_already(kind):
    async def body(both):
        client, server = both.client.connection, both.server.connection
        stream, other = (client.open_stream(bidirectional=False) for _ in range(2))
        client.write(stream, b"first")
        await both.server.until(lambda reader: stream in reader.data)
        client.write(stream, b"second")
        await asyncio.sleep(0.02)
        server.stop(stream, 0)
        client.write(other, b"marker", fin=True)
        await both.server.until(lambda reader: other in reader.ended)
        assert both.server.data[stream] == b"first"

    on_pair(kind, body)


def test_hundreds_of_short_streams_pass_one_after_the_other(kind):
    async def body(both):
        client = both.client.connection
        streams = []
        for number in range(400):
            stream = client.open_stream(bidirectional=False)
            client.write(stream, number.to_bytes(2, "big"), fin=True)
            streams.append(stream)
            if number % 50 == 49:
                await both.server.until(lambda server: len(server.ended) >= number + 1)  # noqa: B023
        assert [int.from_bytes(both.server.data[stream], "big") for stream in streams] == list(
            range(400)
        )

    on_pair(kind, body, Limits(max_uni_streams=64))


def test_streams_beyond_the_peers_limit_wait_and_then_pass(kind):
    async def body(both):
        client = both.client.connection
        streams = [client.open_stream(bidirectional=False) for _ in range(60)]
        for stream in streams:
            client.write(stream, b"x", fin=True)
        await both.server.until(lambda server: len(server.ended) == 60)

    on_pair(kind, body, Limits(max_uni_streams=16))


def test_more_waiting_streams_than_allowed_are_the_callers_error(kind):
    async def body(both):
        client = both.client.connection
        with pytest.raises(LocalError, match="permission"):
            open_streams(client, 200)

    on_pair(kind, body, Limits(max_uni_streams=16, max_blocked_streams=20, linger=0.05))


def test_a_writer_pauses_at_the_high_mark_and_goes_on_below_the_low_one(kind):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        written = 0
        while client.writable(stream):
            client.write(stream, bytes(16 * 1024))
            written += 16 * 1024
        assert written < 400 * 1024
        async with asyncio.TaskGroup() as group:
            group.create_task(both.server.until(lambda server: stream in server.ended))
            await client.drain(stream)
            assert client.writable(stream)
            await both.client.until(lambda reader: stream in reader.writable)
            client.write(stream, b"", fin=True)
        assert len(both.server.data[stream]) == written

    on_pair(kind, body)


def test_a_caller_that_writes_on_regardless_meets_the_hard_bound(kind):
    limits = Limits(marks=Marks(stream_high=1 << 16, stream_low=1 << 15, hard=1 << 20))

    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        with pytest.raises(LocalError, match="unsent"):
            write_often(client, stream, bytes(64 * 1024), 100)
        client.reset(stream, 0)
        assert client.stats().unsent_bytes == 0

    on_pair(kind, body, limits)


def test_drain_ends_with_the_stream_and_with_the_connection(kind):
    async def body(both):
        client = both.client.connection
        reset, orphan = (client.open_stream(bidirectional=False) for _ in range(2))
        for stream in (reset, orphan):
            while client.writable(stream):
                client.write(stream, bytes(64 * 1024))
        async with asyncio.TaskGroup() as group:
            group.create_task(client.drain(reset))
            group.create_task(client.drain(orphan))
            await asyncio.sleep(0)
            client.reset(reset, 0)
            both.server.connection.close(3, "enough")
        assert (await both.client.until_closed()).code == 3

    on_pair(kind, body)


def test_an_urgent_stream_overtakes_bytes_that_were_queued_before_it(kind):
    async def body(both):
        client, server = both.client.connection, both.server
        bulk = client.open_stream(bidirectional=False, priority=5)
        client.write(bulk, bytes(2_000_000), fin=True)
        await server.until(lambda reader: len(reader.data.get(bulk, b"")) > 10_000)
        urgent = client.open_stream(bidirectional=False, priority=1)
        client.write(urgent, b"now", fin=True)
        before = len(server.data[bulk])
        await server.until(lambda reader: urgent in reader.ended)
        assert bulk not in server.ended
        # One window of the stream may be on the way already, no more.
        assert len(server.data[bulk]) - before < 400_000

    on_pair(kind, body)


def test_equal_priorities_share_and_a_changed_one_rules(kind):
    limits = Limits(connection_window_bytes=64 * 1024, stream_window_bytes=64 * 1024)

    async def body(both):
        client, server = both.client.connection, both.server
        streams = [client.open_stream(bidirectional=False, priority=3) for _ in range(3)]
        for stream in streams:
            client.write(stream, bytes(200_000), fin=True)
        await server.until(lambda reader: sum(map(len, reader.data.values())) > 200_000)
        shares = [len(server.data.get(stream, b"")) for stream in streams]
        assert max(shares) - min(shares) < 50_000
        client.set_priority(streams[2], 0)
        await server.until(lambda reader: streams[2] in reader.ended)
        assert not server.ended & set(streams[:2])
        await server.until(lambda reader: len(reader.ended) == 3)

    on_pair(kind, body, limits)


def test_a_peer_that_never_reads_stops_the_sender(kind):
    limits = Limits(connection_window_bytes=128 * 1024, stream_window_bytes=64 * 1024)

    async def body(both):
        client = both.client.connection
        streams = [client.open_stream(bidirectional=False) for _ in range(8)]
        for stream in streams:
            client.write(stream, bytes(100_000))
        await asyncio.sleep(0.1)
        sent = 800_000 - client.stats().unsent_bytes
        assert 64 * 1024 <= sent <= 128 * 1024
        await both.server.until(lambda server: sum(map(len, server.data.values())) == 800_000)

    on_pair(kind, body, limits)


def test_empty_streams_count_until_their_end_was_read(kind):
    async def body(both):
        client = both.client.connection
        for _ in range(40):
            client.write(client.open_stream(bidirectional=False), b"", fin=True)
        await asyncio.sleep(0.05)
        batch = await both.server.connection.events()
        assert len(batch) <= 2 * 16
        for event in batch:
            both.server.note(event)
        await both.server.until(lambda server: len(server.ended) == 40)

    on_pair(kind, body, Limits(max_uni_streams=16))


def test_datagrams_pass_whole_and_those_too_large_are_refused(kind):
    async def body(both):
        client, server = both.client.connection, both.server.connection
        limit = client.max_datagram_size
        assert limit > 1100
        assert client.send_datagram(b"small")
        assert client.send_datagram(bytes(limit))
        assert not client.send_datagram(bytes(limit + 1))
        await both.server.until(lambda reader: len(reader.datagrams) == 2)
        assert both.server.datagrams == [b"small", bytes(limit)]
        assert server.send_datagram(b"")
        await both.client.until(lambda reader: reader.datagrams)
        assert both.client.datagrams == [b""]

    on_pair(kind, body)


def test_datagrams_that_nobody_reads_are_dropped_beyond_a_bound(kind):
    async def body(both):
        client = both.client.connection
        sent = [client.send_datagram(bytes([number])) for number in range(12)]
        assert sent == [True] * 8 + [False] * 4
        await asyncio.sleep(0.02)
        for number in range(4):
            client.send_datagram(bytes([100 + number]))
        await asyncio.sleep(0.02)
        assert len(await both.server.connection.events()) == 8

    on_pair(kind, body, Limits(max_datagrams=8))


@pytest.mark.parametrize("closer", ["client", "server"])
def test_a_close_arrives_with_code_and_reason(kind, closer):
    async def body(both):
        ours = both.client if closer == "client" else both.server
        theirs = both.server if closer == "client" else both.client
        ours.connection.close(0x15, "wrong version")
        ours.connection.close(1, "a second close changes nothing")
        assert await theirs.until_closed() == Closed(0x15, "wrong version", remote=True)
        assert await ours.until_closed() == Closed(0x15, "wrong version")
        await ours.connection.wait_closed()
        await theirs.connection.wait_closed()
        for end in (ours.connection, theirs.connection):
            with pytest.raises(SessionClosed) as caught:
                await end.events()
            assert caught.value.code == 0x15
            with pytest.raises(SessionClosed):
                end.open_stream(bidirectional=False)
            end.write(0, b"dropped")
            assert not end.send_datagram(b"dropped")

    on_pair(kind, body)


def test_reasons_are_safe_to_print(kind):
    async def body(both):
        both.client.connection.close(1, "\x1b[31mred\n")
        closed = await both.server.until_closed()
        assert closed.reason == "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"

    on_pair(kind, body)


def test_a_plain_close_delivers_what_was_queued(kind):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        client.write(stream, bytes(300_000), fin=True)
        client.close(0, "bye")
        assert (await both.server.until_closed()).code == 0
        assert len(both.server.data[stream]) == 300_000
        assert stream in both.server.ended

    on_pair(kind, body, Limits())


def test_a_cancelled_reader_loses_nothing(kind):
    async def body(both):
        client, server = both.client.connection, both.server.connection
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await server.events()
        stream = client.open_stream(bidirectional=False)
        client.write(stream, b"one", fin=True)
        await both.server.until(lambda reader: stream in reader.ended)
        assert both.server.data[stream] == b"one"

    on_pair(kind, body)


def test_a_second_reader_is_the_callers_error(kind):
    async def body(both):
        server = both.server.connection
        async with asyncio.TaskGroup() as group:
            first = group.create_task(server.events())
            await asyncio.sleep(0)
            with pytest.raises(LocalError, match="two readers"):
                await server.events()
            first.cancel()

    on_pair(kind, body)


def test_the_counters_count(kind):
    async def body(both):
        client = both.client.connection
        stream = client.open_stream(bidirectional=False)
        client.write(stream, bytes(50_000), fin=True)
        await both.server.until(lambda reader: stream in reader.ended)
        await asyncio.sleep(0.02)
        stats = client.stats()
        assert stats.sent_bytes > 50_000
        assert both.server.connection.stats().received_bytes > 50_000
        packets = 3 if kind == "websocket" else 40  # messages there, of up to 16 KiB
        assert both.server.connection.stats().received_packets > packets
        assert stats.sent_packets > packets
        assert 0 < stats.rtt < 1
        assert stats.congestion_window_bytes >= 12_000
        assert stats.unsent_bytes == 0
        assert stats.path_changes == 0

    on_pair(kind, body)
