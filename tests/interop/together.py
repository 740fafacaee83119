"""Rows that are played two at a time, each for the test that waits for it."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future

from interop.matrix import Row
from interop.moqvox import Moqvox
from interop.play import Outcome, play

__all__ = ["JOBS", "Together"]

JOBS = 2
"""Rows mostly wait, so that two share two cores well; those with browsers are played alone."""


class Together:
    """Plays rows in their order, in a loop of its own, a row ahead of the tests."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._outcomes: dict[str, Future[Outcome]] = {row.name: Future() for row in rows}
        self._waiting = iter(rows)
        self._loop = asyncio.new_event_loop()
        self._playing = self._loop.create_task(self._play())
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def outcome(self, row: Row) -> Outcome:
        """Wait for a row's end."""
        return self._outcomes[row.name].result()

    def close(self) -> None:
        """Stop what still plays."""
        with contextlib.suppress(RuntimeError):  # all was played, and the loop is closed
            self._loop.call_soon_threadsafe(self._playing.cancel)
        self._thread.join(30)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._playing)
        except (asyncio.CancelledError, CancelledError):
            pass
        finally:
            self._loop.close()

    async def _play(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(JOBS):
                tasks.create_task(self._work())

    async def _work(self) -> None:
        for row in self._waiting:
            future = self._outcomes[row.name]
            try:
                future.set_result(await play(row, Moqvox()))
            except Exception as exc:  # noqa: BLE001  # the test that waits is to fail of it, not the others
                future.set_exception(exc)
