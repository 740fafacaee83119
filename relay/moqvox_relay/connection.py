"""One accepted peer: authorise it, scope its view of the origin, serve it to its end."""

import asyncio
import logging
import time
from collections.abc import Callable

from moqvox.errors import SessionClosed, SessionCode, Unauthorized
from moqvox.listen import Incoming
from moqvox.model.origin import Origin
from moqvox_relay.auth import Authority, Grants

__all__ = ["Peer", "wall_clock"]

log = logging.getLogger("moqvox.relay")


def wall_clock() -> float:
    """Read the time of day, which tokens expire by."""
    return time.time()  # noqa: TID251  # the edge where wall time comes in


class Peer:
    """One session of a relay.

    `leave` is called when a peer that publishes says that it goes (GOAWAY): a relay that drains.
    """

    def __init__(
        self,
        request: Incoming,
        origin: Origin,
        authority: Authority,
        leave: Callable[[], None],
        clock: Callable[[], float] = wall_clock,
    ) -> None:
        self._request = request
        self._origin = origin
        self._authority = authority
        self._leave = leave
        self._clock = clock

    async def serve(self) -> None:
        """Serve the peer until it leaves or its token expires. A bug in it ends no other."""
        try:
            await self._serve()
        except Exception:
            log.exception("session with %s hit a bug", self._request.remote_address)
            self._request.reject(SessionCode.INTERNAL, "internal error")

    async def _serve(self) -> None:
        try:
            path, token = await self._request.path()
        except SessionClosed:
            return
        try:
            grants = self._authority.grant(path, token, self._clock())
        except Unauthorized as exc:
            log.info("%s refused on %r: %s", self._request.remote_address, path, exc)
            self._request.reject(SessionCode.UNAUTHORIZED, str(exc))
            return
        view = self._origin.view(grants.root, subscribe=grants.subscribe, publish=grants.publish)
        self._request.accept(
            publish=view if grants.subscribe else None, consume=view if grants.publish else None
        )
        await self._until_over(grants)

    async def _until_over(self, grants: Grants) -> None:
        left = None if grants.expires is None else max(0.0, grants.expires - self._clock())
        try:
            async with asyncio.timeout(left):
                if await self._request.driver.wait_leaving() and grants.publish:
                    self._leave()
                await self._request.wait_closed()
        except TimeoutError:
            log.info("%s: token expired", self._request.remote_address)
            self._request.reject(SessionCode.UNAUTHORIZED, "the token has expired")
