"""What is kept for a new leg of a call: frames without a receipt, events without a note."""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

from moqvox.voice.words import Event

__all__ = ["KEEP", "MAX_EVENTS", "Keep", "Unnoted"]

MAX_EVENTS: Final = 256
"""Numbered events that wait to be noted; then the oldest is lost."""

MOMENT: Final = 2.0
"""Seconds for which events are told again to a side that notes none."""


class Keep(msgspec.Struct, frozen=True):
    """Bounds of what one side of a call keeps for a new leg; the oldest goes first.

    Attributes:
        max_bytes: of frames without a receipt, overhead counted.
        max_age: seconds of media time that a frame may be behind the newest one.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_age: float = 600.0


KEEP: Final = Keep()


class Unnoted:
    """Numbers the events that must not be lost, and keeps them until the other side has them.

    Attributes:
        lost: events that were dropped for want of room.
        last: number of the last one.
    """

    def __init__(self) -> None:
        self.lost = 0
        self.last = 0
        self._events: deque[tuple[int, Event, float]] = deque()

    def add(self, event: Event, now: float) -> int:
        """Keep an event; returns its number."""
        self.last += 1
        self._events.append((self.last, event, now))
        if len(self._events) > MAX_EVENTS:
            self._events.popleft()
            self.lost += 1
        return self.last

    def revive(self, events: Iterable[tuple[int, Event]], last: int, now: float) -> None:
        """Go on where another process of the same session stopped."""
        self._events.extend((number, event, now) for number, event in events)
        self.last = last

    def drop(self, number: int) -> None:
        """Let go of one event that shall not be told."""
        self._events = deque(each for each in self._events if each[0] != number)

    def note(self, number: int) -> None:
        """Let go of what the other side has taken, all up to `number`."""
        while self._events and self._events[0][0] <= number:
            self._events.popleft()

    def again(self, now: float, *, notes: bool) -> list[tuple[int, Event]]:
        """List what a new leg must tell; of a side that never notes, the last moment's."""
        if not notes:
            while self._events and now - self._events[0][2] > MOMENT:
                self._events.popleft()
        return [(number, event) for number, event, _ in self._events]

    def __len__(self) -> int:
        return len(self._events)
