"""A client that goes from one network to another by itself.

It moves when it is told to, when the system's routes lead elsewhere, when its path is dead,
and when another of several uplinks is much better. While the path that it is on lives, the next
one is probed first, and used once it answered (make before break); if not, it is used at once.
The old socket is read for a while longer, because what the server sent before it knew is still
on its way there.
"""

import errno
import logging
import math
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from moqvox.errors import LocalError
from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.candidate import (
    ASKED,
    BETTER,
    DEAD,
    ROUTED,
    SILENT,
    Candidate,
)
from moqvox.transport.aioquic.patience import Patience
from moqvox.transport.aioquic.routes import Route, bind_to_device, find_routes, is_ours, open_way
from moqvox.transport.aioquic.watch import Watch
from moqvox.transport.aioquic.ways import Ways, by_way, plain

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["Roaming"]

logger = logging.getLogger("moqvox.transport.aioquic")

KEPT_FOR: Final = 0.3
"""Seconds at least that an old socket is read, and three probe time-outs at least."""

FIRST_PAUSE: Final = 0.06
"""Seconds from a probe to the next one; each pause is twice the one before it."""

MAX_PROBES: Final = 5
"""Probes of a path before it is given up; with the pauses, about two seconds."""

LOOK_EVERY: Final = 1.0
"""Seconds between looks at the routes where the system sends no news of them."""

RETURN_AFTER: Final = 2.0
"""Seconds until the way that the system prefers is probed again; doubled up to `MAX_RETURN`."""

MAX_RETURN: Final = 30.0

DETOUR: Final = 1.5
"""How much longer a round trip by the way that the system prefers may be."""

GAIN: Final = 0.8
"""Part of the present path's worth that a better one must stay below."""

MAX_CANDIDATES: Final = 4
"""Paths probed at a time; the oldest makes room for one more."""

GONE: Final = frozenset(
    (errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENODEV)
    + ((errno.ENONET,) if hasattr(errno, "ENONET") else ())
)
"""Errors of sending that say that the path is gone."""


class Roaming:
    """One client connection's sockets and its choice of paths.

    Attributes:
        probes: PATH_CHALLENGEs sent on paths before they were used.

    Args:
        link: the connection.
        server: its address, plain.
        family: of that address, and so of every socket.
        ways: the endpoint's sockets.
        route: what the first socket is bound to; None: to nothing, and changes of the
            system's routes are not followed.
        look: lists the routes to the server now.
    """

    def __init__(
        self,
        link: "Link",
        server: Address,
        family: int,
        ways: Ways,
        *,
        route: Route | None = None,
        look: Callable[[Address, int], list[Route]] = find_routes,
    ) -> None:
        self.probes = 0
        self._link = link
        self._server = server
        self._family = family
        self._ways = ways
        self._find = look
        self._route = route
        self._number = 0
        self._preferred = route
        self._watch = Watch(self._on_news) if route is not None else None
        self._candidates: list[Candidate] = []
        self._old: list[tuple[float, int, Address]] = []
        self._patience = Patience(link.engine.recovery)
        self._wish: tuple[tuple[str, int] | None] | None = None
        self._is_pinned = False
        self._refused_until = 0.0
        self._look_at = 0.0 if route is not None else math.inf
        self._return_pause = RETURN_AFTER

    def close(self) -> None:
        """Watch nothing any more. Idempotent."""
        if self._watch is not None:
            self._watch.close()
        self._look_at = math.inf
        self._candidates.clear()

    # What it is told.

    def migrate(self, local: tuple[str, int] | None) -> None:
        """Go on from another socket: at once if the path is silent, else once it answered.

        Before the handshake is confirmed that is forbidden (RFC 9000, section 9): then later.

        Args:
            local: address and port; None: whatever the system's routes say now.

        Raises:
            LocalError: `local` can't be bound, or the server forbids to go elsewhere.
        """
        if self._link.engine.must_stay:
            raise LocalError("the server forbids its clients to migrate")
        if self._is_early:
            self._open(local).close()
            self._wish = (local,)
            return
        now = self._link.now()
        if local is None and self._route is not None:
            routes = self._find(self._server, self._family)
            route = routes[0] if routes else self._route
            self._is_pinned = False
            self._preferred = route
            self._try(self._open_by(route), route, ASKED, now)
        else:
            self._is_pinned = local is not None
            self._try(self._open(local), Route(local[0] if local else ""), ASKED, now)

    def on_heard(self, address: Address) -> None:
        """Take the peer's sign of life, if it came by the path in use."""
        if address == self._link.peer:
            self._patience.on_heard()

    def on_server(self, address: Address) -> None:
        """Note where the server is now: it may prefer another of its addresses."""
        self._server = plain(address)

    def on_asked(self, now: float) -> None:
        """Note that something left that the peer must answer."""
        self._patience.on_asked(now)

    def on_refused(self, error: OSError) -> None:
        """Take an error of sending: if the path is gone, look for another at once."""
        now = self._link.now()
        if self._route is not None and error.errno in GONE and now >= self._refused_until:
            self._refused_until = now + FIRST_PAUSE
            self._look_soon(now)

    def on_answers(self, now: float) -> None:
        """Take the answers to probes that the engine has."""
        answered = self._link.engine.answered
        while answered:
            address, rtt = answered.popleft()
            for candidate in self._candidates:
                if candidate.address == address:
                    self._judge(candidate, rtt, now)
                    break

    def check(self, now: float) -> None:
        """Do what is due. Called by the link's timer, often while nothing is."""
        self._close_old(now)
        if self._is_early:
            return
        if self._link.engine.must_stay:
            self._wish = None
            return
        if self._wish is not None:
            (local,), self._wish = self._wish, None
            self._grant(local)
        if now >= self._look_at:
            self._look(now)
        if now >= self._doubt_at:
            self._doubt(now)
        if now >= self.dead_at:
            self._leave_dead_path(now)
        for candidate in list(self._candidates):
            if now >= candidate.next_at:
                self._probe(candidate, now)

    # When.

    @property
    def due_at(self) -> float:
        """When `check` has something to do, once the handshake is confirmed."""
        if self._stays:
            return math.inf
        when = min(self._look_at, self.dead_at, self._doubt_at)
        when = min([when, *(candidate.next_at for candidate in self._candidates)])
        return min([when, *(until for until, _, _ in self._old)])

    @property
    def dead_at(self) -> float:
        """When the path counts as dead if no answer comes; infinite when nothing was asked."""
        return math.inf if self._stays else self._patience.dead_at

    @property
    def _doubt_at(self) -> float:
        return math.inf if self._route is None or self._stays else self._patience.doubt_at

    @property
    def _stays(self) -> bool:
        """Whether it may not leave this path: not yet, or not at all."""
        return self._is_early or self._link.engine.must_stay

    @property
    def _is_early(self) -> bool:
        return not self._link.engine.recovery.handshake_confirmed

    # The system's routes.

    def _on_news(self) -> None:
        self._look_soon(self._link.now())

    def _look_soon(self, now: float) -> None:
        self._look_at = now
        self._link.wake(now)

    def _look(self, now: float) -> None:
        """See where the system's routes lead, and try what is new or better."""
        is_told = self._watch is not None and self._watch.is_open
        self._look_at = math.inf if is_told else now + LOOK_EVERY
        routes, here = self._find(self._server, self._family), self._route
        if not routes:
            self._look_at = now + (LOOK_EVERY if is_told else FIRST_PAUSE)
            return
        self._preferred = routes[0]
        if self._is_pinned:
            return
        if here not in routes:
            self._try_route(routes[0], ROUTED, now)
            return
        for route in routes:
            if route != here:
                self._try_route(route, BETTER, now)
        if here != routes[0]:
            self._look_at = min(self._look_at, now + self._return_pause)
            self._return_pause = min(MAX_RETURN, 2 * self._return_pause)

    def _doubt(self, now: float) -> None:
        """An answer is late: probe what other ways there are, before this one is given up."""
        self._patience.doubt()
        routes = self._find(self._server, self._family)
        self._preferred = routes[0] if routes else self._preferred
        for route in routes:
            if route != self._route:
                self._try_route(route, SILENT, now)

    def _leave_dead_path(self, now: float) -> None:
        """Go on by another way, or from another port of this one; stay if there is none."""
        self._patience.give_up(now)
        routes = self._find(self._server, self._family) if self._route is not None else []
        route = routes[(self._patience.doublings - 1) % len(routes)] if routes else self._route
        try:
            sock = self._open_by(route) if route else self._open(None)
        except LocalError as exc:
            logger.debug("staying on this path: %s", exc)
        else:
            self._try(sock, route or Route(""), DEAD, now, leaps=True)

    def _grant(self, local: tuple[str, int] | None) -> None:
        try:
            self.migrate(local)
        except LocalError as exc:
            logger.debug("staying on this path: %s", exc)

    # The paths.

    def _try_route(self, route: Route, cause: str, now: float) -> None:
        if any(candidate.route == route for candidate in self._candidates):
            return
        try:
            self._try(self._open_by(route), route, cause, now)
        except LocalError as exc:
            logger.debug("not by %s: %s", route.host, exc)

    def _open_by(self, route: Route) -> socket.socket:
        """Open a socket; it is tied to its device only if the system would take another."""
        return self._open((route.host, 0), "" if route == self._preferred else route.device)

    def _try(
        self, sock: socket.socket, route: Route, cause: str, now: float, *, leaps: bool = False
    ) -> None:
        """Take a socket and use it: at once when the path is silent or gone, else if it answers."""
        number = self._ways.add(sock)
        address = by_way(self._server, number)
        candidate = Candidate(number, address, route, cause, now)
        is_gone = self._route is not None and not is_ours(self._route.host, self._family)
        if leaps or is_gone or (self._patience.is_silent(now) and cause not in (BETTER, SILENT)):
            self._switch(candidate, None, now)
        else:
            while len(self._candidates) >= MAX_CANDIDATES:
                self._drop(self._candidates[0])
            self._candidates.append(candidate)
            self._stay_put()
            self._probe(candidate, now)

    def _stay_put(self) -> None:
        """Tie the socket in use to its device: the routes may lead its packets elsewhere by now."""
        sock = self._ways.get(self._link.peer) if self._link.peer is not None else None
        if sock is not None and self._route is not None:
            bind_to_device(sock, self._route.device)

    def _probe(self, candidate: Candidate, now: float) -> None:
        """Ask once more; when the path in use has fallen silent meanwhile, do not wait."""
        if self._patience.is_silent(now) and candidate.cause not in (BETTER, SILENT):
            self._switch(candidate, None, now)
        elif candidate.probes >= MAX_PROBES or not self._link.engine.probe(candidate.address):
            self._drop(candidate)
        else:
            candidate.probes += 1
            self.probes += 1
            candidate.next_at = now + FIRST_PAUSE * (1 << candidate.probes)
            self._link.touch()
        self._link.wake(self.due_at)

    def _judge(self, candidate: Candidate, rtt: float, now: float) -> None:
        """Decide about a path that answered."""
        is_better = self._worth(candidate.route, rtt) < GAIN * self._worth(
            self._route, self._link.engine.recovery.rtt
        )
        if candidate.cause in (ASKED, ROUTED) or is_better or self._patience.is_silent(now):
            self._switch(candidate, rtt, now)
        else:
            self._drop(candidate)

    def _worth(self, route: Route | None, rtt: float) -> float:
        """Weigh a round trip; what the system prefers, or has not ranked, counts as shorter."""
        return rtt if route == self._preferred else rtt * DETOUR

    def _switch(self, candidate: Candidate, rtt: float | None, now: float) -> None:
        """Send by another path from now on."""
        if candidate in self._candidates:
            self._candidates.remove(candidate)
        kept_until = now + max(KEPT_FOR, self._patience.probe_timeouts)
        old = self._link.peer
        if old is not None:
            self._old.append((kept_until, self._number, old))
        if candidate.route == self._preferred:
            self._return_pause = RETURN_AFTER
        before = show(self._link.local)
        self._number, self._route = candidate.number, self._route and candidate.route
        self._link.moved(candidate.address, rtt, candidate.cause)
        how = "at once" if rtt is None else f"probed: {rtt * 1000:.0f} ms"
        logger.info("path: %s -> %s, %s (%s)", before, show(self._link.local), candidate.cause, how)
        for other in list(self._candidates):
            if other.number < candidate.number:
                self._drop(other)
        if self._route is not None and self._route != self._preferred:
            self._look_at = min(self._look_at, now + self._return_pause)

    def _drop(self, candidate: Candidate) -> None:
        if candidate in self._candidates:
            self._candidates.remove(candidate)
        self._link.engine.forget_path(candidate.address)
        self._ways.close(candidate.number)

    def _close_old(self, now: float) -> None:
        for old in [old for old in self._old if old[0] <= now]:
            self._old.remove(old)
            self._link.engine.forget_path(old[2])
            self._ways.close(old[1])

    def _open(self, local: tuple[str, int] | None, device: str = "") -> socket.socket:
        buffer_bytes = self._link.limits.socket_buffer_bytes
        return open_way(self._family, local, device, buffer_bytes)
