"""Datagrams in: whose they are, and who goes first.

The kernel keeps one queue for everybody. It is emptied before anything costly is done, and what
came is sorted: a connection that is there is served at once, as long as it asks for no more than
its share of a turn; what goes beyond waits. So do those who were silent for a while, once they
are many: a crowd that speaks up in one moment does so to leave, mostly. Last come strangers and
handshakes, which cost a hundred times as much. Between two pieces of their work the sockets are
looked at again, so that a word of a caller's waits for one piece of it at most, and its answer
for hardly more.
"""

import asyncio
import errno
import functools
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from moqvox.transport.aioquic.asked import ANCILLARY_BYTES, Answers, Asked, Question
from moqvox.transport.aioquic.backlog import Backlog
from moqvox.transport.aioquic.headers import LONG_HEADER
from moqvox.transport.aioquic.knocks import Knocks
from moqvox.transport.aioquic.neighbours import Host
from moqvox.transport.aioquic.pauses import Pauses, Rhythm
from moqvox.transport.aioquic.resting import TURNS
from moqvox.transport.aioquic.shares import (
    BACKLOG_REST,
    DOOR_REST,
    MANY_SECONDS,
    SLICE_SECONDS,
    STEP_SECONDS,
    TURN_SECONDS,
    WAKING_REST,
    WAKING_SECONDS,
    Rest,
)
from moqvox.transport.aioquic.waiting import Datagram, Waiting, wait
from moqvox.transport.aioquic.ways import by_way

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["TRANSIENT", "Reception"]

MAX_DATAGRAMS_PER_TURN: Final = 128
MAX_BESIDE_ANSWERS: Final = 16
"""The same while a crowd is read, and for the turns in which who keeps time is to be answered."""

UNREAD_SECONDS: Final = 0.05
"""So long nothing that can wait is done while the kernel has more for us than one turn's share."""

RECENT_SECONDS: Final = 1.0
"""Who was heard so lately is in a conversation."""

MAX_STRANGERS: Final = 1024
"""First packets that wait, and packets of one handshake; more are lost, as on the wire."""

MAX_AT_THE_DOOR: Final = 4096

PATIENCE_SECONDS: Final = 0.05
"""So long strangers wait for a pause, at most."""

TRANSIENT: Final = frozenset(
    (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS, errno.ENOMEM)
)


class Reception:
    """Reads an endpoint's sockets."""

    def __init__(
        self, host: Host, loop: asyncio.AbstractEventLoop, connection_id_bytes: int
    ) -> None:
        self._host = host
        self._links = host.links
        self._loop = loop
        self._stop_of_id = 1 + connection_id_bytes
        self._readers: dict[socket.socket, Callable[[], None]] = {}
        self._backlog: Backlog[Waiting] = Backlog()
        self._waking: Backlog[Waiting] = Backlog()
        self._door: Backlog[Waiting | Link] = Backlog(of_each=MAX_STRANGERS, in_all=MAX_AT_THE_DOOR)
        self._knocks = Knocks()
        self._backlog_rest, self._door_rest = Rest(BACKLOG_REST), Rest(DOOR_REST)
        self._waking_rest = Rest(WAKING_REST)
        self._pauses = Pauses()
        self._step_began: float | None = None
        self._looked_at: float | None = None
        self._put_off_at: float | None = None
        self._later: asyncio.TimerHandle | None = None
        self._quiet_in = self._calm_in = self._answered_in = 0
        self._may_read = 0
        self._has_unread = False
        self._unread_since: float | None = None
        self._works = False
        self._worked: list[tuple[Rest, float]] = []
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)
        self._answers = Answers(loop)

    def open(self, sock: socket.socket, number: int, asked: Asked | None) -> None:
        """Read a socket from now on; `asked`: and note which address of ours was asked."""
        if asked is None:
            reader = functools.partial(self._on_readable, sock, number)
        else:
            reader = functools.partial(self._on_asked, sock, number, asked)
        self._readers[sock] = reader
        self._loop.add_reader(sock, self._look, reader)

    def close(self, sock: socket.socket) -> None:
        """Read it no longer."""
        self._readers.pop(sock, None)
        self._loop.remove_reader(sock)

    def defer(self, link: "Link") -> bool:
        """Let a newcomer's timer wait among the handshakes; False: there is no room."""
        if not self._door.put(link, link):
            return False
        self._work_soon()
        return True

    def has_unheard(self, link: "Link") -> bool:
        """Whether something of a link's waits here, or may wait in a socket that is not empty."""
        return bool(
            self._unread_since is not None
            or (self._backlog and link in self._backlog)
            or (self._waking and link in self._waking)
        )

    # What the loop calls.

    def _look(self, reader: Callable[[], None]) -> None:
        """Read, unless the next piece of work begins with that: once in a turn is enough."""
        if not self._works:
            reader()

    def _on_readable(self, sock: socket.socket, number: int) -> None:
        now = self._loop.time()
        spent: dict[Link | None, float] = {}
        self._begin_to_read()
        while self._may_read > 0:
            self._may_read -= 1
            try:
                size, address = sock.recvfrom_into(self._buffer)
            except OSError as exc:
                if self._is_over(sock, exc):
                    return
                continue
            if size:
                if number:
                    address = by_way(address, number)
                self._take((bytes(self._view[:size]), address, None), now, spent)
        self._leave_unread(now)

    def _on_asked(self, sock: socket.socket, number: int, asked: Asked) -> None:
        """Read a socket that listens on all addresses, and note which of them was asked."""
        now = self._loop.time()
        spent: dict[Link | None, float] = {}
        self._begin_to_read()
        while self._may_read > 0:
            self._may_read -= 1
            try:
                size, ancillary, _, address = sock.recvmsg_into((self._buffer,), ANCILLARY_BYTES)
            except OSError as exc:
                if self._is_over(sock, exc):
                    return
                continue
            if size:
                info = ancillary[0][2] if ancillary else b""
                data = bytes(self._view[:size])
                self._take((data, address, Question(number, asked, info)), now, spent)
        self._leave_unread(now)

    def _begin_to_read(self) -> None:
        self._may_read = MAX_BESIDE_ANSWERS if self._answered_in > 0 else MAX_DATAGRAMS_PER_TURN

    def _leave_unread(self, now: float) -> None:
        """Note that the kernel has more; among it may be a word of who is in a conversation."""
        self._has_unread = True
        if self._unread_since is None:
            self._unread_since = now
        self._work_soon()

    def must_read(self, now: float) -> bool:
        """Whether to go on reading before anything that can wait is done."""
        return self._unread_since is not None and now - self._unread_since < UNREAD_SECONDS

    def _is_over(self, sock: socket.socket, exc: OSError) -> bool:
        """Whether there is nothing more to read now."""
        if exc.errno in TRANSIENT:
            return True
        self._host.on_error(exc, None)
        return sock.fileno() < 0

    def _take(self, datagram: Datagram, turn: float, spent: "dict[Link | None, float]") -> None:
        """Serve who is there already, within its share; let everybody else wait for his turn."""
        data = datagram[0]
        link = self._find(data)
        if link is None or link.is_newcomer or (self._door and link in self._door):
            if link is not None or self._knocks.is_welcome(data):
                if self._door.put(link, wait(datagram)) and link is None:
                    self._knocks.waits(data)
                self._work_soon()
            return
        self._take_known(datagram, link, turn, spent)

    def _take_known(
        self, datagram: Datagram, link: "Link", turn: float, spent: "dict[Link | None, float]"
    ) -> None:
        now = self._loop.time()
        is_recent = link.spoke_since(now - RECENT_SECONDS)
        owner = link if is_recent else None
        used = spent.get(owner, 0.0)
        if self._waking and link in self._waking:
            queue, has_time = self._waking, False
        elif is_recent:
            self._quiet_in = TURNS
            queue = self._backlog
            has_time = used < SLICE_SECONDS and not (queue and link in queue)
            has_time = has_time and self._is_in_time(link, turn, now)
        else:
            queue, has_time = self._waking, used < WAKING_SECONDS and not self.must_read(now)
        if not has_time:
            queue.put(link, wait(datagram))
            self._work_soon()
            return
        if is_recent:
            self._calm_in = TURNS
        if self._deliver(datagram, link, turn) and is_recent:
            if link.rhythm is None:
                link.rhythm = Rhythm()
            self._pauses.heard(link.rhythm, turn, self._looked_at)
            if self._later is not None:
                self._work_soon()
            if link.rhythm.is_known and (self._waking or self._unread_since is not None):
                self._answered_in = TURNS
                self._may_read = min(self._may_read, MAX_BESIDE_ANSWERS)
        spent[owner] = used + self._loop.time() - now

    def _is_in_time(self, link: "Link", turn: float, now: float) -> bool:
        """Whether a turn that began then has time for one who is in a conversation.

        Who keeps time has twice as much: a crowd that spoke a moment ago can't be told from
        callers otherwise, and those would wait behind all of it.
        """
        if link.rhythm is not None and link.rhythm.is_known:
            return now - turn < 2 * TURN_SECONDS
        if self._unread_since is None and not self._waking:
            return now - turn < TURN_SECONDS
        return now - turn < MANY_SECONDS and not self.must_read(now)

    def _work_soon(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if not self._works:
            self._works = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        """Do some of what waits, after a look at whether anybody else has something to say."""
        self._later, self._works = None, True
        self._note_work(self._loop.time())
        self._has_unread = False
        for reader in list(self._readers.values()):
            reader()
        self._looked_at = None
        if not self._has_unread:
            self._unread_since = None
        self._works = False
        is_quiet, is_calm = self._quiet_in <= 0, self._calm_in <= 0
        self._quiet_in -= 1
        self._calm_in -= 1
        self._answered_in -= 1
        now = self._loop.time()
        may_work = not (self._pauses and self.must_read(now))  # who keeps time may be unread
        if self._backlog and may_work and (is_calm or self._backlog_rest.is_over(now)):
            now = self._work_off(self._backlog, SLICE_SECONDS, self._backlog_rest, now)
            is_quiet, self._quiet_in = False, TURNS
        if self.must_read(now):
            self._work_soon()
            return
        is_idle = is_quiet and not self._backlog
        if self._waking and (is_idle or self._waking_rest.is_over(now)):
            now = self._work_off(self._waking, WAKING_SECONDS, self._waking_rest, now)
        wait_until = self._attend_in_time(now, is_idle=is_idle) if self._door else None
        if self._backlog or self._waking or self._step_began is not None:
            self._work_soon()
        elif wait_until is not None:
            self._later = self._loop.call_at(wait_until, self._work)
        elif self._door:
            self._work_soon()
        else:
            self._worked.clear()

    def _work_off(self, queue: Backlog[Waiting], seconds: float, rest: Rest, began: float) -> float:
        """Serve those who have more than their share, in turn; returns when that was done."""
        now, until = began, began + seconds
        while queue and now < until:
            item = queue.take()
            self._deliver(item.datagram, self._find(item.data), now)
            now = self._loop.time()
        rest.worked(began, now)
        self._worked.append((rest, began))
        return now

    def _attend_in_time(self, now: float, *, is_idle: bool) -> float | None:
        """Attend to the door if that disturbs nobody, or it has had patience enough.

        Returns:
            When it is to be asked again; None: soon.
        """
        room_at = self._pauses.room_at(now)
        since = self._put_off_at
        if room_at is None or (since is not None and now - since >= PATIENCE_SECONDS):
            if is_idle or self._door_rest.is_over(now):
                self._attend(now)
            return None
        if room_at <= now and is_idle:
            self._attend(now)
        elif since is None:
            self._put_off_at = now
        return room_at if room_at > now else None

    def _attend(self, began: float) -> None:
        """Serve strangers and those who are not through with their handshakes, in turn."""
        self._step_began, self._put_off_at = began, None
        now, until = began, began + STEP_SECONDS
        while self._door and now < until:
            item = self._door.take()
            if isinstance(item, Waiting):
                link = self._find(item.data)
                if link is None:
                    self._knocks.heard(item.data)
                self._deliver(item.datagram, link, now)
                if link is not None and not link.is_newcomer:
                    self._let_in(link)
            elif self._host.is_alive(item):
                item.on_timer(now)
            now = self._loop.time()
        self._door_rest.worked(began, now)

    def _note_work(self, now: float) -> None:
        """Note how long the last turn's work took, with what it brought about.

        Since a step of a handshake began, nobody looked at the sockets: what is read next came
        at any time since then.
        """
        for rest, began in self._worked:
            rest.worked(began, now)
        self._worked.clear()
        self._looked_at = self._step_began
        if self._step_began is not None:
            self._pauses.stepped(now - self._step_began)
            self._step_began = None

    def _let_in(self, link: "Link") -> None:
        """Let what waits of a connection that is there now go before strangers."""
        for item in self._door.take_all(link):
            if isinstance(item, Waiting):
                self._backlog.put(link, item)
            else:
                item.on_timer(self._loop.time())

    # To whom.

    def _find(self, data: bytes) -> "Link | None":
        """Find whose datagram it is by its connection ID."""
        if data[0] & LONG_HEADER:
            length = data[5] if len(data) > 5 else 0  # RFC 8999, section 5.1
            connection_id = data[6 : 6 + length]
        else:
            connection_id = data[1 : self._stop_of_id]
        return self._links.get(connection_id)

    def _deliver(self, datagram: Datagram, link: "Link | None", now: float) -> bool:
        """Give a datagram to its link with the way that answers go; strangers get the sure one.

        Returns:
            Whether it may have said something.
        """
        data, address, question = datagram
        if link is None:
            way = address if question is None else by_way(address, question.sure_way)
            link = self._host.welcome(data, way)
            if link is None:
                return False
        if question is not None:
            known = link.asked
            if known is None or known[0] != question.info or known[1] != address[0]:
                known = link.asked = question.info, address[0], self._answers.way(question, address)
            address = by_way(address, known[2])
        return link.receive(data, address, now)
