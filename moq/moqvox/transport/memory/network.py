"""Servers with names, clients that dial them, and servers that are killed."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from moqvox.errors import LocalError, SessionClosed
from moqvox.transport.memory.connection import MemoryConnection
from moqvox.transport.memory.handshake import Caller, ConnectFailed, Door
from moqvox.transport.memory.link import Link
from moqvox.transport.memory.route import Route
from moqvox.transport.memory.settings import Limits, LinkSettings

__all__ = ["Listener", "Network", "pair"]

PERFECT: Final = LinkSettings()
LIMITS: Final = Limits()

PORT: Final = 443


def pair(
    protocol: str = "moq-lite-06",
    *,
    path: str = "",
    link: LinkSettings = PERFECT,
    seed: int = 0,
    limits: Limits = LIMITS,
) -> tuple[MemoryConnection, MemoryConnection]:
    """Make both ends of an open connection, on the running loop: the client, the server.

    Args:
        protocol: as if negotiated.
        path: as if the client had asked for it.
        link: both directions to begin with; `connection.link` changes them.
        seed: of the fates of packets.
        limits: bounds of both sides.
    """
    way = Link(link, str(seed))
    server = MemoryConnection(way, limits, protocol=protocol, path=path, is_client=False)
    client = MemoryConnection(way, limits, protocol=protocol, path=path, is_client=True)
    return client, server


class Listener:
    """A `transport.interface.Listener` in memory. Made by `Network.listen`."""

    def __init__(
        self, name: str, protocols: Sequence[str], limits: Limits, *, takes_early: bool = True
    ) -> None:
        self.name = name
        self._takes_early = takes_early
        self.protocols = tuple(protocols)
        self._connections: list[MemoryConnection] = []
        self._limits = limits
        self._waiting: deque[MemoryConnection] = deque()
        self._arrival = asyncio.Event()
        self._closed: SessionClosed | None = None
        self._is_refusing = False

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Where it listens."""
        return [(self.name, PORT)]

    @property
    def is_open(self) -> bool:
        """Whether it takes connections."""
        return self._closed is None

    async def accept(self) -> MemoryConnection:
        """Wait for the next connection.

        Raises:
            SessionClosed: the listener is closed.
        """
        while not self._waiting:
            if self._closed is not None:
                raise SessionClosed(self._closed.code, self._closed.reason)
            self._arrival.clear()
            await self._arrival.wait()
        return self._waiting.popleft()

    def counters(self) -> Mapping[str, int]:
        """Nothing is counted here."""
        return {}

    def refuse(self) -> None:
        """Turn new connections away from now on; those that are there go on."""
        self._is_refusing = True

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections, close the open ones, free the name."""
        self.stop(code, reason)
        for connection in self._connections:
            connection.close(code, reason)
        for connection in self._connections:
            await connection.wait_closed()

    def stop(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections and free the name; the open ones stay."""
        if self._closed is None:
            self._closed = SessionClosed(code, reason)
        self._waiting.clear()
        self._arrival.set()

    def lose_connections(self, *, reset: bool) -> None:
        """Lose every connection at once, as when the process is killed."""
        self._waiting.clear()
        for connection in self._connections:
            connection.vanish("the server was killed", reset=reset)
        self._connections.clear()

    def admit(self, link: Link, protocols: Sequence[str], path: str) -> MemoryConnection | str:
        """Make the server's end for a client; or say why not."""
        common = [name for name in self.protocols if name in protocols]
        if not common:
            return f"{self.name} speaks none of the protocols offered"
        if self._is_refusing:
            return f"{self.name} is going away"
        if len(self._waiting) >= self._limits.max_unaccepted:
            return f"{self.name} is busy"
        self._connections = [known for known in self._connections if not known.is_over]
        connection = MemoryConnection(
            link,
            self._limits,
            protocol=common[0],
            path=path,
            is_client=False,
            takes_early=self._takes_early,
        )
        self._connections.append(connection)
        self._waiting.append(connection)
        self._arrival.set()
        return connection


class Network:
    """A world of servers by name; every link in it has fates of its own, from one seed."""

    def __init__(
        self, seed: int = 0, *, link: LinkSettings = PERFECT, limits: Limits = LIMITS
    ) -> None:
        self._seed = seed
        self._link = link
        self._limits = limits
        self._dialled = 0
        self._listeners: dict[str, Listener] = {}
        self._routes: dict[tuple[str, str], Route] = {}

    def listen(self, name: str, protocols: Sequence[str], *, takes_early: bool = True) -> Listener:
        """Offer protocols under a name, the preferred one first.

        `takes_early`: whether it reads what clients send before it has answered; if not, they
        have to send it again.

        Raises:
            LocalError: the name is taken, or no protocol is offered.
        """
        taken = self._listeners.get(name)
        if taken is not None and taken.is_open:
            raise LocalError(f"somebody listens on {name!r} already")
        if not protocols:
            raise LocalError("no protocol to offer")
        listener = self._listeners[name] = Listener(
            name, protocols, self._limits, takes_early=takes_early
        )
        return listener

    def route(self, client: str, server: str) -> Route:
        """Find the way from one host to another, to make it worse or better."""
        route = self._routes.get((client, server))
        if route is None:
            route = self._routes[client, server] = Route(client, server, self._link)
        return route

    @property
    def routes(self) -> list[Route]:
        """List the ways there have been so far."""
        return list(self._routes.values())

    async def connect(
        self,
        name: str,
        protocols: Sequence[str],
        *,
        path: str = "",
        client: str = "client",
        timeout: float = 10.0,
        early: bool = False,
    ) -> MemoryConnection:
        """Dial a server; takes a round trip, more when packets are lost.

        Args:
            name: as the server listens on.
            protocols: offered to it; its preference decides.
            path: what to ask for.
            client: the host that dials.
            timeout: seconds until it is given up.
            early: be there at once, as QUIC is with a ticket for the first of `protocols`;
                failure is told as the connection's end.

        Raises:
            ConnectFailed: nobody listens there, no common protocol, busy, or no answer.
        """
        self._dialled += 1
        link = self.route(client, name).dial(f"{self._seed}/{self._dialled}")

        def admit() -> MemoryConnection | str:
            listener = self._listeners.get(name)
            if listener is None or not listener.is_open:
                return f"nobody listens on {name!r}"
            return listener.admit(link, protocols, path)

        def open_client(protocol: str) -> MemoryConnection:
            return MemoryConnection(
                link, self._limits, protocol=protocol, path=path, is_client=True
            )

        Door(link, admit)
        unanswered = f"no answer from {name!r} within {timeout:g} s"
        if early:
            eager = open_client(protocols[0])
            eager.opening.begin_early(timeout, unanswered)
            return eager
        caller = Caller(link, open_client)
        connection: MemoryConnection | None = None
        try:
            async with asyncio.timeout(timeout):
                connection = await caller.call()
        except TimeoutError as exc:
            raise ConnectFailed(unanswered) from exc
        finally:
            if connection is None:
                caller.give_up()
        return connection

    def restart(self, name: str, *, reset: bool = True) -> None:
        """Kill a server's connections; it listens on, as one that was started anew.

        Its own ends say `Closed` at once, so that what runs on them comes to an end.

        Args:
            name: as it listens on.
            reset: whether clients learn of it by a stateless reset, one way later; if not,
                by their idle time-out.

        Raises:
            LocalError: nobody listens there.
        """
        self._listener(name).lose_connections(reset=reset)

    def kill(self, name: str, *, reset: bool = True) -> None:
        """Kill a server and its connections; dials are refused until `listen` is called anew.

        Args:
            name: as it listens on.
            reset: see `restart`.

        Raises:
            LocalError: nobody listens there.
        """
        listener = self._listener(name)
        listener.lose_connections(reset=reset)
        listener.stop()

    def _listener(self, name: str) -> Listener:
        listener = self._listeners.get(name)
        if listener is None or not listener.is_open:
            raise LocalError(f"nobody listens on {name!r}")
        return listener
