"""Relays that drain: who reads goes on by another way, and when the relay may end."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from moqvox.driver import Driver
from moqvox.driver.handover import hand_over
from moqvox.model.origin import Origin

__all__ = ["DRAINING", "SESSIONS", "move_readers", "wait_idle"]

log = logging.getLogger("moqvox.relay")

SESSIONS: Final = "moqvox_relay_sessions"
DRAINING: Final = "moqvox_relay_draining"
"""Counters by which workers know of each other how far they are."""

LOOK_EVERY: Final = 0.1

GRACE: Final = 1.0
"""Seconds in which siblings hear that all of them are to end; who has not is not waited for."""


async def move_readers(driver: Driver, origin: Origin) -> None:
    """Let who reads from a session that leaves go on by other ways. A bug in it ends nothing."""
    try:
        await hand_over(driver, origin)
    except Exception:
        log.exception("handing over from %s hit a bug", driver.connection.remote_address)


async def wait_idle(
    sessions: Callable[[], int],
    tell: Callable[[], None],
    siblings: Callable[[], Iterable[Mapping[str, float]]],
) -> None:
    """Wait until nobody is connected any more, neither here nor to a sibling that drains as well.

    Its workers hear each other, so the last caller of all counts.

    What a sibling's callers hear may come through us: from a publisher of ours that has moved
    before them, or from the upstream, which one of the workers holds for all.

    Args:
        sessions: counts our own.
        tell: writes our counters where siblings read them.
        siblings: reads theirs; empty ones are of the dead.
    """
    loop = asyncio.get_running_loop()
    patient = loop.time() + GRACE
    while True:
        tell()
        is_early = loop.time() < patient
        if not sessions() and not any(_is_busy(row, is_early) for row in siblings()):
            return
        await asyncio.sleep(LOOK_EVERY)


def _is_busy(row: Mapping[str, float], is_early: bool) -> bool:
    """Whether a sibling has callers to see off, or may just not have heard that it ends."""
    if not row.get(DRAINING):
        return bool(row) and is_early
    return row.get(SESSIONS, 0) > 0
