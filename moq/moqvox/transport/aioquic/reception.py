"""Datagrams in: whose they are, and who goes first.

The kernel keeps one queue for everybody. It is emptied before anything costly is done, and what
came is sorted: a connection that is there is served at once, as long as it asks for no more than
its share of a turn; what goes beyond waits, and so do strangers and handshakes, which cost a
hundred times as much. Between two pieces of their work the sockets are looked at again, so that
a word of a caller's waits for one piece of it at most, and its answer for hardly more.
"""

import asyncio
import errno
import functools
import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from moqvox.transport.address import Address
from moqvox.transport.aioquic.asked import ANCILLARY_BYTES, Asked
from moqvox.transport.aioquic.backlog import Backlog
from moqvox.transport.aioquic.bucket import Bucket
from moqvox.transport.aioquic.headers import LONG_HEADER
from moqvox.transport.aioquic.knocks import Knocks
from moqvox.transport.aioquic.resting import TURNS
from moqvox.transport.aioquic.ways import by_way

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["STEP_SECONDS", "TRANSIENT", "TURN_SECONDS", "Question", "Reception"]

MAX_DATAGRAMS_PER_TURN: Final = 128

TURN_SECONDS: Final = 0.002
"""After so much work, others of the loop have their turn; what was read meanwhile waits."""

SLICE_SECONDS: Final = 0.0005
"""One connection's share of a turn, and then of each later one until its datagrams are done."""

STEP_SECONDS: Final = 0.0003
"""For strangers and handshakes, one after another; of those that take longer, one at a time."""

BACKLOG_REST: Final = 1
DOOR_REST: Final = 4
"""After such work, so many times as long is left to the others if they have anything to say."""

MAX_STRANGERS: Final = 1024
"""First packets that wait, and packets of one handshake; more are lost, as on the wire."""

MAX_AT_THE_DOOR: Final = 4096

MAX_LOOKUPS: Final = 1000
"""Questions to the system in a second, what address it would send from."""

TRANSIENT: Final = frozenset(
    (errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS, errno.ENOMEM)
)


class Question(msgspec.Struct, frozen=True, gc=False):
    """Which address of ours a datagram came to, by a socket that listens on all.

    Attributes:
        number: of the socket.
        info: what the system said of it; empty: nothing.
    """

    number: int
    asked: Asked
    info: bytes

    @property
    def sure_way(self) -> int:
        """The way that names the address."""
        return (self.asked.way(self.info) if self.info else 0) or self.number

    def is_natural(self, address: Address) -> bool:
        """Whether the socket's own way is as good."""
        return not self.info or self.asked.is_natural(self.info, address)


Datagram = tuple[bytes, Address, Question | None]


class Host(Protocol):
    """The endpoint, as far as what arrives concerns it."""

    @property
    def links(self) -> Mapping[bytes, "Link"]:
        """Who is known by which connection ID; it changes as they do."""

    def welcome(self, data: bytes, address: Address) -> "Link | None":
        """Make a link for a datagram of no connection, or answer it, or drop it."""

    def is_alive(self, link: "Link") -> bool:
        """Whether a link is still to be served."""

    def on_error(self, exc: OSError, address: Address | None) -> None:
        """Learn that the system reported an error."""


class Rest:
    """Who has worked for a while leaves as long to others, if they have something to say."""

    __slots__ = ("_factor", "_until")

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._until = 0.0

    def is_over(self, now: float) -> bool:
        """Whether it may go on although others are busy."""
        return now >= self._until

    def worked(self, began: float, now: float) -> None:
        """Note a piece of work."""
        self._until = now + self._factor * (now - began)


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
        self._backlog: Backlog[Datagram] = Backlog()
        self._door: Backlog[Datagram | Link] = Backlog(
            of_each=MAX_STRANGERS, in_all=MAX_AT_THE_DOOR
        )
        self._knocks = Knocks()
        self._backlog_rest, self._door_rest = Rest(BACKLOG_REST), Rest(DOOR_REST)
        self._quiet_in = 0
        self._works = False
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)
        self._lookups = Bucket.full(MAX_LOOKUPS, MAX_LOOKUPS, loop.time())

    def open(self, sock: socket.socket, number: int, asked: Asked | None) -> None:
        """Read a socket from now on; `asked`: and note which address of ours was asked."""
        if asked is None:
            reader = functools.partial(self._on_readable, sock, number)
        else:
            reader = functools.partial(self._on_asked, sock, number, asked)
        self._readers[sock] = reader
        self._loop.add_reader(sock, reader)

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

    # What the loop calls.

    def _on_readable(self, sock: socket.socket, number: int) -> None:
        now = self._loop.time()
        spent: dict[Link, float] = {}
        for _ in range(MAX_DATAGRAMS_PER_TURN):
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

    def _on_asked(self, sock: socket.socket, number: int, asked: Asked) -> None:
        """Read a socket that listens on all addresses, and note which of them was asked."""
        now = self._loop.time()
        spent: dict[Link, float] = {}
        for _ in range(MAX_DATAGRAMS_PER_TURN):
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

    def _is_over(self, sock: socket.socket, exc: OSError) -> bool:
        """Whether there is nothing more to read now."""
        if exc.errno in TRANSIENT:
            return True
        self._host.on_error(exc, None)
        return sock.fileno() < 0

    def _take(self, datagram: Datagram, turn: float, spent: "dict[Link, float]") -> None:
        """Serve who is there already, within its share; let everybody else wait for his turn."""
        data = datagram[0]
        link = self._find(data)
        if link is None or link.is_newcomer or (self._door and link in self._door):
            if link is not None or self._knocks.is_welcome(data):
                if self._door.put(link, datagram) and link is None:
                    self._knocks.waits(data)
                self._work_soon()
            return
        self._quiet_in = TURNS
        now = self._loop.time()
        used = spent.get(link, 0.0)
        if (
            now - turn >= TURN_SECONDS
            or used >= SLICE_SECONDS
            or (self._backlog and link in self._backlog)
        ):
            self._backlog.put(link, datagram)
            self._work_soon()
            return
        self._deliver(datagram, link, turn)
        spent[link] = used + self._loop.time() - now

    def _work_soon(self) -> None:
        if not self._works:
            self._works = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        """Do some of what waits, after a look at whether anybody else has something to say."""
        for reader in list(self._readers.values()):
            reader()
        self._works = False
        is_quiet = self._quiet_in <= 0
        self._quiet_in -= 1
        now = self._loop.time()
        if self._backlog and (is_quiet or self._backlog_rest.is_over(now)):
            self._work_off(now)
            now = self._loop.time()
        if self._door and ((is_quiet and not self._backlog) or self._door_rest.is_over(now)):
            self._attend(now)
        if self._backlog or self._door:
            self._work_soon()

    def _work_off(self, began: float) -> None:
        """Serve those who have more than their share, in turn."""
        now, until = began, began + SLICE_SECONDS
        while self._backlog and now < until:
            datagram = self._backlog.take()
            self._deliver(datagram, self._find(datagram[0]), now)
            now = self._loop.time()
        self._backlog_rest.worked(began, now)

    def _attend(self, began: float) -> None:
        """Serve strangers and those who are not through with their handshakes, in turn."""
        now, until = began, began + STEP_SECONDS
        while self._door and now < until:
            item = self._door.take()
            if isinstance(item, tuple):
                link = self._find(item[0])
                if link is None:
                    self._knocks.heard(item[0])
                self._deliver(item, link, now)
                if link is not None and not link.is_newcomer:
                    self._let_in(link)
            elif self._host.is_alive(item):
                item.on_timer(now)
            now = self._loop.time()
        self._door_rest.worked(began, now)

    def _let_in(self, link: "Link") -> None:
        """Let what waits of a connection that is there now go before strangers."""
        for item in self._door.take_all(link):
            if isinstance(item, tuple):
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

    def _deliver(self, datagram: Datagram, link: "Link | None", now: float) -> None:
        """Give a datagram to its link with the way that answers go; strangers get the sure one."""
        data, address, question = datagram
        if link is None:
            way = address if question is None else by_way(address, question.sure_way)
            link = self._host.welcome(data, way)
            if link is None:
                return
        if question is not None:
            known = link.asked
            if known is None or known[0] != question.info or known[1] != address[0]:
                known = link.asked = question.info, address[0], self._way(question, address)
            address = by_way(address, known[2])
        link.receive(data, address, now)

    def _way(self, question: Question, address: Address) -> int:
        """Choose the way of answers: the socket's own, if the system sends as was asked."""
        if self._lookups.take(self._loop.time()) and question.is_natural(address):
            return question.number
        return question.sure_way
