"""One connection that brings calls: finds the callers on it, and reads each one's leg."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from moqvox.driver import Driver
from moqvox.errors import LocalError, Refused
from moqvox.model import broadcast, origin
from moqvox.voice.ahead import agreed_with
from moqvox.voice.knock import keep_knocking
from moqvox.voice.leg import Leg
from moqvox.voice.line import Line, Register
from moqvox.voice.names import AGAIN, AGENT, CALLER, RESUMED, read_name

__all__ = ["Host"]

log = logging.getLogger("moqvox.voice")


SETTLING: Final = 0.25
"""Seconds, or `SETTLING_RTTS` if that is more, in which a relay tells what was there before us:
calls that may have lost an agent."""

SETTLING_RTTS: Final = 4

DOUBT: Final = 40.0
"""Seconds in which callers are asked whether another agent was there. A relay that was cut off,
or started anew, tells of them when it has found back; one that has not within its idle time-out
(30 s) has told them that the agent is gone, and they are on a later leg."""


class Host:
    """The callers behind one connection.

    Args:
        others: all connections that bring calls to the same agent, this one among them.

    Attributes:
        again: what callers are asked with to begin their next leg.
    """

    def __init__(
        self,
        register: Register,
        driver: Driver,
        local: origin.Origin,
        remote: origin.Origin,
        *,
        eager: bool,
        others: Callable[[], Iterable["Host"]] = tuple,
    ) -> None:
        self.register = register
        self.driver = driver
        self.address = driver.connection.remote_address
        self._local = local
        self._remote = remote
        self._eager = eager
        self._others = others
        self._lines: dict[str, Line] = {}
        self._early: list[Line] = []
        self.again = secrets.token_hex(8)

    async def run(self) -> None:
        """Serve until the connection is over.

        Raises:
            LocalError: it is over already.
        """
        agreed = {CALLER: agreed_with(self.driver), RESUMED: None} if self._eager else {}
        sources = [(name, self.driver.broadcast(name, known)) for name, known in agreed.items()]
        is_hung_up = False
        async with asyncio.TaskGroup() as tasks:
            try:
                for name, source in sources:
                    line = Line(self, is_later=name == RESUMED)
                    self._early.append(line)
                    line.start(tasks, source)
                listening = [tasks.create_task(self._watch(tasks), name="watch")]
                if not self._eager:  # a caller knocks itself
                    knocking = keep_knocking(self.driver.connection, self._is_listening)
                    listening.append(tasks.create_task(knocking, name="knock"))
                closed = await self.driver.wait_closed()
                for task in listening:
                    task.cancel()
                is_hung_up = self._eager and closed.remote and not closed.lost and not closed.code
            finally:  # also when we are told to stop
                for line in dict.fromkeys((*self._lines.values(), *self._early)):
                    line.end(hung_up=is_hung_up)

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        began = asyncio.get_running_loop().time()
        watch = self._remote.watch()
        try:
            while True:
                for change in watch.poll():
                    name, _, role = change.path.rpartition("/")
                    if role != CALLER or not name:
                        continue
                    if isinstance(change, origin.Unannounced):
                        line = self._lines.pop(name, None)
                        if line is not None:
                            line.withdraw()
                    elif name not in self._lines:
                        self._announced(tasks, name, began)
                await watch.wait()
        finally:
            watch.close()

    def _is_listening(self) -> bool | None:
        """Whether anything is being said; None when nobody is here."""
        return self.is_busy if self._lines else None

    def _announced(self, tasks: asyncio.TaskGroup, name: str, began: float) -> None:
        source = self._remote.get(f"{name}/{CALLER}")
        if source is None:
            return
        _, leg = read_name(name)
        for line in self._early:
            if line.is_later == bool(leg) and line.name in ("", name):
                self._early.remove(line)
                self._lines[name] = line
                line.bind(name, source)
                return
        age = asyncio.get_running_loop().time() - began
        settling = max(SETTLING, SETTLING_RTTS * self.driver.connection.stats().rtt)
        line = self._lines[name] = Line(
            self,
            is_later=bool(leg),
            was_there=not self._eager and age < settling,
            is_in_doubt=not self._eager and age < DOUBT,
        )
        line.bind(name, source)
        line.start(tasks, source)

    def is_elsewhere(self, call: str) -> bool:
        """Whether this connection is to be left, and the call is there on another one."""
        if self._eager or not self.driver.goaway.is_set():
            return False
        return any(host.stays and host.knows(call) for host in self._others())

    @property
    def stays(self) -> bool:
        """Whether the connection is not about to be left."""
        return not self.driver.goaway.is_set() and not self.driver.closed

    def knows(self, call: str) -> bool:
        """Whether a leg of a call is here."""
        return any(read_name(name)[0] == call for name in self._lines)

    def is_last(self, name: str) -> bool:
        """Whether a name is of the last leg of its call that is announced."""
        call, leg = read_name(name)
        legs = (read_name(other) for other in self._lines)
        return all(number <= leg for other, number in legs if other == call)

    def ask(self, name: str) -> broadcast.Producer:
        """Ask a caller to begin its next leg, until that is closed."""
        asking = broadcast.Producer()
        try:
            self._local.publish(f"{name}/{AGAIN}/{self.again}", asking.consume())
        except (LocalError, Refused) as exc:
            log.warning("call %s can't be asked: %s", name, exc)
        return asking

    @property
    def is_direct(self) -> bool:
        """Whether the caller itself is at the other end."""
        return self._eager

    @property
    def is_busy(self) -> bool:
        """Whether anything is being said."""
        return any(line.is_busy for line in (*self._lines.values(), *self._early))

    def path_changes(self) -> int:
        """Count the connection's changes of path so far."""
        return self.driver.connection.stats().path_changes

    def publish(self, name: str, leg: Leg) -> origin.Route | None:
        """Answer a caller."""
        try:
            return self._local.publish(f"{name}/{AGENT}", leg.broadcast.consume())
        except (LocalError, Refused) as exc:
            log.warning("call %s can't be answered: %s", name, exc)
            return None
