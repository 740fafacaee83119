"""A few UDP sockets and the connections on them. Serves and dials alike.

Each connection is flushed once in a turn of the loop, and one timer serves all connections; what
arrives is sorted by `reception`. No turn takes long, however many have something to do at once.
"""

import asyncio
import functools
import heapq
import itertools
import logging
import socket
from collections import deque
from typing import Final, Protocol

from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.asked import Ancillary, Asked, listens_everywhere
from moqvox.transport.aioquic.departures import Departures
from moqvox.transport.aioquic.hearing import Hearing
from moqvox.transport.aioquic.link import Link
from moqvox.transport.aioquic.reception import TRANSIENT, Reception
from moqvox.transport.aioquic.resting import Resting
from moqvox.transport.aioquic.shares import MANY_SECONDS, STEP_SECONDS, TURN_SECONDS
from moqvox.transport.aioquic.ways import PLAIN_LENGTHS, Ways, plain
from moqvox.transport.interface import Closed

__all__ = ["CONNECTION_ID_BYTES", "Endpoint", "Stranger"]

logger = logging.getLogger("moqvox.transport.aioquic")

CONNECTION_ID_BYTES: Final = 8
"""Length of the connection IDs that we issue, if nothing else is asked for."""

UNHEARD_REST: Final = 0.001
"""Seconds after which a timer looks again whether what has arrived was read."""

UNHEARD_PATIENCE: Final = 0.05
"""Seconds that it waits for that, at most: who floods us does not put off its own timers."""

MAX_UNSENT_DATAGRAMS: Final = 1024
"""Datagrams kept while the kernel's buffer is full; more are lost, as on the wire."""


class Stranger(Protocol):
    """Decides about datagrams that belong to no connection."""

    def on_stranger(self, data: bytes, address: Address, endpoint: "Endpoint") -> Link | None:
        """Return a new link for the datagram, or None when it is dropped or answered."""

    def on_refused(self, error: OSError) -> None:
        """Learn that the network said no: nobody listens there, or there is no way."""


class Endpoint:
    """Sockets that share their connections; owns them, and closes them.

    Attributes:
        sent_packets: datagrams given to the kernel, kept for it, or lost as there was no room.
    """

    def __init__(
        self,
        sock: socket.socket,
        stranger: Stranger,
        *,
        closes_with_link: bool = False,
        connection_id_bytes: int = CONNECTION_ID_BYTES,
        answers_where_asked: bool = False,
    ) -> None:
        self._answers_where_asked = answers_where_asked
        self._closes_with_link = closes_with_link
        self._stranger = stranger
        self._loop = asyncio.get_running_loop()
        self.links: dict[bytes, Link] = {}
        self._alive: set[Link] = set()
        self._touched: dict[Link, None] = {}
        self._resting = Resting()
        self._hearing = Hearing()
        self._flush_due = False
        self._reception = Reception(self, self._loop, connection_id_bytes)
        self._departures = Departures(self._loop, self._reception.must_read)
        self._timers: list[tuple[float, int, Link]] = []
        self._ticket = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._unsent: deque[tuple[bytes, Address]] = deque()
        self.sent_packets = 0
        self._is_closed = False
        self._idle = asyncio.Event()
        self._running = 0
        self._address: Address = sock.getsockname()
        self.ways = Ways(sock, self._open_way, self._close_way)

    @property
    def address(self) -> Address:
        """Where it is bound."""
        return self._address

    def __len__(self) -> int:
        return len(self._alive)

    def add(self, link: Link, *connection_ids: bytes) -> None:
        """Take a connection and the IDs that it is known by at first."""
        self._alive.add(link)
        self._running += 1
        for connection_id in connection_ids:
            self.enrol(connection_id, link)

    def _open_way(self, sock: socket.socket, number: int) -> None:
        asked = None
        if self._answers_where_asked and listens_everywhere(sock):
            asked = Asked(sock, functools.partial(self._name_way, number))
        self._reception.open(sock, number, asked)

    def _name_way(self, number: int, source: Ancillary) -> int:
        return self.ways.name(number, source)

    def _close_way(self, sock: socket.socket) -> None:
        """Stop reading; what a socket could not send yet is lost, as on the wire."""
        self._reception.close(sock)
        if self._loop.remove_writer(sock):
            self._unsent.clear()

    def close_links(self, code: int, reason: str) -> None:
        """Begin to close all connections."""
        for link in list(self._alive):
            if link.observer is not None:
                link.observer.close(code, reason)

    async def wait_links_over(self) -> None:
        """Wait until every connection is over and its last packets have left."""
        while self._running:
            self._idle.clear()
            await self._idle.wait()

    def close(self) -> None:
        """Free the port at once; connections that are left are lost. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for link in list(self._alive):
            link.abort(Closed(0, "the endpoint was closed", lost=True))
        self.ways.close_all()

    # The carrier of the links.

    def now(self) -> float:
        """Return the loop's time."""
        return self._loop.time()

    def touch(self, link: Link) -> None:
        """Flush a link at the end of this turn."""
        self._touched[link] = None
        self._flush_soon()

    def rest(self, link: Link) -> None:
        """Flush a link at the end of a later turn, or with what it has to say before."""
        self._resting.add(link)
        self._flush_soon()

    def hear(self, link: Link, *, patient: bool = False, once_said: bool = False) -> None:
        """Flush a link a moment later than it asks for, as long as it begins to speak."""
        now = self._loop.time()
        until = self._hearing.add(link, now, patient=patient, once_said=once_said)
        if patient:
            self._loop.call_at(until, self._flush_soon)

    def _flush_soon(self) -> None:
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def schedule(self, link: Link, when: float) -> None:
        """Wake a link then; an earlier appointment stays, and finds out that it is early."""
        if link.scheduled_at is not None and link.scheduled_at <= when:
            return
        link.scheduled_at = when
        heapq.heappush(self._timers, (when, next(self._ticket), link))
        if self._timers[0][2] is link:
            self._set_timer()

    def defer(self, link: Link) -> bool:
        """Let a newcomer's timer wait for a pause; False: there is no room."""
        return self._reception.defer(link)

    def enrol(self, connection_id: bytes, link: Link) -> None:
        """Route an ID to a link."""
        self.links[connection_id] = link
        link.connection_ids[connection_id] = None

    def strike(self, connection_id: bytes) -> None:
        """Route an ID no longer."""
        link = self.links.pop(connection_id, None)
        if link is not None:
            link.connection_ids.pop(connection_id, None)

    def ended(self, link: Link) -> None:
        """Count; and free the port of a client whose one connection it was, after this turn."""
        self._running -= 1
        self._idle.set()
        if self._closes_with_link:
            self._loop.call_soon(self.close)

    def forget(self, link: Link) -> None:
        """Drop a link with all its IDs."""
        for connection_id in link.connection_ids:
            self.links.pop(connection_id, None)
        link.connection_ids.clear()
        self._alive.discard(link)
        self._touched.pop(link, None)
        self._resting.discard(link)
        self._hearing.discard(link)
        self._departures.add(link)

    def part(self, link: Link) -> None:
        """Take apart a link that has nothing more to say, but is still known by its IDs."""
        self._touched.pop(link, None)
        self._resting.discard(link)
        self._hearing.discard(link)
        self._departures.add(link)

    def local_address(self, link: Link) -> Address:
        """Return where the link's packets leave from, as far as it is bound."""
        sock = self.ways.get(link.peer) if link.peer is not None else None
        return self._address if sock is None else sock.getsockname()

    def send(self, link: Link | None, data: bytes, address: Address) -> None:
        """Send, or keep for when the kernel takes it, or lose it."""
        self.sent_packets += 1
        if self._unsent:
            if len(self._unsent) < MAX_UNSENT_DATAGRAMS:
                self._unsent.append((data, address))
            return
        if not self._try_send(data, address):
            self._unsent.append((data, address))
            self._await_room(address)

    def has_unheard(self, link: Link) -> bool:
        """Whether something has arrived that the link was not given yet."""
        return self._reception.has_unheard(link)

    # The host of the reception.

    def welcome(self, data: bytes, address: Address) -> Link | None:
        """Ask whoever decides about strangers."""
        return self._stranger.on_stranger(data, address, self)

    def is_alive(self, link: Link) -> bool:
        """Whether a link was not forgotten yet."""
        return link in self._alive

    def on_error(self, exc: OSError, address: Address | None) -> None:
        """Treat an error as a lost packet: QUIC finds out by itself whether a path is dead."""
        where = show(address) if address is not None else "the peer"
        logger.debug("udp to %s: %s", where, exc)
        self._stranger.on_refused(exc)

    # The loop's calls.

    def _try_send(self, data: bytes, address: Address) -> bool:
        """Return False when the kernel's buffer is full."""
        is_plain = len(address) in PLAIN_LENGTHS
        sock = self.ways.first if is_plain else self.ways.get(address)
        if sock is None:
            return True
        source = None if is_plain else self.ways.source(address)
        try:
            if is_plain:
                sock.sendto(data, address)
            elif source is None:
                sock.sendto(data, plain(address))
            else:
                sock.sendmsg((data,), source, 0, plain(address))
        except OSError as exc:
            if exc.errno in TRANSIENT:
                return False
            self.on_error(exc, address)
        return True

    def _await_room(self, address: Address) -> None:
        sock = self.ways.get(address)
        if sock is not None:
            self._loop.add_writer(sock, self._on_socket_writable, sock)

    def _on_socket_writable(self, sock: socket.socket) -> None:
        self._loop.remove_writer(sock)
        while self._unsent:
            data, address = self._unsent[0]
            if not self._try_send(data, address):
                self._await_room(address)
                return
            self._unsent.popleft()

    def _flush(self) -> None:
        """Flush who has something to say, newcomers last; for whom no time is left, next turn."""
        self._flush_due = False
        touched, self._touched = self._touched, {}
        now = self._loop.time()
        if self._hearing:
            self._hearing.hold_back(touched, now)
        left = self._flush_within(
            TURN_SECONDS, [one for one in touched if not one.is_newcomer], now
        )
        newcomers = [one for one in touched if one.is_newcomer]
        left += self._flush_within(STEP_SECONDS, newcomers, now)
        if left:
            self._touched = dict.fromkeys(left) | self._touched
            self._flush_soon()
        if self._resting or self._hearing:
            self._flush_rested(now)

    def _flush_rested(self, now: float) -> None:
        due = dict.fromkeys(self._resting.take_due())
        if self._hearing:
            self._hearing.hold_back(due, now)
            due |= dict.fromkeys(self._hearing.take_due())
        for link in due:
            link.flush(now)
        if self._resting or self._hearing.holds_any:
            self._flush_soon()

    def _flush_within(self, seconds: float, links: list[Link], now: float) -> list[Link]:
        """Flush while there is time; returns who is left."""
        until = self._loop.time() + seconds
        for done, link in enumerate(links, 1):
            self._resting.discard(link)
            if link in self._alive:
                link.flush(now)
                if self._loop.time() >= until:
                    return links[done:]
        return []

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._timers[0][0], self._on_timer)

    def _on_timer(self) -> None:
        """Wake who asked for it, newcomers among their kind; after a while, others go first."""
        self._timer = None
        now = self._loop.time()
        until = now + MANY_SECONDS
        while self._timers and self._timers[0][0] <= now and self._loop.time() < until:
            when, _, link = heapq.heappop(self._timers)
            if link.scheduled_at == when:
                link.scheduled_at = None
                if link not in self._alive:
                    continue
                if self._awaits_unheard(link, when, now):
                    continue
                if not (link.is_newcomer and self._reception.defer(link)):
                    link.on_timer(now)
        if self._timers and self._timer is None:
            self._set_timer()

    def _awaits_unheard(self, link: Link, due: float, now: float) -> bool:
        """Put a timer off while an ACK may be unread that makes it needless, but not for long."""
        since = due if link.put_off_since is None else link.put_off_since
        if now >= since + UNHEARD_PATIENCE or not self._reception.has_unheard(link):
            link.put_off_since = None
            return False
        link.put_off_since = since
        self.schedule(link, now + UNHEARD_REST)
        return True
