"""Accept MoQ sessions: raw QUIC and WebTransport on one UDP port, WebSockets on TCP besides.

```python
async with listen("[::]:4443", tls=certificate) as server:
    async for request in server:
        request.accept(publish=origin, consume=origin)
```
"""

import asyncio
import functools
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from moqvox.bound import Binding
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError, SessionClosed, SessionCode
from moqvox.model import broadcast, cache, origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.aioquic import Limits
from moqvox.transport.credentials import ServerCertificate
from moqvox.transport.interface import Closed, Connection, Kind, Listener
from moqvox.transport.quic import ConnectionIds, Keys
from moqvox.transport.websocket import Http
from moqvox.url import split_path
from moqvox.wire.version import LITE_ALPNS as ALPNS

__all__ = ["Incoming", "Keys", "Server", "listen", "make_driver", "serve_connection"]

log = logging.getLogger("moqvox.listen")

BACKLOG: Final = 128
"""Sessions that wait for the application, at most; further ones are refused."""

SETUP_TIMEOUT: Final = 10.0


class Incoming:
    """One session that a client opened; the application accepts or rejects it."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._decided = False

    @property
    def kind(self) -> Kind:
        """What carries it."""
        return self.driver.connection.kind

    @property
    def version(self) -> str:
        """The negotiated version, as `moq-lite-06`."""
        return self.driver.session.version

    @property
    def remote_address(self) -> str:
        """The client's address, for logs."""
        return self.driver.connection.remote_address

    async def path(self) -> tuple[str, str]:
        """Wait for the path that the client asked for.

        Returns:
            The path without outer slashes, and the token ("" for none). Versions whose raw
            QUIC carries no path give ("", "").

        Raises:
            SessionClosed: the client left, or did not say it within 10 seconds.
        """
        if self.kind is not Kind.QUIC and self.kind is not Kind.MEMORY:
            return split_path(self.driver.connection.path)
        try:
            async with asyncio.timeout(SETUP_TIMEOUT):
                setup = await self.driver.wait_setup()
        except TimeoutError as exc:
            self.reject(SessionCode.CONTROL_TIMEOUT, "no SETUP")
            raise SessionClosed(SessionCode.CONTROL_TIMEOUT, "no SETUP") from exc
        if self.driver.closed:
            raise SessionClosed(SessionCode.NO_ERROR, "the client left", remote=True)
        return split_path(setup.path) if setup is not None else ("", "")

    def accept(
        self, *, publish: origin.Reader | None = None, consume: origin.Writer | None = None
    ) -> Driver:
        """Serve `publish` to the client and take its broadcasts into `consume`."""
        if not self._decided:
            self._decided = True
            self.driver.attach(publish, consume)
        return self.driver

    def reject(self, code: int = SessionCode.UNAUTHORIZED, reason: str = "unauthorized") -> None:
        """Close the session with a code and a reason that the client will see."""
        self._decided = True
        self.driver.close(code, reason)

    def broadcast(self, path: str) -> broadcast.Consumer:
        """Read a broadcast of the client's at once, without its announcement."""
        return self.driver.broadcast(path)

    async def wait_closed(self) -> Closed:
        """Wait for the session's end."""
        return await self.driver.wait_closed()


class Server:
    """A listening server: iterate it for sessions."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners
        self._waiting: asyncio.Queue[Incoming] = asyncio.Queue(BACKLOG)
        self._drivers: set[Driver] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Bound host and port pairs."""
        return self._listeners[0].addresses

    @property
    def tcp_addresses(self) -> Sequence[tuple[str, int]]:
        """Those bound over TCP; none when it was not asked for, or the port is taken."""
        return self._listeners[1].addresses if len(self._listeners) > 1 else ()

    def counters(self) -> dict[str, int]:
        """Take what the listeners have counted."""
        return {
            name: count
            for listener in self._listeners
            for name, count in listener.counters().items()
        }

    @property
    def sessions(self) -> int:
        """Sessions open now."""
        return len(self._drivers)

    def __aiter__(self) -> AsyncIterator[Incoming]:
        return self

    async def __anext__(self) -> Incoming:
        return await self._waiting.get()

    @property
    def drivers(self) -> Sequence[Driver]:
        """The sessions open now."""
        return list(self._drivers)

    async def wait_idle(self) -> None:
        """Wait until no session is open."""
        await self._idle.wait()

    def goaway(self, uri: str = "", timeout_ms: int = 0) -> None:
        """Ask every client to move to `uri`, as when draining."""
        for driver in list(self._drivers):
            driver.send_goaway(uri, timeout_ms)

    def refuse(self) -> None:
        """Take no new connections from now on, so that clients try their next URL at once."""
        for listener in self._listeners:
            listener.refuse()

    async def close(self, code: int = SessionCode.NO_ERROR, reason: str = "") -> None:
        """Refuse new sessions and close the open ones."""
        for driver in list(self._drivers):
            driver.close(code, reason)
        for listener in self._listeners:
            await listener.close(code, reason)

    async def run(self, make: Callable[[Connection], Driver]) -> None:
        """Take connections until the listeners close; `make` builds each one's driver."""
        async with asyncio.TaskGroup() as tasks:
            for listener in self._listeners:
                tasks.create_task(self._accept(tasks, listener, make), name="accept")

    async def _accept(
        self, tasks: asyncio.TaskGroup, listener: Listener, make: Callable[[Connection], Driver]
    ) -> None:
        while True:
            try:
                connection = await listener.accept()
            except SessionClosed:
                return
            try:
                driver = make(connection)
            except LocalError as exc:
                connection.close(SessionCode.VERSION, str(exc))
                continue
            tasks.create_task(self._serve(driver), name=f"peer-{connection.remote_address}")

    async def _serve(self, driver: Driver) -> None:
        self._drivers.add(driver)
        self._idle.clear()
        try:
            await serve_connection(driver, self._waiting)
        finally:
            self._drivers.discard(driver)
            if not self._drivers:
                self._idle.set()


def make_driver(
    connection: Connection,
    *,
    origin_id: int = 0,
    cache_limits: cache.Limits | None = None,
    budget: cache.Budget | None = None,
    linger: float = 2.0,
) -> Driver:
    """Build the session that a new connection negotiated, and its driver.

    Raises:
        LocalError: the negotiated version is not known here.
    """
    session = LiteSession(
        connection.protocol,
        is_client=False,
        webtransport=connection.kind in (Kind.WEBTRANSPORT, Kind.WEBSOCKET),
        origin=origin_id,
    )
    return Driver(
        connection,
        session,
        origin_id=origin_id,
        linger=linger,
        cache_limits=cache_limits,
        budget=budget,
    )


async def serve_connection(driver: Driver, waiting: "asyncio.Queue[Incoming]") -> None:
    """Run one accepted session to its end. A bug in it ends no other."""
    if waiting.full():
        driver.connection.close(SessionCode.EXCESSIVE_LOAD, "too many sessions wait")
        return
    try:
        async with asyncio.TaskGroup() as tasks:
            driver.start(tasks)
            waiting.put_nowait(Incoming(driver))
    except Exception:
        log.exception("session with %s hit a bug", driver.connection.remote_address)
        driver.connection.close(SessionCode.INTERNAL, "internal error")


@asynccontextmanager
async def listen(
    bind: str = "[::]:4443",
    *,
    tls: ServerCertificate,
    versions: Sequence[str] = ALPNS,
    origin_id: int = 0,
    cache_limits: cache.Limits | None = None,
    budget: cache.Budget | None = None,
    limits: Limits | None = None,
    keys: Keys | None = None,
    ids: ConnectionIds | None = None,
    sockets: Sequence[socket.socket] = (),
    preferred: Sequence[tuple[str, int]] = (),
    linger: float = 2.0,
    websocket: bool = False,
    http: Http | None = None,
) -> AsyncIterator[Server]:
    """Listen on one UDP port until the block is left; then every session is closed.

    Args:
        bind: `host:port`; port 0 picks one (see `Server.addresses`).
        tls: chain and key; `moqvox_certs` makes one for development.
        versions: ALPN names served, most wanted first.
        origin_id: this node's hop id, against announcement loops; 0 for none.
        cache_limits: what is kept of each track that clients publish.
        budget: what is kept of all of them together; None gives this listener one of its own.
        limits: bounds of the QUIC endpoint.
        keys: secrets shared with other servers, or with this one's next run; None: made up.
        ids: makes the connection IDs, for a load balancer or steered workers; None: random.
        sockets: UDP sockets, and TCP ones, to use instead of binding; taken over.
        preferred: UDP addresses where clients should go on, one of each family.
        linger: seconds an unread subscription to a client is kept.
        websocket: listen on the TCP port of the same number too, for clients whose network
            lets no UDP through and browsers without WebTransport. A TCP port that somebody
            else has is a warning only: see `Server.tcp_addresses`.
        http: answers plain requests on that TCP port; None: they get 404.

    Raises:
        LocalError: the address can't be bound, or an unknown version is named.
    """
    unknown = [version for version in versions if version not in ALPNS]
    if unknown or not versions:
        raise LocalError(f"unknown version {', '.join(unknown)!r}; known are {', '.join(ALPNS)}")
    binding = Binding(
        protocols=list(versions),
        tls=tls,
        limits=limits or Limits(),
        keys=keys,
        ids=ids,
        preferred=preferred,
        websocket=websocket,
        http=http,
    )
    server = Server(*await (binding.take_over(sockets) if sockets else binding.bind(bind)))
    make = functools.partial(
        make_driver,
        origin_id=origin_id,
        cache_limits=cache_limits,
        budget=cache.Budget() if budget is None else budget,
        linger=linger,
    )
    async with scope() as tasks:
        accepting = tasks.create_task(server.run(make), name="accept")
        try:
            yield server
        finally:
            await server.close()
            accepting.cancel()
