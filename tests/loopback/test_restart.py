"""A server that restarts, and what its clients notice."""

import asyncio

import pytest
from tests import aio
from tests.loopback.pairs import HASTY, PATIENCE, Reader, dial, open_listener

from moqvox.transport.aioquic import Listener
from moqvox.transport.aioquic.resets import Resets
from moqvox.transport.interface import Connection
from moqvox.transport.quic import Keys
from moqvox.transport.quic.connection_ids import RandomIds, RoutableIds, Routing

pytestmark = pytest.mark.net

SECRET = b"shared by both lives" * 2


def kill(listener: Listener) -> None:
    """Free the port without a word to anybody, as a dying process does."""
    for link in list(listener._endpoint._alive):
        link._over = object()  # nobody hears of the end in a dead process
    listener._endpoint.close()


async def restart(listener: Listener, **options: object) -> Listener:
    kill(listener)
    port = listener.addresses[0][1]
    return await open_listener(port=port, **options)


async def greet(server: Connection, client: Reader) -> None:
    """Let the client hear something, so that its handshake is confirmed."""
    stream = server.open_stream(bidirectional=False)
    server.write(stream, b"hello", fin=True)
    await client.until(lambda reader: reader.ended)


class Counting:
    """Resets as they are, and an event at the given one."""

    def __init__(self, resets: Resets, count: int, event: asyncio.Event) -> None:
        self._resets, self._left, self._event = resets, count, event

    def answer(self, data: bytes, now: float) -> bytes | None:
        answer = self._resets.answer(data, now)
        self._left -= answer is not None
        if self._left == 0:
            self._event.set()
        return answer


@pytest.mark.parametrize("webtransport", [False, True])
@pytest.mark.parametrize(
    "ids", [RandomIds, lambda: RoutableIds(Routing(b"\x17\x2a", 3, 14, bytes(16)))]
)
def test_a_restart_is_noticed_with_the_next_packet(webtransport, ids):
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            before = await open_listener(keys=Keys(SECRET), ids=ids())
            client = Reader(await dial(before, webtransport=webtransport, limits=HASTY))
            await greet(await before.accept(), client)
            after = await restart(before, keys=Keys(SECRET), ids=ids())
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, b"still there?")
            closed = await client.until_closed()
            assert closed.lost
            assert not closed.remote
            assert "stateless reset" in closed.reason
            assert after._admission.resets.unknown == 1, "the first packet is answered"
            again = await dial(after, webtransport=webtransport, limits=HASTY)
            again.close()
            await again.wait_closed()
            await after.close()

    aio.run(main(), sockets=True)


def test_a_server_without_the_secret_cannot_end_anything():
    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            before = await open_listener(keys=Keys(SECRET))
            client = Reader(await dial(before, limits=HASTY))
            await greet(await before.accept(), client)
            after = await restart(before)
            answered = asyncio.Event()
            resets = Counting(after._admission.resets, 3, answered)
            after._admission.resets = resets
            stream = client.connection.open_stream(bidirectional=False)
            client.connection.write(stream, b"still there?")
            await answered.wait()
            assert client.closed is None
            client.connection.close()
            await client.until_closed()
            await after.close()

    aio.run(main(), sockets=True)


class Losing:
    """Loses what an endpoint sends from now on, as often as told."""

    def __init__(self, endpoint: object, count: int) -> None:
        self._send, self._left, self.sent = endpoint.send, count, 0
        endpoint.send = self

    def __call__(self, link: object, data: bytes, address: object) -> None:
        self.sent += 1
        if self._left:
            self._left -= 1
        else:
            self._send(link, data, address)


@pytest.mark.parametrize("closer", ["client", "server"])
def test_a_close_whose_first_packet_is_lost_is_heard_all_the_same(closer):
    """Also by a peer that says nothing, and so would not be told again."""

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            listener = await open_listener(limits=HASTY)
            client = Reader(await dial(listener, limits=HASTY))
            server = Reader(await listener.accept())
            await greet(server.connection, client)
            await asyncio.sleep(0.05)
            mine, other = (client, server) if closer == "client" else (server, client)
            losing = Losing(mine.connection._link._carrier, 1)
            mine.connection.close(7, "bye")
            closed = await other.until_closed()
            assert (closed.code, closed.reason, closed.remote) == (7, "bye", True)
            assert losing.sent == 2
            await client.connection.wait_closed()
            await listener.close()

    aio.run(main(), sockets=True)
