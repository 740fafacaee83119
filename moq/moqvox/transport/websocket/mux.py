"""QMux without a socket: records in, records out, events to the inbox."""

from collections.abc import Callable
from typing import ClassVar

from moqvox.transport.inbox import Inbox
from moqvox.transport.streams.frames import (
    MaxData,
    MaxStreamData,
    MaxStreams,
    ResetStream,
    Segment,
    StopSending,
)
from moqvox.transport.streams.ids import is_bidirectional, is_from
from moqvox.transport.streams.receiving import Receiving
from moqvox.transport.streams.sending import Sending
from moqvox.transport.streams.violation import TransportCode, Violation
from moqvox.transport.websocket.frames import (
    Close,
    Datagram,
    Hello,
    Ping,
    Pong,
    decode_record,
    encode_frame,
)
from moqvox.transport.websocket.limits import MAX_MESSAGE_BYTES, MAX_SEGMENT_BYTES, Limits
from moqvox.transport.websocket.outbox import DATAGRAM_OVERHEAD_BYTES, Outbox
from moqvox.transport.websocket.parameters import Parameters
from moqvox.transport.websocket.subprotocols import QmuxVersion

__all__ = ["Mux"]


class Mux:
    """One side of a QMux connection (draft-ietf-quic-qmux); knows no clock and no socket.

    Attributes:
        sending: our streams' bytes.
        receiving: the peer's.
        outbox: what is to be sent.
        peer: the peer's parameters; None until they came.
        close: how the peer closed.
        answers: pings that the peer has answered since this was set to 0.
        woken: streams whose writers may look again, since this was emptied.
    """

    def __init__(
        self, version: QmuxVersion, limits: Limits, inbox: Inbox, *, is_client: bool
    ) -> None:
        self.sending = Sending(
            limits.marks,
            max_blocked_streams=limits.max_blocked_streams,
            max_segment_bytes=MAX_SEGMENT_BYTES,
            is_client=is_client,
        )
        self.receiving = Receiving(limits, inbox, is_client=is_client)
        self.outbox = Outbox(
            version, self.sending, self.receiving, max_datagrams=limits.max_datagrams
        )
        self.peer: Parameters | None = None
        self.close: Close | None = None
        self.answers = 0
        self.woken: list[int] = []
        self._version = version
        self._limits = limits
        self._inbox = inbox
        self._is_client = is_client

    def hello(self, idle_timeout_ms: int) -> bytes:
        """Build our first message."""
        limits = self._limits
        most = limits.max_datagram_bytes if self._version.has_datagrams else 0
        parameters = Parameters(
            max_idle_timeout_ms=idle_timeout_ms,
            max_data=limits.connection_window_bytes,
            max_stream_data_bidi_local=limits.stream_window_bytes,
            max_stream_data_bidi_remote=limits.stream_window_bytes,
            max_stream_data_uni=limits.stream_window_bytes,
            max_streams_bidi=limits.max_bidi_streams,
            max_streams_uni=limits.max_uni_streams,
            max_datagram_frame_bytes=most + DATAGRAM_OVERHEAD_BYTES if most else 0,
            max_record_bytes=MAX_MESSAGE_BYTES if self._version.has_records else 0,
        )
        return encode_frame(Hello(parameters))

    def open(self, *, bidirectional: bool, priority: int) -> int:
        """Open a stream; see the contract."""
        stream = self.sending.open(bidirectional=bidirectional, priority=priority)
        if bidirectional:
            self.receiving.expect(stream)
        return stream

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop sending."""
        if self.receiving.stop(stream):
            self.sending.say(stream, StopSending(stream, code))

    def receive(self, record: bytes) -> None:
        """Take the frames of one message, up to a close.

        Raises:
            Violation: the peer broke QMux.
            RemoteError: what came can't be parsed.
        """
        for frame in decode_record(record):
            if self.peer is None and not isinstance(frame, (Hello, Close)):
                raise Violation(
                    TransportCode.PROTOCOL_VIOLATION,
                    f"{type(frame).__name__} came before the transport parameters",
                )
            self._TAKE[type(frame)](self, frame)
            if self.close is not None:
                return

    def settle(self) -> None:
        """Do the books on what was sent."""
        for stream in self.sending.over:
            self.receiving.half_over(stream)
        self.woken.extend(self.sending.over)
        self.sending.over.clear()
        relieved = self.sending.queue.relieved()
        for stream in relieved:
            self._inbox.writable(stream)
        self.woken.extend(relieved)

    def _adopt(self) -> None:
        """Prepare to answer on streams that the peer has opened."""
        for stream in self.receiving.met:
            self.sending.adopt(stream)
        self.receiving.met.clear()

    def _on_hello(self, frame: Hello) -> None:
        if self.peer is not None:
            raise Violation(TransportCode.PROTOCOL_VIOLATION, "the transport parameters came twice")
        self.peer = frame.parameters
        self.sending.begin(frame.parameters)
        self.outbox.begin(frame.parameters)

    def _on_segment(self, frame: Segment) -> None:
        self._check_incoming(frame)
        self.receiving.receive(frame)
        self._adopt()

    def _on_reset(self, frame: ResetStream) -> None:
        self._check_incoming(frame)
        self.receiving.reset(frame)
        self._adopt()

    def _on_stop(self, frame: StopSending) -> None:
        self._check_outgoing(frame)
        if self.sending.abandon(frame.stream, frame.code):
            self._inbox.stopped(frame.stream, frame.code)

    def _on_max_data(self, frame: MaxData) -> None:
        self.sending.allow_data(frame.limit_bytes)

    def _on_max_stream_data(self, frame: MaxStreamData) -> None:
        self._check_outgoing(frame)
        self.sending.allow_stream_data(frame.stream, frame.limit_bytes)

    def _on_max_streams(self, frame: MaxStreams) -> None:
        self.sending.allow_streams(frame.count, bidirectional=frame.bidirectional)

    def _on_datagram(self, frame: Datagram) -> None:
        most = self._limits.max_datagram_bytes if self._version.has_datagrams else 0
        if not most or len(frame.data) > most + DATAGRAM_OVERHEAD_BYTES:
            raise Violation(
                TransportCode.PROTOCOL_VIOLATION,
                f"a datagram of {len(frame.data)} bytes, {most} are allowed",
            )
        self._inbox.datagram(frame.data)

    def _on_ping(self, frame: Ping) -> None:
        self.outbox.pong = frame.number

    def _on_pong(self, frame: Pong) -> None:
        if frame.number == self.outbox.pings - 1:
            self.answers += 1

    def _on_close(self, frame: Close) -> None:
        self.close = frame

    def _check_incoming(self, frame: Segment | ResetStream) -> None:
        """Refuse what is sent on a stream that only we send on, or that does not exist."""
        stream = frame.stream
        if is_from(stream, client=self._is_client) and not (
            is_bidirectional(stream) and self.sending.has_opened(stream)
        ):
            raise _misplaced(frame)

    def _check_outgoing(self, frame: StopSending | MaxStreamData) -> None:
        """Refuse what is said of a stream that only the peer sends on, or that does not exist."""
        stream = frame.stream
        if is_from(stream, client=self._is_client):
            if not self.sending.has_opened(stream):
                raise _misplaced(frame)
        elif is_bidirectional(stream):
            self.receiving.meet(stream)
            self._adopt()
        else:
            raise _misplaced(frame)

    # By class and not by object, as what refers to an object's methods refers back to it.
    _TAKE: ClassVar[dict[type, Callable[..., None]]] = {
        Hello: _on_hello,
        Segment: _on_segment,
        ResetStream: _on_reset,
        StopSending: _on_stop,
        MaxData: _on_max_data,
        MaxStreamData: _on_max_stream_data,
        MaxStreams: _on_max_streams,
        Datagram: _on_datagram,
        Ping: _on_ping,
        Pong: _on_pong,
        Close: _on_close,
    }


def _misplaced(frame: Segment | ResetStream | StopSending | MaxStreamData) -> Violation:
    words = f"{type(frame).__name__} for stream {frame.stream}, which can't have one"
    return Violation(TransportCode.STREAM_STATE_ERROR, words)
