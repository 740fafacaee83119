"""For who hears nothing and has nothing to say: whether the peer is still there."""

import asyncio
from collections.abc import Callable
from typing import Final

from moqvox.transport.interface import Connection

__all__ = ["keep_knocking"]

LOOK_EVERY: Final = 0.05

BUSY: Final = 0.1
IDLE: Final = 1.0
"""Seconds without a packet after which a peer is asked, while anything is being said and else."""


async def keep_knocking(connection: Connection, is_busy: Callable[[], bool | None]) -> None:
    """Ping whenever the peer has been silent for a while, so that its death is noticed.

    Who only listens sends nothing that would not be acknowledged.

    Args:
        connection: to whom.
        is_busy: whether anything is being said; None: nobody cares whether the peer is there.
    """
    loop = asyncio.get_running_loop()
    heard, since = -1, loop.time()
    while True:
        await asyncio.sleep(LOOK_EVERY)
        stats, now = connection.stats(), loop.time()
        if stats.received_packets != heard or stats.unacked_bytes:
            heard, since = stats.received_packets, now
            continue
        busy = is_busy()
        if busy is not None and now - since >= (BUSY if busy else IDLE):
            connection.ping()
