"""A question that a living peer answers: for who hears nothing, and has nothing to say."""

import asyncio
from collections.abc import Callable
from typing import Final

from moqvox.driver import Driver
from moqvox.errors import LocalError, Refused

__all__ = ["keep_knocking", "knock"]

NOTHING: Final = "nothing"
"""Name of a broadcast that nobody has."""

LOOK_EVERY: Final = 0.05

BUSY: Final = 0.1
IDLE: Final = 1.0
"""Seconds without a packet after which a peer is asked, while anything is being said and else."""


async def knock(driver: Driver) -> None:
    """Ask for something, and wait until that is refused or the connection is over."""
    try:
        await driver.broadcast(NOTHING).info(NOTHING)
    except (LocalError, Refused):
        return


async def keep_knocking(driver: Driver, is_busy: Callable[[], bool | None]) -> None:
    """Knock whenever the peer has been silent for a while, so that its death is noticed.

    Who only listens sends nothing that would not be acknowledged.

    Args:
        driver: of whom to listen to.
        is_busy: whether anything is being said; None: nobody cares whether the peer is there.
    """
    loop = asyncio.get_running_loop()
    heard, since = -1, loop.time()
    while True:
        await asyncio.sleep(LOOK_EVERY)
        stats, now = driver.connection.stats(), loop.time()
        if stats.received_packets != heard or stats.unacked_bytes:
            heard, since = stats.received_packets, now
            continue
        busy = is_busy()
        if busy is not None and now - since >= (BUSY if busy else IDLE):
            await knock(driver)
