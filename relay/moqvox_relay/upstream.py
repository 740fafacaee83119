"""The edge's line to its origin: announcements both ways, dialled again whenever it breaks."""

import asyncio
import logging
import random
from typing import Final

from moqvox.connect import connect
from moqvox.errors import LocalError, MoqError
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox_relay.config import Upstream

__all__ = ["Line"]

log = logging.getLogger("moqvox.relay")

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 10.0

PROVEN: Final = 10.0
"""Seconds that a session must have lasted for the next wait to be the first again: one that
is refused at once is no success."""


class Line:
    """Keeps one session to the upstream relay open.

    Attributes:
        up: set while it stands.
    """

    def __init__(
        self,
        upstream: Upstream,
        origin: Origin,
        *,
        versions: tuple[str, ...],
        limits: cache.Limits,
        linger: float,
        jitter: random.Random | None = None,
    ) -> None:
        self.up = asyncio.Event()
        self._upstream = upstream
        self._origin = origin
        self._versions = versions
        self._limits = limits
        self._linger = linger
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads retries, no secret
        self._verify = _trust(upstream)

    async def run(self) -> None:
        """Dial, serve, dial again, for ever. The wait doubles up to ten seconds."""
        loop = asyncio.get_running_loop()
        wait = FIRST_WAIT
        while True:
            began = loop.time()
            try:
                await self._hold()
            except MoqError as exc:
                log.warning("upstream not reached: %s", exc)
            except Exception:
                log.exception("the session upstream hit a bug")
            finally:
                self.up.clear()
            if loop.time() - began > PROVEN:
                wait = FIRST_WAIT
            await asyncio.sleep(wait * self._jitter.uniform(0.5, 1.0))
            wait = min(2 * wait, LONGEST_WAIT)

    async def _hold(self) -> None:
        """Serve one session to its end."""
        async with connect(
            self._upstream.url,
            publish=self._origin,
            consume=self._origin,
            verify=self._verify,
            token=self._upstream.token,
            versions=self._versions,
            origin_id=self._origin.id,
            cache_limits=self._limits,
            budget=self._origin.budget,
            linger=self._linger,
        ) as driver:
            self.up.set()
            log.info("upstream %s up", driver.connection.remote_address)
            closed = await driver.wait_closed()
            reason = closed.reason or f"code {closed.code:#x}"
            log.warning("upstream lost: %s", reason)


def _trust(upstream: Upstream) -> Verify:
    if upstream.insecure:
        return Verify.nothing()
    if upstream.fingerprints:
        return Verify.pinned(upstream.fingerprints)
    if upstream.ca is not None:
        try:
            return Verify.authority(upstream.ca.read_bytes())
        except OSError as exc:
            raise LocalError(f"{upstream.ca}: {exc.strerror}") from exc
    return Verify()
