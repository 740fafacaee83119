"""When nobody who is there is about to speak, as far as one can know.

A step of a handshake takes a millisecond or two in one piece, and whoever speaks meanwhile waits
for it. Voice comes in time, though, a packet each 20 ms or so: right after one of them, there is
room for a step until the next. Where several speak, or nobody keeps time, there is no such room
to be found, and only the share that steps have of the time says how often somebody waits.
"""

from typing import Final

__all__ = ["Pauses"]

SAME_SECONDS: Final = 0.0005
"""What comes within so short a time came at once."""

REMEMBERED: Final = 8
"""Times between one arrival and the next."""

ROOMY: Final = 1.2
"""Steps that such a time must have room for, or there is no use in waiting for one."""

LATE: Final = 1.5
LONGEST_STEP: Final = 0.005
LONGEST_TIME: Final = 0.06
"""What is longer says nothing of the next."""

FADING: Final = 0.98
TOWARDS: Final = 0.3
"""What is expected of a step fades with each that was shorter, and goes a part of the way towards
one that was longer, which may have been the collector's doing."""


class Pauses:
    """Learns when somebody speaks and how long a step takes. Pure: the clock is an argument."""

    __slots__ = ("_at", "_heard_at", "_step", "_times")

    def __init__(self) -> None:
        self._heard_at = 0.0
        self._times = [0.0] * REMEMBERED
        self._at = 0
        self._step = 0.0

    def heard(self, now: float) -> None:
        """Note that somebody spoke who is there."""
        passed = now - self._heard_at
        self._heard_at = now
        if passed < SAME_SECONDS:
            return
        self._times[self._at] = passed if passed < LONGEST_TIME else 0.0
        self._at = (self._at + 1) % REMEMBERED

    def stepped(self, seconds: float) -> None:
        """Note how long a step took, with what it brought about."""
        faded = FADING * self._step
        self._step = faded + TOWARDS * max(0.0, min(seconds, LONGEST_STEP) - faded)

    def room_at(self, now: float) -> float | None:
        """When a step may begin so that it is over before somebody speaks; None: nobody can say.

        Who does not speak when it is time has stopped, or is late; he is waited for until half
        of the usual time has passed once more.
        """
        usual = sorted(self._times)[1]
        if usual < ROOMY * self._step:
            return None
        if now - self._heard_at + self._step <= usual:
            return now
        return max(now, self._heard_at + LATE * usual)
