"""When to ping a peer of which nothing has come for long (RFC 9000, section 10.1.2)."""

from typing import Final

from moqvox.transport.aioquic.private import Engine

__all__ = ["KeepAlive"]

HANDSHAKE_LOOK: Final = 0.1
"""Seconds between looks at whether the idle time-out is agreed on yet."""


class KeepAlive:
    """One connection's pings. A packet that comes costs a note, and sets no timer.

    Attributes:
        heard_at: when something came last.
        look_at: when to call `check`.
    """

    def __init__(self, interval: float | None, now: float) -> None:
        self.heard_at = self.look_at = now
        self._interval = interval

    def check(self, engine: Engine, now: float) -> None:
        """Ping if it is time; otherwise look again when it may be."""
        if not engine.recovery.handshake_confirmed:
            self.look_at = now + HANDSHAKE_LOOK
            return
        interval = engine.idle_timeout / 3 if self._interval is None else self._interval
        if now >= self.heard_at + interval:
            self.heard_at = now
            engine.send_ping(0)
        self.look_at = self.heard_at + interval
