"""The other side's broadcast of one leg, on its way into an inbox."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Final

from moqvox.errors import MediaError, NotFound, Refused, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import broadcast, group, track
from moqvox.model.in_order import InOrder
from moqvox.voice.filling import Filling, place
from moqvox.voice.inbox import Inbox
from moqvox.voice.leg import AUDIO_TRACK, EVENTS_TRACK, PAST_TRACK, UNANSWERED
from moqvox.voice.utterance import MAX_BYTES, PACKET_BYTES, Utterance
from moqvox.voice.words import Hello, decode

__all__ = ["FarLeg", "wishes_for"]

log = logging.getLogger("moqvox.voice")

PATIENCE_MS: Final = 86_400_000
"""Maximum age asked for, a day: a speech counts as old as its first frame, so however long it
was, the next one must not cost its end."""

LATE: Final = 2.0
"""Seconds that the answer about an `events` track may come behind the end of the audio, and
a `cancel` behind the reset that it belongs to."""

GREETING: Final = 10.0
"""Seconds within which a side that says `hello` must have said it."""

SHOWING: Final = 1.0
"""Seconds that a caller has to show that nobody answered it before."""

PRIORITIES: Final = {EVENTS_TRACK: 120, AUDIO_TRACK: 80, PAST_TRACK: 60}

TAKEN_BACK: Final = frozenset({StreamCode.CANCELLED, StreamCode.GOING_AWAY})
"""Codes of groups that were taken back, or whose connection ended somewhere on their way."""

Admit = Callable[[Hello | None], Inbox | None]
Asked = asyncio.Task[track.Consumer | Refused]


def wishes_for(track: str) -> Subscription:
    """Say how a leg's track is subscribed to."""
    return Subscription(priority=PRIORITIES.get(track, 120), ordered=True, max_age_ms=PATIENCE_MS)


class FarLeg:
    """Reads one leg's tracks. Speeches that it leaves unfinished wait for the next leg.

    Attributes:
        hello: the other side's first event, once it came, on a later leg.
        was_answered: another agent was on this leg before, or may have been; None as long as that
            was not asked, or if the caller does not show it.
    """

    def __init__(
        self, source: broadcast.Consumer, *, path_changes: Callable[[], int] = lambda: 0
    ) -> None:
        self.hello: Hello | None = None
        self.was_answered: bool | None = None
        self._doubt = ""
        self._source = source
        self._path_changes = path_changes
        self._starts: dict[int, int] = {}
        self._recalled: dict[int, asyncio.Event] = {}
        self._in_doubt: list[asyncio.TimerHandle] = []
        self._is_later = False
        self._is_recall_lost = False

    async def read(self, inbox: Inbox) -> bool:
        """Read a first leg, its audio at once; returns whether that ended in order.

        Raises:
            Refused: it has no audio track.
        """
        async with asyncio.TaskGroup() as tasks:
            asked = self._ask(tasks, EVENTS_TRACK, AUDIO_TRACK)
            events = tasks.create_task(_take_all(asked[EVENTS_TRACK], inbox), name="told")
            try:
                audio = await asked[AUDIO_TRACK]
                ended = not isinstance(audio, Refused) and await self._read_speeches(
                    inbox, audio, tasks
                )
                if ended:
                    await _wait_for_answer(inbox, events, tasks)
                else:
                    events.cancel()
            finally:
                self._leave(asked)
        if isinstance(audio, Refused):
            raise audio
        return ended

    async def read_on(
        self,
        admit: Admit,
        *,
        recall: bool = False,
        is_in_doubt: bool = False,
        on_asked: Callable[[], None] | None = None,
    ) -> bool:
        """Read a later leg, once `admit` has said which inbox its `hello` opens.

        Args:
            admit: called once, with None when there is no `hello`; None turns it away.
            recall: ask at once for what a side that was started anew needs.
            is_in_doubt: ask whether another agent was on this leg before.
            on_asked: called as soon as the questions are on their way.

        Returns:
            Whether its audio ended in order.

        Raises:
            Refused: it has no audio track.
        """
        self._is_later = True
        async with asyncio.TaskGroup() as tasks:
            names = [EVENTS_TRACK, AUDIO_TRACK]
            names += [PAST_TRACK] if recall else []
            if is_in_doubt:
                self._doubt = UNANSWERED + secrets.token_hex(8)
                names.append(self._doubt)
            asked = self._ask(tasks, *names)
            try:
                if on_asked is not None:
                    await asyncio.sleep(0)  # the tasks that ask take their first step
                    on_asked()
                ended = await self._follow(admit, asked, tasks)
            finally:
                self._leave(asked)
        if isinstance(ended, Refused):
            raise ended
        return ended

    async def _follow(
        self, admit: Admit, asked: dict[str, Asked], tasks: asyncio.TaskGroup
    ) -> bool | Refused:
        events = await asked[EVENTS_TRACK]
        payloads = None if isinstance(events, Refused) else _payloads(events)
        first = None if payloads is None else await self._greeting(payloads)
        audio = await asked[AUDIO_TRACK]
        if isinstance(audio, Refused):
            return audio
        if self._doubt:
            self.was_answered = await _is_missing(asked[self._doubt])
            if self.was_answered is None and self.hello is not None and self.hello.shows:
                self.was_answered = True  # withdrawn meanwhile; only relays still hold it
        inbox = admit(self.hello)
        if inbox is None:
            return False
        if first is not None:
            inbox.take(first)
        reading = None
        if payloads is not None:
            inbox.has_events.set()
            reading = tasks.create_task(_take_from(payloads, inbox), name="told")
        self._look_back(inbox, asked, tasks)
        ended = await self._read_speeches(inbox, audio, tasks)
        if reading is not None and not ended:
            reading.cancel()
        return ended

    def _ask(self, tasks: asyncio.TaskGroup, *names: str) -> dict[str, Asked]:
        return {name: tasks.create_task(self._subscribe(name), name=name) for name in names}

    async def _subscribe(self, name: str) -> track.Consumer | Refused:
        try:
            return await self._source.subscribe(name, wishes_for(name))
        except Refused as exc:
            return exc

    def _leave(self, asked: dict[str, Asked]) -> None:
        for timer in self._in_doubt:
            timer.cancel()
        for task in asked.values():
            task.cancel()
            task.add_done_callback(_close_result)

    async def _greeting(self, payloads: AsyncIterator[bytes]) -> bytes | None:
        """Wait for the first event, and keep it if it is a `hello`."""
        try:
            async with asyncio.timeout(GREETING):
                first = await anext(payloads, None)
        except TimeoutError:
            return None
        try:
            event = None if first is None else decode(first)
        except MediaError:
            return first
        if isinstance(event, Hello):
            self.hello = event
            self._starts = dict(event.starts)
        return first

    # What was said before this leg

    def _look_back(self, inbox: Inbox, asked: dict[str, Asked], tasks: asyncio.TaskGroup) -> None:
        """Read the past if something of it is missing, else ask for it no more."""
        for number in self._starts:
            if self._lacks(inbox, number):
                self._recalled[number] = asyncio.Event()
        if self._recalled and PAST_TRACK not in asked:
            asked.update(self._ask(tasks, PAST_TRACK))
        if self._recalled:
            tasks.create_task(self._recall(inbox, asked[PAST_TRACK]), name="recall")
        elif PAST_TRACK in asked:
            asked[PAST_TRACK].cancel()
            asked[PAST_TRACK].add_done_callback(_close_result)

    async def _recall(self, inbox: Inbox, asked: Asked) -> None:
        """Read what came before this leg's groups; where it is not offered, it is missing.

        When it breaks off, the speeches that need it wait for another leg.
        """
        past = await asked
        if isinstance(past, Refused):
            self._is_recall_lost = self._source.closed or not isinstance(past, NotFound)
        else:
            try:
                async for reader in past:
                    await self._recall_speech(inbox, reader)
                    self._let_go_on(reader.sequence)
            except StreamEnded as exc:
                log.info("what was said before did not come whole: %s", exc)
                self._is_recall_lost = True
        for number in list(self._recalled):
            self._let_go_on(number)

    async def _recall_speech(self, inbox: Inbox, reader: group.Consumer) -> None:
        """Put the frames before this leg's into a speech; they end where the leg begins."""
        utterance = inbox.utterance(reader.sequence)
        if utterance is None or utterance.over:
            reader.close()
            return
        payloads: list[bytes] = []
        room_bytes = MAX_BYTES
        try:
            async for frame in reader:
                payloads.append(frame.payload)
                room_bytes -= len(frame.payload) + PACKET_BYTES
                if room_bytes < 0:
                    payloads.clear()
                    break
            first = self._starts.get(reader.sequence, 0) - len(payloads)
            for index, payload in enumerate(payloads, first):
                place(inbox, utterance, index, payload)
        except MediaError as exc:
            log.warning("speech %d ends early: %s", reader.sequence, exc)
            inbox.end(utterance, Utterance.cancel)
        finally:
            reader.close()

    def _lacks(self, inbox: Inbox, number: int) -> bool:
        """Whether frames from before this leg's are missing of a speech."""
        utterance = inbox.utterance(number)
        if utterance is None or utterance.over:
            return False
        return utterance.next_frame < self._starts.get(number, 0)

    def _let_go_on(self, number: int) -> None:
        waiting = self._recalled.pop(number, None)
        if waiting is not None:
            waiting.set()

    # What is said

    async def _read_speeches(
        self, inbox: Inbox, audio: track.Consumer, tasks: asyncio.TaskGroup
    ) -> bool:
        """Read to the end of the track and of its groups; whether both came in order."""
        reading = []
        try:
            async for reader in audio:
                name = f"speech-{reader.sequence}"
                reading.append(tasks.create_task(self._read_speech(inbox, reader), name=name))
                reading = [task for task in reading if not task.done()]
        except StreamEnded as exc:
            log.info("the audio track ended early: %s", exc)
            return False
        if reading:
            await asyncio.wait(reading)
        return True

    async def _read_speech(self, inbox: Inbox, reader: group.Consumer) -> None:
        number = reader.sequence
        waiting = self._recalled.get(number)
        if waiting is not None:
            await waiting.wait()
            if self._lacks(inbox, number) and self._is_recall_lost:
                reader.close()
                return
        utterance = inbox.utterance(number)
        if utterance is None or utterance.over:
            reader.close()
            return
        if self._is_later and utterance.packets:
            utterance.resumptions += 1
        before = self._path_changes()
        try:
            await self._fill(inbox, utterance, reader)
        except StreamEnded as exc:
            self._broke_off(inbox, utterance, exc.code)
        except MediaError as exc:
            log.warning("speech %d ends early: %s", number, exc)
            inbox.end(utterance, Utterance.cancel)
        else:
            utterance.path_changes += self._path_changes() - before
            utterance.is_short = self.hello is not None and number in self.hello.short
            inbox.end(utterance, Utterance.finish)
            return
        finally:
            reader.close()
        utterance.path_changes += self._path_changes() - before

    async def _fill(self, inbox: Inbox, utterance: Utterance, reader: group.Consumer) -> None:
        index = self._starts.get(utterance.number, 0) + reader.frame_start
        await Filling(inbox, utterance, reader, index).wait()

    def _broke_off(self, inbox: Inbox, utterance: Utterance, code: int) -> None:
        """Note that a group was reset: lost here, taken back, or to go on over another leg."""
        if code == StreamCode.SESSION_CLOSED:
            return
        if code not in TAKEN_BACK or not inbox.greeted:
            inbox.end(utterance, Utterance.cancel)
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LATE, inbox.end, utterance, Utterance.cancel)
        self._in_doubt.append(timer)


async def _payloads(events: track.Consumer) -> AsyncIterator[bytes]:
    """Give out each event, to the end of the track."""
    try:
        async for reader in InOrder(events):
            try:
                async for frame in reader:
                    yield frame.payload
            except StreamEnded as exc:
                log.info("events were lost: %s", exc)
            finally:
                reader.close()
    except StreamEnded as exc:
        log.info("the events track ended early: %s", exc)


async def _take_from(payloads: AsyncIterator[bytes], inbox: Inbox) -> None:
    async for payload in payloads:
        inbox.take(payload)


async def _take_all(asked: Asked, inbox: Inbox) -> None:
    events = await asked
    if isinstance(events, Refused):
        log.info("the other side has no events track: playback will be estimated")
        return
    inbox.has_events.set()
    await _take_from(_payloads(events), inbox)


async def _wait_for_answer(
    inbox: Inbox, events: asyncio.Task[None], tasks: asyncio.TaskGroup
) -> None:
    """Give the answer about the events track, which comes on its own stream, its time."""
    answered = tasks.create_task(inbox.has_events.wait(), name="has-events")
    await asyncio.wait([events, answered], timeout=LATE, return_when=asyncio.FIRST_COMPLETED)
    answered.cancel()
    if not inbox.has_events.is_set():
        events.cancel()


async def _is_missing(asked: Asked) -> bool | None:
    """Whether a track is there no more; None if it never was."""
    await asyncio.wait([asked], timeout=SHOWING)
    track = asked.result() if asked.done() else None
    return None if isinstance(track, NotFound) else track is None or isinstance(track, Refused)


def _close_result(asked: Asked) -> None:
    if not asked.cancelled() and asked.exception() is None:
        opened = asked.result()
        if not isinstance(opened, Refused):
            opened.close()
