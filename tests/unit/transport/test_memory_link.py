"""Links in memory: delay, rate, loss, outages, new paths, ends, and that a seed replays."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aio import run
from tests.unit.transport.ends import on_pair, write_all

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.interface import Closed, Kind, StreamData
from moqvox.transport.memory import Direction, Limits, LinkSettings, pair

BAD = LinkSettings(loss=20, delay_ms=20, jitter_ms=15, reorder=10, duplicate=10)
LOST = Closed(0, "idle time-out", lost=True)


def now() -> float:
    return asyncio.get_running_loop().time()


def trace(seed, link=BAD, *, extra=False):
    """Tell a short story on a bad link; returns all that both ends heard, and when."""

    async def body(client, server):
        streams = [client.connection.open_stream(bidirectional=True) for _ in range(3)]
        for number in range(60):
            client.connection.write(streams[number % 3], bytes([number]) * 500)
            server.connection.send_datagram(bytes([number]))
            if extra and number == 30:
                server.connection.stats()
            await asyncio.sleep(0.02)
        for stream in streams:
            client.connection.write(stream, b"", fin=True)
        await server.until(lambda ear: all(map(ear.ended, streams)))

    client, server = on_pair(body, link=link, seed=seed)
    return client.heard, server.heard


def test_the_same_seed_replays_every_event_at_its_time():
    assert trace(5) == trace(5, extra=True)


def test_different_seeds_have_different_fates():
    assert len({repr(trace(seed)) for seed in range(5)}) == 5


def datagrams_that_pass(link, *, seed=1, chatter=0):
    numbers = []

    async def body(client, server):
        for number in range(200):
            client.connection.send_datagram(bytes([number]))
            for _ in range(chatter):
                server.connection.send_datagram(b"noise")
            await asyncio.sleep(0.01)
        await asyncio.sleep(1)
        numbers.extend(data[0] for data in server.datagrams)

    on_pair(body, link=link, seed=seed)
    return numbers


def test_a_packets_loss_does_not_depend_on_delay_jitter_or_the_other_direction():
    plain = datagrams_that_pass(LinkSettings(loss=30))
    assert 120 < len(plain) < 160
    assert plain == sorted(plain)
    assert plain == datagrams_that_pass(LinkSettings(loss=30, delay_ms=70, jitter_ms=50))
    assert plain == datagrams_that_pass(LinkSettings(loss=30), chatter=3)
    assert set(datagrams_that_pass(LinkSettings(loss=40))) < set(plain)


def test_datagrams_may_be_lost_or_overtaken_but_never_come_twice():
    numbers = datagrams_that_pass(BAD)
    assert len(set(numbers)) == len(numbers) < 190
    assert numbers != sorted(numbers)


def test_jitter_alone_keeps_the_order():
    numbers = datagrams_that_pass(LinkSettings(jitter_ms=200))
    assert numbers == list(range(200))


def test_duplicates_are_counted_and_not_told():
    async def body(client, server):
        stream = write_all(client.connection, bytes(12_000))
        await server.until(lambda ear: ear.ended(stream))
        await asyncio.sleep(1)
        sent = client.connection.stats().sent_packets
        assert server.connection.stats().received_packets == 2 * sent

    on_pair(body, link=LinkSettings(duplicate=100))


def test_what_is_sent_either_arrives_or_is_lost():
    async def body(client, server):
        stream = write_all(client.connection, bytes(100_000))
        await server.until(lambda ear: ear.ended(stream))
        await asyncio.sleep(2)
        stats = client.connection.stats()
        assert stats.lost_packets > 5
        received = server.connection.stats()
        assert stats.sent_packets == received.received_packets + stats.lost_packets
        assert stats.sent_bytes > received.received_bytes > 100_000

    on_pair(body, link=LinkSettings(loss=10, delay_ms=10))


def test_bytes_take_the_delay_and_the_round_trip_is_known():
    async def body(client, server):
        assert client.connection.stats().rtt == pytest.approx(0.08)
        sent_at = now()
        stream = write_all(client.connection, b"x")
        assert await server.until(lambda ear: ear.ended(stream)) == pytest.approx(sent_at + 0.04)
        assert client.connection.stats().unacked_bytes > 0
        await asyncio.sleep(0.0401)
        assert client.connection.stats().unacked_bytes == 0
        client.connection.link.change(LinkSettings(delay_ms=100))
        for _ in range(60):
            client.connection.write(client.connection.open_stream(bidirectional=False), b"x")
            await asyncio.sleep(0.3)
        assert client.connection.stats().rtt == pytest.approx(0.2, rel=0.01)

    on_pair(body, link=LinkSettings(delay_ms=40))


def test_a_narrow_link_passes_its_rate_and_keeps_the_rest_waiting():
    async def body(client, server):
        stream = write_all(client.connection, bytes(120_000))
        await asyncio.sleep(0.5)
        assert len(server.data(stream)) == pytest.approx(0.5 * 1e6 / 8, rel=0.06)
        stats = client.connection.stats()
        assert stats.unsent_bytes == pytest.approx(120_000 - 0.5 * 1e6 / 8, rel=0.06)
        assert stats.congestion_window_bytes == pytest.approx(stats.rtt * 1e6 / 8, abs=1)
        assert await server.until(lambda ear: ear.ended(stream)) == pytest.approx(1.0, rel=0.06)

    on_pair(body, link=LinkSettings(delay_ms=5, rate_kbps=1000))


def test_an_outage_delays_and_loses_nothing():
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.link.outage(3.0)
        for number in range(250):
            client.connection.write(stream, bytes([number]) * 20, fin=number == 249)
            await asyncio.sleep(0.02)
        await server.until(lambda ear: ear.ended(stream))
        assert server.data(stream) == b"".join(bytes([number]) * 20 for number in range(250))
        arrivals = [at for at, event in server.heard if isinstance(event, StreamData)]
        assert 3.0 < arrivals[0] < 3.2

    on_pair(body, link=LinkSettings(delay_ms=25))


def test_acknowledgements_do_not_pass_a_dead_way_back():
    async def body(client, server):
        client.connection.link.begin_outage(Direction.DOWN)
        stream = write_all(client.connection, b"x")
        await server.until(lambda ear: ear.ended(stream))
        await asyncio.sleep(5)
        assert client.connection.stats().unacked_bytes > 0
        client.connection.link.end_outage(Direction.DOWN)
        assert client.connection.stats().unacked_bytes == 0

    on_pair(body, link=LinkSettings(delay_ms=25))


@pytest.mark.parametrize("death", ["outage", "loss"])
def test_a_dead_link_ends_both_sides_after_the_idle_time_out(death):
    async def body(client, server):
        await asyncio.sleep(7)
        if death == "outage":
            client.connection.link.begin_outage()
        else:
            client.connection.link.change(LinkSettings(loss=100))
        client.connection.write(client.connection.open_stream(bidirectional=False), b"hello?")
        for ear in (client, server):
            assert await ear.until(lambda ear: ear.closed) == 17
            assert ear.closed == LOST
        with pytest.raises(SessionClosed, match="idle"):
            client.connection.open_stream(bidirectional=False)

    on_pair(body, limits=Limits(idle_timeout=10))


def test_silence_on_a_sound_link_is_no_reason_to_end():
    async def body(client, server):
        await asyncio.sleep(3600)
        client.connection.link.outage(29)
        await asyncio.sleep(30)
        client.connection.link.outage(29)
        await asyncio.sleep(3600)
        stream = write_all(client.connection, b"still here")
        await server.until(lambda ear: ear.ended(stream))

    on_pair(body)


def test_a_new_path_is_reported_by_both_once_they_heard_of_it():
    async def body(client, server):
        link = client.connection.link
        assert server.connection.remote_address == "client:40000"
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, b"before ")
        link.change_path(LinkSettings(delay_ms=40))
        changed_at = now()
        client.connection.write(stream, b"after", fin=True)
        assert await server.until(lambda ear: ear.paths) == pytest.approx(changed_at + 0.04)
        assert await client.until(lambda ear: ear.paths) == pytest.approx(changed_at + 0.08)
        assert server.paths == [("server:443", "client:40001")]
        assert client.paths == [("client:40001", "server:443")]
        assert server.connection.remote_address == "client:40001"
        await server.until(lambda ear: ear.ended(stream))
        assert server.data(stream) == b"before after"
        assert client.connection.stats().rtt == pytest.approx(0.08, rel=0.2)
        for end in (client, server):
            assert end.connection.stats().path_changes == 1

    on_pair(body, link=LinkSettings(delay_ms=15))


def test_a_nats_new_address_is_seen_by_the_server_alone():
    async def body(client, server):
        client.connection.link.rebind()
        await server.until(lambda ear: ear.paths)
        await asyncio.sleep(1)
        assert not client.paths
        assert server.paths == [("server:443", "client:40001")]

    on_pair(body, link=BAD)


@pytest.mark.parametrize("seed", range(5))
def test_many_new_paths_in_a_row_end_on_the_last_one(seed):
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        for number in range(20):
            client.connection.write(stream, bytes([number]))
            client.connection.link.change_path()
            await asyncio.sleep(0.03)
        client.connection.write(stream, b"", fin=True)
        await server.until(lambda ear: ear.ended(stream))
        await client.until(lambda ear: ("client:40020", "server:443") in ear.paths)
        assert server.data(stream) == bytes(range(20))
        assert server.paths[-1] == ("server:443", "client:40020")
        assert server.connection.remote_address == "client:40020"

    on_pair(body, link=BAD, seed=seed)


def test_paths_that_nobody_reads_of_are_counted_but_not_kept():
    async def main():
        client, server = pair(limits=Limits(max_path_changes=3))
        for _ in range(10):
            client.link.change_path()
            await asyncio.sleep(1)
        assert len(await server.events()) == 3
        assert server.stats().path_changes == 10
        client.close()
        server.close()
        await server.wait_closed()

    run(main())


def test_a_close_waits_for_what_is_queued_even_through_loss():
    async def body(client, server):
        stream = write_all(client.connection, bytes(50_000))
        client.connection.close(0, "done")
        assert not client.connection.send_datagram(b"late")
        with pytest.raises(SessionClosed):
            client.connection.open_stream(bidirectional=False)
        await client.connection.wait_closed()
        assert server.ended(stream)
        await server.until(lambda ear: ear.closed)
        assert client.closed == Closed(0, "done")
        assert server.closed == Closed(0, "done", remote=True)

    on_pair(body, link=BAD, limits=Limits(linger=10), seed=2)


def test_a_close_does_not_wait_longer_than_it_may():
    async def body(client, server):
        client.connection.link.begin_outage()
        write_all(client.connection, bytes(50_000))
        client.connection.close()
        await client.connection.wait_closed()
        assert now() == pytest.approx(3)
        client.connection.link.end_outage()
        await server.until(lambda ear: ear.closed)
        assert server.closed == Closed(0, "", remote=True)
        assert now() < 5

    on_pair(body)


def test_a_close_that_never_arrives_leaves_the_peer_to_its_idle_time_out():
    async def body(client, server):
        client.connection.link.begin_outage()
        client.connection.close(7, "bye")
        await client.connection.wait_closed()
        assert now() == pytest.approx(0)
        await server.until(lambda ear: ear.closed)
        assert server.closed == LOST
        assert now() == pytest.approx(30)

    on_pair(body)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.floats(0.001, 2), min_size=1, max_size=8))
def test_outages_of_any_length_lose_and_repeat_nothing(seed, spells):
    async def body(client, server):
        stream = client.connection.open_stream(bidirectional=False)
        for number, spell in enumerate(spells * 2):
            if number % 2:
                client.connection.link.outage(spell)
            client.connection.write(stream, bytes([number]))
            await asyncio.sleep(spell)
        client.connection.write(stream, b"", fin=True)
        await server.until(lambda ear: ear.ended(stream))
        assert server.data(stream) == bytes(range(2 * len(spells)))

    on_pair(body, link=BAD, seed=seed)


@pytest.mark.parametrize(
    ("name", "value"), [("loss", 101), ("loss", -1), ("delay_ms", -1), ("rate_kbps", 1e10)]
)
def test_settings_out_of_range_are_refused_with_what_is_possible(name, value):
    with pytest.raises(LocalError, match=f"{name} of .* is possible"):
        LinkSettings(**{name: value})


def test_datagrams_can_be_off_and_are_bounded():
    async def main():
        off, _ = pair(limits=Limits(max_datagram_bytes=0))
        assert off.max_datagram_size == 0
        assert not off.send_datagram(b"")
        client, server = pair(
            link=LinkSettings(rate_kbps=100), limits=Limits(max_datagrams=3, max_datagram_bytes=10)
        )
        assert not client.send_datagram(bytes(11))
        assert [client.send_datagram(bytes(10)) for _ in range(5)] == [True] * 3 + [False] * 2
        await asyncio.sleep(1)
        assert [client.send_datagram(bytes(10)) for _ in range(5)] == [True] * 3 + [False] * 2
        await asyncio.sleep(1)
        assert len(await server.events()) == 3

    run(main())


def test_both_ends_know_what_they_are():
    async def main():
        client, server = pair("moq-lite-04", path="/room?x=1")
        assert (client.is_client, server.is_client) == (True, False)
        for end in (client, server):
            assert (end.kind, end.protocol, end.path) == (Kind.MEMORY, "moq-lite-04", "/room?x=1")
        assert client.remote_address == "server:443"

    run(main())


def test_a_narrow_link_with_losses_is_not_tried_again_before_it_is_free():
    async def body(client, server):
        client.connection.link.begin_outage(Direction.UP)
        stream = write_all(client.connection, bytes(30_000))
        await asyncio.sleep(0.1)
        client.connection.link.end_outage(Direction.UP)
        await server.until(lambda ear: ear.ended(stream))

    on_pair(body, link=LinkSettings(delay_ms=1, rate_kbps=64))


def test_credit_waits_for_a_narrow_link_like_everything_else():
    async def body(client, server):
        bulk = write_all(server.connection, bytes(20_000))
        stream = write_all(client.connection, bytes(20_000))
        await server.until(lambda ear: ear.ended(stream))
        await client.until(lambda ear: ear.ended(bulk))

    on_pair(body, link=LinkSettings(rate_kbps=64), limits=Limits(stream_window_bytes=2000))
