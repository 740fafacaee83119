"""Calls in memory: a caller and an agent, directly or around a relay, on any link."""

import asyncio
import contextlib
import functools
import math
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from tests.unit.driver.sides import Hub, driver_on

from moqvox.driver import Driver
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.model.origin import Origin
from moqvox.transport.memory import LinkSettings, MemoryConnection, pair
from moqvox.voice import Session
from moqvox.voice.call import Call
from moqvox.voice.lobby import GRACE, Lobby
from moqvox.voice.playback import Playback

NEAR = LinkSettings(delay_ms=10)


@functools.cache
def packets(count: int, hertz: float = 300.0) -> tuple[bytes, ...]:
    """Encode a tone into packets of 20 ms."""
    samples = array("h", (int(8000 * math.sin(hertz * n / 7639.4)) for n in range(960 * count)))
    return tuple(StreamEncoder(Encoder(48_000, 1, 24_000, 20)).push(samples.tobytes()))


def tone(ms: int, rate: int = 24_000) -> bytes:
    """Make s16le mono PCM of a tone."""
    step = 2 * math.pi * 440 / rate
    return array("h", (int(8000 * math.sin(step * n)) for n in range(rate * ms // 1000))).tobytes()


@dataclass
class Line:
    """A caller on the phone."""

    call: Call
    driver: Driver
    connection: MemoryConnection
    playback: Playback
    pcm: list[bytes] = field(default_factory=list)
    frames: list[tuple[int, int, float]] = field(default_factory=list)


async def hold_once(call: Call, driver: Driver) -> None:
    """Be on the phone for one connection."""
    await call.hold(driver)
    call.lost(await driver.wait_closed())


class Agent:
    """Takes the sessions of a lobby, one after the other."""

    def __init__(self, lobby: Lobby) -> None:
        self.lobby = lobby
        self._sessions = lobby.sessions()
        self.drivers: list[Driver] = []
        self.hub: Hub

    async def session(self) -> Session:
        async with asyncio.timeout(60):
            return await anext(self._sessions)


def caller_on(
    connection: MemoryConnection, tasks: asyncio.TaskGroup, *, play: bool = True, **options
) -> Line:
    call = Call()
    driver = driver_on(connection, call.origin_id)
    driver.start(tasks)
    pcm, frames = [], []
    playback = Playback(
        call,
        pcm.append,
        on_frame=lambda *frame: frames.append(frame),
        **options,
    )
    tasks.create_task(hold_once(call, driver), name="hold")
    if play:
        tasks.create_task(playback.run(), name="playback")
    return Line(call, driver, connection, playback, pcm, frames)


@contextlib.asynccontextmanager
async def direct(
    version: str = "moq-lite-06",
    *,
    link: LinkSettings = NEAR,
    play: bool = True,
    seed: int = 1,
    barge_in: bool = True,
    max_lead: float = 20.0,
    grace: float = GRACE,
    **options,
) -> AsyncIterator[tuple[Line, Agent]]:
    """Connect a caller straight to an agent's server."""
    lobby = Lobby(barge_in=barge_in, max_lead=max_lead, grace=grace)
    async with asyncio.TaskGroup() as tasks:
        client, server = pair(version, link=link, seed=seed)
        line = caller_on(client, tasks, play=play, **options)
        local, remote = Origin(), Origin()
        driver = driver_on(server, local.id)
        driver.start(tasks)
        driver.attach(local, remote)
        tasks.create_task(lobby.host(driver, local, remote, eager=True), name="host")
        agent = Agent(lobby)
        agent.drivers.append(driver)
        try:
            yield line, agent
        finally:
            line.call.close()
            line.driver.close()
            lobby.close()


@contextlib.asynccontextmanager
async def relayed(
    count: int = 1,
    version: str = "moq-lite-06",
    *,
    link: LinkSettings = NEAR,
    edge: bool = True,
    grace: float = GRACE,
    **options,
) -> AsyncIterator[tuple[list[Line], Agent]]:
    """Put callers behind an edge relay, and the agent behind the origin relay after it."""
    lobby = Lobby(grace=grace)
    async with asyncio.TaskGroup() as tasks:
        inner = Hub(tasks)
        outer = Hub(tasks) if edge else inner
        if edge:
            inner.join(version, shared=outer.origin)
        local, remote = Origin(), Origin()
        mine, theirs = pair(version, link=NEAR, seed=99)
        driver = driver_on(mine, local.id)
        driver.start(tasks)
        driver.attach(local, remote)
        behind = driver_on(theirs, inner.origin.id)
        behind.start(tasks)
        behind.attach(inner.origin, inner.origin)
        hosting = tasks.create_task(lobby.host(driver, local, remote, eager=False), name="host")
        lines = []
        for number in range(count):
            client, server = pair(version, link=link, seed=number)
            lines.append(caller_on(client, tasks, **options))
            other = driver_on(server, outer.origin.id)
            other.start(tasks)
            other.attach(outer.origin, outer.origin)
        agent = Agent(lobby)
        agent.hub = outer
        agent.drivers.append(driver)
        try:
            yield lines, agent
        finally:
            for line in lines:
                line.call.close()
                line.driver.close()
            driver.close()
            lobby.close()
            for each in {*inner.drivers, *outer.drivers}:
                each.close()
            await hosting


async def speak(line: Line, count: int, *, paced: bool = True, hertz: float = 300.0):
    """Speak packets as one utterance and finish it."""
    speech = line.call.speak()
    for packet in packets(count, hertz):
        speech.write_packet(packet)
        if paced:
            await asyncio.sleep(0.02)
    speech.finish()
    return speech


async def collect(utterance) -> list[bytes]:
    return [packet.opus async for packet in utterance.opus()]
