"""Where calls come in: a session for each, kept for a while when its connection is gone."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final
from weakref import WeakSet

from moqvox.driver import Driver
from moqvox.errors import LocalError, SessionClosed
from moqvox.model import origin
from moqvox.voice.chronicle import Chronicle
from moqvox.voice.host import Host
from moqvox.voice.journal import Journal
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.names import AGENT, CALLER
from moqvox.voice.scribe import Scribe
from moqvox.voice.session import MAX_LEAD, Session
from moqvox.voice.words import Hello

__all__ = ["AGENT", "CALLER", "GRACE", "Lobby"]

log = logging.getLogger("moqvox.voice")

MAX_WAITING: Final = 256
"""Sessions that the agent has not taken yet; further callers are left unanswered."""

MAX_AWAY: Final = 1024
"""Sessions kept for callers without a connection; past it the one away longest ends."""

LOOK_EVERY: Final = 0.05
"""Seconds between two looks whether anything is being said."""

GRACE: Final = 60.0
"""Seconds that the session of a caller whose connection is gone is kept."""


class Lobby:
    """Callers of any number of connections, as one stream of sessions.

    A call named `id` is two broadcasts below the connection's root: `id/caller`, which the
    caller announces, and `id/agent`, which is announced in return; on its later legs
    `id/1/caller`, `id/1/agent` and so on. A caller connected directly also answers to plain
    `caller` (`resumed` on later legs), so that its audio is subscribed to before it has
    announced anything.

    Attributes:
        known: sessions that may be resumed, by the call's name.
    """

    def __init__(
        self,
        *,
        barge_in: bool = True,
        max_lead: float = MAX_LEAD,
        grace: float = GRACE,
        keep: Keep = KEEP,
        journal: Journal | None = None,
    ) -> None:
        self.grace = grace
        self.known: dict[str, Session] = {}
        self._barge_in = barge_in
        self._max_lead = max_lead
        self._keep = keep
        self._journal = journal
        self._minding: asyncio.TimerHandle | None = None
        self._hosts: dict[Driver, Host] = {}
        self._away: dict[Session, asyncio.TimerHandle] = {}
        self._sessions: WeakSet[Session] = WeakSet()
        self._offered: WeakSet[Session] = WeakSet()
        self._closed: SessionClosed | None = None
        self._waiting: Mailbox[Session] = Mailbox(MAX_WAITING)
        if journal is not None:
            journal.open()
            self._mind(journal)

    async def sessions(self) -> AsyncIterator[Session]:
        """Take each call as it comes.

        One whose caller has left meanwhile is passed over, and so is one that is away,
        until it is back.
        """
        async for session in self._waiting:
            if session.connected and not session.closed:
                yield session
            else:
                self._offered.discard(session)

    def close(self, why: SessionClosed | None = None) -> None:
        """End the iteration and every session; nobody who waits for one is left waiting.

        Callers learn of it by the end of their connections, and may go on with another agent. What
        a journal has of calls that did not end is left to the next process.
        """
        self._closed = self._closed or why or SessionClosed(reason="the agent takes no calls")
        self._waiting.close()
        if self._minding is not None:
            self._minding.cancel()
        if self._journal is not None:
            for session in self.known.values():
                if session.outbox.is_finished:
                    session.party.scribe.remove()
            self._journal.close()
        self.known.clear()
        for session in list(self._sessions):
            session.leave(self._closed)
            self._end(session)

    async def host(
        self, driver: Driver, local: origin.Origin, remote: origin.Origin, *, eager: bool
    ) -> None:
        """Serve the callers behind one connection until it is over.

        Args:
            driver: the connection's, attached to `local` (to publish) and `remote`.
            local: takes the agent's broadcasts.
            remote: shows the callers'.
            eager: the caller is connected directly: ask for its well-known names at once.

        Raises:
            LocalError: the connection is over already.
        """
        host = self._hosts[driver] = Host(
            self, driver, local, remote, eager=eager, others=self._hosts.values
        )
        try:
            await host.run()
        finally:
            del self._hosts[driver]

    async def wait_quiet(self, driver: Driver) -> None:
        """Wait until nothing is being said on a connection, or it is over."""
        while True:
            host = self._hosts.get(driver)
            if driver.closed or host is None or not host.is_busy:
                return
            await asyncio.sleep(LOOK_EVERY)

    # For hosts

    def session(self, address: str) -> Session:
        """Make the session of a new call."""
        session = self._make(address)
        session.attached.set()
        if self._closed is not None:
            session.leave(self._closed)
        return session

    def register(self, session: Session) -> None:
        """Let a caller that has shown its token come back."""
        if not session.can_resume or not session.id or self.find(session.id) is not None:
            return
        if self._journal is not None:
            if self._journal.has(session.id):
                log.warning("call %s is another caller's already", session.id)
                return
            session.write_down(self._journal)
        self.known[session.id] = session

    def find(self, call: str) -> Session | None:
        """Look for the session of a call that may come back."""
        session = self.known.get(call)
        return None if session is None or session.closed else session

    def revive(self, hello: Hello, address: str) -> Session | None:
        """Go on with a call whose process is gone, if a journal has it.

        Raises:
            LocalError: it has, and the caller is another one.
        """
        found = None if self._journal is None else self._journal.take_up(hello.call)
        if found is None or self._journal is None:
            return None
        chronicle, scribe = found
        if not chronicle.proves(hello):
            scribe.release()
            raise LocalError(f"a stranger asks for call {hello.call}")
        session = self._make(address, chronicle, scribe)
        session.write_down(self._journal)
        self.known[session.id] = session
        if session.outbox.is_finished:
            self._offered.add(session)  # nobody has anything to add
        self.away(session)
        return self.find(session.id)

    def offer(self, session: Session) -> bool:
        """Hand a session to the agent, once; False when too many wait already."""
        if session in self._offered:
            return True
        if self._closed is not None:
            return False
        self._offered.add(session)
        if self._waiting.put(session):
            return True
        log.warning("call %s left unanswered: %d wait already", session.id, MAX_WAITING)
        return False

    def back(self, session: Session) -> None:
        """Note that a caller is there again."""
        timer = self._away.pop(session, None)
        if timer is not None:
            timer.cancel()
        session.attached.set()
        self.offer(session)

    def away(self, session: Session) -> None:
        """Keep the session of a caller whose connection is gone, or end it."""
        session.attached.clear()
        is_kept = self.grace and self.known.get(session.id) is session  # none is once we are closed
        if session.left or not is_kept:
            self._end(session)
            return
        loop = asyncio.get_running_loop()
        self._away[session] = loop.call_later(self.grace, self._end, session)
        if len(self._away) > MAX_AWAY:
            self._end(next(iter(self._away)))

    def _make(
        self, address: str, chronicle: Chronicle | None = None, scribe: Scribe | None = None
    ) -> Session:
        session = Session(
            remote_address=address,
            barge_in=self._barge_in,
            max_lead=self._max_lead,
            grace=self.grace,
            keep=self._keep,
            on_token=self.register,
            chronicle=chronicle,
            scribe=scribe,
        )
        self._sessions.add(session)
        return session

    def _end(self, session: Session) -> None:
        timer = self._away.pop(session, None)
        if timer is not None:
            timer.cancel()
        if self.known.get(session.id) is session:
            del self.known[session.id]
        self._sessions.discard(session)
        session.end(SessionClosed(reason="the caller is gone"))

    def _mind(self, journal: Journal) -> None:
        """Look after the journal's files now and then."""
        journal.mind()
        loop = asyncio.get_running_loop()
        self._minding = loop.call_later(journal.bounds.max_age / 4, self._mind, journal)
