"""Callers, relays and agents on one simulated network: all voice code is the real one.

Processes can be killed and started anew; callers and agents find back by themselves.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from moqvox.driver import Driver
from moqvox.errors import MoqError, SessionClosed
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.memory import Limits, LinkSettings, MemoryConnection, Network
from moqvox.voice import Session
from moqvox.voice.call import Call
from moqvox.voice.journal import Journal
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.lobby import Lobby
from moqvox.voice.names import AgentView
from moqvox.voice.redial import HANDOVER, Dial, Redial

__all__ = ["Server", "World", "world"]

LINK = LinkSettings(delay_ms=20)


class Server:
    """A process that listens: an agent's server, or a relay.

    Attributes:
        lobby: the agent's, None for a relay.
        sessions: every session that this process and those before it took.
    """

    def __init__(self, made: "World", name: str, *, is_agent: bool, grace: float) -> None:
        self.name = name
        self.lobby: Lobby | None = None
        self.sessions: list[Session] = []
        self._made = made
        self.is_agent = is_agent
        self._grace = grace
        self._running: asyncio.Task[None] | None = None
        self._drivers: list[Driver] = []
        self.upstream = ""
        self._climbing: asyncio.Task[None] | None = None
        self.start()

    def start(self) -> None:
        """Start the process, with an empty memory."""
        self._listener = self._made.network.listen(self.name, [self._made.version])
        self.lobby = self._made.lobby(self._grace) if self.is_agent else None
        self._origin = Origin(id=self._made.next_id())
        self._running = self._made.tasks.create_task(self._serve(self._listener, self._origin))
        if self.upstream:
            self.climb()

    def kill(self, *, reset: bool = True) -> None:
        """Kill it: nothing is said to anybody, all it knew is gone."""
        self._made.network.kill(self.name, reset=reset)
        for driver in self._drivers:
            driver.connection.vanish("killed", reset=reset)
        self._drivers = []
        self.stop()

    def restart(self, *, reset: bool = True) -> None:
        """Kill it and start it anew at once."""
        self.kill(reset=reset)
        self.start()

    def drain(self, uri: str = "") -> None:
        """Ask everybody to move, and take nobody new."""
        self._listener.stop()
        for driver in self._drivers:
            driver.send_goaway(uri)

    def stop(self) -> None:
        """End it without a trace."""
        if self.lobby is not None:
            self.lobby.close()
            for session in self.sessions:
                session.end()
        for running in (self._running, self._climbing):
            if running is not None:
                running.cancel()

    async def _serve(self, listener, origin: Origin) -> None:
        async with asyncio.TaskGroup() as tasks:
            if self.lobby is not None:
                tasks.create_task(self._answer(self.lobby, tasks))
            while True:
                try:
                    connection = await listener.accept()
                except SessionClosed:
                    return
                driver = self._made.driver(connection, origin.id)
                driver.start(tasks)
                self._drivers.append(driver)
                if self.lobby is None:
                    driver.attach(origin, origin)
                else:
                    local, remote = Origin(), Origin()
                    driver.attach(AgentView(local), remote)
                    tasks.create_task(_host(self.lobby, driver, local, remote, eager=True))

    def climb(self) -> None:
        """Keep a connection to the relay upstream."""
        self._climbing = self._made.tasks.create_task(self._climb())

    async def _climb(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            dial = self._made.dial(self.name, self._origin.id, tasks, self._drivers)

            async def hold(driver: Driver) -> None:
                driver.attach(self._origin, self._origin)
                await driver.wait_closed()

            await Redial([self.upstream], dial, patience=1000, dice=self._made.dice).run(
                hold, settled=lambda: asyncio.sleep(HANDOVER), may_return=lambda: True
            )

    async def _answer(self, lobby: Lobby, tasks: asyncio.TaskGroup) -> None:
        async for session in lobby.sessions():
            self.sessions.append(session)
            tasks.create_task(self._made.agent(session))


async def _host(lobby: Lobby, driver: Driver, local: Origin, remote: Origin, *, eager: bool):
    try:
        await lobby.host(driver, local, remote, eager=eager)
    except MoqError:
        driver.close()


class Attendant:
    """An agent's process behind relays."""

    is_agent = True

    def __init__(self, made: "World", name: str, urls: Sequence[str], *, grace: float) -> None:
        self.name = name
        self.sessions: list[Session] = []
        self._made = made
        self._urls = urls
        self._grace = grace
        self.start()

    def start(self) -> None:
        """Start the process, with an empty memory."""
        self.lobby = self._made.lobby(self._grace)
        self._drivers: list[Driver] = []
        self._running = self._made.tasks.create_task(self._run())

    def kill(self) -> None:
        """Kill it."""
        for driver in self._drivers:
            driver.connection.vanish("killed", reset=True)
        self.stop()

    def stop(self) -> None:
        """End it without a trace."""
        self._running.cancel()
        self.lobby.close()
        for session in self.sessions:
            session.end()

    def restart(self) -> None:
        """Kill it and start it anew at once."""
        self.kill()
        self.start()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._answer(tasks))
            origin_id = self._made.next_id()
            dial = self._made.dial(self.name, origin_id, tasks, self._drivers)
            redial = Redial(self._urls, dial, patience=1000, dice=self._made.dice)

            async def hold(driver: Driver) -> None:
                local, remote = Origin(id=origin_id), Origin()
                driver.attach(local, remote)
                await self.lobby.host(driver, local, remote, eager=False)

            await redial.run(hold, settled=lambda: asyncio.sleep(HANDOVER), may_return=lambda: True)

    async def _answer(self, tasks: asyncio.TaskGroup) -> None:
        async for session in self.lobby.sessions():
            self.sessions.append(session)
            tasks.create_task(self._made.agent(session))


P = TypeVar("P", Server, Attendant)


class World:
    """One network, and who is on it.

    Attributes:
        agent: what an agent's process does with a session.
        journal: where agents write their calls down, "" for nowhere.
    """

    def __init__(self, network: Network, tasks: asyncio.TaskGroup, version: str, seed: int) -> None:
        self.journal = ""
        self.network = network
        self.tasks = tasks
        self.version = version
        self.dice = random.Random(f"redial {seed}")
        self.drivers: list[Driver] = []
        self.processes: list[Server | Attendant] = []
        self._ids = 1000

    async def agent(self, session: Session) -> None:
        """Take everything and say nothing."""
        async for _ in session.utterances():
            pass

    def lobby(self, grace: float) -> Lobby:
        """Make an agent's lobby."""
        return Lobby(grace=grace, journal=Journal(self.journal) if self.journal else None)

    def next_id(self) -> int:
        """Make up an origin's id."""
        self._ids += 1
        return self._ids

    def driver(self, connection: MemoryConnection, origin_id: int) -> Driver:
        """Make a connection's driver."""
        session = LiteSession(
            connection.protocol,
            is_client=connection.is_client,
            webtransport=False,
            origin=origin_id,
        )
        driver = Driver(connection, session, origin_id=origin_id, budget=cache.Budget())
        self.drivers.append(driver)
        return driver

    def dial(
        self, host: str, origin_id: int, tasks: asyncio.TaskGroup, drivers: list[Driver]
    ) -> Dial:
        """Dial from a host, as voice dials."""

        async def dial(url: str) -> Driver:
            connection = await self.network.connect(url, [self.version], client=host, timeout=10)
            driver = self.driver(connection, origin_id)
            driver.start(tasks)
            drivers.append(driver)
            return driver

        return dial

    def server(self, name: str, *, grace: float = 60.0) -> Server:
        """Start an agent's server."""
        return self._started(Server(self, name, is_agent=True, grace=grace))

    def relay(self, name: str) -> Server:
        """Start a relay."""
        return self._started(Server(self, name, is_agent=False, grace=0))

    def uplink(self, edge: str, origin: str) -> None:
        """Let one relay dial another, whenever it can."""
        server = next(p for p in self.processes if p.name == edge)
        server.upstream = origin
        server.climb()

    def attend(self, name: str, *urls: str, grace: float = 60.0) -> Attendant:
        """Start an agent behind relays."""
        return self._started(Attendant(self, name, urls, grace=grace))

    def _started(self, process: P) -> P:
        self.processes.append(process)
        return process

    @asynccontextmanager
    async def call(
        self, *urls: str, host: str = "phone", keep: Keep = KEEP, patience: float = 60.0
    ) -> AsyncIterator[Call]:
        """Call, as `voice.call` does."""
        made = Call(keep=keep, patience=patience)
        drivers: list[Driver] = []
        async with asyncio.TaskGroup() as tasks:
            dial = self.dial(host, made.origin_id, tasks, drivers)
            made.redial = Redial(urls, dial, patience=patience, dice=self.dice)

            async def keep_up() -> None:
                why = await made.redial.run(
                    made.hold, settled=made.wait_answered, may_return=lambda: made.may_resume
                )
                made.over(why)

            line = tasks.create_task(keep_up())
            try:
                yield made
            finally:
                made.outbox.finish()
                line.cancel()
                made.close()
                for driver in drivers:
                    driver.close()


@asynccontextmanager
async def world(
    version: str = "moq-lite-06",
    *,
    seed: int = 0,
    link: LinkSettings = LINK,
    limits: Limits | None = None,
    patience: float = 600.0,
    journal: str = "",
) -> AsyncIterator[World]:
    """Run a network; a body that hangs for `patience` virtual seconds fails."""
    network = Network(seed, link=link, limits=limits or Limits(idle_timeout=20))
    async with asyncio.timeout(patience), asyncio.TaskGroup() as tasks:
        made = World(network, tasks, version, seed)
        made.journal = journal
        try:
            yield made
        finally:
            for process in made.processes:
                process.stop()
