"""What one side of a call says: its speeches and events, over one leg after the other."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

import msgspec

from moqvox.errors import LocalError, SessionClosed
from moqvox.frame import Frame
from moqvox.model import broadcast
from moqvox.voice.chronicle import Chronicle, Ended, Framed, HungUp, Opened, Record, Told
from moqvox.voice.keep import KEEP, Keep, Unnoted
from moqvox.voice.leg import BITRATE, Leg
from moqvox.voice.scribe import Scribe
from moqvox.voice.speech import Format, Speech
from moqvox.voice.words import (
    MAX_LISTED,
    Ack,
    Cancel,
    Event,
    Heard,
    Hello,
    Interrupt,
    Receipt,
    encode,
    is_durable,
)

__all__ = ["Outbox"]

MAX_LIVE = MAX_LISTED
"""Speeches that wait for a word from the other side; past it the oldest waits no longer."""


class Outbox:
    """One side's part. Speeches are numbered from 0; of two, the older is sent first.

    Frames are kept until their receipt came, within the bounds of `keep`, so that a new leg
    can go on where the other side stopped hearing.

    Attributes:
        leg: the present one.
        former: the one before, as long as what comes is written to both.
        unnoted: events that the other side has not noted.
        reports: set once the other side has told how far it heard anything.
        kept_bytes: frames without a receipt, overhead counted.
    """

    def __init__(self, hello: Hello, keep: Keep = KEEP, scribe: Scribe | None = None) -> None:
        self._scribe = scribe or Scribe()
        self._started = asyncio.get_running_loop().time()
        self.leg = Leg(hello, hello.leg, self._started)
        self.former: Leg | None = None
        self.unnoted = Unnoted()
        self.reports = asyncio.Event()
        self._keep = keep
        self._speeches: dict[int, Speech] = {}
        self._next = 0
        self._finished = False

    @property
    def broadcast(self) -> broadcast.Producer:
        """What is published on the present leg."""
        return self.leg.broadcast

    @property
    def kept_bytes(self) -> int:
        """Bytes kept for a new leg."""
        return sum(speech.kept_bytes for speech in self._speeches.values())

    @property
    def is_waiting(self) -> bool:
        """Whether word of the other side is due: an acknowledgement, a receipt, a note."""
        return bool(len(self.unnoted)) or any(s.is_waiting for s in self._speeches.values())

    def speech(self, sample_rate: int, channels: int = 1, bitrate: int = BITRATE) -> Speech:
        """Begin the next speech; its media time is now, or the end of the one before.

        Raises:
            LocalError: the call is over.
        """
        if self._finished:
            raise LocalError("the call is over")
        now_us = int(1e6 * (asyncio.get_running_loop().time() - self._started))
        last = self._speeches[max(self._speeches)] if self._speeches else None
        start_us = now_us if last is None else max(now_us, last.start_us + last.written_us)
        number, self._next = self._next, self._next + 1
        self._scribe.look()
        self._scribe.note(Opened(number, start_us))
        speech = self._made(number, start_us, lambda: Format(sample_rate, channels, bitrate))
        for leg in self._legs():
            speech.go_on(leg.audio.create_group(number), 0, beside=leg is not self.former)
        self._speeches[number] = speech
        if len(self._speeches) > MAX_LIVE:
            self._speeches.pop(min(self._speeches)).lose()
        return speech

    def _made(self, number: int, start_us: int, make: Callable[[], Format]) -> Speech:
        def keep(frame: Frame) -> None:
            # Before it can be sent: what the other side may have is written down.
            if self._scribe.is_writing:
                self._scribe.note(Framed(number, frame.payload))
            self._bound(frame)

        return Speech(
            number,
            start_us,
            make,
            on_cancel=lambda number: self.send(Cancel(number)),
            on_kept=keep,
            on_end=lambda number: self._scribe.note(Ended(number)),
        )

    def revive(self, chronicle: Chronicle) -> None:
        """Go on with what another process of the same session said."""
        now = asyncio.get_running_loop().time()
        self._started = now - chronicle.media_us / 1e6
        self._next = chronicle.next
        self.unnoted.revive(chronicle.told, chronicle.last_told, now)
        for number, said in sorted(chronicle.said.items()):
            speech = self._made(number, said.start_us, lambda: Format(48_000, 1, BITRATE))
            is_short = said.short or not (said.ended or said.cut)
            if not said.ended:
                self._scribe.note(Ended(number, short=is_short))
            speech.revive(said.payloads, said.duration_us, is_short=is_short, cut=said.cut)
            self._speeches[number] = speech
            for event in (said.receipt, said.heard):
                if event is not None:
                    speech.tell(event)
        while len(self._speeches) > MAX_LIVE:
            self._speeches.pop(min(self._speeches)).lose()
        self._let_go(int(1e6 * (chronicle.media_us / 1e6 - self._keep.max_age)))
        self._finished = chronicle.hung_up

    def records(self) -> Iterator[Record]:
        """Write down what is said so far; speeches of which frames are gone are left out."""
        for number, speech in sorted(self._speeches.items()):
            if speech.is_settled or speech.first_kept:
                continue
            yield Opened(number, speech.start_us)
            yield from (Framed(number, frame.payload) for frame in speech.kept_before(2**53))
            if speech.over.is_set():
                yield Ended(number, short=speech.is_short)
        now = asyncio.get_running_loop().time()
        for number, event in self.unnoted.again(now, notes=True):
            yield Told(number, encode(event, number))

    @property
    def is_finished(self) -> bool:
        """Whether no more will be said."""
        return self._finished

    @property
    def next_number(self) -> int:
        """Number of the next speech."""
        return self._next

    @property
    def media_us(self) -> int:
        """Media time now, or to which something was said, if that is later."""
        now_us = int(1e6 * (asyncio.get_running_loop().time() - self._started))
        return max([now_us, *(s.start_us + s.written_us for s in self._speeches.values())])

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that was said is still to arrive, or to be heard."""
        return not self.live() and all(speech.is_settled for speech in self._speeches.values())

    def send(self, event: Event) -> None:
        """Tell the other side something, reliably and in order; nothing once the call is over.

        Raises:
            MediaError: the event is longer than 64 KiB.
        """
        if self._finished:
            return
        number = 0
        if is_durable(event):
            number = self.unnoted.add(event, asyncio.get_running_loop().time())
            if self._scribe.is_writing:
                self._scribe.note(Told(number, encode(event, number)))
        for leg in self._legs():
            leg.tell(event, number)

    def tell(self, event: Ack | Receipt | Heard | Interrupt) -> None:
        """Take the other side's word on one of our speeches."""
        speech = self._speeches.get(event.speech)
        if isinstance(event, Heard):
            self.reports.set()
        if speech is not None:
            speech.tell(event)

    def untold(self) -> list[Speech]:
        """List the speeches of which it is not known how far they were heard in the end."""
        return [s for s in self._speeches.values() if s.heard is None or s.heard.state == "playing"]

    def live(self) -> list[Speech]:
        """List the speeches not known to be played to their end or cut, oldest first."""
        return [
            speech
            for _, speech in sorted(self._speeches.items())
            if not speech.cancelled and (speech.heard is None or speech.heard.state == "playing")
        ]

    def number_from(self, number: int) -> None:
        """Use no number below `number` for a speech any more."""
        self._next = max(self._next, number)

    def begin_leg(
        self,
        hello: Hello,
        have: Mapping[int, tuple[int, bool]] | None = None,
        *,
        recall: bool = False,
        notes: bool = True,
        beside: bool = False,
    ) -> Leg:
        """Go on over a new leg, with what the other side lacks.

        The leg before is not withdrawn yet.

        Args:
            hello: ours; what its groups start with is filled in.
            have: frames that the other side has of each speech, and whether it wants no
                more of it; None goes by its acknowledgements.
            recall: offer the frames before those in a track of their own.
            notes: the other side notes events.
            beside: the leg before may still get somewhere, and is written to as well, until
                `stay`. Otherwise nothing more is.
        """
        self.stay()
        if beside:
            self.former = self.leg
        wanted: list[tuple[Speech, int]] = []
        for _, speech in sorted(self._speeches.items()):
            speech.attend()
            start, over = speech.acked_frames, False
            if have is not None:
                start, over = have.get(speech.number, (0, False))
            if over or speech.is_settled:
                speech.settle()
            else:
                wanted.append((speech, max(start, speech.first_kept)))
        past = {speech.number: speech.kept_before(start) for speech, start in wanted if start}
        starts = tuple((speech.number, start) for speech, start in wanted if start)
        short = tuple(speech.number for speech, _ in wanted if speech.is_short)
        hello = msgspec.structs.replace(hello, starts=starts, short=short)
        self.leg = Leg(hello, hello.leg, self._started, past if recall else None)
        for speech, start in wanted:
            speech.resumptions += 1
            speech.go_on(self.leg.audio.create_group(speech.number), start, beside=beside)
        for number, event in self.unnoted.again(asyncio.get_running_loop().time(), notes=notes):
            self.leg.tell(event, number)
        if self._finished:
            self.leg.finish()
        return self.leg

    def stay(self) -> None:
        """Write to the latest leg alone; the one before is withdrawn."""
        former, self.former = self.former, None
        if former is not None:
            for speech in self._speeches.values():
                speech.stay()
            former.close()

    def _legs(self) -> list[Leg]:
        """List the legs that are written to, the latest last."""
        return [self.leg] if self.former is None else [self.former, self.leg]

    def finish(self) -> None:
        """End the tracks in order: what was written is still delivered."""
        if self._finished:
            return
        for speech in self._speeches.values():
            speech.finish()
        self._finished = True
        self._scribe.note(HungUp())
        self.leg.finish()

    def lose(self, why: SessionClosed | None = None) -> None:
        """Expect no more word of the other side; who waits for it is told why."""
        for speech in self._speeches.values():
            speech.lose(why)

    def close(self, why: SessionClosed | None = None) -> None:
        """Withdraw everything."""
        self._finished = True
        self.lose(why)
        self.stay()
        self.leg.broadcast.close()

    def _bound(self, newest: Frame) -> None:
        """Let go of the oldest frames past the bounds."""
        self._let_go((newest.timestamp or 0) - int(1e6 * self._keep.max_age))

    def _let_go(self, oldest_us: int) -> None:
        excess_bytes = self.kept_bytes - self._keep.max_bytes
        for _, speech in sorted(self._speeches.items()):
            freed_bytes = speech.drop_kept(excess_bytes, oldest_us)
            excess_bytes -= freed_bytes
            if excess_bytes <= 0 and speech.kept_bytes:
                return
