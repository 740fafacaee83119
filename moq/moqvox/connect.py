"""Open a MoQ session to a server.

```python
async with connect("https://localhost:4443/room", consume=origin) as session:
    reader = await origin.wait("alice")
```
"""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError
from moqvox.model import cache, origin
from moqvox.session.lite.session import LiteSession
from moqvox.transport.aioquic import LOGGERS as TRANSPORT_LOGGERS
from moqvox.transport.aioquic import Wallet
from moqvox.transport.aioquic import connect as connect_quic
from moqvox.transport.credentials import Verify
from moqvox.transport.foresight import Foresee
from moqvox.transport.interface import Connection, Kind
from moqvox.transport.race import race
from moqvox.transport.urge import Urge
from moqvox.transport.websocket import connect_websocket
from moqvox.url import Address, Scheme, parse_url
from moqvox.wire.version import LITE_ALPNS as ALPNS

__all__ = [
    "TRANSPORT_LOGGERS",
    "Wallet",
    "connect",
    "detours",
    "dial",
    "hold",
    "open_session",
    "recall",
]

log = logging.getLogger("moqvox.connect")

HEAD_START: Final = 0.5
"""Seconds that WebTransport has before WebSocket is tried besides."""

MAX_REMEMBERED: Final = 256

REMEMBERED_S: Final = 600.0
"""How long: people carry their machines from network to network."""

_without_udp: dict[tuple[str, int], float] = {}
"""Servers that answered over WebSocket first, and until when it has the head start there."""


async def dial(
    address: Address,
    *,
    verify: Verify,
    versions: Sequence[str] = ALPNS,
    timeout: float = 10.0,
    websocket: bool = True,
    roams: bool = True,
    wallet: Wallet | None = None,
    early: bool = True,
    urge: Urge | None = None,
    foresee: Foresee | None = None,
) -> Connection:
    """Open the connection that a URL asks for, without a session on it.

    Args:
        address: where to.
        verify: whom to trust.
        versions: ALPN names offered, most wanted first.
        timeout: seconds until it must be established.
        websocket: for `https://`, try WebSocket too when WebTransport takes long or fails;
            `wss://` is WebSocket in any case.
        roams: over QUIC, go from one network to another when the system does.
        wallet: lets QUIC begin sooner than the first time: a raw connection is there at once,
            before the server has answered, and failure is told as its end.
        early: with a wallet, do not wait for the answer; False: the handshake is shorter only.
        urge: over QUIC, makes it ask again as long as nobody has answered.
        foresee: over raw QUIC, prepares for the connection while its server has not answered.

    Raises:
        MoqError: unreachable, refused, not trusted, or no common version; the message
            says which.
    """
    unknown = [version for version in versions if version not in ALPNS]
    if unknown or not versions:
        raise LocalError(f"unknown version {', '.join(unknown)!r}; known are {', '.join(ALPNS)}")
    quic = functools.partial(
        connect_quic,
        address.host,
        address.port,
        protocols=list(versions),
        webtransport=address.is_webtransport,
        path=address.path,
        verify=verify,
        timeout=timeout,
        roams=roams,
        wallet=wallet,
        early=early,
        urge=urge,
        foresee=foresee,
    )
    if address.scheme is not Scheme.WEBSOCKET and not (websocket and address.is_webtransport):
        return await quic()
    tcp = functools.partial(
        connect_websocket,
        address.host,
        address.port,
        protocols=list(versions),
        path=address.path,
        verify=verify,
        timeout=timeout,
    )
    if address.scheme is Scheme.WEBSOCKET:
        return await tcp()
    where = (address.host, address.port)
    now = asyncio.get_running_loop().time()
    attempts = (tcp, quic) if _without_udp.get(where, now) > now else (quic, tcp)
    connection: Connection = await race(attempts, delay=HEAD_START, discard=_close)
    _remember(where, connection.kind, now)
    return connection


def _close(connection: Connection) -> None:
    connection.close()


def _remember(where: tuple[str, int], kind: Kind, now: float) -> None:
    """Note which way was the faster one to a server."""
    until = _without_udp.pop(where, now)
    if kind is not Kind.WEBSOCKET:
        return
    if until <= now:
        log.warning("%s port %d was slow over UDP or silent: going on over WebSocket", *where)
        until = now + REMEMBERED_S
    _without_udp[where] = until
    if len(_without_udp) > MAX_REMEMBERED:
        del _without_udp[next(iter(_without_udp))]


def detours(now: float) -> list[tuple[str, int, float]]:
    """List the servers that WebSocket has the head start to: host, port, and for how long yet.

    Args:
        now: the event loop's time; so it is of `recall`.
    """
    return [(*where, until - now) for where, until in _without_udp.items() if until > now]


def recall(found: Iterable[tuple[str, int, float]], now: float) -> None:
    """Take up what `detours` told before, in another process; no longer than it was worth then."""
    for host, port, left in list(found)[-MAX_REMEMBERED:]:
        if 0 < left <= REMEMBERED_S:
            _without_udp[host, port] = now + left


def open_session(
    connection: Connection,
    *,
    path: str,
    origin_id: int = 0,
    cache_limits: cache.Limits | None = None,
    budget: cache.Budget | None = None,
    linger: float = 2.0,
) -> Driver:
    """Build the client's side of the session that a connection negotiated; `start` is next.

    Raises:
        LocalError: the negotiated version carries no path over raw QUIC, and one was asked for.
    """
    session = LiteSession(
        connection.protocol,
        is_client=True,
        webtransport=connection.kind in (Kind.WEBTRANSPORT, Kind.WEBSOCKET),
        path=path,
        origin=origin_id,
    )
    if connection.kind is Kind.QUIC and not session.has_setup and path.strip("/"):
        raise LocalError(
            f"{session.version} on raw QUIC can't tell the server a path or token: "
            "use https://, or a newer version"
        )
    return Driver(
        connection,
        session,
        origin_id=origin_id,
        linger=linger,
        cache_limits=cache_limits,
        budget=budget,
    )


@asynccontextmanager
async def connect(
    url: str,
    *,
    publish: origin.Reader | None = None,
    consume: origin.Writer | None = None,
    verify: Verify | None = None,
    token: str = "",
    versions: Sequence[str] = ALPNS,
    origin_id: int | None = None,
    cache_limits: cache.Limits | None = None,
    budget: cache.Budget | None = None,
    timeout: float = 10.0,
    linger: float = 2.0,
    websocket: bool = True,
    roams: bool = True,
    wallet: Wallet | None = None,
) -> AsyncIterator[Driver]:
    """Hold a session open for as long as the block runs; it is closed on leaving.

    Args:
        url: `https://` for WebTransport, `moqt://` or `moql://` for raw QUIC, `wss://` for
            WebSocket.
        publish: what to serve to the server; None for nothing.
        consume: where the server's broadcasts go; None to ask for none.
        verify: whom to trust; None trusts the system's roots.
        token: added to the URL as `?jwt=`.
        versions: ALPN names offered, most wanted first.
        origin_id: this node's hop id, by which relays know what it publishes when it moves from
            one to another; None takes the id of an `Origin` that it publishes, else makes one
            up; 0 is nobody's.
        cache_limits: what is kept of each track read.
        budget: what is kept of all of them together; None gives this session one of its own.
        timeout: seconds for the handshake.
        linger: seconds an unread subscription is kept.
        websocket: see `dial`.
        roams: see `dial`.
        wallet: see `dial`.

    Raises:
        MoqError: see `dial`.
    """
    address = parse_url(url, token)
    connection = await dial(
        address,
        verify=verify or Verify(),
        versions=versions,
        timeout=timeout,
        websocket=websocket,
        roams=roams,
        wallet=wallet,
    )
    async with hold(
        connection,
        path=address.path,
        publish=publish,
        consume=consume,
        origin_id=origin_id,
        cache_limits=cache_limits,
        budget=budget,
        linger=linger,
    ) as driver:
        yield driver


def _hop_of(publish: origin.Reader | None) -> int:
    return publish.id if isinstance(publish, origin.Origin) else origin.make_id()


@asynccontextmanager
async def hold(
    connection: Connection,
    *,
    path: str,
    publish: origin.Reader | None = None,
    consume: origin.Writer | None = None,
    origin_id: int | None = None,
    cache_limits: cache.Limits | None = None,
    budget: cache.Budget | None = None,
    linger: float = 2.0,
) -> AsyncIterator[Driver]:
    """Hold a session on a connection that was dialled otherwise; arguments as for `connect`.

    Raises:
        LocalError: see `open_session`.
    """
    hop = _hop_of(publish) if origin_id is None else origin_id
    try:
        driver = open_session(
            connection,
            path=path,
            origin_id=hop,
            cache_limits=cache_limits,
            budget=cache.Budget() if budget is None else budget,
            linger=linger,
        )
    except LocalError:
        connection.close()
        await connection.wait_closed()
        raise
    async with scope() as tasks:
        driver.start(tasks)
        driver.attach(publish, consume)
        try:
            yield driver
        finally:
            driver.close()
            await connection.wait_closed()
