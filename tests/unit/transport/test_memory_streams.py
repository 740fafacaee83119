"""Streams in memory: order, ends, credit, priorities, on links good and bad."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aio import run
from tests.unit.transport.ends import Ear, on_pair, write_all

from moqvox.errors import LocalError
from moqvox.transport.interface import (
    StreamData,
    StreamOpened,
    StreamReset,
    StreamStopped,
    StreamWritable,
)
from moqvox.transport.memory import Direction, Limits, LinkSettings, pair
from moqvox.transport.send_queue import Marks

BAD = LinkSettings(loss=20, delay_ms=20, jitter_ms=15, reorder=10, duplicate=10)


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


def test_what_an_unread_peer_holds_is_bounded_by_its_windows():
    limits = Limits(stream_window_bytes=4000, connection_window_bytes=10_000, linger=0)

    async def main():
        client, server = pair(limits=limits, link=LinkSettings(delay_ms=5))
        streams = [client.open_stream(bidirectional=False) for _ in range(5)]
        for stream in streams:
            client.write(stream, bytes(20_000), fin=True)
        await asyncio.sleep(60)
        assert client.stats().unsent_bytes == 90_000
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


def test_thousands_of_streams_leave_nothing_behind():
    async def body(client, server):
        for _ in range(40):
            streams = [write_all(client.connection, b"x" * 50) for _ in range(50)]
            await server.until(lambda ear: all(map(ear.ended, streams)))  # noqa: B023
            server.heard.clear()
        await asyncio.sleep(2)
        assert client.connection.stats().unacked_bytes == 0
        for end in (client.connection, server.connection):
            assert not end._outgoing._streams
            assert not end._incoming._streams
            assert not end._incoming._half_open
            assert not any(past._above for past in end._incoming._past.values())

    on_pair(body, link=LinkSettings(delay_ms=5, loss=5, reorder=5), seed=1)
