"""Links in memory: delay, rate, loss, outages, new paths, ends, and that a seed replays."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.aio import run
from tests.unit.transport.ends import BAD, on_pair, write_all

from moqvox.errors import LocalError
from moqvox.transport.interface import Kind, StreamData
from moqvox.transport.memory import Direction, Limits, LinkSettings, pair


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


def test_repetitions_grow_rare_in_an_outage_and_come_at_once_after_it():
    async def body(client, server):
        client.connection.link.begin_outage()
        early, late = (client.connection.open_stream(bidirectional=False) for _ in range(2))
        client.connection.write(early, b"early", fin=True)
        await asyncio.sleep(20.5)
        assert client.connection.stats().sent_packets < 18
        client.connection.link.end_outage()
        over_at = now()
        client.connection.write(late, b"late", fin=True)
        assert await server.until(lambda ear: ear.ended(early)) < over_at + 0.1
        assert server.ended(late)

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
