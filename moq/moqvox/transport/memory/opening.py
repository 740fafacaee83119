"""What is left of the set-up once there is a connection: early words, and the answer."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from moqvox.transport.interface import Closed
from moqvox.transport.memory.courier import Courier
from moqvox.transport.memory.packet import Close, Hello, Packet, Refusal, Welcome
from moqvox.transport.streams.sending import Sending

__all__ = ["Opening"]


class End(Protocol):
    """Ends the connection, with a word to the peer or without one."""

    def __call__(self, closed: Closed, last_words: Close | None) -> None:
        """End it."""


class Opening:
    """One end's part."""

    def __init__(
        self, sending: Sending, courier: Courier, end: End, *, protocol: str, takes_early: bool
    ) -> None:
        self._sending = sending
        self._courier = courier
        self._end = end
        self._protocol = protocol
        self._takes_early = takes_early
        self._loop = asyncio.get_running_loop()
        self._patience: asyncio.TimerHandle | None = None

    def table(self) -> "dict[type, Callable[..., None]]":
        """Name who takes which frame."""
        return {
            Hello: self._on_hello,
            Welcome: self._on_welcome,
            Refusal: self._on_refusal,
        }

    def begin_early(self, patience: float, unanswered: str) -> None:
        """Speak before the server has answered, and end when it does not in time.

        Args:
            patience: seconds.
            unanswered: why it ended then.
        """
        self._sending.is_early = True
        closed = Closed(0, unanswered, lost=True)
        self._patience = self._loop.call_later(patience, self._end, closed, None)
        self._courier.say(Hello())

    def can_read(self, packet: Packet) -> bool:
        """Whether there are keys for a packet, as QUIC has it."""
        if packet.is_early and not self._takes_early:
            if any(isinstance(frame, Hello) for frame in packet.frames):
                self.welcome()
            return False
        return not self._sending.is_early or any(
            isinstance(frame, (Welcome, Refusal, Close)) for frame in packet.frames
        )

    def welcome(self) -> None:
        """Tell the client that it is connected."""
        self._courier.say(Welcome(self._protocol, self._takes_early))

    def over(self) -> None:
        """Wait for no answer any more."""
        if self._patience is not None:
            self._patience.cancel()

    def _on_hello(self, _frame: Hello) -> None:
        """Answer once more: the client has not heard the first answer."""
        self.welcome()

    def _on_welcome(self, frame: Welcome) -> None:
        """Let everything leave that waited for it; of those that come later nothing is new."""
        if not self._sending.is_early:
            return
        self.over()
        if frame.protocol != self._protocol:
            reason = f"the server speaks {frame.protocol} now"
            self._end(Closed(0, reason), Close(0, reason))
            return
        self._sending.confirm()
        if not frame.takes_early:
            self._courier.hurry()
        self._courier.touch()

    def _on_refusal(self, frame: Refusal) -> None:
        self._end(Closed(0, frame.reason, remote=True), None)
