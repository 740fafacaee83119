"""How the workers of one relay hear each other: a session between every two of them.

The sessions run over WebSocket on loopback without TLS: no packets to protect and to
acknowledge, and the kernel tells at once that a worker is dead. Hop ids keep announcements from
going in circles, and the way over one sibling is shorter than over two, so a frame crosses once.
"""

import functools
import hmac
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from moqvox.connect import hold
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import SessionClosed, SessionCode
from moqvox.listen import Incoming, Server, make_driver
from moqvox.model.origin import Origin
from moqvox.transport.interface import Connection
from moqvox.transport.websocket import Limits, connect_websocket, listen_websocket
from moqvox_relay.share import Share
from moqvox_relay.upstream import Line, Terms

__all__ = ["Siblings"]

log = logging.getLogger("moqvox.relay")

FIRST_WAIT: Final = 0.02
LONGEST_WAIT: Final = 1.0
TIMEOUT: Final = 5.0

LIMITS: Final = Limits(
    stream_window_bytes=4 * 1024 * 1024,
    connection_window_bytes=64 * 1024 * 1024,
    max_bidi_streams=65_536,
    max_uni_streams=65_536,
    max_blocked_streams=65_536,
)
"""One session carries what all callers of a worker want of another's."""


class Siblings:
    """One worker's sessions with all others: it dials those with lower numbers, others dial it."""

    def __init__(self, share: Share, origin: Origin, terms: Terms) -> None:
        self._share = share
        self._origin = origin
        self._versions = terms.versions[:1]
        self._terms = terms
        self._secret = share.keys.derive("siblings").hex()
        self._lines = [
            Line(
                f"worker {number}",
                functools.partial(self._dial, *share.doors[number]),
                first_wait=FIRST_WAIT,
                longest_wait=LONGEST_WAIT,
            )
            for number in range(share.worker)
        ]
        self._callers: set[Incoming] = set()

    @property
    def count(self) -> int:
        """Siblings that are connected now."""
        return len(self._callers) + sum(line.up.is_set() for line in self._lines)

    async def run(self) -> None:
        """Hold the sessions until cancelled."""
        listener = await listen_websocket(
            "", 0, protocols=self._versions, tls=None, limits=LIMITS, sockets=(self._share.door,)
        )
        server = Server(listener)
        async with scope() as tasks:
            tasks.create_task(server.run(self._make), name="siblings")
            for line in self._lines:
                tasks.create_task(line.run(), name="sibling")
            try:
                async for request in server:
                    tasks.create_task(self._serve(request), name="sibling")
            finally:
                await server.close()

    def _make(self, connection: Connection) -> Driver:
        return make_driver(
            connection,
            origin_id=self._origin.id,
            cache_limits=self._terms.limits,
            budget=self._origin.budget,
            linger=self._terms.linger,
        )

    async def _serve(self, request: Incoming) -> None:
        """Let a sibling in that knows the secret, for good; anybody on this machine may ask."""
        try:
            _, secret = await request.path()
        except SessionClosed:
            return
        if not hmac.compare_digest(secret.encode(), self._secret.encode()):
            log.warning("%s is no worker of ours", request.remote_address)
            request.reject(SessionCode.UNAUTHORIZED, "for workers only")
            return
        request.accept(publish=self._origin, consume=self._origin)
        self._callers.add(request)
        try:
            await request.wait_closed()
        finally:
            self._callers.discard(request)

    @asynccontextmanager
    async def _dial(self, host: str, port: int, _url: str) -> AsyncIterator[Driver]:
        path = f"/?jwt={self._secret}"
        connection = await connect_websocket(
            host,
            port,
            protocols=self._versions,
            path=path,
            tls=False,
            timeout=TIMEOUT,
            limits=LIMITS,
        )
        async with hold(
            connection,
            path=path,
            publish=self._origin,
            consume=self._origin,
            origin_id=self._origin.id,
            cache_limits=self._terms.limits,
            budget=self._origin.budget,
            linger=self._terms.linger,
        ) as driver:
            yield driver
