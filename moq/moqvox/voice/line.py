"""One leg of a call as an agent takes it: from its caller's broadcast to the call's session."""

import asyncio
import logging
from typing import Final, Protocol

from moqvox.errors import LocalError, Refused
from moqvox.model import broadcast, origin
from moqvox.voice.far_leg import FarLeg
from moqvox.voice.inbox import Inbox
from moqvox.voice.leg import Leg
from moqvox.voice.names import leg_name
from moqvox.voice.session import Session
from moqvox.voice.words import Hello

__all__ = ["Line", "Register", "Switchboard"]

log = logging.getLogger("moqvox.voice")

MOVE: Final = 10.0
"""Seconds that a caller has to begin the next leg when it is asked to."""


class Register(Protocol):
    """Who keeps the sessions: a lobby."""

    def session(self, address: str) -> Session:
        """Make the session of a new call."""

    def register(self, session: Session) -> None:
        """Let a caller that has shown its token come back."""

    def find(self, call: str) -> Session | None:
        """Look for the session of a call that may come back."""

    def revive(self, hello: Hello, address: str) -> Session | None:
        """Go on with a call whose process is gone, if there is a journal of it.

        Raises:
            LocalError: there is, and the caller is another one.
        """

    def offer(self, session: Session) -> bool:
        """Hand a session to the agent, once; False when too many wait already."""

    def back(self, session: Session) -> None:
        """Note that a caller is there again."""

    def away(self, session: Session) -> None:
        """Keep the session of a caller whose connection is gone, or end it."""


class Switchboard(Protocol):
    """The connection that a line is on."""

    register: Register
    address: str
    again: str

    def is_elsewhere(self, call: str) -> bool:
        """Whether this connection is to be left, and the call is there on another one."""

    def is_last(self, name: str) -> bool:
        """Whether a name is of the last leg of its call that is announced."""

    @property
    def is_direct(self) -> bool:
        """Whether the caller itself is at the other end."""

    def ask(self, name: str) -> broadcast.Producer:
        """Ask a caller to begin its next leg, until that is closed."""

    def path_changes(self) -> int:
        """Count the connection's changes of path so far."""

    def publish(self, name: str, leg: Leg) -> origin.Route | None:
        """Answer a caller; None when that is not possible."""


class Line:
    """One leg on one connection.

    Attributes:
        name: of the leg, "" as long as it is not known.
        is_later: it is not the call's first leg, so its `hello` decides whose it is.

    Args:
        was_there: taken for older than our connection, if the caller does not show otherwise.
        is_in_doubt: the caller is asked to.
    """

    def __init__(
        self,
        board: Switchboard,
        *,
        is_later: bool = False,
        was_there: bool = False,
        is_in_doubt: bool = False,
    ) -> None:
        self.name = ""
        self.is_later = is_later
        self._board = board
        self._was_there = was_there
        self._is_in_doubt = is_in_doubt
        self._session: Session | None = None
        self._route: origin.Route | None = None
        self._announced: asyncio.Future[broadcast.Consumer] = (
            asyncio.get_running_loop().create_future()
        )
        self._withdrawn = asyncio.Event()
        self._beckons = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, tasks: asyncio.TaskGroup, source: broadcast.Consumer) -> None:
        """Read a caller's broadcast."""
        must_prove = self.is_later or self._was_there or self._is_in_doubt
        is_known = bool(self.name) and self._board.register.find(self.name) is not None
        if not must_prove and not is_known:
            session = self._board.register.session(self._board.address)
            self._take(session)
            if self.name:
                self._answer(session, self.name, session.outbox.leg)
            self._tasks.append(tasks.create_task(self._offer_when_begun(), name="began"))
        self._tasks.append(tasks.create_task(self._run(source), name=f"call-{self.name}"))

    def bind(self, name: str, source: broadcast.Consumer) -> None:
        """Note the leg's name, by which its caller is announced."""
        self.name = name
        self._announced.set_result(source)
        if self._session is not None and self._route is None:
            self._answer(self._session, name, self._session.outbox.leg)

    @property
    def is_busy(self) -> bool:
        """Whether anything is being said."""
        return self._session is not None and self._session.is_busy

    def withdraw(self) -> None:
        """Note that the caller's broadcast is announced no more; what it still holds is read."""
        self._withdrawn.set()
        if self._session is not None and not self._session.can_resume:
            self.end()

    def end(self, *, hung_up: bool = False) -> None:
        """Let go. May be called by one of its own tasks, which ends then too."""
        session, self._session = self._session, None
        if session is not None and session.line is self:
            session.line = None
            session.left = session.left or hung_up or session.inbox.left
            self._board.register.away(session)
        self._stop()

    def drop(self) -> None:
        """Make room for the next leg of the same call."""
        self._session = None
        self._stop()

    def _stop(self) -> None:
        if self._route is not None:
            self._route.close()
        for task in self._tasks:
            task.cancel()

    def _take(self, session: Session) -> None:
        before, session.line = session.line, self
        self._session = session
        if before is not None:
            before.drop()

    def _answer(self, session: Session, name: str, leg: Leg) -> None:
        if not session.id:
            session.id = name
        self._board.register.register(session)
        self._route = self._board.publish(name, leg)
        if self._route is None or not self._board.register.offer(session):
            self._session = None
            session.end()
            self._stop()

    async def _offer_when_begun(self) -> None:
        session = self._session
        if session is not None:
            await session.began.wait()
            self._board.register.offer(session)

    async def _run(self, source: broadcast.Consumer) -> None:
        try:
            ended = await self._read(source)
        except Refused as exc:
            log.debug("%s: nothing to hear: %s", self._board.address, exc)
            ended = await self._read_announced()
        if self._beckons:
            await self._beckon(source)
            return
        session = self._session
        if session is None:
            return
        if ended:
            session.left = True
            session.inbox.close()
            await self._withdrawn.wait()
        elif not session.can_resume:
            session.inbox.close()
            return
        self.end()

    async def _read_announced(self) -> bool:
        try:
            return await self._read(await self._announced)
        except Refused as exc:
            log.info("call %s has no audio: %s", self.name, exc)
            return False

    async def _read(self, source: broadcast.Consumer) -> bool:
        far = FarLeg(source, path_changes=self._board.path_changes)
        if self._session is not None:
            return await far.read(self._session.inbox)
        is_in_doubt = self._is_in_doubt and not self.is_later

        def admit(hello: Hello | None) -> Inbox | None:
            if far.was_answered is not None:
                self._was_there = far.was_answered
            return self._admit(hello)

        return await far.read_on(admit, recall=self._board.is_direct, is_in_doubt=is_in_doubt)

    def _admit(self, hello: Hello | None) -> Inbox | None:
        """Find or make the session that a caller's `hello` is for."""
        if hello is None or not hello.token or not hello.call:
            return self._admit_stranger()
        name = leg_name(hello.call, hello.leg)
        if name != (self.name or name):
            log.warning("%s: a caller of %s says it is %s", self._board.address, self.name, name)
            return None
        self.name = name
        if hello.leg and self._board.is_elsewhere(hello.call):
            # Both would answer, and each ask for the next leg because the other did.
            return None
        try:
            session = self._find(hello)
        except LocalError as exc:
            log.warning("%s: %s", self._board.address, exc)
            return None
        if session is None:
            is_old = self._was_there or (hello.leg and not self._board.is_direct)
            if is_old and hello.again != self._board.again:
                # It may have been said and answered for long ago.
                self._beckons = True
                return None
            session = self._board.register.session(self._board.address)
            leg = session.begin_late(hello, self._board.address)
        elif session.shown(hello):
            self._beckons = True
            return None
        elif hello.leg < session.leg:
            log.debug("%s: leg %d of call %s is over", self._board.address, hello.leg, session.id)
            return None
        else:
            accepted = session.accept(hello, self._board.address)
            if accepted is None:
                log.warning("%s: a stranger asks for call %s", self._board.address, hello.call)
                return None
            leg = accepted
        self._take(session)
        self._board.register.back(session)
        self._answer(session, name, leg)
        return None if session.closed else session.inbox

    def _find(self, hello: Hello) -> Session | None:
        register = self._board.register
        return register.find(hello.call) or register.revive(hello, self._board.address)

    def _admit_stranger(self) -> Inbox | None:
        """Take a caller that can't come back as a new one."""
        if not self.name:
            return None
        session = self._board.register.session(self._board.address)
        self._take(session)
        self._answer(session, self.name, session.outbox.leg)
        return None if session.closed else session.inbox

    async def _beckon(self, source: broadcast.Consumer) -> None:
        """Ask for the next leg; of one that does not move, take what is there."""
        asking = self._board.ask(self.name)
        try:
            async with asyncio.timeout(MOVE):
                await self._withdrawn.wait()
        except TimeoutError:
            log.info("call %s does not move", self.name)
        finally:
            asking.close()
        if self._withdrawn.is_set() or not self._was_there or not self._board.is_last(self.name):
            return
        self._beckons = self._was_there = False
        await self._run(source)
