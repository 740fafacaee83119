"""The contract's connection on a WebSocket: QMux frames on one side, events on the other."""

import asyncio
from typing import Final, Protocol

from websockets.http11 import Request, Response

from moqvox.errors import RemoteError, SessionCode
from moqvox.transport.drains import Drains
from moqvox.transport.inbox import Inbox
from moqvox.transport.interface import Closed, Event, Kind, Stats, StreamData, StreamReset
from moqvox.transport.streams.violation import TransportCode, Violation
from moqvox.transport.websocket.frames import Close, encode_frame
from moqvox.transport.websocket.heartbeat import Heartbeat
from moqvox.transport.websocket.limits import CLOSE_TIMEOUT, Limits
from moqvox.transport.websocket.mux import Mux
from moqvox.transport.websocket.subprotocols import parse_name
from moqvox.transport.websocket.tcp_info import tcp_info
from moqvox.transport.websocket.wire import Wire

__all__ = ["Sponsor", "WebSocketConnection"]

MAX_ROUNDS: Final = 16
"""Messages of one connection in one turn of the loop; then the others have their turn."""

HASTY_LINGER: Final = 0.25
"""Seconds that a close for an error may take; it should say why, but not keep resources."""

PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003
PLAIN_GOODBYES: Final = frozenset((1000, 1001, 1005))
"""WebSocket close codes (RFC 6455, section 7.4.1)."""


class Sponsor(Protocol):
    """Whoever waits for a connection, and is told when it is gone."""

    def established(self, connection: "WebSocketConnection") -> None:
        """Take a connection that is ready: both sides have told their limits."""

    def gone(self, connection: "WebSocketConnection", closed: Closed) -> None:
        """Learn that its socket is closed."""


class WebSocketConnection:
    """A `transport.interface.Connection` on QMux. Observes one wire, after its HTTP exchange."""

    def __init__(
        self,
        wire: Wire,
        subprotocol: str,
        *,
        path: str,
        is_client: bool,
        limits: Limits,
        idle_timeout: float,
        sponsor: Sponsor,
    ) -> None:
        self._wire = wire
        self._version, self._protocol = parse_name(subprotocol)
        self._path = path
        self._is_client = is_client
        self._limits = limits
        self._idle_timeout = idle_timeout
        self._sponsor = sponsor
        self._inbox = Inbox(max_datagrams=limits.max_datagrams, max_path_changes=0)
        self._mux = Mux(self._version, limits, self._inbox, is_client=is_client)
        self._heartbeat = Heartbeat(
            wire.pipe, self._ping, self._starve, idle_timeout, limits.keep_alive
        )
        self._drains = Drains()
        self._loop = asyncio.get_running_loop()
        self._is_flush_due = self._is_established = False
        self._closing: Closed | None = None
        self._linger_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._over: Closed | None = None
        self._gone = asyncio.Event()
        self._sent_messages = self._received_messages = 0

    # What it is.

    @property
    def kind(self) -> Kind:
        """What carries it."""
        return Kind.WEBSOCKET

    @property
    def protocol(self) -> str:
        """The negotiated application protocol, without QMux's part of the name."""
        return self._protocol

    @property
    def path(self) -> str:
        """Path and query of the HTTP request."""
        return self._path

    @property
    def is_client(self) -> bool:
        """Whether this side dialled."""
        return self._is_client

    @property
    def remote_address(self) -> str:
        """The peer, or the proxy that speaks for it."""
        return self._wire.pipe.remote_address

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram that would be sent now."""
        return self._mux.outbox.max_datagram_bytes

    # Receiving.

    async def events(self) -> list[Event]:
        """Wait for news and take all of it; credit goes to the peer for what is taken."""
        while True:
            await self._inbox.wait()
            events = [event for event in self._inbox.take() if self._hand_over(event)]
            if self._mux.receiving.credit:
                self._touch()
            if events:
                return events

    def _hand_over(self, event: Event) -> bool:
        """Do the books for an event that is read now; False when it is suppressed."""
        if isinstance(event, StreamData):
            return self._mux.receiving.hand_over(event.stream, len(event.data), is_end=event.fin)
        if isinstance(event, StreamReset):
            self._mux.receiving.hand_over(event.stream, 0, is_end=True)
        return True

    # Sending.

    def open_stream(self, *, bidirectional: bool, priority: int = 0, early: bool = False) -> int:
        """Open a stream without waiting; nothing here is early."""
        if self._inbox.is_closed or self._closing is not None:
            raise self._inbox.session_closed()
        return self._mux.open(bidirectional=bidirectional, priority=priority)

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Queue bytes."""
        is_open = self._closing is None and self._over is None
        if is_open and self._mux.sending.write(stream, data, fin=fin):
            self._touch()

    def writable(self, stream: int) -> bool:
        """Whether a write is welcome."""
        return self._mux.sending.queue.writable(stream)

    async def drain(self, stream: int) -> None:
        """Wait until `writable`, or the end of the stream or connection."""
        while not (self._inbox.is_closed or self._mux.sending.queue.writable(stream)):
            await self._drains.wait(stream)

    def settled(self, stream: int) -> bool:
        """Whether all of a stream has left: what is written later can't overtake it."""
        return self._mux.sending.has_left(stream)

    def set_priority(self, stream: int, priority: int) -> None:
        """Change a stream's place in the order of sending."""
        self._mux.sending.queue.set_priority(stream, priority)

    def reset(self, stream: int, code: int) -> None:
        """Drop unsent bytes and abandon our side."""
        if self._over is None and self._mux.sending.abandon(stream, code):
            self._drains.wake((stream,))
            self._touch()

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop; what still arrives is credited and dropped."""
        self._mux.stop(stream, code)
        self._touch()

    def send_datagram(self, data: bytes, *, early: bool = False) -> bool:
        """Send without flow control; dropped here when the socket does not keep up."""
        if self._closing is not None or self._inbox.is_closed:
            return False
        if not self._mux.outbox.add_datagram(data):
            return False
        self._touch()
        return True

    def ping(self) -> None:
        """Ask the peer for a sign of life now."""
        if self._closing is None and not self._inbox.is_closed:
            self._heartbeat.ask()

    def stats(self) -> Stats:
        """Take the counters; packets are WebSocket messages, estimates are the kernel's."""
        pipe = self._wire.pipe
        info = tcp_info(pipe)
        return Stats(
            rtt=info.rtt or self._heartbeat.rtt,
            congestion_window_bytes=info.congestion_window_bytes,
            unsent_bytes=self._mux.sending.queue.waiting_bytes + pipe.waiting_bytes,
            unacked_bytes=info.unacked_bytes,
            sent_bytes=pipe.sent_bytes,
            received_bytes=pipe.received_bytes,
            sent_packets=self._sent_messages,
            received_packets=self._received_messages,
            lost_packets=info.retransmissions,
        )

    # The end.

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close after trying to send what is queued."""
        if self._closing is not None or self._over is not None:
            return
        self._closing = Closed(code, reason)
        linger = self._limits.linger if code == 0 else min(HASTY_LINGER, self._limits.linger)
        self._linger_until = self._loop.time() + linger
        self._timer = self._loop.call_at(self._linger_until, self._touch)
        self._touch()

    async def wait_closed(self) -> None:
        """Wait until the connection is over and its socket is closed."""
        await self._gone.wait()

    def _conclude(self) -> None:
        """Close, if that is asked for and nothing is left to send or time is up."""
        closing = self._closing
        if closing is None or self._over is not None:
            return
        if self._mux.outbox.is_settled or self._loop.time() >= self._linger_until:
            self._depart(Close(closing.code, is_transport=False, reason=closing.reason))
            self._end(closing, max(CLOSE_TIMEOUT, self._limits.linger))

    def _depart(self, frame: Close, code: int = 1000) -> None:
        """Say goodbye, to QMux and to the WebSocket below it."""
        self._wire.send(encode_frame(frame))
        self._wire.close(code)

    def _end(self, closed: Closed, patience: float = CLOSE_TIMEOUT) -> None:
        """End for the application; the socket has a moment more to close in good order."""
        if self._over is not None:
            return
        self._over = closed
        self._inbox.closed(closed)
        self._heartbeat.stop()
        self._drains.wake_all()
        self._cancel_timer()
        self._timer = self._loop.call_later(patience, self._wire.pipe.abort)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, code: TransportCode, reason: str, goodbye: int = PROTOCOL_ERROR) -> None:
        """End because of what the peer did."""
        if self._over is None:
            self._depart(Close(code, is_transport=True, reason=reason), goodbye)
            words = f"transport error {code:#x}: {reason}"
            self._end(Closed(SessionCode.PROTOCOL_VIOLATION, words))

    def _starve(self) -> None:
        """End because the peer is silent."""
        self._end(Closed(SessionCode.NO_ERROR, "idle time-out", lost=True))
        self._wire.pipe.abort()

    # The way out.

    def begin(self) -> None:
        """Observe the wire from now on, and tell the peer our limits."""
        self._wire.observer = self
        self._send(self._mux.hello(int(1000 * self._idle_timeout)))
        self._heartbeat.start()

    def _touch(self) -> None:
        """Send at the end of this turn of the loop."""
        if not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        if self._over is not None:
            return
        for _ in range(MAX_ROUNDS):
            messages = self._mux.outbox.take() if self._wire.pipe.has_room else []
            for message in messages:
                self._send(message)
            if not messages:
                break
        else:
            self._touch()
        self._mux.settle()
        self._drains.wake(self._mux.woken)
        self._mux.woken.clear()
        if self._mux.receiving.credit and self._wire.pipe.has_room:
            self._touch()
        self._conclude()

    def _send(self, message: bytes) -> None:
        self._sent_messages += 1
        self._wire.send(message)

    def _ping(self) -> None:
        if self._version.has_pings:
            self._mux.outbox.ping()
            self._touch()
        else:
            self._wire.ping()

    # The wire's calls.

    def on_ready(self) -> None:
        """Nothing: the pipe was ready before."""

    def on_head(self, head: Request | Response) -> None:
        """Nothing: there is one exchange of heads, and it is over."""

    def on_message(self, data: bytes) -> None:
        """Take a record."""
        if self._over is not None:
            return
        self._received_messages += 1
        try:
            self._mux.receive(data)
        except Violation as exc:
            self._fail(exc.transport_code, exc.reason)
        except RemoteError as exc:
            self._fail(TransportCode.FRAME_ENCODING_ERROR, exc.reason)
        else:
            self._react()

    def _react(self) -> None:
        """Look at what a message has changed."""
        mux = self._mux
        if mux.close is not None:
            self._end(_closed_by_peer(mux.close))
            self._wire.close()
            return
        if mux.answers:
            mux.answers = 0
            self._heartbeat.answered()
        if mux.peer is not None and not self._is_established:
            self._is_established = True
            self._heartbeat.suit(mux.peer.max_idle_timeout_ms)
            self._sponsor.established(self)
        self._touch()

    def on_text(self) -> None:
        """Refuse what is not QMux."""
        self._fail(TransportCode.PROTOCOL_VIOLATION, "a text message", UNSUPPORTED_DATA)

    def on_pong(self) -> None:
        """Take the answer to a WebSocket ping."""
        self._heartbeat.answered()

    def on_goodbye(self, code: int, reason: str) -> None:
        """Take a WebSocket close that no QMux close came before."""
        if code in PLAIN_GOODBYES:
            self._end(Closed(SessionCode.NO_ERROR, reason, remote=True))
        else:
            words = f"WebSocket close {code}: {reason}" if reason else f"WebSocket close {code}"
            self._end(Closed(SessionCode.PROTOCOL_VIOLATION, words, remote=True))

    def on_broken(self, reason: str) -> None:
        """End: the peer does not even speak WebSocket."""
        self._end(Closed(SessionCode.PROTOCOL_VIOLATION, reason))

    def on_room(self) -> None:
        """Go on sending."""
        self._touch()

    def on_lost(self, exc: Exception | None) -> None:
        """End, if the peer has just left."""
        self._end(Closed(SessionCode.NO_ERROR, _explain(exc), lost=True))
        self._cancel_timer()
        self._heartbeat.end()
        self._gone.set()
        if self._over is not None:
            self._sponsor.gone(self, self._over)


def _closed_by_peer(close: Close) -> Closed:
    """Tell the application; transport codes become a session code and words."""
    if not close.is_transport or close.code == TransportCode.NO_ERROR:
        return Closed(close.code, close.reason, remote=True)
    words = f"transport error {close.code:#x}"
    words = f"{words}: {close.reason}" if close.reason else words
    return Closed(SessionCode.PROTOCOL_VIOLATION, words, remote=True)


def _explain(exc: Exception | None) -> str:
    """Say how a connection was lost."""
    if isinstance(exc, OSError) and exc.strerror:
        return f"connection lost: {exc.strerror.lower()}"
    return "connection lost"
