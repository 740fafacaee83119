"""From a session that is about to go to another way: readers go on without a gap.

Who reads a broadcast of the leaving session keeps its tracks. Once the same publisher's
broadcast is there by another way, each track is read there too, from the oldest group that is
not whole, and both ways fill it (`Braid`) until the leaving one is over.
"""

import asyncio
import logging
from typing import Final

from moqvox.driver.braid import Braid
from moqvox.driver.consuming import Remote
from moqvox.driver.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import broadcast, group, track
from moqvox.model.feed import MAX_SEQUENCE
from moqvox.model.origin import Origin, Route

__all__ = ["hand_over"]

log = logging.getLogger("moqvox.driver")

LOOK_EVERY: Final = 0.1
"""Seconds between two looks for other ways, for readers that left, and for what is lost."""

LOOKS: Final = 300
LOOK_RARELY: Final = 2.0
"""Looks for other ways after which they are rarer: a peer that asks to move and then stays for
good costs next to nothing."""

UNREAD: Final = 20
"""Looks after which a track without readers is given up."""

MIN_AGE_MS: Final = 10_000
"""What is asked of the past, so that the groups in flight are among it."""

MAX_LOST: Final = 256
"""Ranges of groups kept in mind until the leaving way is over; more wait where they are."""


async def hand_over(driver: Driver, origin: Origin) -> None:
    """Move what is read of a session that was asked to move to other ways in `origin`.

    Runs until the session is over and all that was handed over has ended.
    """
    async with asyncio.TaskGroup() as tasks:
        looks = 0
        while not driver.closed:
            for remote in driver.remotes:
                _move(remote, driver, origin, tasks)
            looks += 1
            await asyncio.sleep(LOOK_EVERY if looks < LOOKS else LOOK_RARELY)


def _move(remote: Remote, driver: Driver, origin: Origin, tasks: asyncio.TaskGroup) -> None:
    """Read a broadcast's tracks by another way as well, if there is one by now."""
    other = _other_way(remote, origin)
    if other is None:
        return
    for upstream in remote.upstreams:
        braid = upstream.share()
        if braid is not None:
            log.info("%s of %r goes on by another way", upstream.name, remote.path)
            following = _Following(braid, driver)
            tasks.create_task(following.run(other.broadcast), name=f"follow {upstream.name}")


def _other_way(remote: Remote, origin: Origin) -> Route | None:
    """Find another way to the same broadcast of the same publisher: its hop id tells."""
    own = remote.route
    if own is None or not own.hops or not own.hops[0]:
        return None
    source, leaving = own.hops[0], own.hops[-1]
    for route in origin.routes(own.path):
        if route is own or route.hops[:1] != (source,) or route.broadcast.closed:
            continue
        if leaving == source or leaving not in route.hops:
            return route
    return None


class _Following:
    """Fills a track from another way, until that ends or nobody reads it any more."""

    def __init__(self, braid: Braid, driver: Driver) -> None:
        self._braid = braid
        self._driver = driver
        self._lost: list[tuple[int, int, int]] = []

    async def run(self, source: broadcast.Consumer) -> None:
        """Read until the end. What this way lacks is given up only once the other is over."""
        producer = self._braid.producer
        try:
            reader = await source.subscribe(producer.name, self._wishes())
            try:
                await self._read(reader)
            finally:
                reader.close()
            await self._settle(reader)
        except (StreamEnded, Refused) as exc:
            log.info("%s does not go on by the other way: %s", producer.name, exc)
            await self._driver.wait_closed()
            self._braid.abort(exc.code)

    def _wishes(self) -> Subscription:
        """Ask for all since the first group that is not whole, however old it is."""
        demand = self._braid.producer.demand() or Subscription()
        return Subscription(
            priority=demand.priority,
            ordered=demand.ordered,
            max_age_ms=max(demand.max_age_ms, MIN_AGE_MS),
            group_start=self._braid.start,
        )

    async def _read(self, reader: track.Consumer) -> None:
        async with scope() as tasks:
            looking = tasks.create_task(self._look(reader), name="look")
            async for taken in reader:
                tasks.create_task(self._copy(taken), name=f"group {taken.sequence}")
            looking.cancel()

    async def _copy(self, taken: group.Consumer) -> None:
        strand = self._braid.strand(taken.sequence, taken.frame_start)
        try:
            async for frame in taken:
                strand.write(frame)
        except StreamEnded as exc:
            self._lost.append((taken.sequence, taken.sequence, exc.code))
        else:
            strand.finish()
        finally:
            taken.close()

    async def _look(self, reader: track.Consumer) -> None:
        """Stop when nobody reads; pass on what is lost for good."""
        unread = 0
        while unread < UNREAD:
            await asyncio.sleep(LOOK_EVERY)
            producer = self._braid.producer
            unread = 0 if producer.used and not producer.closed else unread + 1
            self._note_lost(reader)
        reader.close()

    def _note_lost(self, reader: track.Consumer) -> None:
        while len(self._lost) < MAX_LOST and (lost := reader.poll_drop()) is not None:
            self._lost.append(lost)
        if not self._driver.closed:
            return
        first = reader.start()
        if first:
            self._braid.lose(0, first - 1, StreamCode.CANCELLED)
        for lost in self._lost:
            self._braid.lose(*lost)
        self._lost.clear()

    async def _settle(self, reader: track.Consumer) -> None:
        """End the track where this way has ended."""
        self._braid.finish(reader.group_end)
        await self._driver.wait_closed()
        self._note_lost(reader)
        self._braid.lose(0, MAX_SEQUENCE, StreamCode.CANCELLED)
