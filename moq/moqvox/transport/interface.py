"""The transport contract: what every engine offers and the driver relies on.

Raw QUIC, WebTransport, WebSocket and memory look the same to a caller. Foreign exceptions
are translated inside the adapters. All calls are made on the event loop's thread.

Order: bytes of one stream arrive in order and once; streams are independent. Loss: streams
lose nothing while the connection lives; datagrams may be lost.

Receiving is tied to reading: an adapter gives the peer new credit (flow control) only for
bytes that `events()` has handed over, so a driver that stops reading stops the peer, and
what an adapter holds unread is bounded by its windows.

Sending is bounded: `write` never waits and takes what it is given, but a stream above its
high-water mark is not `writable` until a `StreamWritable` event says so; a caller that
writes on regardless gets `LocalError` at the hard bound.

A connection may be handed over before its server has answered. What leaves until then can be
recorded and sent on by whoever sees it, so only what was marked `early` leaves: of the other
streams all bytes wait in the send queue, and go out at once when the server has proved itself.
Nothing tells of that moment, as nobody has to act on it. docs/decisions/0006-early-data.md.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

import msgspec

__all__ = [
    "Closed",
    "Connection",
    "DatagramReceived",
    "Event",
    "Kind",
    "Listener",
    "PathChanged",
    "Stats",
    "StreamData",
    "StreamOpened",
    "StreamReset",
    "StreamStopped",
    "StreamWritable",
]


class Kind(Enum):
    """What carries the streams."""

    QUIC = "quic"
    WEBTRANSPORT = "webtransport"
    WEBSOCKET = "websocket"
    MEMORY = "memory"


class StreamOpened(msgspec.Struct, frozen=True, gc=False):
    """The peer opened a stream; comes before anything else of it."""

    stream: int
    bidirectional: bool


class StreamData(msgspec.Struct, frozen=True, gc=False):
    """Bytes in order; `fin` ends the peer's side. `data` may be empty with `fin`."""

    stream: int
    data: bytes
    fin: bool


class StreamReset(msgspec.Struct, frozen=True, gc=False):
    """The peer abandoned its sending side. Unread bytes may be lost."""

    stream: int
    code: int


class StreamStopped(msgspec.Struct, frozen=True, gc=False):
    """The peer wants no more of our bytes; the adapter has reset our side already."""

    stream: int
    code: int


class StreamWritable(msgspec.Struct, frozen=True, gc=False):
    """A stream that was above its high-water mark fell below the low one."""

    stream: int


class DatagramReceived(msgspec.Struct, frozen=True, gc=False):
    """One datagram, whole."""

    data: bytes


class PathChanged(msgspec.Struct, frozen=True, gc=False):
    """The connection moved to another network path; nothing was lost by it.

    Attributes:
        cause: why this side moved, in words; "" when the peer did.
    """

    local: str
    remote: str
    cause: str = ""


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The connection is over; always the last event.

    Attributes:
        code: the closer's application code; 0 for a plain end.
        reason: already made safe to print.
        remote: the peer closed; False for our own close and for time-outs.
        lost: the network took it (idle time-out, unreachable), nobody closed.
    """

    code: int
    reason: str
    remote: bool = False
    lost: bool = False


Event = (
    StreamOpened
    | StreamData
    | StreamReset
    | StreamStopped
    | StreamWritable
    | DatagramReceived
    | PathChanged
    | Closed
)


class Stats(msgspec.Struct, frozen=True, gc=False):
    """One connection's counters since its start, and estimates now.

    Attributes:
        rtt: smoothed round trip in seconds, 0.0 while unknown.
        congestion_window_bytes: 0 where the engine has none.
        unsent_bytes: queued and never sent yet.
        unacked_bytes: sent, not acknowledged.
        path_changes: validated changes of address, either side's.
        path_probes: questions whether another path works, asked before it was used.
        copied_bytes: stream bytes sent again on suspicion, ahead of any sign of their loss.
    """

    rtt: float = 0.0
    congestion_window_bytes: int = 0
    unsent_bytes: int = 0
    unacked_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    lost_packets: int = 0
    path_changes: int = 0
    path_probes: int = 0
    copied_bytes: int = 0


class Connection(Protocol):
    """One established connection; both sides look the same."""

    @property
    def kind(self) -> Kind:
        """What carries it."""

    @property
    def protocol(self) -> str:
        """The negotiated application protocol, as `moq-lite-06` (ALPN or subprotocol)."""

    @property
    def path(self) -> str:
        """Path and query that the client asked for; "" on raw QUIC, where SETUP carries it."""

    @property
    def is_client(self) -> bool:
        """Whether this side dialled."""

    @property
    def remote_address(self) -> str:
        """The peer now, as `host:port`, for logs."""

    @property
    def max_datagram_size(self) -> int:
        """Largest datagram that would be sent now; 0 when the peer takes none."""

    async def events(self) -> list[Event]:
        """Wait for news and take all of it, oldest first.

        The last list ends in `Closed`; after it `SessionClosed` is raised. Cancelling loses
        nothing. One reader only.
        """

    def open_stream(self, *, bidirectional: bool, priority: int = 0, early: bool = False) -> int:
        """Open a stream without waiting; bytes wait here until the peer allows the stream.

        Args:
            bidirectional: whether the peer may answer on it.
            priority: lower values are sent first; equal ones share fairly.
            early: its bytes may leave before the server has answered: no harm is done when
                they come twice.

        Raises:
            LocalError: too many streams wait for the peer's permission.
            SessionClosed: the connection is over.
        """

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Queue bytes. Writes to a stream that ended meanwhile are dropped.

        Raises:
            LocalError: the connection's hard bound of unsent bytes is passed.
        """

    def writable(self, stream: int) -> bool:
        """Whether the stream (and the connection) is below its high-water mark."""

    async def drain(self, stream: int) -> None:
        """Wait until `writable`; returns at once when the stream or connection has ended."""

    def settled(self, stream: int) -> bool:
        """Whether a stream that we have ended has arrived in whole, or was given up.

        Where nothing can overtake (TCP), it is enough that all of it has left.
        """

    def set_priority(self, stream: int, priority: int) -> None:
        """Change a stream's place in the order of sending."""

    def reset(self, stream: int, code: int) -> None:
        """Drop unsent bytes and abandon our sending side."""

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to stop sending; later `StreamData` of the stream is suppressed."""

    def send_datagram(self, data: bytes, *, early: bool = False) -> bool:
        """Send unreliably; False when it is too large, unsupported, or the queue is full.

        And False before the server has answered, unless `early` says that it may come twice.
        """

    def ping(self) -> None:
        """Ask the peer for a sign of life now; until it comes, `unacked_bytes` is not 0.

        Over TCP, which asks again by itself, that is not always so.
        """

    def close(self, code: int = 0, reason: str = "") -> None:
        """Close after trying to send what is queued. Idempotent."""

    async def wait_closed(self) -> None:
        """Wait until the connection is over and its last packets have left."""

    def stats(self) -> Stats:
        """Take the counters."""


class Listener(Protocol):
    """Accepts connections on one address, all kinds that the engine serves."""

    @property
    def addresses(self) -> Sequence[tuple[str, int]]:
        """Bound host and port pairs; real ports where 0 was asked for."""

    async def accept(self) -> Connection:
        """Wait for the next connection, its protocol negotiated.

        Raises:
            SessionClosed: the listener is closed.
        """

    def counters(self) -> Mapping[str, int]:
        """Take what the engine counts beside its connections, by names fit for metrics."""

    def refuse(self) -> None:
        """Turn new connections away from now on; those that are there go on."""

    async def close(self, code: int = 0, reason: str = "") -> None:
        """Refuse new connections, close the open ones, free the port."""
