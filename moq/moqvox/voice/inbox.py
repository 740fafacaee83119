"""What one side of a call receives: the other's speeches and events."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from moqvox.errors import MediaError, Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import broadcast, group, track
from moqvox.model.in_order import InOrder
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.outbox import AUDIO_TRACK, EVENTS_TRACK
from moqvox.voice.utterance import MAX_BYTES, Utterance
from moqvox.voice.words import (
    Ack,
    Cancel,
    Caption,
    Heard,
    Interrupt,
    Message,
    Receipt,
    decode,
)

__all__ = ["Inbox", "Remark"]

log = logging.getLogger("moqvox.voice")

PATIENCE_MS: Final = 86_400_000
"""Maximum age asked for, a day: a speech counts as old as its first frame, so however long it
was, the next one must not cost its end."""

MAX_WAITING: Final = 64
"""Speeches that nobody has taken yet, at most; a further one is refused."""

MAX_KEPT: Final = 64
"""Speeches remembered, to recognise what comes twice or is taken back."""

ACK_EVERY: Final = 10
"""Frames between two acknowledgements (200 ms of 20 ms frames)."""

LATE: Final = 2.0
"""Seconds that the answer about an `events` track may come behind the end of the audio."""

Remark = Ack | Receipt | Heard | Interrupt | Caption | Message
"""What concerns our own speeches, or the application."""

Report = Callable[[Utterance, bool], None]
"""Called with a speech of which more arrived, and whether that was the last of it."""


class Inbox:
    """Reads the other side's broadcast; may be given another one to go on from.

    Speeches are kept until they are over and forgotten, `utterance.MAX_BYTES` of them
    together. One that finds no room is refused, or ends early: its receipt says so.

    Attributes:
        arrived: speeches from their first frame on, each once.
        has_events: the other side has an `events` track, so it can report.
    """

    def __init__(
        self, on_event: Callable[[Remark], None], on_progress: Report, on_speech: Report
    ) -> None:
        self.arrived: Mailbox[Utterance] = Mailbox(MAX_WAITING)
        self.has_events = asyncio.Event()
        self._utterances: dict[int, Utterance] = {}
        self._taken_back: deque[int] = deque(maxlen=MAX_KEPT)
        self._size_bytes = 0
        self._on_event = on_event
        self._on_progress = on_progress
        self._on_speech = on_speech

    async def read(self, source: broadcast.Consumer) -> None:
        """Read until the broadcast's tracks end.

        Raises:
            Refused: it has no audio track.
        """
        wishes = Subscription(priority=80, ordered=True, max_age_ms=PATIENCE_MS)
        audio = await source.subscribe(AUDIO_TRACK, wishes)
        try:
            async with asyncio.TaskGroup() as tasks:
                events = tasks.create_task(self._read_events(source), name="events")
                await self._read_speeches(audio, tasks)
                answered = tasks.create_task(self.has_events.wait(), name="has-events")
                await asyncio.wait(
                    [events, answered], timeout=LATE, return_when=asyncio.FIRST_COMPLETED
                )
                answered.cancel()
                if not self.has_events.is_set():
                    events.cancel()
        finally:
            audio.close()

    def close(self) -> None:
        """End the iteration over `arrived`, and what is still open."""
        for utterance in self._utterances.values():
            if not utterance.over:
                utterance.cancel()
                self._on_progress(utterance, True)
        self.arrived.close()

    async def _read_speeches(self, audio: track.Consumer, tasks: asyncio.TaskGroup) -> None:
        try:
            async for reader in audio:
                tasks.create_task(self._read_speech(reader), name=f"speech-{reader.sequence}")
        except StreamEnded as exc:
            log.info("the audio track ended early: %s", exc)

    async def _read_speech(self, reader: group.Consumer) -> None:
        utterance = self._utterance(reader.sequence)
        if utterance is None or utterance.over:
            reader.close()
            return
        try:
            await self._fill(utterance, reader)
        except StreamEnded as exc:
            if exc.code == StreamCode.SESSION_CLOSED:
                return
            utterance.cancel()
        except MediaError as exc:
            log.warning("speech %d ends early: %s", reader.sequence, exc)
            utterance.cancel()
        else:
            utterance.finish()
        finally:
            reader.close()
        self._on_progress(utterance, True)

    async def _fill(self, utterance: Utterance, reader: group.Consumer) -> None:
        skip = utterance.tally.frames - reader.frame_start
        if skip < 0:
            utterance.miss()
        loop = asyncio.get_running_loop()
        async for frame in reader:
            if skip > 0:
                skip -= 1
                continue
            before_bytes = utterance.size_bytes
            fresh = utterance.add(frame.payload, loop.time())
            self._size_bytes += utterance.size_bytes - before_bytes
            if self._size_bytes > MAX_BYTES:
                self._forget()
            if self._size_bytes > MAX_BYTES:
                raise MediaError(f"speeches of more than {MAX_BYTES} bytes wait to be taken")
            if fresh is not None and utterance.tally.frames % ACK_EVERY == 1 and skip >= 0:
                self._on_progress(utterance, False)

    def _utterance(self, number: int) -> Utterance | None:
        utterance = self._utterances.get(number)
        if utterance is not None:
            return utterance
        utterance = Utterance(number)
        if len(self._utterances) >= MAX_KEPT:
            self._forget(one=True)
        if number in self._taken_back:
            self._on_progress(utterance, True)
            return None
        if len(self._utterances) >= MAX_KEPT or not self.arrived.put(utterance):
            log.warning("speech %d refused: %d wait already", number, len(self.arrived))
            self._on_progress(utterance, True)
            return None
        self._utterances[number] = utterance
        self._on_speech(utterance, False)
        return utterance

    def _forget(self, *, one: bool = False) -> None:
        """Let go of the oldest speeches that are over and taken: one, or as many as must go."""
        for number, old in sorted(self._utterances.items()):
            if old.over and old not in self.arrived:
                self._size_bytes -= old.size_bytes
                del self._utterances[number]
                if one or self._size_bytes <= MAX_BYTES:
                    return

    async def _read_events(self, source: broadcast.Consumer) -> None:
        wishes = Subscription(priority=120, ordered=True, max_age_ms=PATIENCE_MS)
        try:
            events = await source.subscribe(EVENTS_TRACK, wishes)
        except Refused:
            log.info("the other side has no events track: playback will be estimated")
            return
        self.has_events.set()
        try:
            async for reader in InOrder(events):
                await self._read_event_group(reader)
        except StreamEnded as exc:
            log.info("the events track ended early: %s", exc)
        finally:
            events.close()

    async def _read_event_group(self, reader: group.Consumer) -> None:
        try:
            async for frame in reader:
                self._take(frame.payload)
        except StreamEnded as exc:
            log.info("events were lost: %s", exc)
        finally:
            reader.close()

    def _take(self, payload: bytes) -> None:
        try:
            event = decode(payload)
        except MediaError as exc:
            log.warning("%s", exc)
            return
        if isinstance(event, Cancel):
            utterance = self._utterances.get(event.speech)
            if utterance is not None:
                utterance.cancel()
            elif event.speech not in self._taken_back:
                self._taken_back.append(event.speech)
        elif event is not None:
            self._on_event(event)
