"""Streams in memory: order, ends, credit, priorities, on links good and bad."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.transport.ends import BAD, on_pair, write_all

from moqvox.transport.interface import (
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
)
from moqvox.transport.memory import Direction, LinkSettings


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("seed", range(10))
def test_every_stream_arrives_whole_in_order_and_once_on_a_bad_link(seed):
    dice = random.Random(seed)
    payloads = [dice.randbytes(dice.choice((0, 1, 999, 5000))) for _ in range(30)]

    async def body(client, server):
        streams = [write_all(client.connection, payload) for payload in payloads]
        await server.until(lambda ear: all(ear.ended(stream) for stream in streams))
        assert [server.data(stream) for stream in streams] == payloads
        assert sorted(server.opened) == streams

    on_pair(body, link=BAD, seed=seed)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.lists(
        st.tuples(st.integers(0, 3), st.binary(max_size=3000), st.integers(0, 30)), max_size=25
    ),
    st.builds(
        LinkSettings,
        loss=st.floats(0, 60),
        delay_ms=st.floats(0, 100),
        jitter_ms=st.floats(0, 100),
        reorder=st.floats(0, 50),
        duplicate=st.floats(0, 50),
        rate_kbps=st.sampled_from([0.0, 64.0, 1000.0]),
    ),
)
def test_any_interleaving_of_writes_keeps_each_streams_order(seed, writes, link):
    async def body(client, server):
        streams = [client.connection.open_stream(bidirectional=True) for _ in range(4)]
        sent = dict.fromkeys(streams, b"")
        for which, data, pause_ms in writes:
            client.connection.write(streams[which], data)
            sent[streams[which]] += data
            await asyncio.sleep(pause_ms / 1000)
        for stream in streams:
            client.connection.write(stream, b"", fin=True)
        await server.until(lambda ear: all(ear.ended(stream) for stream in streams))
        assert {stream: server.data(stream) for stream in streams} == sent

    _, server = on_pair(body, link=link, seed=seed)
    first: dict[int, object] = {}
    for event in server.of(StreamData) + server.of(StreamOpened):
        first.setdefault(event.stream, None)
    for stream in first:
        mine = [e for e in server.events if getattr(e, "stream", None) == stream]
        assert isinstance(mine[0], StreamOpened)
        assert [event.fin for event in mine[1:]].index(True) == len(mine) - 2


def test_a_lost_packet_delays_its_own_stream_and_no_other():
    async def body(client, server):
        one, other = (client.connection.open_stream(bidirectional=False) for _ in range(2))
        client.connection.write(one, b"1")
        await server.until(lambda ear: ear.data(one))
        client.connection.link.begin_outage(Direction.UP)
        client.connection.write(one, b"2")
        await asyncio.sleep(0.001)
        client.connection.link.end_outage(Direction.UP)
        client.connection.write(one, b"3")
        client.connection.write(other, b"x")
        sent_at = now()
        assert await server.until(lambda ear: ear.data(other)) == pytest.approx(sent_at + 0.05)
        assert server.data(one) == b"1"
        late = await server.until(lambda ear: ear.data(one) == b"123")
        assert sent_at + 0.15 < late < sent_at + 0.25
        assert client.connection.stats().lost_packets == 1

    on_pair(body, link=LinkSettings(delay_ms=50))


def test_resets_and_stops_cross_a_bad_link_with_their_codes():
    async def body(client, server):
        ours = [client.connection.open_stream(bidirectional=True) for _ in range(20)]
        for stream in ours:
            client.connection.write(stream, b"x" * 3000)
        await server.until(lambda ear: len(ear.opened) == 20)
        for stream in ours[:10]:
            client.connection.reset(stream, 100 + stream)
        for stream in ours[10:]:
            server.connection.stop(stream, 200 + stream)
        await server.until(lambda ear: len(ear.of(StreamReset)) == 20)
        await client.until(lambda ear: len(ear.of(StreamStopped)) == 10)
        assert {e.stream: e.code for e in server.of(StreamReset)} == {
            stream: stream + (100 if stream in ours[:10] else 200) for stream in ours
        }
        assert {e.stream: e.code for e in client.of(StreamStopped)} == {
            stream: 200 + stream for stream in ours[10:]
        }

    on_pair(body, link=BAD, seed=4)


def test_nothing_of_a_stream_comes_after_its_reset_or_its_stop():
    async def body(client, server):
        streams = [client.connection.open_stream(bidirectional=False) for _ in range(40)]
        for stream in streams:
            client.connection.write(stream, bytes(4000))
        await asyncio.sleep(0.04)
        for stream in streams[::2]:
            client.connection.reset(stream, 1)
        for stream in streams[1::2]:
            server.connection.stop(stream, 1)
        stopped_at = len(server.events)
        await server.until(lambda ear: len(ear.of(StreamReset)) == 40)
        await asyncio.sleep(1)
        gone = set()
        for event in server.events:
            assert event.stream not in gone
            if isinstance(event, StreamReset):
                gone.add(event.stream)
        later = server.events[stopped_at:]
        assert not [e for e in later if isinstance(e, StreamData) and e.stream in streams[1::2]]

    on_pair(body, link=BAD, seed=9)


def test_a_stop_after_the_end_was_acknowledged_says_nothing():
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, b"all", fin=True)
        await server.until(lambda ear: ear.ended(stream))
        await asyncio.sleep(1)
        client.connection.stats()
        server.connection.stop(stream, 1)
        client.connection.reset(stream, 1)
        await asyncio.sleep(1)

    client, server = on_pair(body, link=LinkSettings(delay_ms=10))
    assert not client.of(StreamStopped)
    assert not server.of(StreamReset)


def test_what_was_lost_of_a_stream_is_not_repeated_after_its_reset():
    async def body(client, server):
        client.connection.link.begin_outage(Direction.UP)
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, bytes(60_000))
        await asyncio.sleep(0.01)
        sent = client.connection.stats()
        client.connection.reset(stream, 6)
        client.connection.link.end_outage(Direction.UP)
        await server.until(lambda ear: ear.of(StreamReset))
        await asyncio.sleep(5)
        assert not server.data(stream)
        stats = client.connection.stats()
        assert stats.sent_packets - sent.sent_packets == 1
        assert stats.unacked_bytes == 0

    on_pair(body, link=LinkSettings(delay_ms=30))


def test_a_stop_that_crosses_a_reset_tells_nobody_anything_new():
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, b"x")
        await server.until(lambda ear: stream in ear.opened)
        client.connection.reset(stream, 1)
        client.connection.reset(stream, 2)
        server.connection.stop(stream, 3)
        await asyncio.sleep(1)
        assert [event.code for event in server.of(StreamReset)] == [1]
        assert not client.of(StreamStopped)
        assert client.connection.stats().sent_packets == 2

    on_pair(body, link=LinkSettings(delay_ms=30))


def test_bytes_that_come_after_the_reset_was_read_do_not_open_the_stream_anew():
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, b"slow")
        await asyncio.sleep(0.01)
        client.connection.link.change_path(LinkSettings(delay_ms=5))
        client.connection.reset(stream, 1)
        await server.until(lambda ear: ear.of(StreamReset))
        assert now() < 0.1
        await asyncio.sleep(1)
        assert server.opened == [stream]
        assert server.data(stream) == b""

    on_pair(body, link=LinkSettings(delay_ms=500))


def test_thousands_of_streams_leave_nothing_behind():
    async def body(client, server):
        for _ in range(40):
            streams = [write_all(client.connection, b"x" * 50) for _ in range(50)]
            await server.until(lambda ear: all(map(ear.ended, streams)))  # noqa: B023
            server.heard.clear()
        await asyncio.sleep(2)
        assert client.connection.stats().unacked_bytes == 0
        for end in (client.connection, server.connection):
            assert not end._sending._halves
            assert not end._courier.unheard._streams
            assert not end._receiving._halves
            assert not end._receiving._half_open
            assert not end._streams._in_order._early
            assert not any(some.skipped for some in end._receiving._arrivals.values())

    on_pair(body, link=LinkSettings(delay_ms=5, loss=5, reorder=5), seed=1)
