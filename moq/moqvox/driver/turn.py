"""A session's next turn of the loop: asked for often, taken once."""

import asyncio
from collections.abc import Callable

__all__ = ["Turn"]


class Turn:
    """Calls something once in the loop's next turn, however often it was asked to meanwhile.

    A task that waited for an event instead would cost more than what it has to do: a relay's
    sessions each wake for every frame. What is asked for before `take` waits for it.
    """

    __slots__ = ("_call", "_fault", "_is_due")

    def __init__(self) -> None:
        self._call: Callable[[], None] | None = None
        self._fault: asyncio.Future[None] | None = None
        self._is_due = False

    def set(self) -> None:
        """Ask for a turn."""
        if not self._is_due:
            self._is_due = True
            if self._call is not None:
                asyncio.get_running_loop().call_soon(self._run)

    async def take(self, call: Callable[[], None]) -> None:
        """Make the calls until cancelled; fails as soon as one of them does."""
        loop = asyncio.get_running_loop()
        self._call, self._fault = call, loop.create_future()
        if self._is_due:
            loop.call_soon(self._run)
        try:
            await self._fault
        finally:
            self._call = None

    def _run(self) -> None:
        self._is_due = False
        if self._call is None:
            return
        try:
            self._call()
        except Exception as exc:  # noqa: BLE001  # `take` raises it
            self._call = None
            if self._fault is not None and not self._fault.done():
                self._fault.set_exception(exc)
