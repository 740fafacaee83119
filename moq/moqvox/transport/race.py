"""Several ways to one end, tried one after the other without much patience."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from moqvox.errors import MoqError
from moqvox.transport.failures import vagueness

__all__ = ["race"]

T = TypeVar("T")


async def race(
    attempts: Sequence[Callable[[], Awaitable[T]]],
    *,
    delay: float,
    discard: Callable[[T], None],
) -> T:
    """Make attempts, each `delay` seconds after the one before it, or when that has failed.

    The first success wins and cancels the others; one that succeeds all the same is given
    to `discard`, and so is the winner if the race is cancelled before it could be returned.

    Raises:
        MoqError: all have failed; it is the first of those that say most, see `vagueness`.
    """
    winners: list[T] = []
    failures: dict[int, MoqError] = {}
    failed = [asyncio.Event() for _ in attempts]
    tasks: list[asyncio.Task[None]] = []

    async def run(index: int) -> None:
        if index:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay * index):
                    await failed[index - 1].wait()
        try:
            result = await attempts[index]()
        except MoqError as exc:
            failures[index] = exc
            failed[index].set()
            return
        if winners:
            discard(result)
            return
        winners.append(result)
        for task in tasks:
            if task is not asyncio.current_task():
                task.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            tasks.extend(group.create_task(run(index)) for index in range(len(attempts)))
    except BaseException:
        for result in winners:  # of the turn in which patience ended: nobody will take it
            discard(result)
        raise
    if winners:
        return winners[0]
    raise min((failures[index] for index in sorted(failures)), key=vagueness)
