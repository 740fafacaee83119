"""A line to another relay: announcements both ways, dialled again when it breaks or must move."""

import asyncio
import functools
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import msgspec

from moqvox.connect import connect
from moqvox.driver import Driver
from moqvox.driver.scope import scope
from moqvox.errors import LocalError, MoqError
from moqvox.model import cache
from moqvox.model.origin import Origin
from moqvox.transport.credentials import Verify
from moqvox_certs import CertificateError, read_roots
from moqvox_relay.config import Upstream
from moqvox_relay.draining import move_readers

__all__ = ["Dial", "Line", "Terms", "dial_upstream"]

log = logging.getLogger("moqvox.relay")

FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 10.0

PROVEN: Final = 10.0
"""Seconds that a session must have lasted for the next wait to be the first again: one that
is refused at once is no success."""


HANDOVER: Final = 5.0
"""Seconds that a session which is asked to move is kept beside the one in its place."""

MAX_LEAVING: Final = 4
"""Sessions kept so at once, at most."""


Dial = Callable[[str], AbstractAsyncContextManager[Driver]]
"""Opens one session to the other relay at a URL; whoever knows one place only ignores it."""


class Line:
    """Keeps one session to another relay open.

    When the other relay asks to move (GOAWAY), the next session is opened first: where it
    points to, else at the next URL. What is read of the old one goes on from the new one, and
    the old one is closed once it has had time to say the rest.

    Args:
        name: of the other relay, in the log.
        dial: opens a session.
        urls: that lead to the same place, tried one after the other.
        origin: where the sessions' broadcasts are; None: nothing is handed over.
        first_wait: seconds until the second attempt; None: a quarter.
        longest_wait: seconds between two attempts, at most; None: ten.

    Attributes:
        up: set while one stands.
        moves: sessions opened because the one before was asked to move.
    """

    def __init__(
        self,
        name: str,
        dial: Dial,
        *,
        urls: Sequence[str] = ("",),
        origin: Origin | None = None,
        first_wait: float | None = None,
        longest_wait: float | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self.up = asyncio.Event()
        self.moves = 0
        self._name = name
        self._dial = dial
        self._urls = deque(urls)
        self._origin = origin
        self._pointed: str | None = None
        self._is_draining = False
        self._standing: set[Driver] = set()
        self._leaving: dict[Driver, asyncio.Event] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._first_wait = FIRST_WAIT if first_wait is None else first_wait
        self._longest_wait = LONGEST_WAIT if longest_wait is None else longest_wait
        self._jitter = jitter or random.Random()  # noqa: S311  # spreads retries, no secret

    def drain(self) -> None:
        """Tell the other relay that we go, in every session now and to come (GOAWAY).

        It then prefers other ways to what is published here, and moves who reads by this one.
        """
        self._is_draining = True
        for driver in self._standing:
            driver.send_goaway()

    async def run(self) -> None:
        """Dial, serve, dial again, for ever. The wait doubles up to the longest."""
        async with asyncio.TaskGroup() as self._tasks:
            loop = asyncio.get_running_loop()
            wait = self._first_wait
            while True:
                began = loop.time()
                try:
                    moving = await self._hold()
                except MoqError as exc:
                    moving = False
                    log.warning("%s not reached: %s", self._name, exc)
                except Exception:
                    moving = False
                    log.exception("the session with the %s hit a bug", self._name)
                finally:
                    if not self._standing:
                        self.up.clear()
                if loop.time() - began > PROVEN:
                    wait = self._first_wait
                    if moving:
                        continue
                await asyncio.sleep(wait * self._jitter.uniform(0.5, 1.0))
                wait = min(2 * wait, self._longest_wait)

    async def _hold(self) -> bool:
        """Serve one session until it ends or is asked to move; tells whether it goes on.

        Raises:
            MoqError: it can't be opened.
        """
        if self._tasks is None:
            raise RuntimeError("the line is not run")
        due: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        serving = self._tasks.create_task(self._serve(due), name=self._name)
        try:
            return await due
        except asyncio.CancelledError:
            serving.cancel()
            raise

    async def _serve(self, due: asyncio.Future[bool]) -> None:
        """Run a session to its end; `due` tells when another one is wanted, or of failure."""
        url, self._pointed = self._pointed or self._urls[0], None
        opened = False
        try:
            async with self._dial(url) as driver:
                opened = True
                await self._stand(driver, due)
        except Exception as exc:
            if not opened and url == self._urls[0]:
                self._urls.rotate(-1)
            if due.done():
                log.warning("leaving the %s: %s", self._name, exc, exc_info=exc)
            else:
                due.set_exception(exc)
        finally:
            if not due.done():
                due.set_result(False)

    async def _stand(self, driver: Driver, due: asyncio.Future[bool]) -> None:
        address = driver.connection.remote_address
        self._standing.add(driver)
        if self._is_draining:
            driver.send_goaway()
        self._let_go()
        self.up.set()
        log.info("%s %s up", self._name, address)
        try:
            async with scope() as tasks:
                watching = tasks.create_task(self._watch(driver, due), name="goaway")
                closed = await driver.wait_closed()
                watching.cancel()
        finally:
            self._standing.discard(driver)
            self._leaving.pop(driver, None)
            if not self._standing:
                self.up.clear()
        reason = closed.reason or f"code {closed.code:#x}"
        level = logging.INFO if due.done() else logging.WARNING
        log.log(level, "%s %s lost: %s", self._name, address, reason)

    async def _watch(self, driver: Driver, due: asyncio.Future[bool]) -> None:
        """Wait for GOAWAY; then hand over, and close when the next one has served a while."""
        await driver.goaway.wait()
        self._point(driver)
        replaced = self._leaving[driver] = asyncio.Event()
        if not due.done():
            self.moves += 1
            due.set_result(True)
        if self._origin is not None and self._tasks is not None:
            self._tasks.create_task(move_readers(driver, self._origin), name="hand over")
        await replaced.wait()
        await asyncio.sleep(HANDOVER)
        driver.close()

    def _point(self, driver: Driver) -> None:
        """Try first where a relay that goes away has pointed to, or the next URL."""
        uri = driver.goaway_uri
        where = driver.connection.remote_address
        log.info("%s %s asks to move to %s", self._name, where, uri or "elsewhere")
        self._urls.rotate(-1)
        if uri:
            self._pointed = uri

    def _let_go(self) -> None:
        """Begin to close the sessions that the newest one takes the place of."""
        for replaced in self._leaving.values():
            replaced.set()
        for driver in list(self._leaving)[:-MAX_LEAVING]:
            driver.close()


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
            return Verify.authority(read_roots(upstream.ca))
        except CertificateError as exc:
            raise LocalError(str(exc)) from exc
    return Verify()
