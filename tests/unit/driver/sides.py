"""Sessions in memory: two ends of one, or a publisher and readers around a relay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from moqvox.driver import Driver
from moqvox.errors import StreamEnded
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, cache, track
from moqvox.model.origin import Origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.memory import Limits, LinkSettings, MemoryConnection, pair
from moqvox.wire.version import LITE_ALPNS

VERSIONS = LITE_ALPNS
LATEST = "moq-lite-06"
NEAR = LinkSettings(delay_ms=5)
LIMITS = Limits()
ALL = Subscription(priority=100, ordered=True, max_age_ms=86_400_000)


@dataclass
class Side:
    """One end: what it publishes, what it sees of the other, and what joins them."""

    driver: Driver
    connection: MemoryConnection
    local: Origin
    remote: Origin

    @property
    def session(self) -> LiteSession:
        assert isinstance(self.driver.session, LiteSession)
        return self.driver.session


def driver_on(
    connection: MemoryConnection, origin_id: int, *, path: str = "", linger: float = 2.0, **options
) -> Driver:
    session = LiteSession(
        connection.protocol,
        is_client=connection.is_client,
        webtransport=False,
        path=path,
        origin=origin_id,
    )
    return Driver(connection, session, origin_id=origin_id, linger=linger, **options)


@contextlib.asynccontextmanager
async def joined(
    version: str = LATEST,
    *,
    link: LinkSettings = NEAR,
    limits: Limits = LIMITS,
    linger: float = 2.0,
    attach: bool = True,
    anonymous: bool = False,
    seed: int = 0,
    path: str = "",
    **options,
) -> AsyncIterator[tuple[Side, Side]]:
    """Join a client and a server; both publish `local` and read into `remote`."""
    sides = []
    async with asyncio.TaskGroup() as tasks:
        for connection in pair(version, link=link, seed=seed, limits=limits):
            local = Origin()
            remote = Origin()
            hop = 0 if anonymous else local.id
            driver = driver_on(connection, hop, path=path, linger=linger, **options)
            side = Side(driver, connection, local, remote)
            sides.append(side)
            driver.start(tasks)
            if attach:
                driver.attach(side.local, side.remote)
        try:
            yield sides[0], sides[1]
        finally:
            for side in sides:
                side.driver.close()


class Hub:
    """A relay without authorisation: every session reads and writes one origin."""

    def __init__(self, tasks: asyncio.TaskGroup, **options) -> None:
        self.origin = Origin()
        self.drivers: list[Driver] = []
        self.connections: list[MemoryConnection] = []
        self._tasks = tasks
        self._options = options

    def join(
        self,
        version: str = LATEST,
        *,
        link: LinkSettings = NEAR,
        limits: Limits = LIMITS,
        shared: Origin | None = None,
        hop: int | None = None,
    ) -> Side:
        """Connect one more client. `shared` makes it a relay itself."""
        mine, theirs = pair(version, link=link, limits=limits, seed=len(self.drivers))
        local = Origin() if shared is None else shared
        remote = Origin() if shared is None else shared
        driver = driver_on(mine, local.id if hop is None else hop)
        side = Side(driver, mine, local, remote)
        driver.start(self._tasks)
        driver.attach(side.local, side.remote)
        behind = driver_on(theirs, self.origin.id, **self._options)
        behind.start(self._tasks)
        behind.attach(self.origin, self.origin)
        self.drivers += [driver, behind]
        self.connections.append(theirs)
        return side


@contextlib.asynccontextmanager
async def hub(**options) -> AsyncIterator[Hub]:
    """Run a relay."""
    async with asyncio.TaskGroup() as tasks:
        made = Hub(tasks, **options)
        try:
            yield made
        finally:
            for driver in made.drivers:
                driver.close()


KEEP = cache.Limits(max_age=3600.0)


def published(
    where: Origin, path: str = "alice", name: str = "audio", **options
) -> tuple[broadcast.Producer, track.Producer]:
    """Publish a broadcast of one track."""
    options = {"limits": KEEP, **options}
    producer = broadcast.Producer(**options)
    made = producer.create_track(name, TrackInfo(priority=80, ordered=True))
    where.publish(path, producer.consume())
    return producer, made


def write(to: track.Producer, *payloads: bytes, finish: bool = True, start: int = 0) -> None:
    """Write one group."""
    group = to.append_group()
    for index, payload in enumerate(payloads):
        group.write(Frame(payload, 1000 * (start + index)))
    if finish:
        group.finish()


@dataclass
class Got:
    """What a reader got, by group."""

    groups: dict[int, list[bytes]] = field(default_factory=dict)
    codes: dict[int, int] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    ended: bool = False
    code: int | None = None

    @property
    def payloads(self) -> list[bytes]:
        return [payload for number in sorted(self.groups) for payload in self.groups[number]]


async def read_group(got: Got, reader) -> None:
    got.order.append(reader.sequence)
    frames = got.groups.setdefault(reader.sequence, [])
    try:
        async for frame in reader:
            frames.append(frame.payload)
    except StreamEnded as exc:
        got.codes[reader.sequence] = exc.code
    finally:
        reader.close()


async def read_track(reader: track.Consumer, got: Got | None = None) -> Got:
    """Read all groups of a track at once, to its end."""
    got = got or Got()
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                async for group in reader:
                    tasks.create_task(read_group(got, group))
                got.ended = True
            except StreamEnded as exc:
                got.code = exc.code
    finally:
        reader.close()
    return got


async def subscribe(
    where: Origin, path: str = "alice", name: str = "audio", wishes: Subscription = ALL
) -> track.Consumer:
    """Wait for a broadcast and subscribe to a track of it."""
    found = await where.wait(path)
    return await found.subscribe(name, wishes)


async def gone(where: Origin, path: str = "alice") -> None:
    """Wait until a broadcast is not there any more."""
    watch = where.watch(path)
    try:
        while where.get(path) is not None:
            watch.poll()
            await watch.wait()
    finally:
        watch.close()
