"""What frames about streams do to a connection in memory."""

from collections.abc import Callable

from moqvox.transport.drains import Drains
from moqvox.transport.inbox import Inbox
from moqvox.transport.memory.courier import Courier
from moqvox.transport.memory.in_order import InOrder
from moqvox.transport.streams.frames import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
    StopSending,
)
from moqvox.transport.streams.receiving import Receiving
from moqvox.transport.streams.sending import Sending

__all__ = ["StreamFrames"]


class StreamFrames:
    """Takes them off the lane, in the streams' order."""

    def __init__(
        self,
        sending: Sending,
        receiving: Receiving,
        courier: Courier,
        inbox: Inbox,
        drains: Drains,
    ) -> None:
        self._sending = sending
        self._receiving = receiving
        self._courier = courier
        self._inbox = inbox
        self._drains = drains
        self._in_order = InOrder(receiving)

    def table(self) -> "dict[type, Callable[..., None]]":
        """Say who takes which."""
        return {
            Segment: self._on_segment,
            ResetStream: self._on_reset,
            StopSending: self._on_stop,
            MaxData: self._on_max_data,
            MaxStreamData: self._on_max_stream_data,
            MaxStreams: self._on_max_streams,
        }

    def credit(self) -> None:
        """Tell the peer, if it has got any credit."""
        if self._receiving.credit:
            self._courier.touch()

    def _on_segment(self, frame: Segment) -> None:
        self._in_order.receive(frame)
        self._adopt()
        self.credit()

    def _on_reset(self, frame: ResetStream) -> None:
        self._in_order.reset(frame)
        self._adopt()
        self.credit()

    def _on_stop(self, frame: StopSending) -> None:
        self._receiving.meet(frame.stream)
        self._adopt()
        if self._halt(frame.stream, frame.code):
            self._drains.wake((frame.stream,))
            self._inbox.stopped(frame.stream, frame.code)
            self._courier.touch()

    def _halt(self, stream: int, code: int) -> bool:
        """Abandon a stream for the peer; False when there is nothing to stop any more.

        A stream whose end was sent is reset all the same while that is not acknowledged.
        """
        unheard = self._courier.unheard
        if self._sending.abandon(stream, code):
            return unheard.give_up(stream)
        if not unheard.give_up(stream):
            return False
        self._sending.say(stream, ResetStream(stream, code, unheard.sent_bytes(stream)))
        return True

    def _adopt(self) -> None:
        """Prepare to answer on streams that the peer has opened."""
        for stream in self._receiving.met:
            self._sending.adopt(stream)
            self._courier.unheard.open(stream)
        self._receiving.met.clear()

    def _on_max_data(self, frame: MaxData) -> None:
        self._sending.allow_data(frame.limit_bytes)
        self._courier.touch()

    def _on_max_stream_data(self, frame: MaxStreamData) -> None:
        self._sending.allow_stream_data(frame.stream, frame.limit_bytes)
        self._courier.touch()

    def _on_max_streams(self, frame: MaxStreams) -> None:
        self._sending.allow_streams(frame.count, bidirectional=frame.bidirectional)
        self._courier.touch()
