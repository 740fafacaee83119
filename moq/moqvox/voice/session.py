"""One caller as an agent sees it: utterances in, responses out."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, Protocol

from moqvox.errors import SessionClosed
from moqvox.voice.chronicle import Began, Chronicle, Dropped, Listened, Record, Shown
from moqvox.voice.journal import Journal
from moqvox.voice.keep import KEEP, Keep
from moqvox.voice.leg import BITRATE, Leg
from moqvox.voice.party import Party
from moqvox.voice.proof import Guard
from moqvox.voice.response import Response
from moqvox.voice.scribe import Scribe
from moqvox.voice.speech import Speech
from moqvox.voice.utterance import Utterance
from moqvox.voice.words import Caption, Hello, Message

__all__ = ["Session"]

log = logging.getLogger("moqvox.voice")

MAX_LEAD: Final = 20.0
"""Seconds of audio a response may be ahead of what was heard."""


class Held(Protocol):
    """A line that a session is on."""

    def drop(self) -> None:
        """Make room for the next leg of the same call."""


class Session:
    """One call, agent's side. Iterate `utterances`, answer with `respond`.

    It outlives its connections: utterances pause and go on, what was said meanwhile is sent
    when the caller is back. `connected` and `resumptions` tell of it.

    Attributes:
        name: of this side of the call; another process has another one.
        remote_address: where the caller (or the relay before it) is, for logs.
        barge_in: a new utterance cuts responses short that still play.
        left: the caller hung up, and what it said before is still being read.
        attached: set while the caller is there.
        line: what brings the caller's voice now (the lobby's own).
        carried: responses of a process that died, as its journal tells, of which it did not know
            yet how far they were heard. Their audio goes on by itself, `played` and `cancel` work.
            One that `is_short` ends where its maker died: nobody says the rest unless you do.
        unanswered: numbers of utterances that only that process heard, and did not answer.
    """

    def __init__(
        self,
        *,
        remote_address: str = "",
        barge_in: bool = True,
        max_lead: float = MAX_LEAD,
        grace: float = 0.0,
        keep: Keep = KEEP,
        on_token: Callable[["Session"], None] = lambda _session: None,
        chronicle: Chronicle | None = None,
        scribe: Scribe | None = None,
    ) -> None:
        self._id = ""
        self._named = asyncio.Event()
        self.remote_address = remote_address
        self.barge_in = barge_in
        self.name = secrets.token_hex(8) if chronicle is None else chronicle.began.session
        self.grace_ms = int(1000 * grace)
        self.party = Party(
            Hello(session=self.name, grace_ms=self.grace_ms),
            keep,
            on_begin=self._begin,
            on_hello=self._greet,
            scribe=scribe,
        )
        self.outbox, self.inbox = self.party.outbox, self.party.inbox
        self.began = asyncio.Event()
        self.left = False
        self.attached = asyncio.Event()
        self.line: Held | None = None
        self._on_token = on_token
        self._guard: Guard | None = None
        self._ended = asyncio.Event()
        self._max_lead = max_lead
        self._responses: dict[int, Response] = {}
        self._newest = -1
        self._answered = 0
        self._receipts: dict[int, int] = {}
        self.carried: tuple[Response, ...] = ()
        self.unanswered: tuple[int, ...] = ()
        if chronicle is not None:
            self._revive(chronicle)

    @property
    def id(self) -> str:
        """The call's name, shared by both sides; "" until the caller has told it."""
        return self._id

    @id.setter
    def id(self, name: str) -> None:
        self._id = name
        self._named.set()

    async def wait_proven(self) -> bool:
        """Wait until the caller itself is there; False when the call is over before that.

        What is heard before may be somebody's record of a caller's first words, said again
        (early data). A caller tells its call's name once the server has answered it, and a
        record can't. For agents that do on a first word what must not be done twice.
        """
        await self._named.wait()
        return bool(self._id)

    @property
    def connected(self) -> bool:
        """Whether the caller is there now; if not, it has its time of grace to come back."""
        return self.attached.is_set() and not self.closed

    @property
    def resumptions(self) -> int:
        """Times the call went on over another connection or another relay's."""
        return self.party.resumptions

    @property
    def leg(self) -> int:
        """Number of the present leg."""
        return 0 if self._guard is None else self._guard.leg

    @property
    def can_resume(self) -> bool:
        """Whether the caller has shown a token by which it may come back."""
        return self._guard is not None and not self.closed

    @property
    def closed(self) -> bool:
        """Whether the caller is gone."""
        return self._ended.is_set()

    @property
    def is_busy(self) -> bool:
        """Whether an utterance is under way, or a response that is not played to its end."""
        return not self.closed and bool(self.inbox.under_way or self.outbox.live())

    async def utterances(self) -> AsyncIterator[Utterance]:
        """Take each utterance as it begins, while the user still talks; ends with the call."""
        async for utterance in self.inbox.arrived:
            yield utterance

    async def messages(self) -> AsyncIterator[Message | Caption]:
        """Take the caller's messages and captions, in order; ends with the call."""
        async for message in self.party.messages():
            yield message

    def respond(
        self,
        *,
        sample_rate: int = 24_000,
        channels: int = 1,
        bitrate: int = BITRATE,
        max_lead: float | None = None,
    ) -> Response:
        """Begin a response; one still open is finished first.

        Args:
            sample_rate: of the PCM that will be written; any rate, Opus's own cost least.
            channels: 1 or 2.
            bitrate: Opus bits per second.
            max_lead: seconds of audio `write` may be ahead of what was heard.

        Raises:
            LocalError: the call is over.
        """
        for response in self._responses.values():
            response.finish()
        response = self._response(
            self.outbox.speech(sample_rate, channels, bitrate), max_lead, sample_rate, channels
        )
        live = {speech.number for speech in self.outbox.live()}
        self._responses = {n: r for n, r in self._responses.items() if n in live}
        return response

    def _response(
        self,
        speech: Speech,
        max_lead: float | None = None,
        sample_rate: int = 48_000,
        channels: int = 1,
    ) -> Response:
        response = self._responses[speech.number] = Response(
            speech,
            self.inbox.has_events,
            self.attached,
            self.outbox.reports,
            max_lead=self._max_lead if max_lead is None else max_lead,
            sample_rate=sample_rate,
            channels=channels,
        )
        return response

    def interrupt(self) -> None:
        """Cut every response that is not played to its end."""
        for speech in self.outbox.live():
            speech.cancel()

    def send(self, name: str, data: object = None) -> None:
        """Send the caller a message of the application's own (JSON), reliably, in order."""
        self.party.send(name, data)

    def caption(self, response: Response, text: str, start_ms: float = 0.0) -> None:
        """Send text that belongs to `response`, from `start_ms` of its audio on."""
        self.outbox.send(Caption(response.number, text, int(1000 * start_ms)))

    def hang_up(self) -> None:
        """Say no more: what was said is still delivered and played; then the call is over."""
        self.outbox.finish()

    def shown(self, hello: Hello) -> bool:
        """Whether a caller shows what it has shown already: it is there, on no new leg."""
        return self._guard is not None and self._guard.was_shown(hello.leg, hello.token)

    def accept(self, hello: Hello, address: str) -> Leg | None:
        """Go on with a caller that has come back; None when it is not the same one.

        The leg before is withdrawn.
        """
        if self._guard is None or not self._guard.accept(hello.leg, hello.token):
            return None
        self.party.scribe.note(Shown(hello.leg, hello.token))
        self.party.resumptions += 1
        self.remote_address = address
        return self._answer(hello)

    def begin_late(self, hello: Hello, address: str) -> Leg:
        """Take up a call that was begun with an agent that is no more."""
        self.id = hello.call
        self.remote_address = address
        self._guard = Guard(hello.leg, hello.token)
        return self._answer(hello)

    def _answer(self, hello: Hello) -> Leg:
        """Go on with what the caller lacks; of what it says of another agent nothing counts."""
        before = self.outbox.leg
        # Another agent may have spoken in the meantime, and its numbers are taken.
        self.outbox.number_from(hello.next)
        have: dict[int, tuple[int, bool]] = {}
        if hello.session == self.name:
            self._settle_receipts(hello.noted)
            self.outbox.unnoted.note(hello.noted)
            have = {number: (frames, bool(over)) for number, frames, over in hello.have}
        leg = self.outbox.begin_leg(
            Hello(
                leg=hello.leg,
                session=self.name,
                grace_ms=self.grace_ms,
                have=self.inbox.have(),
                next=self.inbox.next_number,
                noted=self.inbox.taken,
            ),
            have,
        )
        before.close()
        return leg

    def leave(self, why: SessionClosed) -> None:
        """End it from this side, without a word on what is under way: another agent may go on."""
        self.outbox.stay()
        self.outbox.leg.close()
        self.attached.clear()
        self.end(why)

    def records(self) -> Iterator[Record]:
        """Write down where the call stands, for a journal."""
        if self._guard is None:
            return
        yield Began(
            self.id,
            self.name,
            self._guard.leg,
            self._guard.token,
            next=self.outbox.next_number,
            told=self.outbox.unnoted.last,
            taken=self.inbox.taken,
            newest=self._newest,
            media_us=self.outbox.media_us,
        )
        yield from self.party.records()

    def write_down(self, journal: Journal) -> None:
        """Write the call down from now on."""
        scribe = self.party.scribe
        if not scribe.is_writing:
            journal.begin(self.id, scribe, self.records())
        scribe.renew_by(lambda: self.records() if self.outbox.is_quiet else None)

    def _revive(self, chronicle: Chronicle) -> None:
        """Go on where another process stopped."""
        self._id = chronicle.began.call
        self._named.set()
        self._guard = Guard(chronicle.leg, chronicle.token)
        self._newest = chronicle.newest
        self._answered, self._receipts = chronicle.answered, chronicle.receipts
        self.party.revive(chronicle)
        self.carried = tuple(self._response(speech) for speech in self.outbox.untold())

    def _settle_receipts(self, noted: int) -> None:
        """Decide on utterances of which a process that died wrote a receipt.

        One that it answered is done with. Of the others, those whose receipt never reached the
        caller are heard again.
        """
        receipts, self._receipts = self._receipts, {}
        for utterance, number in receipts.items():
            if number > noted and number > self._answered:
                self.outbox.unnoted.drop(number)
                self.party.scribe.note(Dropped(number))
                continue
            self.inbox.refuse(utterance)
            if number > self._answered:
                self.unanswered += (utterance,)

    def end(self, why: SessionClosed | None = None) -> None:
        """Let go of everything: the caller is gone, or the agent."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._named.set()
        for response in self._responses.values():
            response.lose()
        self.inbox.close()
        self.outbox.close(why)
        self.party.close_messages()
        self.party.scribe.remove()

    def _greet(self, hello: Hello) -> None:
        if self._guard is None and not hello.leg and hello.token:
            self._guard = Guard(0, hello.token)
            self.id = self.id or hello.call
            self._on_token(self)

    def _begin(self, utterance: Utterance) -> None:
        self.began.set()
        if utterance.number > self._newest:
            self._newest = utterance.number
            self.party.scribe.note(Listened(utterance.number))
            if self.barge_in:
                self.interrupt()
