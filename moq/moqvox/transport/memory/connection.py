"""One side of a connection in memory: the contract, on a link that may be bad."""

import asyncio
from collections.abc import Callable

from moqvox.transport.drains import Drains
from moqvox.transport.inbox import Inbox
from moqvox.transport.interface import Closed, Event, Kind, Stats, StreamData, StreamReset
from moqvox.transport.memory.courier import Courier
from moqvox.transport.memory.link import Link
from moqvox.transport.memory.moves import Moves
from moqvox.transport.memory.opening import Opening
from moqvox.transport.memory.packet import (
    PACKET_BYTES,
    Close,
    Message,
    Moved,
    MovedSeen,
    Packet,
    Ping,
    Pong,
    StatelessReset,
)
from moqvox.transport.memory.settings import Limits
from moqvox.transport.memory.stream_frames import StreamFrames
from moqvox.transport.streams.frames import StopSending
from moqvox.transport.streams.receiving import Receiving
from moqvox.transport.streams.sending import Sending

__all__ = ["MemoryConnection"]

HASTY_LINGER = 0.25
"""Seconds that a close for an error may take; it should say why, but not keep resources."""


class MemoryConnection:
    """A `transport.interface.Connection` without a network.

    Attributes:
        link: the way to the peer, to be made worse or better at any time.
        opening: what is left of the set-up.
    """

    def __init__(
        self,
        link: Link,
        limits: Limits,
        *,
        protocol: str,
        path: str,
        is_client: bool,
        takes_early: bool = True,
    ) -> None:
        self.link = link
        self._limits = limits
        self._protocol = protocol
        self._path = path
        self._is_client = is_client
        self._inbox = Inbox(
            max_datagrams=limits.max_datagrams, max_path_changes=limits.max_path_changes
        )
        self._sending = Sending(
            limits.marks,
            max_blocked_streams=limits.max_blocked_streams,
            max_segment_bytes=PACKET_BYTES,
            is_client=is_client,
        )
        self._sending.begin(limits.grant())
        self._receiving = Receiving(limits, self._inbox, is_client=is_client)
        out, back = (link.up, link.down) if is_client else (link.down, link.up)
        self._courier = Courier(out, back, self._sending, self._receiving, self._flushed)
        out.sender = self._courier
        back.receiver = self
        if is_client:
            link.client = self
        else:
            link.server = self
        self._loop = asyncio.get_running_loop()
        self._drains = Drains()
        self._over = asyncio.Event()
        self._closing: Close | None = None
        self._linger_until = 0.0
        self._silence: asyncio.TimerHandle | None = None
        self._received_bytes = self._received_packets = 0
        remote = link.server_address if is_client else link.client_address
        self._moves = Moves(link, self._courier, self._inbox, remote)
        self._streams = StreamFrames(
            self._sending, self._receiving, self._courier, self._inbox, self._drains
        )
        self.opening = Opening(
            self._sending, self._courier, self._end, protocol=protocol, takes_early=takes_early
        )
        self._take = self._table()

    # What it is.

    @property
    def kind(self) -> Kind:
        """What carries it."""
        return Kind.MEMORY

    @property
    def protocol(self) -> str:
        """The negotiated protocol."""
        return self._protocol

    @property
    def path(self) -> str:
        """What the client asked for."""
        return self._path

    @property
    def is_client(self) -> bool:
        """Whether this side dialled."""
        return self._is_client

    @property
    def remote_address(self) -> str:
        """The peer now."""
        return self._moves.remote

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram that would be sent now."""
        return self._limits.max_datagram_bytes

    # Receiving.

    async def events(self) -> list[Event]:
        """Wait for news and take all of it; credit goes to the peer for what is taken."""
        while True:
            await self._inbox.wait()
            events = [event for event in self._inbox.take() if self._hand_over(event)]
            self._streams.credit()
            if events:
                return events

    def _hand_over(self, event: Event) -> bool:
        """Do the books for an event that is read now; False when it is suppressed."""
        if isinstance(event, StreamData):
            return self._receiving.hand_over(event.stream, len(event.data), is_end=event.fin)
        if isinstance(event, StreamReset):
            self._receiving.hand_over(event.stream, 0, is_end=True)
        return True

    # Sending.

    def open_stream(self, *, bidirectional: bool, priority: int = 0, early: bool = False) -> int:
        """Open a stream without waiting."""
        if self._inbox.is_closed or self._closing is not None:
            raise self._inbox.session_closed()
        stream = self._sending.open(bidirectional=bidirectional, priority=priority, early=early)
        self._courier.unheard.open(stream)
        if bidirectional:
            self._receiving.expect(stream)
        return stream

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Queue bytes."""
        if self._closing is None and self._sending.write(stream, data, fin=fin):
            self._courier.touch()

    def writable(self, stream: int) -> bool:
        """Whether a write is welcome."""
        return self._sending.queue.writable(stream)

    async def drain(self, stream: int) -> None:
        """Wait until `writable`, or the end of the stream or connection."""
        while not (self._inbox.is_closed or self._sending.queue.writable(stream)):
            await self._drains.wait(stream)

    def settled(self, stream: int) -> bool:
        """Whether a stream that we have ended has arrived in whole, or was given up."""
        self._courier.listen()
        return self._courier.unheard.is_heard(stream)

    def set_priority(self, stream: int, priority: int) -> None:
        """Change a stream's place in the order of sending."""
        self._sending.queue.set_priority(stream, priority)

    def reset(self, stream: int, code: int) -> None:
        """Drop unsent bytes and abandon our side."""
        if self._sending.abandon(stream, code):
            self._courier.unheard.give_up(stream)
            self._drains.wake((stream,))
            self._courier.touch()

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop; what still arrives is credited and dropped."""
        if self._receiving.stop(stream):
            self._sending.say(stream, StopSending(stream, code))
            self._courier.touch()

    def send_datagram(self, data: bytes, *, early: bool = False) -> bool:
        """Send unreliably, if it fits and may leave."""
        if self._sending.is_early and not early:
            return False
        if len(data) > self.max_datagram_size or not self.max_datagram_size:
            return False
        if self._closing is not None or self._inbox.is_closed:
            return False
        return self._courier.add_datagram(data, self._limits.max_datagrams)

    def stats(self) -> Stats:
        """Take the counters."""
        courier = self._courier
        unacked_bytes = courier.unacked_bytes
        rate_kbps = (self.link.up if self._is_client else self.link.down).settings.rate_kbps
        return Stats(
            rtt=courier.rtt,
            congestion_window_bytes=int(courier.rtt * rate_kbps * 1000 / 8),
            unsent_bytes=self._sending.queue.waiting_bytes,
            unacked_bytes=unacked_bytes,
            sent_bytes=courier.sent_bytes,
            received_bytes=self._received_bytes,
            sent_packets=courier.sent_packets,
            received_packets=self._received_packets,
            lost_packets=courier.lost_packets,
            path_changes=self._moves.count,
        )

    def ping(self) -> None:
        """Ask the peer for a sign of life now."""
        if self._closing is None and not self._inbox.is_closed:
            self._courier.say(Ping())

    # The end.

    @property
    def is_over(self) -> bool:
        """Whether it has ended, whoever ended it."""
        return self._inbox.is_closed

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close after trying to send what is queued."""
        if self._closing is not None or self._inbox.is_closed:
            return
        self._closing = Close(code, reason)
        linger = self._limits.linger if code == 0 else min(HASTY_LINGER, self._limits.linger)
        self._linger_until = self._loop.time() + linger
        self._courier.is_hasty = True
        self._courier.touch()

    async def wait_closed(self) -> None:
        """Wait until the connection is over and its last packets have left."""
        await self._over.wait()

    def vanish(self, reason: str, *, reset: bool) -> None:
        """End without a word, as a killed process does.

        Args:
            reason: what our own side is told.
            reset: whether the host tells the peer that nobody is there any more; otherwise
                the peer has to wait for its idle time-out.
        """
        self._end(Closed(0, reason, lost=True), StatelessReset() if reset else None)

    def _flushed(self, now: float) -> None:
        """Look at what a flush made possible."""
        if self._sending.over:
            for stream in self._sending.over:
                self._receiving.half_over(stream)
            self._drains.wake(self._sending.over)
            self._sending.over.clear()
            self._streams.credit()
        relieved = self._sending.queue.relieved()
        for stream in relieved:
            self._inbox.writable(stream)
        self._drains.wake(relieved)
        if self._closing is None or self._inbox.is_closed:
            return
        if now < self._linger_until and not self._courier.is_settled:
            self._courier.wake_at(self._linger_until)
            return
        self._end(Closed(self._closing.code, self._closing.reason), self._closing)

    def _end(self, closed: Closed, last_words: Close | StatelessReset | None) -> None:
        if self._inbox.is_closed:
            return
        self._inbox.closed(closed)
        self._courier.stop()
        self.opening.over()
        self._break_silence()
        self._drains.wake_all()
        self._over.set()
        self.link.leave(self, last_words)

    # The end of the link.

    def hear(self, *, is_silent: bool) -> None:
        """Count the time while nothing of the peer can arrive."""
        if self._inbox.is_closed:
            return
        if not is_silent:
            self._break_silence()
            self._courier.touch()
        elif self._silence is None:
            self._silence = self._loop.call_later(self._limits.idle_timeout, self._starve)

    def _break_silence(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def moved(self, address: str, *, noticed: bool) -> None:
        """Speak from another address from now on; report it only when it is `noticed`."""
        self._moves.move(address, noticed=noticed)

    def receive(self, packet: Packet) -> bool:
        """Take a packet off the lane; False when the connection is over, or can't read it."""
        if self._inbox.is_closed or not self.opening.can_read(packet):
            return False
        self._received_packets += 1
        self._received_bytes += packet.size_bytes
        if not packet.has_arrived:
            for frame in packet.frames:
                self._take[type(frame)](frame)
        return True

    def _starve(self) -> None:
        self._silence = None
        self._end(Closed(0, "idle time-out", lost=True), None)

    # Frames.

    def _table(self) -> "dict[type, Callable[..., None]]":
        return {
            **self._streams.table(),
            **self.opening.table(),
            Message: self._on_message,
            Ping: self._on_ping,
            Pong: self._on_pong,
            Moved: self._moves.on_moved,
            MovedSeen: self._moves.on_seen,
            Close: self._on_close,
            StatelessReset: self._on_stateless_reset,
        }

    def _on_message(self, frame: Message) -> None:
        self._inbox.datagram(frame.data)

    def _on_ping(self, _frame: Ping) -> None:
        self._courier.say(Pong())

    def _on_pong(self, _frame: Pong) -> None:
        """Nothing: that it came is what was asked for."""

    def _on_close(self, frame: Close) -> None:
        self._end(Closed(frame.code, frame.reason, remote=True), None)

    def _on_stateless_reset(self, _frame: StatelessReset) -> None:
        self._end(Closed(0, "stateless reset", lost=True), None)
