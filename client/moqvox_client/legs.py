"""The sessions of a verb, one after the other: it moves where its server asks to (GOAWAY)."""

import asyncio
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Final

from moqvox.driver import Driver
from moqvox.driver.handover import hand_over
from moqvox.driver.scope import scope
from moqvox.errors import MoqError, SessionClosed
from moqvox.model.origin import Origin
from moqvox_client.output import Output
from moqvox_client.reach import Reaching, gone, reach

__all__ = ["Legs", "standing"]

HANDOVER: Final = 5.0
"""Seconds that a session which asks to move is kept beside the one in its place, at least."""

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 2.0
"""Seconds between two attempts to move, the first of them also between two moves."""

LOOK_EVERY: Final = 0.1

MAX_URLS: Final = 16
"""URLs remembered, those that servers pointed to included."""


class Legs:
    """One session, and after a GOAWAY the next one, which is opened before the former is left.

    What is published is there in both until then, of the same hop id. What is read goes on from
    the new one, each frame once; the former is left when all of it does.

    Attributes:
        driver: of the latest session.
        moves: sessions opened because the one before asked to move.
        closed: whether the latest one is over, and none takes its place.
    """

    def __init__(
        self,
        urls: Sequence[str],
        options: Reaching,
        output: Output,
        *,
        publish: Origin | None,
        consume: Origin | None,
    ) -> None:
        self.driver: Driver
        self.moves = 0
        self.closed = False
        self._urls = deque(urls[:MAX_URLS], maxlen=MAX_URLS)
        self._options = options
        self._output = output
        self._publish = publish
        self._consume = consume
        self._standing: set[Driver] = set()
        self._errands: set[asyncio.Task[None]] = set()
        self._steady = asyncio.Event()
        self._over = asyncio.Event()
        self._changes_before = 0

    async def wait_closed(self) -> None:
        """Wait until the latest session is over, and none takes its place."""
        await self._over.wait()

    async def wait_served(self) -> None:
        """Wait until readers have everything that they have asked for, in every session."""
        await self._steady.wait()
        for driver in list(self._standing):
            await driver.wait_served()

    async def gone(self) -> SessionClosed:
        """Say why it is over."""
        return await gone(self.driver)

    @property
    def path_changes(self) -> int:
        """Changes of network path that the connections went through."""
        return self._changes_before + self.driver.connection.stats().path_changes

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Open the first session.

        Raises:
            UsageError, CertificateError, MoqError: see `reach`.
        """
        self.driver = await self._open(self._urls[0], tasks)

    async def keep(self, tasks: asyncio.TaskGroup) -> None:
        """Move whenever the latest session asks to, until one ends without."""
        self._steady.set()
        while await self.driver.wait_leaving() or self.driver.goaway.is_set():
            former = self.driver
            self._steady.clear()
            fresh = await self._move(former, tasks)
            self._steady.set()
            if fresh is None:
                break
            self.moves += 1
            self._changes_before = self.path_changes
            self.driver = fresh
            self._spawn(tasks, self._leave(former), "leave")
            if self._consume is not None:
                self._spawn(tasks, hand_over(former, self._consume), "hand over")
            await asyncio.sleep(FIRST_WAIT)  # servers that only send on would keep us busy
        self.closed = True
        self._over.set()

    def close(self) -> None:
        """End all sessions, after what is queued."""
        for errand in list(self._errands):
            errand.cancel()
        for driver in self._standing:
            driver.close()

    def _spawn(
        self, tasks: asyncio.TaskGroup, errand: Coroutine[None, None, None], name: str
    ) -> None:
        task = tasks.create_task(errand, name=name)
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _move(self, former: Driver, tasks: asyncio.TaskGroup) -> Driver | None:
        """Open the next session; None when `timeout` after the former's end there is none."""
        where, said = former.connection.remote_address, ""
        self._urls.rotate(-1)
        if former.goaway_uri:
            self._urls.appendleft(former.goaway_uri)
        loop = asyncio.get_running_loop()
        wait, until = FIRST_WAIT, math.inf
        while loop.time() < until:
            url = self._urls[0]
            try:
                fresh = await self._open(url, tasks)
            except MoqError as exc:
                why = "".join(filter(str.isprintable, str(exc)))
                if said != why:
                    said = why
                    self._output.note(f"{where} asks to move, but there is nobody else yet: {why}")
            else:
                there = fresh.connection.remote_address
                self._output.note(f"{where} asks to move: going on at {there}")
                return fresh
            if url == former.goaway_uri and len(self._urls) > 1:
                self._urls.popleft()
            else:
                self._urls.rotate(-1)
            if former.closed:
                until = min(until, loop.time() + self._options.timeout)
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  # spreads retries
            wait = min(2 * wait, LONGEST_WAIT)
        return None

    async def _open(self, url: str, tasks: asyncio.TaskGroup) -> Driver:
        opened: asyncio.Future[Driver] = asyncio.get_running_loop().create_future()
        serving = tasks.create_task(self._serve(url, opened), name="session")
        try:
            return await opened
        except asyncio.CancelledError:
            serving.cancel()
            raise

    async def _serve(self, url: str, opened: asyncio.Future[Driver]) -> None:
        """Run a session to its end."""
        try:
            async with reach(
                url, self._options, self._output, publish=self._publish, consume=self._consume
            ) as driver:
                self._standing.add(driver)
                opened.set_result(driver)
                try:
                    await driver.wait_closed()
                finally:
                    self._standing.discard(driver)
        except Exception as exc:
            if opened.done():
                raise
            opened.set_exception(exc)

    async def _leave(self, former: Driver) -> None:
        """Close the former session when nothing depends on it, or its server has."""
        await asyncio.sleep(HANDOVER)
        while not former.closed and self._consume is not None and _is_needed(former):  # noqa: ASYNC110 - no bell
            await asyncio.sleep(LOOK_EVERY)
        former.close()


def _is_needed(driver: Driver) -> bool:
    """Whether a track is read there only."""
    return any(not track.is_shared for remote in driver.remotes for track in remote.upstreams)


@asynccontextmanager
async def standing(
    urls: Sequence[str],
    options: Reaching,
    output: Output,
    *,
    publish: Origin | None = None,
    consume: Origin | None = None,
) -> AsyncIterator[Legs]:
    """Hold a session open, and move it when its server asks to, for as long as the block runs.

    Args:
        urls: that lead to the same place; the first is wanted most.
        options: how to reach it.
        output: hears of each session.
        publish: what to serve.
        consume: where the servers' broadcasts go.

    Raises:
        UsageError, CertificateError, MoqError: the first can't be opened, see `reach`.
    """
    async with scope() as tasks:
        legs = Legs(urls, options, output, publish=publish, consume=consume)
        await legs.open(tasks)
        keeping = tasks.create_task(legs.keep(tasks), name="legs")
        try:
            yield legs
        finally:
            keeping.cancel()
            legs.close()
