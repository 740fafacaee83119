"""A bad network on one machine: a UDP link in userspace that loses, delays and rebinds.

    async with Link(("127.0.0.1", 4443), Settings.both(Impairment(loss=10)), seed=7) as link:
        ...  # clients connect to link.address instead of the server
        link.outage(2.0)
        link.rebind()
        print(link.stats())

The radio and the NAT are at the client's end: a datagram's source port is chosen when it
enters, and a datagram that enters a dead link, from either end, is lost.
"""

import asyncio
import contextlib
import heapq
import ipaddress
import itertools
import logging
import random
import socket
from collections import OrderedDict, deque
from types import TracebackType
from typing import Final, Self

import msgspec

from moqvox_client.fate import Cause, Direction, Impairment, Lane, Outage, Outages, Tally

__all__ = ["Link", "LinkStats", "Rebind", "Settings"]

log = logging.getLogger("moqvox.client.link")

MAX_FLOWS: Final = 64
"""Clients at a time; the one that has been silent longest makes room for another."""

MAX_HELD: Final = 20_000
"""Datagrams on the way; more are dropped. At 1200 bytes they are 24 MB."""

MAX_OLD_SOCKETS: Final = 8
"""Abandoned source ports of a flow that still let out what entered through them."""

BATCH: Final = 64
"""Datagrams read from a socket before the loop's other work gets a turn."""

BUFFER_BYTES: Final = 4 << 20

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
"""As `recvfrom` gives it; the last form is a platform without IPv6."""


class Rebind(msgspec.Struct, frozen=True):
    """From `at` seconds on, clients come from another port, with `address` another host too."""

    at: float
    address: bool = False


class Settings(msgspec.Struct, frozen=True):
    """A link and its story; times are seconds after the link was entered."""

    up: Impairment = Impairment()
    down: Impairment = Impairment()
    outages: tuple[Outage, ...] = ()
    rebinds: tuple[Rebind, ...] = ()

    @staticmethod
    def both(
        impairment: Impairment,
        *,
        outages: tuple[Outage, ...] = (),
        rebinds: tuple[Rebind, ...] = (),
    ) -> "Settings":
        """Impair both directions alike."""
        return Settings(impairment, impairment, outages, rebinds)


class LinkStats(msgspec.Struct, frozen=True):
    """What the link has done so far."""

    up: Tally
    down: Tally
    flows: int
    held: int
    rebinds: int


class _Flow:
    """One client, and the socket that stands for it towards the server."""

    def __init__(self, client: SocketAddress, outer: socket.socket) -> None:
        self.client = client
        self.outer = outer
        self.old: deque[socket.socket] = deque()

    def close(self) -> None:
        for one in (self.outer, *self.old):
            one.close()


class _Held(msgspec.Struct, frozen=True):
    """A datagram on the way."""

    lane: Lane
    sender: socket.socket
    to: SocketAddress
    data: bytes


class Link:
    """Forwards UDP datagrams between any number of clients and one server.

    Use it as an async context manager; leaving closes all sockets and drops what is on
    the way.

    Args:
        target: the server's host (name or IP address) and port.
        settings: what the link does.
        seed: decides everything that is random; see `moqvox_client.fate`.
        bind: where clients find the link; port 0 takes any.
    """

    def __init__(
        self,
        target: tuple[str, int],
        settings: Settings | None = None,
        *,
        seed: int = 1,
        bind: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        self._target_name = target
        self._settings = settings or Settings()
        self._seed = seed
        self._bind = bind
        self._outages = Outages()
        self._up = Lane(Direction.UP, self._settings.up, self._outages, seed)
        self._down = Lane(Direction.DOWN, self._settings.down, self._outages, seed)
        self._addresses = random.Random(f"{seed}/addresses")  # noqa: S311 - not a secret
        self._flows: OrderedDict[SocketAddress, _Flow] = OrderedDict()
        self._held: list[tuple[float, int, _Held]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._planned: list[asyncio.TimerHandle] = []
        self._rebinds = 0

    async def __aenter__(self) -> Self:
        """Resolve the target and start forwarding.

        Raises:
            OSError: the target is unknown, or the address can't be bound.
        """
        self._loop = asyncio.get_running_loop()
        host, port = self._target_name
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        self._family, self._target = found[0][0], found[0][4]
        self._source = self._any_source()
        is_six = ":" in self._bind[0]
        self._front = _open(socket.AF_INET6 if is_six else socket.AF_INET, self._bind)
        self._loop.add_reader(self._front, self._read_clients)
        started = self._loop.time()
        for outage in self._settings.outages:
            self._outages.add(Outage(started + outage.start, outage.duration))
        self._planned = [
            self._loop.call_at(started + rebind.at, self._rebind_as_planned, rebind)
            for rebind in self._settings.rebinds
        ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for handle in self._planned:
            handle.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._held.clear()
        self._loop.remove_reader(self._front)
        self._front.close()
        while self._flows:
            self._forget(next(iter(self._flows)))

    @property
    def address(self) -> tuple[str, int]:
        """Where clients find the link, as host and port."""
        name = self._front.getsockname()
        return str(name[0]), int(name[1])

    def stats(self) -> LinkStats:
        """Return a snapshot of the counters."""
        return LinkStats(
            up=self._up.tally.copy(),
            down=self._down.tally.copy(),
            flows=len(self._flows),
            held=len(self._held),
            rebinds=self._rebinds,
        )

    def outage(self, duration: float, *, after: float = 0.0) -> None:
        """Kill both directions for `duration` seconds, `after` seconds from now."""
        self._outages.add(Outage(self._loop.time() + after, duration))

    def change(self, *, up: Impairment | None = None, down: Impairment | None = None) -> None:
        """Impair datagrams that enter from now on differently; None leaves a direction."""
        self._up.impairment = up or self._up.impairment
        self._down.impairment = down or self._down.impairment

    def rebind(self, *, address: bool = False) -> None:
        """Give every client another source port, with `address` another source host too.

        What the server sends to the old port from now on is lost. A new host needs an
        IPv4 loopback server and a system that answers on all of 127.0.0.0/8, as Linux
        does; elsewhere only the port changes.
        """
        if address:
            self._source = self._another_source()
        for flow in self._flows.values():
            self._loop.remove_reader(flow.outer)
            flow.old.append(flow.outer)
            if len(flow.old) > MAX_OLD_SOCKETS:
                flow.old.popleft().close()
            flow.outer = self._open_outer(flow.client)
        self._rebinds += 1

    def _rebind_as_planned(self, rebind: Rebind) -> None:
        try:
            self.rebind(address=rebind.address)
        except OSError as exc:
            log.warning("cannot rebind: %s", exc)

    def _read_clients(self) -> None:
        for _ in range(BATCH):
            try:
                data, client = self._front.recvfrom(65535)
            except OSError:  # nothing left, or an ICMP error for an earlier datagram
                return
            flow = self._flow(client)
            if flow is not None:
                self._admit(self._up, flow.outer, self._target, data)

    def _read_server(self, client: SocketAddress) -> None:
        flow = self._flows[client]
        for _ in range(BATCH):
            try:
                data, server = flow.outer.recvfrom(65535)
            except OSError:
                return
            if server[:2] == self._target[:2]:
                self._admit(self._down, self._front, flow.client, data)

    def _admit(self, lane: Lane, sender: socket.socket, to: SocketAddress, data: bytes) -> None:
        for release in lane.admit(self._loop.time(), len(data)):
            if len(self._held) >= MAX_HELD:
                lane.tally.drop(Cause.HELD)
                continue
            held = _Held(lane, sender, to, data)
            heapq.heappush(self._held, (release, next(self._numbers), held))
        if self._held:
            self._arm()

    def _arm(self) -> None:
        """Wake up when the first datagram is due; those due already go out at once."""
        first = self._held[0][0]
        if first <= self._loop.time():
            self._release()
        elif self._timer is None or first < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(first, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._release()
        if self._held:
            self._arm()

    def _release(self) -> None:
        now = self._loop.time()
        while self._held and self._held[0][0] <= now:
            _, _, held = heapq.heappop(self._held)
            try:
                held.sender.sendto(held.data, held.to)
            except OSError:  # a full buffer, a closed flow, nobody there
                held.lane.tally.drop(Cause.SOCKET)
            else:
                held.lane.released(len(held.data))

    def _flow(self, client: SocketAddress) -> _Flow | None:
        flow = self._flows.get(client)
        if flow is not None:
            self._flows.move_to_end(client)
            return flow
        if len(self._flows) >= MAX_FLOWS:
            self._forget(next(iter(self._flows)))
        try:
            outer = self._open_outer(client)
        except OSError as exc:
            log.warning("cannot open a socket for a client: %s", exc)
            return None
        flow = self._flows[client] = _Flow(client, outer)
        return flow

    def _open_outer(self, client: SocketAddress) -> socket.socket:
        outer = _open(self._family, (self._source, 0))
        self._loop.add_reader(outer, self._read_server, client)
        return outer

    def _forget(self, client: SocketAddress) -> None:
        flow = self._flows.pop(client)
        self._loop.remove_reader(flow.outer)
        flow.close()

    def _any_source(self) -> str:
        """Pick the local address that leads to the server, without tying it to an interface."""
        if not ipaddress.ip_address(self._target[0]).is_loopback:
            return "::" if self._family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
        return "::1" if self._family == socket.AF_INET6 else "127.0.0.1"

    def _another_source(self) -> str:
        """Draw an address from 127.0.0.0/8, if the server and the system allow it."""
        draw = self._addresses.randrange
        wanted = f"127.{draw(1, 255)}.{draw(256)}.{draw(1, 255)}"
        if self._source.startswith("127."):
            with contextlib.suppress(OSError):
                _open(socket.AF_INET, (wanted, 0)).close()
                return wanted
        log.warning("no other source address here; only the port changes")
        return self._source


def _open(family: int, address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                opened.setsockopt(socket.SOL_SOCKET, option, BUFFER_BYTES)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened
