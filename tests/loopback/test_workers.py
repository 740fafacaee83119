"""A relay of several processes on one port: they share broadcasts, and survive each other."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from tests.loopback.relays import running, settings, trust, until, url
from tests.unit.driver.sides import published, read_track, subscribe, write

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError, MoqError
from moqvox.model.origin import Origin
from moqvox.transport.aioquic import Wallet
from moqvox.transport.interface import Closed
from moqvox.transport.quic import steering
from moqvox_relay.config import Upstream
from moqvox_relay.supervisor import Supervisor

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not steering.can_steer(), reason="this system can't steer"),
]

PATIENCE = 30.0


@contextlib.asynccontextmanager
async def supervised(workers: int, **options: object) -> AsyncIterator[Supervisor]:
    relay = Supervisor(settings(workers=workers, **options))
    async with asyncio.timeout(2 * PATIENCE), scope() as tasks:
        serving = tasks.create_task(relay.run())
        await relay.started.wait()
        try:
            yield relay
        finally:
            serving.cancel()


@dataclass
class Caller:
    """One session, what it publishes and what it hears."""

    driver: Driver
    ours: Origin
    theirs: Origin
    worker: int


@contextlib.asynccontextmanager
async def calling(
    relay: Supervisor, workers: int, wanted: int | None = None, wallet: Wallet | None = None
) -> AsyncIterator:
    """Dial until the wanted worker answers."""
    while True:
        ours, theirs = Origin(), Origin()
        async with connect(
            url(relay),
            publish=ours,
            consume=theirs,
            verify=trust(relay),
            websocket=False,
            wallet=wallet,
        ) as driver:
            engine = driver.connection._link.engine
            await until(lambda engine=engine: engine._handshake_complete, PATIENCE)
            worker = engine._peer_cid.cid[1] % workers
            if wanted is None or worker == wanted:
                yield Caller(driver, ours, theirs, worker)
                return


@pytest.mark.parametrize("workers", [2, 3])
def test_what_comes_to_one_worker_is_heard_at_every_other(workers):
    async def main() -> None:
        async with supervised(workers) as relay, contextlib.AsyncExitStack() as stack:
            senders, receivers = [
                [
                    await stack.enter_async_context(calling(relay, workers, number))
                    for number in range(workers)
                ]
                for _ in range(2)
            ]
            for sender in senders:
                name = f"from {sender.worker}"
                _, audio = published(sender.ours, name)
                write(audio, b"one", b"two")
                audio.finish()
                for receiver in receivers:
                    reader = await subscribe(receiver.theirs, name)
                    assert (await read_track(reader)).payloads == [b"one", b"two"]

    asyncio.run(main())


def test_fifty_callers_move_three_hundred_times_and_none_comes_to_a_stranger():
    """Each to a random address and port, six times; the workers count what is not theirs."""
    workers = 3

    async def main() -> list[dict[str, float]]:
        rng = random.Random(11)

        async def wander(relay: Supervisor, peak: list[int]) -> None:
            async with connect(url(relay), verify=trust(relay), websocket=False) as driver:
                connection = driver.connection
                for move in range(1, 7):
                    numbers = (rng.randrange(256), rng.randrange(256), rng.randrange(1, 255))
                    connection.migrate(("127.{}.{}.{}".format(*numbers), 0))
                    await until(lambda due=move: connection.stats().path_changes == due, PATIENCE)
                peak.append(connection._link.engine._peer_cid.cid[1] % workers)

        async with supervised(workers) as relay:
            ended_at: list[int] = []
            async with asyncio.TaskGroup() as tasks:
                for _ in range(50):
                    tasks.create_task(wander(relay, ended_at))
            board = relay._board
            served = "moqvox_relay_sessions_total"

            def rows() -> list[dict[str, float]]:
                return [board.read(number) for number in range(workers)]

            await until(lambda: sum(row.get(served, 0) for row in rows()) == 50, PATIENCE)
            await until(
                lambda: sum(row.get("moqvox_relay_sessions", 50) for row in rows()) == 0, PATIENCE
            )
            counted = rows()
            assert [row[served] for row in counted] == [ended_at.count(n) for n in range(workers)]
            return counted

    counted = asyncio.run(main())
    assert sum(row["moqvox_quic_misdirected_packets"] for row in counted) == 0
    assert sum(row["moqvox_quic_unknown_packets"] for row in counted) == 0
    assert min(row["moqvox_relay_sessions_total"] for row in counted) > 0


class Purse(Wallet):
    """A wallet that tells when a ticket was put into it."""

    def __init__(self) -> None:
        super().__init__()
        self.has_ticket = asyncio.Event()

    def keep(self, *arguments: object) -> None:
        super().keep(*arguments)
        self.has_ticket.set()


def test_a_ticket_of_one_worker_resumes_at_another():
    """Each ticket is tried once, as who answers is the kernel's choice."""

    async def main() -> None:
        async with supervised(2) as relay:
            while True:
                wallet = Purse()
                async with calling(relay, 2, wallet=wallet) as first:
                    await wallet.has_ticket.wait()
                async with calling(relay, 2, wallet=wallet) as second:
                    assert second.driver.connection._link.engine.tls.session_resumed
                if first.worker != second.worker:
                    return

    asyncio.run(main())


async def listen_to(caller: Caller, name: str, heard: list[bytes]) -> None:
    """Take frames until the session is lost or the track ends."""
    with contextlib.suppress(MoqError):
        reader = await subscribe(caller.theirs, name)
        while (group := await reader.next_group()) is not None:
            while (frame := await group.read()) is not None:
                heard.append(frame.payload)


class Room:
    """Callers at a relay who all talk, each heard by one ear, and all hear one speaker."""

    def __init__(self, relay: Supervisor, workers: int, stack: contextlib.AsyncExitStack) -> None:
        self._relay, self._workers, self._stack = relay, workers, stack
        self.callers: list[Caller] = []
        self.ends: dict[int, tuple[float, Closed]] = {}
        self.heard: dict[int, list[bytes]] = {}
        self.heard_of: dict[int, list[bytes]] = {}
        self.spoken = 0
        self._tasks: list[asyncio.Task[None]] = []

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def open(self, tasks: asyncio.TaskGroup, count: int) -> None:
        self.speaker, self.ear = [await self.call(0) for _ in range(2)]
        self._tracks = [published(self.speaker.ours, "speech")[1]]
        for index in range(count):
            caller = await self.call(index % self._workers)
            self.callers.append(caller)
            self._tracks.append(published(caller.ours, f"caller {index}")[1])
            self.heard[index], self.heard_of[index] = [], []
            for work in (
                listen_to(caller, "speech", self.heard[index]),
                listen_to(self.ear, f"caller {index}", self.heard_of[index]),
                self._watch(index, caller),
            ):
                self._tasks.append(tasks.create_task(work))

    async def call(self, worker: int) -> Caller:
        return await self._stack.enter_async_context(calling(self._relay, self._workers, worker))

    async def _watch(self, index: int, caller: Caller) -> None:
        closed = await caller.driver.wait_closed()
        self.ends[index] = (asyncio.get_running_loop().time(), closed)

    async def speak(self, count: int) -> None:
        """Let everybody say a frame every 20 ms; the lost ones talk to nobody."""
        for _ in range(count):
            for track in self._tracks:
                with contextlib.suppress(MoqError):
                    write(track, b"%d" % self.spoken)
            self.spoken += 1
            await asyncio.sleep(0.02)

    def of_worker(self, worker: int) -> list[int]:
        return [index for index, caller in enumerate(self.callers) if caller.worker == worker]


def numbers(frames: list[bytes], stop: int) -> list[bytes]:
    """Every frame from the first that was heard."""
    return [b"%d" % number for number in range(int(frames[0]), stop)]


def test_a_killed_worker_costs_its_own_callers_one_round_trip_and_others_nothing():
    workers = 3

    async def main() -> None:
        async with (
            supervised(workers) as relay,
            contextlib.AsyncExitStack() as stack,
            scope() as tasks,
        ):
            room = Room(relay, workers, stack)
            await room.open(tasks, 12)
            await room.speak(20)
            heard, heard_of = room.heard, room.heard_of
            await until(lambda: all(heard.values()) and all(heard_of.values()), PATIENCE)
            victim, killed_at = relay.pids[1], asyncio.get_running_loop().time()
            os.kill(victim, signal.SIGKILL)
            await room.speak(50)
            lost = room.of_worker(1)
            await until(lambda: len(room.ends) >= len(lost), PATIENCE)
            assert sorted(room.ends) == lost
            for index in lost:
                when, closed = room.ends[index]
                assert closed.lost
                assert "stateless reset" in closed.reason
                assert when - killed_at < 10.0, "long before its idle time"
            for index in set(heard) - set(lost):
                for frames in (heard[index], heard_of[index]):
                    await until(lambda got=frames: int(got[-1]) == room.spoken - 1, PATIENCE)
                    assert frames == numbers(frames, room.spoken)
            again = await room.call(1)
            heard_again: list[bytes] = []
            listening = tasks.create_task(listen_to(again, "speech", heard_again))
            await room.speak(10)
            await until(lambda: heard_again, PATIENCE)
            assert relay.restarts == 1
            assert relay.pids[1] != victim
            listening.cancel()
            room.close()

    asyncio.run(main())


def test_a_worker_that_dies_again_and_again_is_replaced_each_time_and_ever_more_slowly():
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        waits = []
        async with supervised(2) as relay:
            for _ in range(3):
                victim, killed_at = relay.pids[0], loop.time()
                os.kill(victim, signal.SIGKILL)
                await until(lambda dead=victim: relay.pids.get(0) not in (None, dead), PATIENCE)
                waits.append(loop.time() - killed_at)
            async with contextlib.AsyncExitStack() as stack:
                caller = await stack.enter_async_context(calling(relay, 2, 0))
                assert caller.worker == 0
            assert relay.restarts == 3
        return waits

    waits = asyncio.run(main())
    assert waits[1] >= 0.5
    assert waits[2] >= 1.0


def test_a_worker_that_is_told_to_end_says_goodbye_and_is_replaced():
    async def main() -> None:
        async with supervised(2) as relay, contextlib.AsyncExitStack() as stack:
            caller = await stack.enter_async_context(calling(relay, 2, 1))
            other = await stack.enter_async_context(calling(relay, 2, 0))
            before = relay.pids[1]
            os.kill(before, signal.SIGTERM)
            closed = await caller.driver.wait_closed()
            assert closed.remote
            assert not closed.lost
            await until(lambda: relay.pids.get(1) not in (None, before), PATIENCE)
            await stack.enter_async_context(calling(relay, 2, 1))
            assert not other.driver.closed

    asyncio.run(main())


def test_workers_that_cannot_start_say_why():
    async def main() -> None:
        async with supervised(2) as relay:
            address = "{}:{}".format(*relay.where.addresses[0])
            with pytest.raises(LocalError, match="cannot listen on UDP"):
                await Supervisor(settings(workers=2, bind=address)).run()

    asyncio.run(main())


def test_workers_that_drain_go_on_hearing_the_upstream_until_the_last_caller_has_left():
    """The upstream's line is the first worker's, and the only caller is at the second."""

    async def main() -> list[bytes]:
        heard: list[bytes] = []
        async with running() as up, asyncio.timeout(2 * PATIENCE), scope() as tasks:
            above = Upstream(url(up), insecure=True)
            relay = Supervisor(settings(workers=2, upstream=above, drain=20.0))
            serving = tasks.create_task(relay.run())
            await relay.started.wait()
            origin = Origin()
            _, audio = published(origin, "alice")
            async with (
                connect(url(up), publish=origin, verify=trust(up)),
                calling(relay, 2, wanted=1) as caller,
            ):
                listening = tasks.create_task(listen_to(caller, "alice", heard))
                write(audio, b"before")
                await until(lambda: heard == [b"before"], PATIENCE)
                serving.cancel()
                await caller.driver.goaway.wait()
                for number in range(15):
                    write(audio, b"%d" % number)
                    await asyncio.sleep(0.1)
                await until(lambda: len(heard) == 16, PATIENCE)
                listening.cancel()
            await until(serving.done, PATIENCE)
        return heard

    assert asyncio.run(main()) == [b"before", *(b"%d" % number for number in range(15))]
