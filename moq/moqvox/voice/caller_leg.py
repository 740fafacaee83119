"""One leg of a call as its caller makes it: announced on a connection, and answered there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from moqvox.driver import Driver
from moqvox.errors import LocalError, Refused
from moqvox.model import broadcast, origin
from moqvox.voice.far_leg import FarLeg
from moqvox.voice.inbox import Inbox
from moqvox.voice.leg import Leg
from moqvox.voice.names import AGAIN, AGENT, CALLER, RESUMED, leg_name
from moqvox.voice.words import Hello

__all__ = ["CallerLeg", "CallerView"]

log = logging.getLogger("moqvox.voice")

KNOCK: Final = 1.0
"""Seconds between two requests for a broadcast that is not announced."""

ENDING: Final = 2.0
"""Seconds that a broadcast which is announced no more has to end."""


class CallerView:
    """A caller's origin, in which its broadcast also answers to a well-known name."""

    def __init__(self, inner: origin.Origin) -> None:
        self.aliases: dict[str, broadcast.Producer] = {}
        self._inner = inner

    def get(self, path: str) -> broadcast.Consumer | None:
        """Find a broadcast."""
        alias = self.aliases.get(path)
        return self._inner.get(path) if alias is None else alias.consume()

    async def find(self, path: str) -> broadcast.Consumer | None:
        """Find a broadcast; none is about to come."""
        return self.get(path)

    async def wait(self, path: str) -> broadcast.Consumer:
        """Wait for a broadcast."""
        alias = self.aliases.get(path)
        return await self._inner.wait(path) if alias is None else alias.consume()

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> origin.Watch:
        """Watch what is announced; the short names are not."""
        return self._inner.watch(prefix, exclude_hop=exclude_hop)


class CallerLeg:
    """One pair of broadcasts: ours, and the agent's in answer.

    Attributes:
        driver: the connection that it is on.
    """

    def __init__(
        self,
        call: str,
        number: int,
        ours: Leg,
        inbox: Inbox,
        mark: Callable[[str], None],
        before: Leg | None,
    ) -> None:
        self.number = number
        self._name = leg_name(call, number)
        self._path = f"{self._name}/{AGENT}"
        self._announced = 0
        self._ours = ours
        self._inbox = inbox
        self._mark = mark
        self._before = before
        self._serves = True
        self.driver: Driver

    def attach(self, driver: Driver, local: origin.Origin, remote: origin.Origin) -> None:
        """Announce it on a new connection; a later one's is answered there once it has asked."""
        self.driver = driver
        self._local, self._remote = local, remote
        self._view = CallerView(local)
        self._publish()
        driver.consume(remote)
        self._serves = False
        if not self.number:
            self._serve()

    def _serve(self) -> None:
        """Answer what the other side asks of ours."""
        if not self._serves:
            self._serves = True
            self.driver.publish(self._view)

    def succeed(self, before: "CallerLeg") -> None:
        """Announce it on the connection of the leg before, which is withdrawn."""
        self.driver = before.driver
        self._local, self._remote = before._local, before._remote  # noqa: SLF001
        self._view = before._view  # noqa: SLF001
        self._publish()

    def _publish(self) -> None:
        self._view.aliases = {RESUMED if self.number else CALLER: self._ours.broadcast}
        self._local.publish(f"{self._name}/{CALLER}", self._ours.broadcast.consume())
        if self._before is not None:
            self._before.close()

    async def hear(self) -> bool | str:
        """Hear the agent's broadcast until it is over, or the agent asks for the next leg.

        Returns:
            Whether it ended in order; or the word that the agent asked with.
        """
        watch = self._remote.watch(self._path)
        try:
            source: broadcast.Consumer | None = None
            while True:
                heard = await self._hear_one(source, watch)
                source = self._remote.get(self._path)
                if heard is not None or source is None:
                    return heard or False
        finally:
            watch.close()

    async def _hear_one(
        self, source: broadcast.Consumer | None, watch: origin.Watch
    ) -> bool | str | None:
        """Hear one broadcast; None when another one has taken its place."""
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(self._read(source), name="read")
            renewing = tasks.create_task(self._wait_renewed(watch), name="renewed")
            asking = tasks.create_task(self._wait_asked(), name="asked")
            await asyncio.wait([reading, renewing, asking], return_when=asyncio.FIRST_COMPLETED)
            for task in (reading, renewing, asking):
                task.cancel()
        if asking.done() and not asking.cancelled():
            return asking.result()
        if reading.done() and not reading.cancelled():
            return reading.result()
        return None if renewing.result() else False

    async def _wait_asked(self) -> str:
        """Wait until an agent asks for the next leg; its word."""
        watch = self._remote.watch(f"{self._name}/{AGAIN}")
        try:
            while True:
                for news in watch.poll():
                    if isinstance(news, origin.Announced):
                        return news.path.rpartition("/")[2][:64]
                await watch.wait()
        finally:
            watch.close()

    async def _read(self, source: broadcast.Consumer | None) -> bool:
        try:
            if source is not None:
                return await self._far(source).read_on(self._admit)
            if not self.number:
                source = await self._remote.wait(self._path)
                self._mark("agent")
                return await self._far(source).read(self._inbox)
            return await self._knock()
        except Refused as exc:
            log.warning("the agent has no audio: %s", exc)
            return False

    async def _knock(self) -> bool:
        """Ask for the agent's broadcast before it is announced, now and then.

        A server that is the agent itself has it ready; and of a connection that is dead, this
        is how one learns while nothing else is sent.
        """
        while True:
            try:
                far = self._far(self.driver.broadcast(self._path))
                return await far.read_on(self._admit, on_asked=self._serve)
            except (LocalError, Refused):
                self._serve()
            try:
                async with asyncio.timeout(KNOCK):
                    source = await self._remote.wait(self._path)
            except TimeoutError:
                continue
            return await self._far(source).read_on(self._admit)

    def _far(self, source: broadcast.Consumer) -> FarLeg:
        return FarLeg(source, path_changes=self._path_changes)

    def _path_changes(self) -> int:
        return self.driver.connection.stats().path_changes

    def _admit(self, hello: Hello | None) -> Inbox | None:
        if hello is None:
            log.warning("the agent does not know the call any more")
            return None
        return self._inbox

    async def _wait_renewed(self, watch: origin.Watch) -> bool:
        """Wait until the agent's broadcast is announced anew (True), or gone without an end."""
        while True:
            for news in watch.poll():
                if isinstance(news, origin.Announced):
                    self._announced += 1
                    if self._announced > 1:
                        return True
                else:
                    await asyncio.sleep(ENDING)
                    return self._remote.get(self._path) is not None
            await watch.wait()
