"""New paths, closes and lost connections in memory."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.transport.ends import BAD, on_pair, write_all

from moqvox.errors import SessionClosed
from moqvox.transport.interface import Closed
from moqvox.transport.memory import Limits, LinkSettings, pair

LOST = Closed(0, "idle time-out", lost=True)


def now() -> float:
    return asyncio.get_running_loop().time()


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
        assert len(set(client.paths)) == len(client.paths)
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


def test_a_close_follows_the_last_acknowledgement_at_once():
    async def body(client, server):
        for _ in range(3):
            write_all(client.connection, b"x")
            await asyncio.sleep(0.01)
        client.connection.close()
        await client.connection.wait_closed()
        assert now() == pytest.approx(0.02 + 0.1)

    on_pair(body, link=LinkSettings(delay_ms=50))


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


def test_a_close_for_an_error_waits_only_to_say_why():
    async def body(client, server):
        write_all(client.connection, bytes(300_000))
        client.connection.close(3, "too much")
        await server.until(lambda ear: ear.closed)
        assert 0.25 <= now() < 0.4
        assert server.closed == Closed(3, "too much", remote=True)

    on_pair(body, link=LinkSettings(rate_kbps=100))


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
