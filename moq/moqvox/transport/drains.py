"""Writers that wait for their stream to take more."""

import asyncio
from collections.abc import Iterable

__all__ = ["Drains"]


class Drains:
    """Who waits, by stream."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[asyncio.Future[None]]] = {}

    async def wait(self, stream: int) -> None:
        """Wait until the stream is woken."""
        future = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(stream, [])
        waiting.append(future)
        try:
            await future
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting.get(stream) is waiting:
                del self._waiting[stream]

    def wake(self, streams: Iterable[int]) -> None:
        """Let the writers of these streams look again."""
        for stream in streams:
            for future in self._waiting.pop(stream, ()):
                if not future.done():
                    future.set_result(None)

    def wake_all(self) -> None:
        """Let every writer look again."""
        self.wake(list(self._waiting))
