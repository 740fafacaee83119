"""One caller as an agent sees it: utterances in, responses out."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from moqvox.errors import SessionClosed
from moqvox.voice.inbox import Inbox, Remark
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.outbox import BITRATE, Outbox
from moqvox.voice.response import Response
from moqvox.voice.utterance import Utterance
from moqvox.voice.words import Ack, Caption, Message

__all__ = ["Session"]

log = logging.getLogger("moqvox.voice")

MAX_LEAD: Final = 20.0
"""Seconds of audio a response may be ahead of what was heard."""

MAX_MESSAGES: Final = 256
"""Messages that the application has not taken yet; then the oldest is dropped."""


class Session:
    """One call, agent's side. Iterate `utterances`, answer with `respond`.

    Attributes:
        id: the call's name, shared by both sides; "" until the caller has told it.
        remote_address: where the caller (or the relay before it) is, for logs.
        barge_in: a new utterance cuts responses short that still play.
    """

    def __init__(
        self, *, remote_address: str = "", barge_in: bool = True, max_lead: float = MAX_LEAD
    ) -> None:
        self.id = ""
        self.remote_address = remote_address
        self.barge_in = barge_in
        self.outbox = Outbox()
        self.inbox = Inbox(self._take, self._acknowledge, self._begin)
        self.began = asyncio.Event()
        self._ended = asyncio.Event()
        self._max_lead = max_lead
        self._responses: dict[int, Response] = {}
        self._newest = -1
        self._messages: Mailbox[Message | Caption] = Mailbox(MAX_MESSAGES)

    @property
    def closed(self) -> bool:
        """Whether the caller is gone."""
        return self._ended.is_set()

    async def utterances(self) -> AsyncIterator[Utterance]:
        """Take each utterance as it begins, while the user still talks; ends with the call."""
        async for utterance in self.inbox.arrived:
            yield utterance

    async def messages(self) -> AsyncIterator[Message | Caption]:
        """Take the caller's messages and captions, in order; ends with the call."""
        async for message in self._messages:
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
        response = Response(
            self.outbox.speech(sample_rate, channels, bitrate),
            self.inbox.has_events,
            max_lead=self._max_lead if max_lead is None else max_lead,
            sample_rate=sample_rate,
            channels=channels,
        )
        self._responses[response.number] = response
        live = {speech.number for speech in self.outbox.live()}
        self._responses = {n: r for n, r in self._responses.items() if n in live}
        return response

    def interrupt(self) -> None:
        """Cut every response that is not played to its end."""
        for speech in self.outbox.live():
            speech.cancel()

    def send(self, name: str, data: object = None) -> None:
        """Send the caller a message of the application's own (JSON), reliably, in order."""
        self.outbox.send(Message(name, msgspec.Raw(msgspec.json.encode(data))))

    def caption(self, response: Response, text: str, start_ms: float = 0.0) -> None:
        """Send text that belongs to `response`, from `start_ms` of its audio on."""
        self.outbox.send(Caption(response.number, text, int(1000 * start_ms)))

    def hang_up(self) -> None:
        """Say no more: what was said is still delivered and played; then the call is over."""
        self.outbox.finish()

    def end(self, why: SessionClosed | None = None) -> None:
        """Let go of everything: the caller is gone."""
        if self._ended.is_set():
            return
        self._ended.set()
        for response in self._responses.values():
            response.lose()
        self.inbox.close()
        self.outbox.close(why)
        self._messages.close()

    def _begin(self, utterance: Utterance, _last: bool) -> None:
        self.began.set()
        if utterance.number > self._newest:
            self._newest = utterance.number
            if self.barge_in:
                self.interrupt()

    def _acknowledge(self, utterance: Utterance, last: bool) -> None:
        if last:
            self.outbox.send(utterance.receipt())
        else:
            self.outbox.send(Ack(utterance.number, utterance.tally.frames))

    def _take(self, event: Remark) -> None:
        if not isinstance(event, Message | Caption):
            self.outbox.tell(event)
            return
        if not self._messages.push(event) and not self.closed:
            log.warning("call %s: a message was dropped unread", self.id)
