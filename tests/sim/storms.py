"""Storms: what happens to links, relays and listeners, drawn from a seed.

A storm replays: its function, seed and version are all that a failure needs to be told.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Self

import msgspec
from tests.sim.world import (
    EVERYTHING,
    FRAME,
    KEEP,
    PATH,
    Story,
    World,
    hear,
    say,
    speech,
    world,
)

from moqvox.errors import MoqError, StreamEnded
from moqvox.frame import Frame, Subscription
from moqvox.model import broadcast
from moqvox.model.origin import Origin
from moqvox.transport.memory import ConnectFailed, Limits, Link, LinkSettings
from moqvox.transport.send_queue import Marks


async def rage(dice: random.Random, links: list[Link], seconds: float) -> None:
    """Do to the links whatever happens to links, and leave them sound."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        await asyncio.sleep(dice.uniform(0.01, 0.6))
        link = dice.choice(links)
        match dice.randrange(5):
            case 0:
                link.outage(dice.choice((0.05, 0.3, 1.0, 3.0)) * dice.uniform(0.5, 1.5))
            case 1:
                link.change_path(LinkSettings(delay_ms=dice.uniform(1, 120)))
            case 2:
                link.rebind()
            case _:
                link.change(
                    LinkSettings(
                        loss=dice.choice((0, 1, 5, 10, 30)),
                        delay_ms=dice.uniform(0, 150),
                        jitter_ms=dice.uniform(0, 60),
                        reorder=dice.choice((0, 1, 10)),
                        duplicate=dice.choice((0, 1, 10)),
                        rate_kbps=dice.choice((0, 0, 64, 300)),
                    )
                )
    for link in links:
        link.end_outage()
        link.change(LinkSettings(delay_ms=20))


class Weather(msgspec.Struct, frozen=True):
    """What a storm is like, besides its links."""

    relays: int
    listeners: int
    is_hurried: bool
    limits: Limits

    @classmethod
    def drawn(cls, dice: random.Random) -> Self:
        """Draw one."""
        narrow = Limits(
            stream_window_bytes=4096,
            connection_window_bytes=16_384,
            max_uni_streams=4,
            marks=Marks(stream_high=4096, stream_low=1024),
        )
        return cls(
            relays=dice.choice((1, 1, 2)),
            listeners=dice.choice((1, 1, 1, 3)),
            is_hurried=dice.random() < 0.3,
            limits=dice.choice((Limits(), narrow)),
        )


@dataclass
class Tale:
    """What came of a storm: what each listener heard, and what the packets went through."""

    stories: list[Story]
    lost_packets: int
    path_changes: int


async def storm(seed: int, version: str) -> Tale:
    """Let one speak to some through relays and a storm."""
    dice = random.Random(seed)
    weather = Weather.drawn(dice)
    said = speech(dice, groups=4, frames=60)
    stories = [Story(said) for _ in range(weather.listeners)]
    async with world(version, seed=seed, limits=weather.limits) as made:
        source = Origin(id=1)
        alice = broadcast.Producer(limits=KEEP, budget=source.budget)
        source.publish(PATH, alice.consume())
        far = made.relay("relay")
        sessions = [await made.join("publisher", "relay", source, publish=True)]
        if weather.relays == 2:
            far = made.relay("edge")
            sessions.append(
                await made.join("edge", "relay", far.origin, publish=True, consume=True)
            )
        sinks = [Origin(id=2 + number) for number in range(weather.listeners)]
        sessions += [
            await made.join(f"ear-{sink.id}", far.name, sink, consume=True) for sink in sinks
        ]
        links = [driver.connection.link for driver in sessions]
        pace = FRAME / 20 if weather.is_hurried else FRAME
        seconds = sum(map(len, said)) * pace + 0.3 * len(said)
        async with asyncio.TaskGroup() as tasks:
            for story, sink in zip(stories, sinks, strict=True):
                tasks.create_task(hear(story, sink))
            tasks.create_task(rage(dice, links, seconds))
            await say(said, alice, pace=pace)
        assert not any(driver.closed for driver in made.drivers)
        alice.close()
        stats = [driver.connection.stats() for driver in made.drivers]
    return Tale(
        stories,
        lost_packets=sum(one.lost_packets for one in stats),
        path_changes=sum(one.path_changes for one in stats),
    )


async def stay_joined(
    made: World, name: str, own: Origin, *, publish: bool = False, consume: bool = False
) -> None:
    """Dial the relay again whenever the session has ended, until cancelled."""
    while True:
        try:
            driver = await made.join(name, "relay", own, publish=publish, consume=consume)
        except ConnectFailed:
            await asyncio.sleep(0.5)
            continue
        await driver.wait_closed()


async def hear_in_the_end(said: list[list[Frame]], sink: Origin) -> list[Story]:
    """Listen anew, from the first group, whenever the session ends; the last story is whole."""
    stories: list[Story] = []
    while True:
        stories.append(Story(said))
        try:
            await hear(stories[-1], sink)
        except* MoqError:
            await asyncio.sleep(0.1)
        else:
            return stories


async def kill_now_and_then(dice: random.Random, made: World, times: int) -> None:
    """Kill the relay's process; another one takes its place at once."""
    for _ in range(times):
        await asyncio.sleep(dice.uniform(0.2, 4))
        made.network.restart("relay", reset=dice.random() < 0.5)


async def restarts(seed: int, version: str) -> tuple[list[Story], World]:
    """Let one speak to another through a relay that is killed in mid-sentence."""
    dice = random.Random(seed)
    said = speech(dice, groups=4, frames=60)
    async with world(version, seed=seed, limits=Limits(idle_timeout=3)) as made:
        source, sink = Origin(id=1), Origin(id=2)
        alice = broadcast.Producer(limits=KEEP, budget=source.budget)
        source.publish(PATH, alice.consume())
        made.relay("relay")
        joined = [
            made.tasks.create_task(stay_joined(made, "publisher", source, publish=True)),
            made.tasks.create_task(stay_joined(made, "ear", sink, consume=True)),
        ]
        async with asyncio.TaskGroup() as tasks:
            hearing = tasks.create_task(hear_in_the_end(said, sink))
            tasks.create_task(kill_now_and_then(dice, made, dice.randint(1, 3)))
            await say(said, alice)
        for task in joined:
            task.cancel()
        alice.close()
    return hearing.result(), made


async def leave_at_once(seed: int, version: str) -> Story:
    """Let a publisher speak through a storm and go as soon as it was heard by the relay."""
    dice = random.Random(seed)
    story = Story(speech(dice, groups=3, frames=60))
    async with world(version, seed=seed) as made:
        source, sink = Origin(id=1), Origin(id=2)
        alice = broadcast.Producer(limits=KEEP, budget=source.budget)
        source.publish(PATH, alice.consume())
        made.relay("relay")
        publisher = await made.join("publisher", "relay", source, publish=True)
        ear = await made.join("ear", "relay", sink, consume=True)
        links = [driver.connection.link for driver in (publisher, ear)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hear(story, sink))
            tasks.create_task(rage(dice, links, len(story.said)))
            await say(story.said, alice)
            await publisher.wait_served()
            publisher.close()
    return story


VISITORS_WISHES = (
    EVERYTHING,
    Subscription(),
    Subscription(max_age_ms=2000),
    Subscription(group_start=2, group_end=3),
)


class Visitors:
    """Listeners who come in mid-sentence, with wishes of all sorts, and go before the end."""

    def __init__(self, dice: random.Random, made: World, said: list[list[Frame]]) -> None:
        self.stories: list[Story] = []
        self._dice = dice
        self._made = made
        self._said = said

    async def visit(self, name: str, times: int) -> None:
        """Come and go; by a close, or as one whose machine was switched off."""
        dice = self._dice
        for _ in range(times):
            await asyncio.sleep(dice.uniform(0, 1.5))
            sink = Origin(id=500)
            driver = await self._made.join(name, "relay", sink, consume=True)
            story = Story(self._said)
            self.stories.append(story)
            try:
                async with asyncio.timeout(dice.uniform(0, 2.5)):
                    await hear(story, sink, wishes=dice.choice(VISITORS_WISHES))
            except* (TimeoutError, StreamEnded):
                pass
            if dice.random() < 0.5:
                driver.close()
            else:
                driver.connection.vanish("switched off", reset=True)


async def churn(seed: int, version: str) -> tuple[Story, list[Story], World]:
    """Let one listen through a storm while others come and go."""
    dice = random.Random(seed)
    story = Story(speech(dice, groups=5, frames=60))
    async with world(version, seed=seed, limits=Weather.drawn(dice).limits) as made:
        source, sink = Origin(id=1), Origin(id=2)
        alice = broadcast.Producer(limits=KEEP, budget=source.budget)
        source.publish(PATH, alice.consume())
        made.relay("relay")
        publisher = await made.join("publisher", "relay", source, publish=True)
        ear = await made.join("ear", "relay", sink, consume=True)
        links = [driver.connection.link for driver in (publisher, ear)]
        visitors = Visitors(dice, made, story.said)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hear(story, sink))
            tasks.create_task(rage(dice, links, len(story.said)))
            for number in range(3):
                tasks.create_task(visitors.visit(f"visitor-{number}", 3))
            await say(story.said, alice)
    return story, visitors.stories, made
