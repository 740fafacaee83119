"""The tasks of one session, in a group that outlives it."""

import asyncio
from collections.abc import Coroutine

__all__ = ["Errands"]


class Errands:
    """Starts tasks in an owner's group, and cancels those that are left at the end.

    Knows nothing of the session, so that what is handed its `spawn` does not lead back to it.
    """

    def __init__(self) -> None:
        self._tasks: asyncio.TaskGroup | None = None
        self._running: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._running)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Let tasks run in a group from now on."""
        self._tasks = tasks

    def spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        """Start a task."""
        if self._tasks is None:
            raise RuntimeError("the driver was not started, or is over")
        task = self._tasks.create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def end(self) -> None:
        """Cancel what runs, and let go of the group."""
        self._tasks = None
        for task in list(self._running):
            task.cancel()
