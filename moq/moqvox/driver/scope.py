"""A task group that raises what its body raised, not a group of one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["scope"]


@asynccontextmanager
async def scope() -> AsyncIterator[asyncio.TaskGroup]:
    """Open a `TaskGroup`; a lone failure comes out bare, several as a group."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        lone: BaseException = group
        while isinstance(lone, BaseExceptionGroup) and len(lone.exceptions) == 1:
            lone = lone.exceptions[0]
        if lone is group:
            raise
        raise lone from lone.__cause__
