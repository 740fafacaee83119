"""What one side of a call has heard: the other's speeches and events, over all legs."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from moqvox.errors import MediaError
from moqvox.model import cache
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.utterance import MAX_BYTES, Utterance
from moqvox.voice.words import (
    MAX_LISTED,
    Ack,
    Bye,
    Cancel,
    Caption,
    Heard,
    Hello,
    Interrupt,
    Message,
    Noted,
    Receipt,
    decode,
    number_of,
)

__all__ = ["Inbox", "Owner", "Remark"]

log = logging.getLogger("moqvox.voice")

MAX_WAITING: Final = 64
"""Speeches that nobody has taken yet, at most; a further one is refused."""

MAX_KEPT: Final = MAX_LISTED
"""Speeches remembered whole, to be read and to go on; older ones only by their number."""

MAX_NUMBER: Final = 2**53 - 2
"""Highest number of a speech that is taken note of."""

ACK_EVERY: Final = 10
"""Frames between two acknowledgements (200 ms of 20 ms frames)."""

Remark = Ack | Receipt | Heard | Interrupt | Caption | Message
"""What concerns our own speeches, or the application."""


class Owner(Protocol):
    """Whom an inbox tells."""

    def began(self, utterance: Utterance) -> None:
        """Note a speech that has begun to arrive."""

    def progress(self, utterance: Utterance, last: bool) -> None:
        """Note that more of a speech arrived, and whether that was the last of it."""

    def take(self, event: Remark) -> None:
        """Take an event."""

    def greet(self, hello: Hello) -> None:
        """Take the other side's `hello`."""

    def note(self, number: int) -> None:
        """Tell the other side that its events up to `number` were taken."""

    def took(self, number: int, payload: bytes) -> None:
        """Note a numbered event, before it has any effect."""

    def noted(self, number: int) -> None:
        """Take that our events up to `number` were taken."""


class Inbox:
    """The speeches of the other side, whatever leg they come over, and its events, each once.

    Speeches are kept until they are over and forgotten, `utterance.MAX_BYTES` of them
    together. One that finds no room is refused, or ends early: its receipt says so.

    Attributes:
        arrived: speeches from their first frame on, each once.
        has_events: the other side has an `events` track, so it can report.
        taken: the last numbered event taken.
        events: those that came, of any kind.
        left: the other side hung up.
        greeted: the other side says `hello`, so it can resume, and tells what it takes back.
    """

    def __init__(self, owner: Owner) -> None:
        self.arrived: Mailbox[Utterance] = Mailbox(MAX_WAITING)
        self.has_events = asyncio.Event()
        self.taken = 0
        self.events = 0
        self.left = False
        self.greeted = False
        self._owner = owner
        self._utterances: dict[int, Utterance] = {}
        self._next = 0
        self._gone = cache.Sequences()
        self._taken_back: deque[int] = deque(maxlen=MAX_KEPT)
        self._size_bytes = 0

    def revive(self, taken: int, newest: int) -> None:
        """Go on where another process of the same session stopped."""
        self.taken = taken
        self._next = newest + 1

    def refuse(self, number: int) -> None:
        """Take a speech no more: it was heard already."""
        self._gone.add(number)

    def have(self) -> tuple[tuple[int, int, int], ...]:
        """List what is there of the latest speeches, for a `hello`."""
        latest = sorted(self._utterances.items())[-MAX_LISTED:]
        return tuple((number, each.next_frame, int(each.over)) for number, each in latest)

    @property
    def next_number(self) -> int:
        """A number past those of all speeches that ever came."""
        return self._next

    @property
    def under_way(self) -> int:
        """Speeches that have begun and are not over."""
        return sum(not utterance.over for utterance in self._utterances.values())

    def begin_anew(self) -> None:
        """Note that the other side has forgotten all: what is under way ends, with what came."""
        self.taken = 0
        self._taken_back.clear()
        self._end_all()

    def greet(self, hello: Hello) -> None:
        """Take the other side's `hello`."""
        self.greeted = True
        self._owner.greet(hello)

    def close(self) -> None:
        """End the iteration over `arrived`, and what is still open."""
        self._end_all()
        self.arrived.close()

    def utterance(self, number: int) -> Utterance | None:
        """Find or begin a speech; None for one that is refused, or was forgotten."""
        utterance = self._utterances.get(number)
        if utterance is not None:
            return utterance
        if number in self._gone:
            return None
        utterance = Utterance(number)
        self._next = max(self._next, number + 1)
        if len(self._utterances) >= MAX_KEPT:
            self._forget(one=True)
        if number in self._taken_back:
            self._owner.progress(utterance, True)
            return None
        if len(self._utterances) >= MAX_KEPT or not self.arrived.put(utterance):
            log.warning("speech %d refused: %d wait already", number, len(self.arrived))
            self._gone.add(number)
            self._owner.progress(utterance, True)
            return None
        self._utterances[number] = utterance
        self._owner.began(utterance)
        return utterance

    def add(self, utterance: Utterance, payload: bytes, now: float) -> None:
        """Take the frame that a speech waits for.

        Raises:
            MediaError: it is no frame, or there is no room.
        """
        before_bytes = utterance.size_bytes
        fresh = utterance.add(payload, now)
        self._size_bytes += utterance.size_bytes - before_bytes
        if self._size_bytes > MAX_BYTES:
            self._forget()
        if self._size_bytes > MAX_BYTES:
            raise MediaError(f"speeches of more than {MAX_BYTES} bytes wait to be taken")
        if fresh is not None and utterance.tally.frames % ACK_EVERY == 1:
            self._owner.progress(utterance, False)

    def end(self, utterance: Utterance, ending: Callable[[Utterance], None]) -> None:
        """End a speech as `ending` does, and tell, unless it is over already."""
        if not utterance.over:
            ending(utterance)
            self._owner.progress(utterance, True)

    def take(self, payload: bytes) -> None:
        """Take one event, as it crossed the wire; a numbered one only once."""
        try:
            event = decode(payload)
        except MediaError as exc:
            log.warning("%s", exc)
            return
        self.events += 1
        number = 0 if isinstance(event, Noted) else number_of(payload)
        if number > 0:
            if number <= self.taken:
                self._owner.note(self.taken)
                return
            self.taken = number
            self._owner.took(number, payload)
        match event:
            case Cancel(speech=speech):
                self._cancel(speech)
            case Hello():
                self.greet(event)
            case Noted(n=noted):
                self._owner.noted(noted)
            case Bye():
                self.left = True
            case None:
                pass
            case _:
                self._owner.take(event)
        if number > 0:
            self._owner.note(number)

    def _cancel(self, number: int) -> None:
        utterance = self._utterances.get(number)
        if utterance is None:
            if number not in self._taken_back:
                self._taken_back.append(number)
                self._next = max(self._next, min(number, MAX_NUMBER) + 1)
                if 0 <= number <= MAX_NUMBER:
                    self._owner.progress(Utterance(number), True)
        elif utterance.over:
            utterance.cancel()
        else:
            self.end(utterance, Utterance.cancel)

    def _end_all(self) -> None:
        for utterance in list(self._utterances.values()):
            self.end(utterance, Utterance.cancel)

    def _forget(self, *, one: bool = False) -> None:
        """Let go of the oldest speeches that are over and taken: one, or as many as must go."""
        for number, old in sorted(self._utterances.items()):
            if old.over and old not in self.arrived:
                self._size_bytes -= old.size_bytes
                del self._utterances[number]
                self._gone.add(number)
                if one or self._size_bytes <= MAX_BYTES:
                    return
