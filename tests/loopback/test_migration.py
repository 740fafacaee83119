"""Clients that move between addresses of the loopback network while both sides speak."""

import asyncio
import itertools
import socket
import sys

import pytest
from tests import aio
from tests.loopback.pairs import PATIENCE, PROTOCOL, Reader, certificate, dial, open_listener, pair

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.aioquic import connect
from moqvox.transport.credentials import Verify
from moqvox.transport.interface import Connection, PathChanged
from moqvox_client.fate import Impairment
from moqvox_client.link import Link, Settings

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is there on Linux only"),
]

MOVES = 20
INTERVAL = 0.02


async def dial_address(address: tuple[str, int]) -> Connection:
    return await connect(
        *address,
        protocols=[PROTOCOL],
        webtransport=False,
        verify=Verify.authority(certificate().ca_pem),
    )


async def speak(reader: Reader, frames: int) -> int:
    """Write numbered frames, one every few milliseconds."""
    stream = reader.connection.open_stream(bidirectional=False, priority=1)
    for number in range(frames):
        reader.connection.write(stream, number.to_bytes(4, "big"), fin=number == frames - 1)
        await asyncio.sleep(0.002)
    return stream


def frames_of(reader: Reader) -> list[int]:
    (data,) = reader.data.values()
    return [int.from_bytes(data[n : n + 4], "big") for n in range(0, len(data), 4)]


@pytest.mark.slow
@pytest.mark.parametrize("webtransport", [False, True])
def test_twenty_migrations_lose_nothing_and_keep_the_order(webtransport):
    async def main() -> None:
        listener = await open_listener()
        client = Reader(await dial(listener, webtransport=webtransport, local=("127.0.0.2", 0)))
        server = Reader(await listener.accept())

        async def move() -> None:
            for number in range(MOVES):
                await asyncio.sleep(0.03)
                client.connection.migrate((f"127.0.0.{3 - number % 2}", 0))

        async with asyncio.TaskGroup() as group:
            for reader in (client, server):
                group.create_task(speak(reader, 400))
                group.create_task(reader.until(lambda reader: reader.ended))
            group.create_task(move())
        assert frames_of(client) == frames_of(server) == list(range(400))
        assert client.connection.stats().path_changes == MOVES
        assert server.connection.stats().path_changes >= MOVES - 2
        moves = [event for event in client.events if isinstance(event, PathChanged)]
        assert [move.local.rpartition(":")[0] for move in moves[:2]] == ["127.0.0.3", "127.0.0.2"]
        assert server.connection.remote_address.startswith("127.0.0.2:")
        client.connection.close()
        await listener.close()

    aio.run(main(), sockets=True)


@pytest.mark.slow
@pytest.mark.parametrize("rtt", [0.05, 0.1])
@pytest.mark.parametrize("speaker", ["client", "server"])
def test_twenty_moves_are_not_heard(rtt, speaker):
    """Over a wire with a delay, on the suite's clock; frames as a voice has them."""
    heard_at: list[float] = []
    count = 20 * MOVES

    async def note(reader: Reader) -> None:
        loop = asyncio.get_running_loop()
        while not reader.ended:
            for event in await reader.connection.events():
                reader.note(event)
            whole = sum(map(len, reader.data.values())) // 4
            heard_at.extend([loop.time()] * (whole - len(heard_at)))

    async def main() -> None:
        listener = await open_listener()
        delay = Impairment(delay_ms=rtt * 500)
        async with Link(listener.addresses[0], Settings.both(delay)) as link:
            client = Reader(await dial_address(link.address))
            server = Reader(await listener.accept())
            mouth, ear = (client, server) if speaker == "client" else (server, client)
            async with asyncio.timeout(60.0), asyncio.TaskGroup() as group:
                group.create_task(note(ear))
                stream = mouth.connection.open_stream(bidirectional=False, priority=0)
                for number in range(count):
                    last = number == count - 1
                    mouth.connection.write(stream, number.to_bytes(4, "big"), fin=last)
                    if number % 20 == 10:
                        client.connection.migrate()
                    await asyncio.sleep(INTERVAL)
            assert frames_of(ear) == list(range(count))
            assert client.connection.stats().path_changes == MOVES
            assert server.connection.stats().path_changes == MOVES
            client.connection.close()
            await client.connection.wait_closed()
        await listener.close()

    aio.run(main(), sockets=True)
    gaps = [after - before for before, after in itertools.pairwise(heard_at)]
    assert max(gaps) <= INTERVAL + 0.005


def test_a_migration_opens_another_port_and_both_sides_report_it():
    async def main() -> None:
        async with pair("quic") as ends:
            before = ends.server.connection.remote_address
            ends.client.connection.migrate()

            def moved(reader: Reader) -> bool:
                return any(isinstance(event, PathChanged) for event in reader.events)

            await ends.client.until(moved)
            await ends.server.until(moved)
            assert ends.server.connection.remote_address != before

    aio.run(main(), sockets=True)


def test_only_the_side_that_dialled_migrates_and_only_while_it_lives():
    async def main() -> None:
        async with pair("quic") as ends:
            with pytest.raises(LocalError, match="dialled"):
                ends.server.connection.migrate()
            with pytest.raises(LocalError, match="the other family"):
                ends.client.connection.migrate(("::1", 0))
            with pytest.raises(LocalError, match="cannot send from"):
                ends.client.connection.migrate(("192.0.2.1", 0))
            ends.client.connection.close()
            await ends.client.until_closed()
            with pytest.raises(SessionClosed):
                ends.client.connection.migrate()

    aio.run(main(), sockets=True)


class Passage:
    """Carries datagrams to a server and back, but none of the first client's while it is cut."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._entrance = self._socket()
        self._exits: dict[tuple[str, int], socket.socket] = {}
        self._cut: set[tuple[str, int]] = set()
        self.address = self._entrance.getsockname()
        self._loop.add_reader(self._entrance, self._enter)

    def cut(self) -> None:
        """Let nothing through any more for the ports that came so far."""
        self._cut.update(self._exits)

    @property
    def clients(self) -> int:
        return len(self._exits)

    def close(self) -> None:
        for sock in (self._entrance, *self._exits.values()):
            self._loop.remove_reader(sock)
            sock.close()

    def _socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        return sock

    def _enter(self) -> None:
        data, client = self._entrance.recvfrom(65536)
        if client not in self._exits:
            self._exits[client] = self._socket()
            self._loop.add_reader(self._exits[client], self._leave, client)
        if client not in self._cut:
            self._exits[client].sendto(data, self._server)

    def _leave(self, client: tuple[str, int]) -> None:
        data = self._exits[client].recv(65536)
        if client not in self._cut:
            self._entrance.sendto(data, client)


@pytest.mark.slow
def test_a_client_whose_path_is_dead_finds_another_by_itself():
    async def main() -> None:
        listener = await open_listener()
        passage = Passage(listener.addresses[0])
        client = Reader(await dial_address(passage.address))
        server = Reader(await listener.accept())
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            group.create_task(speak(client, 800))
            group.create_task(server.until(lambda reader: reader.ended))
            await asyncio.sleep(0.2)
            passage.cut()
        assert frames_of(server) == list(range(800))
        assert passage.clients == 2
        assert client.connection.stats().path_changes == 1
        client.connection.close()
        await client.connection.wait_closed()
        await listener.close()
        passage.close()

    aio.run(main(), sockets=True)
