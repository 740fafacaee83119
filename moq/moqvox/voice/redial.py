"""Keeps a connection: dials, notices when it is dead or asked to move, dials again."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from moqvox.driver import Driver
from moqvox.errors import LocalError, MoqError, SessionClosed, SessionCode
from moqvox.transport.interface import Closed
from moqvox.transport.urge import Urge

__all__ = ["Dial", "Redial", "describe"]

log = logging.getLogger("moqvox.voice")

PAUSES: Final = (0.0, 0.25, 0.5, 1.0, 2.0)
"""Seconds between two attempts after a loss; the last one again and again."""

HEDGE: Final = 1.0
"""Seconds without an answer after which another attempt is made beside."""

HEDGE_OTHER: Final = 0.25
"""The same, as long as there are URLs that were not tried yet."""

MAX_ATTEMPTS: Final = 4
"""Attempts under way at once."""

SILENT: Final = 0.4
"""Seconds, or three round trips if that is more, without any packet, while an acknowledgement
is due, after which another connection is tried beside the one there is; whichever lives first
is kept. A process that was killed mostly takes longer than this to be there again, and then finds
the caller knocking."""

SILENT_RTTS: Final = 3

LOOK_EVERY: Final = 0.05
LOOK_OFTEN: Final = 0.02
"""Seconds between two looks for silence, and for its end."""

ASK_OFTEN: Final = 100
ASK_RARELY: Final = 10
"""Looks for the end of a silence of which each asks for it, and of which one asks later on."""

KNOCK_OFTEN: Final = 50
KNOCK_EVERY: Final = 2
KNOCK_THEN: Final = 5
"""Looks, while each asks, of which one lets the dial under way ask again, too: at first, when a
server is most likely to be started anew, and afterwards. It then has its first packet about when it
says that it was, not a round trip later; such a packet is a full one, so not at each look."""

CHANCE: Final = 0.05
CHANCE_RTTS: Final = 1.5
"""Seconds, or round trips if that is more, that a silent connection has to answer a question
once another one is there."""

MAX_URLS: Final = 16
"""URLs remembered, those that servers pointed to included."""

HANDOVER: Final = 5.0
"""Seconds that a connection is kept beside the one that takes its place."""

PASSING: Final = frozenset(
    {
        SessionCode.NO_ERROR,
        SessionCode.INTERNAL,
        SessionCode.EXCESSIVE_LOAD,
        SessionCode.GOAWAY_TIMEOUT,
        SessionCode.CONTROL_TIMEOUT,
    }
)
"""Codes with which a server closes that may be there again; with others coming back is no use."""

AWAY: Final = frozenset({SessionCode.EXCESSIVE_LOAD, SessionCode.GOAWAY_TIMEOUT})
"""Those with which a server says that somebody else had better be asked."""

Awaited = asyncio.Task[None] | asyncio.Task[Closed] | asyncio.Task[Driver | None]
Dial = Callable[[str], Awaitable[Driver]]
"""Opens a session to a URL; it is started and nothing is attached to it."""


class Redial:
    """One connection after the other to any of some URLs that lead to the same place.

    Attributes:
        reconnects: connections after the first.
        moves: those of them for which a server had asked (GOAWAY).
        is_seeking: another connection is dialled, as the present one is over, silent or to be left.
    """

    def __init__(
        self,
        urls: Sequence[str],
        dial: Dial,
        *,
        patience: float,
        dice: random.Random | None = None,
        urge: Urge | None = None,
    ) -> None:
        if not urls:
            raise LocalError("no URL to connect to")
        self.reconnects = 0
        self.moves = 0
        self.is_seeking = False
        self._urls = list(urls)
        self._dial = dial
        self._patience = patience
        self._urge = urge
        self._dice = dice or random.Random()  # noqa: S311  # spreads retries, no secret

    async def run(
        self,
        hold: Callable[[Driver], Awaitable[None]],
        *,
        settled: Callable[[], Awaitable[object]],
        may_return: Callable[[], bool],
    ) -> SessionClosed:
        """Hold connections until one can't be replaced; tells why.

        Args:
            hold: uses a connection until that is over.
            settled: waits until the latest connection has taken the place of those before.
            may_return: whether another connection is any use.

        Raises:
            MoqError: no URL can be reached at first.
        """
        first = await self.first()
        return await self.keep(first, hold, settled=settled, may_return=may_return)

    async def keep(
        self,
        driver: Driver,
        hold: Callable[[Driver], Awaitable[None]],
        *,
        settled: Callable[[], Awaitable[object]],
        may_return: Callable[[], bool],
    ) -> SessionClosed:
        """Go on as `run` does once there is a first connection."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_hold(hold, driver), name="hold")
            while True:
                await self._until_due(driver)
                fresh = await self._replace(driver, may_return)
                if fresh is None:
                    break
                self.reconnects += 1
                # In this order: what is settled is asked once the new one is held.
                tasks.create_task(_hold(hold, fresh), name="hold")
                tasks.create_task(_let_go(driver, settled), name="hand over")
                driver = fresh
        return _why(await driver.wait_closed())

    async def first(self) -> Driver:
        """Open the first connection, to the first URL that can be reached.

        Raises:
            MoqError: none can.
        """
        failure: MoqError | None = None
        for url in list(self._urls):
            try:
                return await self._dial(url)
            except MoqError as exc:
                failure = failure or exc
            self._urls.append(self._urls.pop(0))
        raise failure or LocalError("no URL to connect to")

    async def _until_due(self, driver: Driver) -> None:
        """Wait until the connection is over, asked to move, or silent when it must not be."""
        async with asyncio.TaskGroup() as tasks:
            waiting = [
                tasks.create_task(driver.wait_closed(), name="closed"),
                tasks.create_task(driver.goaway.wait(), name="goaway"),
                tasks.create_task(_wait_silent(driver), name="silent"),
            ]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()

    async def _replace(self, driver: Driver, may_return: Callable[[], bool]) -> Driver | None:
        """Open a connection in place of one; None when that is no use or takes too long.

        Instead of one that is silent but not over, or takes nobody, another URL is tried first.
        """
        self._note_move(driver)
        is_turned_away = driver.closed and (await driver.wait_closed()).code in AWAY
        if is_turned_away or (not driver.closed and not driver.goaway.is_set()):
            self._urls.append(self._urls.pop(0))
        while self._patience > 0 and may_return():
            if driver.closed and _is_final(await driver.wait_closed()):
                return None
            self.is_seeking = True
            fresh = await self._race(driver)
            self.is_seeking = False
            if fresh is not None and not may_return():
                fresh.close()
                return None
            if fresh is not None or driver.closed:
                return fresh
            await self._until_due(driver)
            self._note_move(driver)
        return None

    def _note_move(self, driver: Driver) -> None:
        """Try first where a server that is going away has pointed to, or another one."""
        if not driver.goaway.is_set():
            return
        self.moves += 1
        uri = driver.goaway_uri
        log.info("%s asks to move to %s", driver.connection.remote_address, uri or "elsewhere")
        if not uri:
            self._urls.append(self._urls.pop(0))
        elif uri not in self._urls:
            self._urls = [uri, *self._urls[: MAX_URLS - 1]]

    async def _race(self, driver: Driver) -> Driver | None:
        """Dial, until somebody answers, patience ends, or the silent one is heard again.

        When the silent one ends, its server has been started anew, most likely, and has just
        said so: then the attempt under way asks again, or the next one is made at once.
        """
        async with asyncio.TaskGroup() as tasks:
            dialling = [tasks.create_task(self._again(), name="dial")]
            reviving = tasks.create_task(_wait_revived(driver, self._hurry), name="revived")
            ending = tasks.create_task(driver.wait_closed(), name="closed")
            if not driver.closed:
                await _first_of(*dialling, reviving, ending)
                if ending.done() and not dialling[0].done() and not self._hurry():
                    dialling.append(tasks.create_task(self._again(), name="dial at once"))
            await _first_of(*dialling, reviving)
            if not reviving.done() and not driver.closed and not driver.goaway.is_set():
                # The network is back for both; going on as before is the shorter way.
                chance = max(CHANCE, CHANCE_RTTS * driver.connection.stats().rtt)
                await _first_of(reviving, ending, timeout=chance)
            is_revived = reviving.done()
            for task in (*dialling, reviving, ending):
                task.cancel()
        found = [task.result() for task in dialling if task.done() and not task.cancelled()]
        fresh = [each for each in found if each is not None]
        for each in fresh if is_revived else fresh[1:]:
            each.close()
        return fresh[0] if fresh and not is_revived else None

    def _hurry(self) -> bool:
        """Let the attempt under way ask again, if it is one to the server that was heard."""
        return len(self._urls) == 1 and self._urge is not None and self._urge.now()

    async def _again(self) -> Driver | None:
        """Dial until somebody answers or patience ends, one URL after the other."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience
        made = 0
        found: Driver | None = None
        async with asyncio.TaskGroup() as tasks:
            attempts: set[asyncio.Task[Driver | None]] = set()
            while found is None and loop.time() < until:
                if not attempts:
                    pause = PAUSES[min(made // len(self._urls), len(PAUSES) - 1)]
                    await asyncio.sleep(pause * self._dice.uniform(0.5, 1.0))
                if len(attempts) < MAX_ATTEMPTS:
                    url = self._urls[made % len(self._urls)]
                    attempts.add(tasks.create_task(self._attempt(url), name=f"dial {url}"))
                    made += 1
                hedge = HEDGE if made >= len(self._urls) else HEDGE_OTHER
                wait = max(0.0, min(hedge, until - loop.time()))
                done, attempts = await asyncio.wait(
                    attempts, timeout=wait, return_when=asyncio.FIRST_COMPLETED
                )
                for answered in [task.result() for task in done]:
                    if found is None:
                        found = answered
                    elif answered is not None:
                        answered.close()
            for task in attempts:
                task.cancel()
                task.add_done_callback(_drop_result)
        return found

    async def _attempt(self, url: str) -> Driver | None:
        try:
            return await self._dial(url)
        except MoqError as exc:
            log.info("%s not reached: %s", url, exc)
            return None


async def _first_of(*tasks: Awaited, timeout: float | None = None) -> None:
    await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)


async def _hold(hold: Callable[[Driver], Awaitable[None]], driver: Driver) -> None:
    await hold(driver)


async def _let_go(driver: Driver, settled: Callable[[], Awaitable[object]]) -> None:
    """Close a connection once the next one has taken its place."""
    try:
        async with asyncio.timeout(HANDOVER):
            await settled()
    except TimeoutError:
        log.info("%s: handed over without a word", driver.connection.remote_address)
    driver.close(SessionCode.NO_ERROR, "moved to another connection")


async def _wait_silent(driver: Driver) -> None:
    """Wait until nothing has come for `SILENT` seconds that had to come."""
    loop = asyncio.get_running_loop()
    heard, since = -1, loop.time()
    while True:
        stats, now = driver.connection.stats(), loop.time()
        if stats.received_packets != heard or not stats.unacked_bytes:
            heard, since = stats.received_packets, now
        left = since + max(SILENT, SILENT_RTTS * stats.rtt) - now
        if left <= 0:
            return
        await asyncio.sleep(min(left, LOOK_EVERY))


async def _wait_revived(driver: Driver, knock: Callable[[], object] = bool) -> None:
    """Ask a silent connection until it is heard again; for ever if it is over or to be left.

    The successor of a server that was killed answers with a stateless reset as soon as it is
    there, and so ends it. `knock` lets the dial under way ask again, lest that find out later.
    """
    heard = driver.connection.stats().received_packets
    looks = 0
    while True:
        if driver.closed or driver.goaway.is_set():
            await asyncio.sleep(LOOK_EVERY)
            continue
        if looks < ASK_OFTEN or not looks % ASK_RARELY:
            driver.connection.ping()
        looks += 1
        if looks <= ASK_OFTEN and not looks % (KNOCK_EVERY if looks <= KNOCK_OFTEN else KNOCK_THEN):
            knock()
        await asyncio.sleep(LOOK_OFTEN)
        is_of_use = not driver.goaway.is_set() and not driver.closed
        if is_of_use and driver.connection.stats().received_packets != heard:
            return


def _drop_result(attempt: "asyncio.Task[Driver | None]") -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        driver = attempt.result()
        if driver is not None:
            driver.close()


def _is_final(closed: Closed) -> bool:
    return not closed.lost and closed.code not in PASSING


def _why(closed: Closed) -> SessionClosed:
    return SessionClosed(closed.code, describe(closed), remote=closed.remote)


def describe(closed: Closed) -> str:
    """Say why a connection ended."""
    if closed.reason:
        return closed.reason
    return "the connection was lost" if closed.lost else f"closed with code {closed.code:#x}"
