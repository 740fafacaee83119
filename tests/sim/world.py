"""Publisher, relay and subscriber in one loop.

All code is the real one, from the model to the driver; only the network is in memory.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from moqvox.driver import Driver
from moqvox.errors import SessionClosed
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, cache, group
from moqvox.model.origin import Origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.memory import (
    Limits,
    LinkSettings,
    MemoryConnection,
    Network,
)

PATH = "room/alice"
TRACK = "audio"
FRAME = 0.02
PATIENCE = 300.0
"""Virtual seconds after which a storm has hung."""

KEEP = cache.Limits()
EVERYTHING = Subscription(max_age_ms=600_000, ordered=True, group_start=0)


@dataclass
class Story:
    """What was said, and what was heard of it."""

    said: list[list[Frame]]
    heard: dict[int, list[Frame]] = field(default_factory=dict)
    heard_at: dict[int, float] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)

    def check(self, *, timestamps: bool) -> None:
        """See that every frame was heard once and in order, at its time if that was sent."""
        assert sorted(self.heard) == list(range(len(self.said)))
        for number, frames in enumerate(self.said):
            heard = self.heard[number]
            assert [frame.payload for frame in heard] == [frame.payload for frame in frames]
            if timestamps:
                assert [frame.timestamp for frame in heard] == [f.timestamp for f in frames]

    def check_parts(self) -> None:
        """See that what was heard of each group are frames of it that follow each other."""
        for number, frames in self.heard.items():
            said = [frame.payload for frame in self.said[number]]
            heard = [frame.payload for frame in frames]
            start = said.index(heard[0]) if heard else 0
            assert heard == said[start : start + len(heard)]


def speech(dice: random.Random, groups: int, frames: int) -> list[list[Frame]]:
    """Invent utterances of Opus-sized frames, each frame unlike any other."""
    said: list[list[Frame]] = []
    timestamp = 0
    for number in range(groups):
        said.append([])
        for index in range(dice.randint(1, frames)):
            payload = b"%d.%d." % (number, index) + dice.randbytes(dice.randint(20, 120))
            said[-1].append(Frame(payload, timestamp))
            timestamp += int(FRAME * 1_000_000)
    return said


class Relay:
    """A relay: one origin, filled from and offered to whoever dials, and those it dials."""

    def __init__(self, made: "World", name: str, hop: int) -> None:
        self.name = name
        self.origin = Origin(id=hop)
        self._world = made
        self._listener = made.network.listen(name, [made.version])
        made.tasks.create_task(self._serve())

    async def _serve(self) -> None:
        while True:
            try:
                connection = await self._listener.accept()
            except SessionClosed:
                return
            self._world.drive(connection, self.origin, publish=True, consume=True)

    async def close(self) -> None:
        """Refuse new sessions, end the open ones."""
        await self._listener.close()


class World:
    """Relays, and clients that dial them.

    Attributes:
        drivers: every session there ever was, in order of beginning.
    """

    def __init__(self, network: Network, tasks: asyncio.TaskGroup, version: str) -> None:
        self.network = network
        self.version = version
        self.tasks = tasks
        self.drivers: list[Driver] = []
        self._relays: list[Relay] = []

    def relay(self, name: str) -> Relay:
        """Start a relay."""
        self._relays.append(Relay(self, name, 1000 + len(self._relays)))
        return self._relays[-1]

    async def join(
        self, name: str, relay: str, own: Origin, *, publish: bool = False, consume: bool = False
    ) -> Driver:
        """Dial a relay from the host `name`."""
        connection = await self.network.connect(relay, [self.version], client=name, timeout=60)
        return self.drive(connection, own, publish=publish, consume=consume)

    def drive(
        self, connection: MemoryConnection, own: Origin, *, publish: bool, consume: bool
    ) -> Driver:
        """Run a session on a connection."""
        session = LiteSession(
            connection.protocol, is_client=connection.is_client, webtransport=False, origin=own.id
        )
        driver = Driver(connection, session, origin_id=own.id, budget=own.budget)
        driver.start(self.tasks)
        driver.attach(own if publish else None, own if consume else None)
        self.drivers.append(driver)
        return driver

    async def close(self) -> None:
        """End every session."""
        for driver in self.drivers:
            driver.close()
        for driver in self.drivers:
            await driver.wait_closed()
        for relay in self._relays:
            await relay.close()


@asynccontextmanager
async def world(
    version: str, *, seed: int = 0, link: LinkSettings | None = None, limits: Limits | None = None
) -> AsyncIterator[World]:
    """Run a relay; a body that hangs fails."""
    network = Network(seed, link=link or LinkSettings(delay_ms=25), limits=limits or Limits())
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks:
        made = World(network, tasks, version)
        yield made
        await made.close()


async def say(
    said: list[list[Frame]], producer: broadcast.Producer, *, pace: float = FRAME
) -> None:
    """Speak, a group for each utterance, a frame each `pace` seconds."""
    track = producer.create_track(TRACK, TrackInfo(ordered=True, max_age_ms=600_000))
    for frames in said:
        utterance = track.append_group()
        for frame in frames:
            utterance.write(Frame(frame.payload, frame.timestamp))
            await asyncio.sleep(pace)
        utterance.finish()
        await asyncio.sleep(0.3)
    track.finish()


async def hear(story: Story, origin: Origin, *, wishes: Subscription = EVERYTHING) -> None:
    """Read every group to its end, several at a time, until the track ends."""
    alice = await origin.wait(PATH)
    track = await alice.subscribe(TRACK, wishes)
    async with asyncio.TaskGroup() as tasks:
        async for reader in track:
            assert reader.sequence not in story.heard
            story.heard[reader.sequence] = []
            story.order.append(reader.sequence)
            tasks.create_task(_hear_group(story, reader))
    track.close()


async def _hear_group(story: Story, reader: group.Consumer) -> None:
    async for frame in reader:
        story.heard[reader.sequence].append(frame)
    story.heard_at[reader.sequence] = asyncio.get_running_loop().time()
