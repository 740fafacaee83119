"""Workers on one port: the kernel brings every datagram to the one that its connection ID names."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from tests import aio
from tests.loopback.echoes import ask, echo
from tests.loopback.pairs import HASTY, PATIENCE, PROTOCOL, Reader, dial, identity

from moqvox.errors import LocalError
from moqvox.transport.aioquic import Limits, Listener, listen
from moqvox.transport.interface import Connection
from moqvox.transport.quic import (
    Keys,
    RandomIds,
    RoutableIds,
    Routing,
    Steering,
    bind_workers,
    steering,
)

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(not steering.can_steer(), reason="this system can't steer"),
]

ROUTING = Routing(b"\x17\x2a", 3, 14, bytes(16))
KINDS = {
    "random": RandomIds,
    "encrypted": lambda steered=None: RoutableIds(ROUTING, steered),
    "plain": lambda steered=None: RoutableIds(Routing(b"\x17\x2a", 1, 8), steered),
}


@contextlib.asynccontextmanager
async def workers(
    count: int, kind: str = "random", limits: Limits = HASTY, preferred: str = ""
) -> AsyncIterator:
    """Run that many workers, all in this process; give their listeners and what each accepted."""
    keys = Keys.generate()
    hosts = ["127.0.0.1", *([preferred] if preferred else [])]
    bound = [await bind_workers(host, 0, count, ids=KINDS[kind]()) for host in hosts]
    rows = [[sock for row in pieces for sock in row] for pieces in zip(*bound, strict=True)]
    wish = [sock.getsockname() for sock in rows[0][1:]]
    listeners = [
        await listen(
            "",
            0,
            protocols=[PROTOCOL],
            certificate=identity(),
            keys=keys,
            ids=KINDS[kind](Steering(number, count)),
            sockets=row,
            preferred=wish,
            limits=limits,
        )
        for number, row in enumerate(rows)
    ]
    seen: list[list[Connection]] = [[] for _ in listeners]
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(echo(listener, heard))
            for listener, heard in zip(listeners, seen, strict=True)
        ]
        yield listeners, seen
        for task in running:
            task.cancel()
        for listener in listeners:
            await listener.close()


def somewhere(rng: random.Random) -> tuple[str, int]:
    numbers = (rng.randrange(256), rng.randrange(256), rng.randrange(1, 255))
    return "127.{}.{}.{}".format(*numbers), 0


async def wander(listener: Listener, rng: random.Random, moves: int) -> None:
    client = Reader(await dial(listener, limits=HASTY))
    try:
        await ask(client, b"here")
        for move in range(moves):
            client.connection.migrate(somewhere(rng))
            await client.until(lambda r, due=move + 1: r.connection.stats().path_changes == due)
            await ask(client, b"%d" % move)
        client.connection.close()
        await client.until_closed()
    finally:
        client.connection._link._carrier.close()


def roam(kind: str, connections: int, moves: int) -> None:
    async def main() -> None:
        rng = random.Random(7)
        async with asyncio.timeout(6 * PATIENCE), workers(3, kind) as (listeners, seen):
            async with asyncio.TaskGroup() as tasks:
                for _ in range(connections):
                    tasks.create_task(wander(listeners[0], rng, moves))
            for listener in listeners:
                resets = listener._admission.resets
                assert (resets.misdirected, resets.unknown) == (0, 0)
            assert sum(map(len, seen)) == connections
            assert all(seen) or connections < 50, "every worker has some"

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_callers_move_about_and_stay_with_their_workers(kind):
    roam(kind, connections=12, moves=2)


@pytest.mark.slow
def test_three_workers_fifty_callers_three_hundred_moves_and_no_datagram_astray():
    roam("random", connections=50, moves=6)


def test_the_address_that_workers_prefer_leads_to_the_same_worker():
    async def main() -> None:
        async with (
            asyncio.timeout(PATIENCE),
            workers(3, preferred="127.0.0.7") as (listeners, seen),
        ):
            for _ in range(6):
                client = Reader(await dial(listeners[0], limits=HASTY))
                await client.until(lambda reader: reader.connection.stats().path_changes)
                assert client.connection.remote_address.startswith("127.0.0.7:")
                await ask(client, b"there")
                client.connection.close()
                await client.until_closed()
            assert sum(map(len, seen)) == 6
            # A handshake alone takes a server two packets, an answer one.
            assert sum(listener.counters()["sent_packets"] for listener in listeners) >= 6 * 3
            for listener in listeners:
                assert (listener.counters()["misdirected_packets"]) == 0
                assert (listener.counters()["unknown_packets"]) == 0

    aio.run(main(), sockets=True)


def test_a_retry_leads_back_to_the_worker_that_asked():
    async def main() -> None:
        limits = Limits(linger=0.05, retry_above_half_open=0)
        async with asyncio.timeout(PATIENCE), workers(3, limits=limits) as (listeners, seen):
            for _ in range(6):
                client = Reader(await dial(listeners[0], limits=HASTY))
                await ask(client, b"proved")
                client.connection.close()
                await client.until_closed()
            assert sum(map(len, seen)) == 6
            assert [listener._admission.resets.misdirected for listener in listeners] == [0] * 3

    aio.run(main(), sockets=True)


@pytest.mark.slow
def test_without_the_program_callers_are_lost_on_the_way(monkeypatch):
    """The kernel's own hash of the addresses brings movers to strangers."""

    async def main() -> None:
        rng = random.Random(7)
        monkeypatch.setattr(steering, "_attach", lambda sock, instructions: None)
        async with workers(3) as (listeners, _), asyncio.TaskGroup() as tasks:
            wandering = tasks.create_task(wander(listeners[0], rng, 20))
            async with asyncio.timeout(PATIENCE):
                while not any(it._admission.resets.misdirected for it in listeners):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            wandering.cancel()

    aio.run(main(), sockets=True)


def test_a_port_that_another_server_has_is_not_joined():
    async def main() -> None:
        ids = RandomIds()
        rows = await bind_workers("127.0.0.1", 0, 2, ids=ids)
        port = rows[0][0].getsockname()[1]
        with pytest.raises(LocalError, match=f"cannot listen on UDP 127.0.0.1 port {port}"):
            await bind_workers("127.0.0.1", port, 2, ids=ids)
        with pytest.raises(LocalError, match="in use"):
            await listen("127.0.0.1", port, protocols=["x"], certificate=identity())
        for row in rows:
            for sock in row:
                sock.close()

    aio.run(main(), sockets=True)


@pytest.mark.parametrize("host", ["::", "localhost"])
def test_every_address_of_a_name_has_a_socket_of_each_worker(host):
    async def main() -> None:
        rows = await bind_workers(host, 0, 3, ids=RandomIds())
        assert len(rows) == 3
        assert len({tuple(sock.getsockname() for sock in row) for row in rows}) == 1
        assert len({sock.getsockname()[1] for row in rows for sock in row}) == 1
        for row in rows:
            for sock in row:
                sock.close()

    aio.run(main(), sockets=True)


def test_a_system_that_cannot_steer_says_so(monkeypatch):
    monkeypatch.setattr(steering.sys, "platform", "plan9")
    with pytest.raises(LocalError, match="workers need Linux; plan9 can't steer"):
        aio.run(bind_workers("127.0.0.1", 0, 2, ids=RandomIds()), sockets=True)


@pytest.mark.parametrize(("workers", "offset"), [(0, 1), (65, 1), (2, 8), (2, -1)])
def test_a_program_that_would_read_beyond_a_first_packets_id_is_not_written(workers, offset):
    with pytest.raises(LocalError, match="cannot steer"):
        steering.program(workers, offset)
