"""What every engine's listener and connections owe the driver, beside `test_contract.py`."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests import aio
from tests.loopback.engines import ENGINES, World
from tests.loopback.pairs import PATIENCE, PROTOCOL, Reader

from moqvox.errors import MoqError, SessionClosed
from moqvox.transport.interface import Closed

pytestmark = [pytest.mark.net, pytest.mark.parametrize("engine", ENGINES)]


def in_world(engine: str, body: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(2 * PATIENCE), ENGINES[engine].open() as world:
            await body(world)

    aio.run(main(), virtual=ENGINES[engine].is_virtual, sockets=True)


async def meet(world: World) -> tuple[Reader, Reader]:
    """Connect, and let each hear the other once."""
    client = Reader(await world.dial())
    server = Reader(await world.listener.accept())
    for one, other in ((client, server), (server, client)):
        stream = one.connection.open_stream(bidirectional=False)
        one.connection.write(stream, b"hello", fin=True)
        await other.until(lambda reader, stream=stream: stream in reader.ended)
    return client, server


async def hang_up(client: Reader) -> None:
    client.connection.close()
    await client.until_closed()
    await client.connection.wait_closed()


def test_a_listener_tells_where_it_is_and_what_it_counts(engine):
    async def body(world):
        [(host, port)] = world.listener.addresses
        assert host
        assert 0 < port < 65536
        assert all(isinstance(count, int) for count in world.listener.counters().values())

    in_world(engine, body)


def test_connections_are_accepted_each_once_and_keep_to_themselves(engine):
    async def body(world):
        pairs = [await meet(world) for _ in range(3)]
        for number, (client, server) in enumerate(pairs):
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, b"%d" % number, fin=True)
            await server.until(lambda reader, stream=stream: stream in reader.ended)
            assert bytes(server.data[stream]) == b"%d" % number
        assert len({id(server.connection) for _, server in pairs}) == 3
        for client, _ in pairs:
            await hang_up(client)

    in_world(engine, body)


def test_a_cancelled_accept_loses_no_connection(engine):
    async def body(world):
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(world.listener.accept())
            await asyncio.sleep(0)
            waiting.cancel()
        client, _ = await meet(world)
        await hang_up(client)

    in_world(engine, body)


def test_a_client_without_a_common_protocol_is_told_so(engine):
    async def body(world):
        with pytest.raises(MoqError):
            await world.dial(("another-protocol",))
        client, server = await meet(world)
        assert client.connection.protocol == server.connection.protocol == PROTOCOL
        await hang_up(client)

    in_world(engine, body)


def test_a_listener_that_closes_ends_its_connections_and_whoever_accepts(engine):
    async def body(world):
        client, server = await meet(world)
        async with asyncio.TaskGroup() as tasks:

            async def accept() -> None:
                with pytest.raises(SessionClosed):
                    await world.listener.accept()

            tasks.create_task(accept())
            tasks.create_task(world.listener.close(7, "gone home"))
            tasks.create_task(server.until_closed())
            closed = await client.until_closed()
        assert (closed.code, closed.reason) == (7, "gone home")
        assert closed.remote
        assert not closed.lost
        with pytest.raises(SessionClosed):
            await world.listener.accept()
        await client.connection.wait_closed()

    in_world(engine, body)


def test_a_server_that_died_is_told_as_lost_and_last_of_all(engine):
    async def body(world):
        client, _ = await meet(world)
        await world.kill()
        stream = client.connection.open_stream(bidirectional=False)
        client.connection.write(stream, b"still there?")
        closed = await client.until_closed()
        assert closed.lost
        assert not closed.remote
        assert closed.code == 0
        assert closed.reason.isprintable()
        assert [event for event in client.events if isinstance(event, Closed)] == [closed]
        with pytest.raises(SessionClosed):
            client.connection.open_stream(bidirectional=False)
        await client.connection.wait_closed()
        again, _ = await meet(world)
        await hang_up(again)

    in_world(engine, body)


def test_before_the_server_has_answered_nothing_leaves_but_what_is_marked(engine):
    """The order tells: the other stream is the more urgent one, and was written first."""

    async def body(world):
        connection, is_early = await world.resume()
        streams = {}
        for name, priority, early in (("vote", -1, False), ("ask", 5, True)):
            stream = connection.open_stream(bidirectional=False, priority=priority, early=early)
            connection.write(stream, name.encode(), fin=True)
            streams[stream] = name
        server = Reader(await world.listener.accept())
        await server.until(lambda reader: reader.ended >= set(streams))
        assert {stream: server.data[stream].decode() for stream in streams} == streams
        arrived = [streams[stream] for stream in server.opened]
        assert arrived == (["ask", "vote"] if is_early else ["vote", "ask"])
        await hang_up(Reader(connection))

    in_world(engine, body)


def test_a_datagram_that_may_not_leave_yet_is_refused_and_a_marked_one_is_not(engine):
    async def body(world):
        connection, is_early = await world.resume()
        assert connection.send_datagram(b"plain") is not is_early
        assert connection.send_datagram(b"marked", early=True)
        await hang_up(Reader(connection))

    in_world(engine, body)
