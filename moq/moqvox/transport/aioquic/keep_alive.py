"""When to ping a peer of which nothing has come for long (RFC 9000, section 10.1.2)."""

from typing import Final

from moqvox.transport.aioquic.private import Engine

__all__ = ["KeepAlive"]

THIRD: Final = 1 / 3
"""Of the idle time-out, when who dialled pings: the way back through a NAT is its to keep open."""

NAT_FORGETS: Final = 30.0
"""Seconds of silence after which middleboxes may forget who is behind them (RFC 9000, 10.1.2)."""

LONGEST: Final = NAT_FORGETS / 2
"""Between a client's pings, whatever the time-out: one may be lost."""

HALF: Final = 1 / 2
"""When a server does, whose client has kept silent for longer than one that pings."""

FIRST_LOOK: Final = 0.1
"""Seconds until the first look at whether the idle time-out is agreed on; then twice as many each
time, as a flood of handshakes that come to nothing would cost for every look."""

LONGEST_LOOK: Final = 1.0


class KeepAlive:
    """One connection's pings. A packet that comes costs a note, and sets no timer.

    Attributes:
        heard_at: when something came last.
        look_at: when to call `check`.
    """

    __slots__ = ("_interval", "_next_look", "heard_at", "look_at")

    def __init__(self, interval: float | None, now: float) -> None:
        self.heard_at = self.look_at = now
        self._interval = interval
        self._next_look = FIRST_LOOK

    def check(self, engine: Engine, now: float) -> bool:
        """Ping if it is time; otherwise look again when it may be. Returns whether it was."""
        if not engine.recovery.handshake_confirmed:
            self.look_at = now + self._next_look
            self._next_look = min(2 * self._next_look, LONGEST_LOOK)
            return False
        interval = self._interval
        if interval is None and engine.is_client:
            interval = min(engine.idle_timeout * THIRD, LONGEST)
        elif interval is None:
            interval = engine.idle_timeout * HALF
        is_time = now >= self.heard_at + interval
        if is_time:
            self.heard_at = now
            engine.send_ping(0)
        self.look_at = self.heard_at + interval
        return is_time
