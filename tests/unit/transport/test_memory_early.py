"""Connections in memory that are there before their server has answered."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.transport.ends import Ear

from moqvox.transport.interface import Closed
from moqvox.transport.memory import LinkSettings, Network

ALPN = "moq-lite-06"
ONE_WAY = 0.05
ROUND = 2 * ONE_WAY


def say(connection, data: bytes, **options) -> int:
    stream = connection.open_stream(bidirectional=False, **options)
    connection.write(stream, data, fin=True)
    return stream


def rounds() -> float:
    return round(asyncio.get_running_loop().time() / ROUND, 1)


@pytest.mark.parametrize("takes_early", [True, False])
def test_marked_bytes_come_half_a_round_trip_after_the_start_if_they_are_taken(takes_early):
    async def main():
        network = Network(link=LinkSettings(delay_ms=1000 * ONE_WAY))
        listener = network.listen("server", [ALPN], takes_early=takes_early)
        client = await network.connect("server", [ALPN], early=True)
        assert rounds() == 0
        ask, vote = say(client, b"who stands?", early=True), say(client, b"I vote", priority=-1)
        assert client.send_datagram(b"tick", early=True)
        assert not client.send_datagram(b"tock")
        server = Ear(await listener.accept())
        assert rounds() == 0.5
        times = {}
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(server.listen())
            for stream in (ask, vote):
                await server.until(lambda ear, stream=stream: ear.ended(stream))
                times[stream] = rounds()
            client.close()
            await server.until(lambda ear: ear.closed)
            listening.cancel()
        assert (server.data(ask), server.data(vote)) == (b"who stands?", b"I vote")
        return times[ask], times[vote], server.datagrams

    assert run(main()) == ((0.5, 1.5, [b"tick"]) if takes_early else (1.5, 1.5, []))


@pytest.mark.parametrize("takes_early", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_or_said_twice_on_a_bad_link(seed, takes_early):
    async def main():
        bad = LinkSettings(loss=30, delay_ms=30, jitter_ms=20, reorder=20, duplicate=20)
        network = Network(seed, link=bad)
        listener = network.listen("server", [ALPN], takes_early=takes_early)
        client = await network.connect("server", [ALPN], early=True, timeout=60)
        said = {}
        for number in range(6):
            payload = bytes([number]) * (500 * number + 1)
            said[say(client, payload, early=number % 2 == 0)] = payload
        server = Ear(await listener.accept())
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(server.listen())
            await server.until(lambda ear: all(map(ear.ended, said)))
            client.close()
            await client.wait_closed()
            listening.cancel()
        return {stream: server.data(stream) for stream in said} == said

    assert run(main())


async def the_end(network: Network, protocols: list[str], **options) -> tuple[Closed, float]:
    client = Ear(await network.connect("server", protocols, early=True, **options))
    say(client.connection, b"hello?", early=True)
    say(client.connection, b"and more")
    await client.listen()
    assert client.closed is not None
    return client.closed, round(asyncio.get_running_loop().time(), 2)


def test_a_server_that_does_not_answer_is_told_as_the_end():
    async def main():
        network = Network(link=LinkSettings(loss=100))
        return await the_end(network, [ALPN], timeout=2.0)

    closed, at = run(main())
    assert closed == Closed(0, "no answer from 'server' within 2 s", lost=True)
    assert at == 2.0


def test_a_server_that_refuses_is_told_as_the_end():
    async def main():
        network = Network(link=LinkSettings(delay_ms=50))
        return await the_end(network, [ALPN])

    closed, at = run(main())
    assert (closed.reason, closed.lost) == ("nobody listens on 'server'", False)
    assert at == 0.1


def test_a_server_that_speaks_another_protocol_by_now_is_told_as_the_end():
    async def main():
        network = Network(link=LinkSettings(delay_ms=50))
        listener = network.listen("server", ["moq-lite-05", ALPN])
        closed, at = await the_end(network, [ALPN, "moq-lite-05"])
        server = Ear(await listener.accept())
        await server.listen()
        return closed, at, server.closed

    closed, at, told = run(main())
    assert closed.reason == "the server speaks moq-lite-05 now"
    assert at == 0.1
    assert told.remote
