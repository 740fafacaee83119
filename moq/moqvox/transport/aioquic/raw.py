"""Raw QUIC: the contract's connection, one to one on QUIC streams. ALPN names the protocol."""

import asyncio

from aioquic.quic.connection import stream_is_unidirectional
from aioquic.quic.events import (
    DatagramFrameReceived,
    QuicEvent,
    StopSendingReceived,
    StreamDataReceived,
)
from aioquic.quic.events import StreamReset as EngineStreamReset
from aioquic.quic.packet import QuicErrorCode

from moqvox.errors import LocalError
from moqvox.transport.address import Address, show
from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.aioquic.link import Link
from moqvox.transport.drains import Drains
from moqvox.transport.inbox import Inbox
from moqvox.transport.interface import Closed, Event, Kind, Stats, StreamData, StreamReset

__all__ = ["RawConnection"]


class RawConnection:
    """A `transport.interface.Connection` on QUIC streams. Observes one link."""

    def __init__(self, link: Link, *, protocol: str, is_client: bool) -> None:
        self._link = link
        self._protocol = protocol
        self._is_client = is_client
        self._inbox = Inbox(
            max_datagrams=link.limits.max_datagrams,
            max_path_changes=link.limits.max_path_changes,
        )
        self._known: dict[int, None] = {}
        self._ours: dict[int, None] = {}
        self._halted: dict[int, None] = {}
        self._stopped: dict[int, None] = {}
        self._drains = Drains()
        self._is_over = False
        self._over: asyncio.Event | None = None
        self._remote = link.peer

    # What it is.

    @property
    def kind(self) -> Kind:
        """What carries it."""
        return Kind.QUIC

    @property
    def protocol(self) -> str:
        """The negotiated ALPN."""
        return self._protocol

    @property
    def path(self) -> str:
        """Nothing; SETUP carries the path."""
        return ""

    @property
    def is_client(self) -> bool:
        """Whether this side dialled."""
        return self._is_client

    @property
    def remote_address(self) -> str:
        """The peer now."""
        return show(self._remote) if self._remote is not None else ""

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram that would be sent now."""
        return max(0, self._link.engine.max_datagram_payload - len(self._datagram_prefix()))

    # Receiving.

    async def events(self) -> list[Event]:
        """Wait for news and take all of it; credit goes to the peer for what is taken."""
        while True:
            await self._inbox.wait()
            events = [event for event in self._inbox.take() if self._hand_over(event)]
            if events:
                return events

    def _hand_over(self, event: Event) -> bool:
        """Do the books for an event that is read now; False when it is suppressed."""
        if isinstance(event, StreamData):
            self._link.hand_over(event.stream, len(event.data))
            if event.fin:
                self._link.release(event.stream)
            return event.stream not in self._stopped
        if isinstance(event, StreamReset):
            self._link.release(event.stream)
        return True

    # Sending.

    def open_stream(self, *, bidirectional: bool, priority: int = 0, early: bool = False) -> int:
        """Open a stream without waiting."""
        if self._inbox.is_closed:
            raise self._inbox.session_closed()
        stream = self._link.open_stream(bidirectional=bidirectional, priority=priority, early=early)
        self._ours[stream] = None
        if bidirectional:
            self._known[stream] = None
        prefix = self._stream_prefix(bidirectional=bidirectional)
        if prefix:
            self._link.write(stream, prefix, fin=False)
        return stream

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Queue bytes."""
        if not (self._inbox.is_closed or self._link.is_closing):
            self._link.write(stream, data, fin=fin)

    def writable(self, stream: int) -> bool:
        """Whether a write is welcome."""
        return self._link.writable(stream)

    async def drain(self, stream: int) -> None:
        """Wait until `writable`, or the end of the stream or connection."""
        while not (self._inbox.is_closed or self._link.writable(stream)):
            await self._drains.wait(stream)

    def settled(self, stream: int) -> bool:
        """Whether a stream that we have ended has arrived in whole, or was given up."""
        return self._link.settled(stream)

    def set_priority(self, stream: int, priority: int) -> None:
        """Change a stream's place in the order of sending."""
        self._link.set_priority(stream, priority)

    def reset(self, stream: int, code: int) -> None:
        """Drop unsent bytes and abandon our side."""
        self._link.reset(stream, self._to_wire(code))
        self._drains.wake((stream,))

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop; what still arrives is credited and dropped."""
        if stream in self._known and stream not in self._stopped:
            self._stopped[stream] = None
            self._link.stop(stream, self._to_wire(code))

    def send_datagram(self, data: bytes, *, early: bool = False) -> bool:
        """Send unreliably, if it fits."""
        return len(data) <= self.max_datagram_size and self._link.send_datagram(
            self._datagram_prefix() + data, early=early
        )

    def migrate(self, local: tuple[str, int] | None = None) -> None:
        """Go on from a new socket, under a new connection ID; the connection stays.

        While the old path is alive the new one is probed first; if it does not answer within
        about two seconds, nothing changes. If the old path is silent, the new one is used at
        once. What is under way goes out again at once on the new path, and what still arrives
        on the old one is read. `events` reports `PathChanged`.

        Args:
            local: address and port to send from; None: as the system's routes say now.

        Raises:
            LocalError: this side did not dial, or `local` can't be bound.
            SessionClosed: the connection is over.
        """
        if self._inbox.is_closed:
            raise self._inbox.session_closed()
        if self._link.roaming is None:
            raise LocalError("only the side that dialled can migrate")
        self._link.roaming.migrate(local)

    def ping(self) -> None:
        """Ask the peer for a sign of life now."""
        if not (self._inbox.is_closed or self._link.is_closing):
            self._link.engine.send_ping(0)
            self._link.touch()

    # The end.

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close after trying to send what is queued."""
        self._link.close(Ending(code, is_transport=False, reason=reason))

    def refuse(self, reason: str = "busy") -> None:
        """Close a connection that nobody will accept."""
        ending = Ending(QuicErrorCode.CONNECTION_REFUSED, is_transport=True, reason=reason)
        self._link.refuse(ending)

    async def wait_closed(self) -> None:
        """Wait until the connection is over and its last packets have left."""
        if self._is_over:
            return
        if self._over is None:
            self._over = asyncio.Event()
        await self._over.wait()

    def stats(self) -> Stats:
        """Take the counters."""
        return self._link.stats()

    # What WebTransport does differently.

    def _stream_prefix(self, *, bidirectional: bool) -> bytes:
        """Bytes that every stream of ours begins with."""
        return b""

    def _datagram_prefix(self) -> bytes:
        """Bytes that every datagram begins with."""
        return b""

    def _to_wire(self, code: int) -> int:
        """Translate an application's stream code to QUIC's."""
        return code

    def _from_wire(self, code: int) -> int:
        """Translate QUIC's stream code to the application's."""
        return code

    # The observer of the link.

    def on_engine_event(self, event: QuicEvent) -> None:
        """Translate one of the engine's events."""
        if isinstance(event, StreamDataReceived):
            self._on_data(event.stream_id, event.data, fin=event.end_stream)
        elif isinstance(event, EngineStreamReset):
            self._on_reset(event.stream_id, event.error_code)
        elif isinstance(event, StopSendingReceived):
            self._on_stopped(event.stream_id, event.error_code)
        elif isinstance(event, DatagramFrameReceived):
            self._inbox.datagram(event.data)

    def _on_data(self, stream: int, data: bytes, *, fin: bool) -> None:
        if stream in self._stopped:
            self._link.hand_over(stream, len(data))
            if fin:
                self._link.release(stream)
            return
        self._meet(stream)
        self._inbox.data(stream, data, fin=fin)

    def _on_reset(self, stream: int, code: int) -> None:
        self._meet(stream)
        self._inbox.reset(stream, self._from_wire(code))

    def _on_stopped(self, stream: int, code: int) -> None:
        """Pass on a peer's STOP_SENDING, which it may repeat as often as it likes."""
        self._link.drop(stream)
        self._drains.wake((stream,))
        if stream not in self._halted:
            self._halted[stream] = None
            self._meet(stream)
            self._inbox.stopped(stream, self._from_wire(code))

    def _meet(self, stream: int) -> None:
        """Announce a stream of the peer's when it is first heard of."""
        if stream in self._known or stream in self._ours:
            return
        self._known[stream] = None
        bidirectional = not stream_is_unidirectional(stream)
        if bidirectional:
            self._link.adopt_stream(stream)
        self._inbox.opened(stream, bidirectional=bidirectional)

    def on_writable(self, streams: list[int]) -> None:
        """Wake the writers."""
        for stream in streams:
            self._inbox.writable(stream)
        self._drains.wake(streams)

    def on_discarded(self, streams: list[int]) -> None:
        """Forget streams that are over."""
        self._drains.wake(streams)
        for names in (self._known, self._ours, self._halted, self._stopped):
            for stream in streams:
                names.pop(stream, None)

    def on_path(self, address: Address, cause: str) -> None:
        """Report the new path."""
        self._remote = address
        self._inbox.path_changed(show(self._link.local), show(address), cause)

    def on_over(self, closed: Closed) -> None:
        """Report the end and release everyone who waits."""
        self._inbox.closed(closed)
        self._drains.wake_all()
        self._is_over = True
        if self._over is not None:
            self._over.set()
