"""What each kind of work gets of a turn of the loop, and what it leaves to the others."""

from typing import Final

__all__ = [
    "BACKLOG_REST",
    "DOOR_REST",
    "MANY_SECONDS",
    "SLICE_SECONDS",
    "STEP_SECONDS",
    "TURN_SECONDS",
    "WAKING_REST",
    "WAKING_SECONDS",
    "Rest",
]

TURN_SECONDS: Final = 0.002
"""After so much work, others of the loop have their turn; what was read meanwhile waits."""

MANY_SECONDS: Final = 0.0005
"""The same while more come than one turn takes, but for who keeps time; and the timers'."""

SLICE_SECONDS: Final = 0.00015
"""One connection's share of a turn, and then of each later one until its datagrams are done."""

STEP_SECONDS: Final = 0.0002
"""For strangers and handshakes, one after another; of those that take longer, one at a time."""

WAKING_SECONDS: Final = 0.0002
"""The share of a turn of all together who were not heard lately."""

BACKLOG_REST: Final = 1
WAKING_REST: Final = 2
DOOR_REST: Final = 4
"""After such work, and what it brought about, so many times as long is left to the others if they
have anything to say."""


class Rest:
    """Who has worked for a while leaves as long to others, if they have something to say."""

    __slots__ = ("_factor", "_until")

    def __init__(self, factor: int) -> None:
        self._factor = factor
        self._until = 0.0

    def is_over(self, now: float) -> bool:
        """Whether it may go on although others are busy."""
        return now >= self._until

    def worked(self, began: float, now: float) -> None:
        """Note a piece of work."""
        self._until = now + self._factor * (now - began)
