"""Connections that are over, taken apart a few at a time.

That costs as much as a dozen packets of one that lives, and nobody waits for it; when a crowd
leaves at once, the callers that stay would.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["Departures"]

PIECE_SECONDS: Final = 0.0002
"""Of work at a time."""

PATIENCE_SECONDS: Final = 0.001
"""After which it asks again whether there is anything more urgent."""

REST: Final = 4
"""After it, so many times as long is left to others."""


class Departures:
    """Lets go of links, in the order in which they end; holds no more than were alive."""

    def __init__(self, loop: asyncio.AbstractEventLoop, must_wait: Callable[[float], bool]) -> None:
        """`must_wait`: whether there is more urgent work at that time; not so for long."""
        self._loop = loop
        self._must_wait = must_wait
        self._waiting: deque[Link] = deque()
        self._works = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, link: "Link") -> None:
        """Let go of a link later, when nothing of it is being carried out. Idempotent."""
        if self._loop.is_closed():
            return
        self._waiting.append(link)
        if not self._works:
            self._works = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        now = began = self._loop.time()
        if self._must_wait(now):
            self._loop.call_later(PATIENCE_SECONDS, self._work)
            return
        while self._waiting and now - began < PIECE_SECONDS:
            self._waiting.popleft().let_go()
            now = self._loop.time()
        self._works = bool(self._waiting)
        if self._works:
            self._loop.call_later(REST * (now - began), self._work)
