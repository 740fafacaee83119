"""A line to another relay: announcements both ways, dialled again whenever it breaks."""

import asyncio
import functools
import logging
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.errors import LocalError, MoqError
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox_relay.config import Upstream

__all__ = ["Dial", "Line", "Terms", "dial_upstream"]

log = logging.getLogger("moqvox.relay")

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 10.0

PROVEN: Final = 10.0
"""Seconds that a session must have lasted for the next wait to be the first again: one that
is refused at once is no success."""


Dial = Callable[[], AbstractAsyncContextManager[Driver]]
"""Opens one session to the other relay."""


class Line:
    """Keeps one session to another relay open.

    Args:
        name: of the other relay, in the log.
        dial: opens a session.
        first_wait: seconds until the second attempt; None: a quarter.
        longest_wait: seconds between two attempts, at most; None: ten.

    Attributes:
        up: set while it stands.
    """

    def __init__(
        self,
        name: str,
        dial: Dial,
        *,
        first_wait: float | None = None,
        longest_wait: float | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self.up = asyncio.Event()
        self._name = name
        self._dial = dial
        self._first_wait = FIRST_WAIT if first_wait is None else first_wait
        self._longest_wait = LONGEST_WAIT if longest_wait is None else longest_wait
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads retries, no secret

    async def run(self) -> None:
        """Dial, serve, dial again, for ever. The wait doubles up to the longest."""
        loop = asyncio.get_running_loop()
        wait = self._first_wait
        while True:
            began = loop.time()
            try:
                await self._hold()
            except MoqError as exc:
                log.warning("%s not reached: %s", self._name, exc)
            except Exception:
                log.exception("the session with the %s hit a bug", self._name)
            finally:
                self.up.clear()
            if loop.time() - began > PROVEN:
                wait = self._first_wait
            await asyncio.sleep(wait * self._jitter.uniform(0.5, 1.0))
            wait = min(2 * wait, self._longest_wait)

    async def _hold(self) -> None:
        """Serve one session to its end."""
        async with self._dial() as driver:
            self.up.set()
            log.info("%s %s up", self._name, driver.connection.remote_address)
            closed = await driver.wait_closed()
            reason = closed.reason or f"code {closed.code:#x}"
            log.warning("%s lost: %s", self._name, reason)


class Terms(msgspec.Struct, frozen=True):
    """What sessions with other relays are like.

    Attributes:
        versions: ALPN names, most wanted first.
        limits: what is kept of each track.
        linger: seconds an unread subscription is kept.
    """

    versions: tuple[str, ...]
    limits: cache.Limits
    linger: float


def dial_upstream(upstream: Upstream, origin: Origin, terms: Terms) -> Dial:
    """Prepare to dial the relay that this one is an edge of.

    Raises:
        LocalError: its roots can't be read.
    """
    return functools.partial(
        connect,
        upstream.url,
        publish=origin,
        consume=origin,
        verify=_trust(upstream),
        token=upstream.token,
        versions=terms.versions,
        origin_id=origin.id,
        cache_limits=terms.limits,
        budget=origin.budget,
        linger=terms.linger,
    )


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
