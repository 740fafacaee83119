"""Keeps the collector from stopping a server with many live sessions.

A full collection goes through everything that lives, and everybody waits for it: 0.3 s and more
with a thousand sessions, at whatever moment enough was allocated. Most of what it looks at are
sessions that it has looked at before. So what a full collection leaves is frozen, and the next
goes through what has come since; and it comes early, while that is little. Sessions that end leave
no cycles, so their memory is free at once, frozen or not.

What the application leaves in cycles is freed as usual if it comes and goes between two full
collections. What was frozen alive and becomes garbage in a cycle later stays until the next thaw,
in which everything is collected once: as soon as the server is idle, or after `patience` if it
never is. So no more is held than what an application loses in cycles in that time.

This changes the collector of the whole process. Our own programs (`moqvox relay`, its workers,
`moqvox serve`) do so; who embeds the library decides, and calls `spare` if it is wanted. From
Python 3.14 on, whose collector works in small steps, it does nothing.
"""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from moqvox.driver.scope import scope

__all__ = ["spare"]

log = logging.getLogger("moqvox.collector")

YOUNG: Final = 700
"""Objects that are made before a collection of those begins: CPython's own choice."""

MIDDLE: Final = 10
"""Such collections before one of their survivors: CPython's own choice, too."""

FULL: Final = 1
"""Of those before a full one, where CPython has 10: it has at most 15,000 new objects to see then,
if all live, and takes some milliseconds."""

LOOK_EVERY: Final = 60.0
"""Seconds between two looks at whether the server is idle."""

PATIENCE: Final = 6 * 3600.0
"""Seconds after which what is frozen is gone through although the server is busy."""

OLDEST: Final = 2


@asynccontextmanager
async def spare(is_idle: Callable[[], bool], *, patience: float = PATIENCE) -> AsyncIterator[None]:
    """Keep collections short until the block is left, which restores the collector.

    Args:
        is_idle: whether nobody would mind waiting for a full collection now.
        patience: seconds after which one comes although somebody might.
    """
    if sys.version_info >= (3, 14):
        yield
        return
    before = gc.get_threshold()
    gc.callbacks.append(_freeze)
    _collect_everything()
    seen = _full_collections()
    gc.set_threshold(YOUNG, MIDDLE, FULL)
    try:
        async with scope() as tasks:
            thawing = tasks.create_task(_thaw_when_idle(is_idle, patience, seen), name="collector")
            try:
                yield
            finally:
                thawing.cancel()
    finally:
        gc.callbacks.remove(_freeze)
        gc.set_threshold(*before)
        gc.unfreeze()


def _freeze(phase: str, info: Mapping[str, int]) -> None:
    """Set aside what a full collection has left."""
    if phase == "stop" and info["generation"] == OLDEST:
        gc.freeze()


def _collect_everything() -> int:
    """Go through all there is; returns how many objects were in cycles.

    CPython puts a full collection off until a quarter as many objects are new as the last one
    has left, frozen or not. The second one finds none left, and so the next comes early.
    """
    gc.unfreeze()
    found = gc.collect()
    gc.collect()
    return found


def _full_collections() -> int:
    return int(gc.get_stats()[OLDEST]["collections"])


async def _thaw_when_idle(is_idle: Callable[[], bool], patience: float, seen: int) -> None:
    """Go through everything when nobody minds, if there were more since `seen` of them."""
    clock = asyncio.get_running_loop().time
    thawed_at = clock()
    while True:
        await asyncio.sleep(LOOK_EVERY)
        is_late = clock() - thawed_at >= patience
        if _full_collections() == seen or not (is_late or is_idle()):
            continue
        found = _collect_everything()
        thawed_at, seen = clock(), _full_collections()
        log.debug("collected everything: %d objects were in cycles", found)
