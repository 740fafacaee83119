"""Where calls come in: finds callers on a connection and makes a session of each."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final
from weakref import WeakSet

from moqvox.driver import Driver
from moqvox.errors import LocalError, Refused
from moqvox.model import broadcast, origin
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.session import MAX_LEAD, Session

__all__ = ["AGENT", "CALLER", "Lobby"]

log = logging.getLogger("moqvox.voice")

CALLER: Final = "caller"
AGENT: Final = "agent"

MAX_WAITING: Final = 256
"""Sessions that the agent has not taken yet; further callers are left unanswered."""


class Lobby:
    """Callers of any number of connections, as one stream of sessions.

    A call named `id` is two broadcasts below the connection's root: `id/caller`, which the
    caller announces, and `id/agent`, which is announced in return. A caller connected
    directly also answers to plain `caller`, so that its audio is subscribed to before it
    has announced anything.
    """

    def __init__(self, *, barge_in: bool = True, max_lead: float = MAX_LEAD) -> None:
        self._barge_in = barge_in
        self._max_lead = max_lead
        self._offered: WeakSet[Session] = WeakSet()
        self._waiting: Mailbox[Session] = Mailbox(MAX_WAITING)

    async def sessions(self) -> AsyncIterator[Session]:
        """Take each call as it comes; one whose caller has left meanwhile is passed over."""
        async for session in self._waiting:
            if not session.closed:
                yield session

    def close(self) -> None:
        """End the iteration."""
        self._waiting.close()

    async def host(
        self, driver: Driver, local: origin.Origin, remote: origin.Origin, *, eager: bool
    ) -> None:
        """Serve the callers behind one connection until it is over.

        Args:
            driver: the connection's, attached to `local` (to publish) and `remote`.
            local: takes the agent's broadcasts.
            remote: shows the callers'.
            eager: ask for the well-known `caller` at once.

        Raises:
            LocalError: the connection is over already.
        """
        lines: dict[str, _Line] = {}
        early = driver.broadcast(CALLER) if eager else None
        async with asyncio.TaskGroup() as tasks:
            if early is not None:
                line = lines[""] = self._line(driver)
                line.tasks = [
                    tasks.create_task(self._run(line, early), name="caller"),
                    tasks.create_task(self._offer_when_begun(line), name="began"),
                ]
            watching = tasks.create_task(
                self._watch(driver, local, remote, lines, tasks), name="watch"
            )
            await driver.wait_closed()
            watching.cancel()
            for line in lines.values():
                line.end()

    async def _watch(
        self,
        driver: Driver,
        local: origin.Origin,
        remote: origin.Origin,
        lines: dict[str, "_Line"],
        tasks: asyncio.TaskGroup,
    ) -> None:
        async for news in remote.watch():
            name, _, role = news.path.rpartition("/")
            if role != CALLER or not name:
                continue
            if isinstance(news, origin.Unannounced):
                if name in lines:
                    lines.pop(name).end()
                continue
            source = remote.get(news.path)
            if source is None or name in lines:
                continue
            line = lines.pop("", None)
            if line is None:
                line = self._line(driver)
                line.tasks = [tasks.create_task(self._run(line, None), name=f"call-{name}")]
            lines[name] = line
            self._bind(line, name, source, local)

    def _bind(
        self, line: "_Line", name: str, source: broadcast.Consumer, local: origin.Origin
    ) -> None:
        line.session.id = name
        line.announced.set_result(source)
        try:
            local.publish(f"{name}/{AGENT}", line.session.outbox.broadcast.consume())
        except (LocalError, Refused) as exc:
            log.warning("call %s can't be answered: %s", name, exc)
            line.end()
            return
        self._offer(line)

    def _line(self, driver: Driver) -> "_Line":
        return _Line(
            Session(
                remote_address=driver.connection.remote_address,
                barge_in=self._barge_in,
                max_lead=self._max_lead,
            )
        )

    def _offer(self, line: "_Line") -> None:
        session = line.session
        if session in self._offered:
            return
        self._offered.add(session)
        if not self._waiting.put(session):
            log.warning("call %s left unanswered: %d wait already", session.id, MAX_WAITING)
            line.end()

    async def _run(self, line: "_Line", early: broadcast.Consumer | None) -> None:
        session = line.session
        try:
            if early is not None:
                try:
                    await session.inbox.read(early)
                except Refused:
                    log.debug("%s has no plain caller", session.remote_address)
                else:
                    return
            await session.inbox.read(await line.announced)
        except Refused as exc:
            log.info("call %s has no audio: %s", session.id, exc)
        finally:
            session.inbox.close()

    async def _offer_when_begun(self, line: "_Line") -> None:
        await line.session.began.wait()
        self._offer(line)


class _Line:
    """A session, the tasks that feed it, and how its caller was announced."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.tasks: list[asyncio.Task[None]] = []
        self.announced: asyncio.Future[broadcast.Consumer] = (
            asyncio.get_running_loop().create_future()
        )

    def end(self) -> None:
        """Hang up. May be called by one of its own tasks, which ends then too."""
        self.session.end()
        for task in self.tasks:
            task.cancel()
