"""Pings against silence, and the end when there is no answer."""

import asyncio
from collections.abc import Callable
from typing import Final

from moqvox.transport.websocket.pipe import Pipe

__all__ = ["Heartbeat"]

PINGS_PER_TIMEOUT: Final = 3
MIN_PEER_INTERVAL: Final = 1.0
"""Seconds: a peer that claims to lose patience sooner is not pinged more often."""

SMOOTHING: Final = 0.125


class Heartbeat:
    """Watches one pipe.

    Any byte counts as a sign of life. A ping goes out when one of the directions was silent
    for a while: the peer counts what it hears, and we count what we hear.

    Attributes:
        rtt: smoothed time from ping to answer, in seconds; 0.0 before the first.
    """

    def __init__(
        self,
        pipe: Pipe,
        ping: Callable[[], None],
        starve: Callable[[], None],
        idle_timeout: float,
        keep_alive: float | None,
    ) -> None:
        self.rtt = 0.0
        self._pipe = pipe
        self._ping = ping
        self._starve = starve
        self._idle_timeout = idle_timeout
        self._interval = keep_alive or idle_timeout / PINGS_PER_TIMEOUT
        self._loop = asyncio.get_running_loop()
        self._pinged_at = self._loop.time()
        self._is_waiting = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Watch from now on."""
        self._timer = self._loop.call_at(self._due(), self._look)

    def stop(self) -> None:
        """Watch no longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """Watch no longer, and refer to nobody."""
        self.stop()
        self._ping = self._starve = _nothing

    def suit(self, peer_timeout_ms: int) -> None:
        """Ping often enough for a peer that gives up after this silence; 0: it never does."""
        if peer_timeout_ms and self._timer is not None:
            wanted = max(MIN_PEER_INTERVAL, peer_timeout_ms / 1000 / PINGS_PER_TIMEOUT)
            self._interval = min(self._interval, wanted)
            self.stop()
            self.start()

    def answered(self) -> None:
        """Take the answer to the last ping."""
        if self._is_waiting:
            self._is_waiting = False
            sample = self._loop.time() - self._pinged_at
            self.rtt += (sample - self.rtt) * (SMOOTHING if self.rtt else 1.0)

    def ask(self) -> None:
        """Ping now."""
        self._pinged_at = self._loop.time()
        self._is_waiting = True
        self._ping()

    def _due(self) -> float:
        return min(self._pipe.heard_at + self._idle_timeout, self._ping_at())

    def _ping_at(self) -> float:
        silent_since = min(self._pipe.heard_at, self._pipe.spoke_at)
        return max(silent_since, self._pinged_at) + self._interval

    def _look(self) -> None:
        now = self._loop.time()
        if now >= self._pipe.heard_at + self._idle_timeout:
            self._timer = None
            self._starve()
            return
        if now >= self._ping_at():
            self._pinged_at = now
            self._is_waiting = True
            self._ping()
        self._timer = self._loop.call_at(self._due(), self._look)


def _nothing() -> None:
    """Nobody is there to be told."""
