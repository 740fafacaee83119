"""One party of a call, caller or agent: what it says, what it hears, and the word between."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import msgspec

from moqvox.voice.chronicle import Chronicle, Read, Record, Took
from moqvox.voice.inbox import Inbox, Remark
from moqvox.voice.keep import Keep
from moqvox.voice.mailbox import Mailbox
from moqvox.voice.outbox import Outbox
from moqvox.voice.scribe import Scribe
from moqvox.voice.utterance import Utterance
from moqvox.voice.words import Ack, Caption, Hello, Message, Noted, encode

__all__ = ["Party"]

log = logging.getLogger("moqvox.voice")

MAX_MESSAGES: Final = 256
"""Messages that the application has not taken yet; then the oldest is dropped."""


class Party:
    """What both sides of a call have in common, over all its legs.

    Attributes:
        outbox, inbox: what is said and heard.
        peer: the other side's `hello` of the present leg; None as long as it has said none.
        resumptions: legs after the first.
        lost_messages: those that the application did not take in time.
        scribe: writes down what another process needs to go on.
    """

    def __init__(
        self,
        hello: Hello,
        keep: Keep,
        *,
        on_begin: Callable[[Utterance], None],
        on_hello: Callable[[Hello], None],
        scribe: Scribe | None = None,
    ) -> None:
        self.scribe = scribe or Scribe()
        self.outbox = Outbox(hello, keep, self.scribe)
        self.inbox = Inbox(self)
        self.peer: Hello | None = None
        self.resumptions = 0
        self.lost_messages = 0
        self._messages: Mailbox[Message | Caption] = Mailbox(MAX_MESSAGES)
        self._on_begin = on_begin
        self._on_hello = on_hello
        self._closed = False

    async def messages(self) -> AsyncIterator[Message | Caption]:
        """Take the other side's messages and captions, in order, to the end of the call."""
        async for message in self._messages:
            self.scribe.note(Read())
            yield message

    def send(self, name: str, data: object = None) -> None:
        """Send a message of the application's own (JSON), reliably, in order."""
        self.outbox.send(Message(name, msgspec.Raw(msgspec.json.encode(data))))

    def close_messages(self) -> None:
        """End the iteration over messages."""
        self._closed = True
        self._messages.close()

    def revive(self, chronicle: Chronicle) -> None:
        """Go on where another process stopped."""
        self.inbox.revive(chronicle.taken, chronicle.newest)
        for message in chronicle.unread:
            self._messages.push(message)
        self.outbox.revive(chronicle)

    def records(self) -> Iterator[Record]:
        """Write down what is to be gone on with: speeches, events, messages nobody has read."""
        yield from self.outbox.records()
        for message in self._messages.waiting():
            yield Took(self.inbox.taken, encode(message))

    # From the inbox

    def began(self, utterance: Utterance) -> None:
        """Tell the application's side of a speech that begins to arrive."""
        self._on_begin(utterance)

    def progress(self, utterance: Utterance, last: bool) -> None:
        """Acknowledge what came of a speech, or write its receipt."""
        if last:
            self.outbox.send(utterance.receipt())
        else:
            self.outbox.send(Ack(utterance.number, utterance.next_frame))

    def take(self, event: Remark) -> None:
        """Pass on what concerns our speeches, or the application."""
        if not isinstance(event, Message | Caption):
            self.outbox.tell(event)
        elif not self._messages.push(event) and not self._closed:
            self.lost_messages += 1
            log.warning("a message was dropped unread")

    def greet(self, hello: Hello) -> None:
        """Take the other side's `hello`."""
        self.peer = hello
        self._on_hello(hello)

    def note(self, number: int) -> None:
        """Tell that numbered events were taken."""
        self.outbox.send(Noted(number))

    def took(self, number: int, payload: bytes) -> None:
        """Write down a numbered event."""
        if self.scribe.is_writing:
            self.scribe.note(Took(number, payload))

    def noted(self, number: int) -> None:
        """Let go of events that were taken."""
        self.outbox.unnoted.note(number)

    @staticmethod
    def now() -> float:
        """Read the loop's clock."""
        return asyncio.get_running_loop().time()
