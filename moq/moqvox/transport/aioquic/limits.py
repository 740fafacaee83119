"""Bounds of the engine: what a peer can make us hold, and how long we wait for it."""

from typing import Final

import msgspec

from moqvox.transport.send_queue import Marks

__all__ = [
    "BURST_BYTES",
    "MAX_CRYPTO_FROM_CLIENT",
    "MAX_CRYPTO_FROM_SERVER",
    "MAX_GAPS",
    "PACKET_OVERHEAD_BYTES",
    "SLACK_BYTES",
    "Limits",
]

MAX_GAPS: Final = 512
"""Missing pieces within one stream; an honest window of 256 KiB has at most 220."""

MAX_CRYPTO_FROM_CLIENT: Final = 16 * 1024
"""Handshake bytes kept ahead of the first missing one; a ClientHello has some 300 to 2000."""

MAX_CRYPTO_FROM_SERVER: Final = 64 * 1024
"""The same of a server, whose chain of certificates is in them."""

BURST_BYTES: Final = 16 * 1200
"""Most that waits inside the engine, where a more urgent stream can't overtake it."""

SLACK_BYTES: Final = 2 * 1200
"""What waits there although the congestion window is full, so that an ACK finds work."""

PACKET_OVERHEAD_BYTES: Final = 3 + 16 + 3
"""Short header without connection ID, AEAD tag, frame type and length (RFC 9221)."""


class Limits(msgspec.Struct, frozen=True):
    """Engine limits; the defaults suit voice on the open internet.

    Windows begin small and grow by what the application reads, up to their size, so who sends
    what nobody reads finds the small ones. A connection holds at most `connection_window_bytes`
    that were received and not read, `marks.hard` bytes not sent, and about 3 KiB for each open
    stream.

    Attributes:
        stream_window_bytes: received and unread bytes of one stream.
        connection_window_bytes: received and unread bytes of all streams.
        first_stream_window_bytes: the same while nothing of the stream was read, if that is less.
        first_connection_window_bytes: the same while nothing was read, if that is less.
        max_bidi_streams: streams of each direction that the peer may have open at once;
            a new one is allowed for each that has ended and was read to its end.
        max_uni_streams: as above.
        max_blocked_streams: our own streams that may wait for the peer's permission.
        max_datagrams: datagrams waiting in each direction; more are dropped.
        keep_alive: seconds of silence before a ping; None: a third of the idle time-out, 15 at
            most, for who dialled, half of it for a server.
        linger: seconds that a close may take to deliver what is queued.
        marks: bounds of the send queue.
        handshake_timeout: seconds until an unfinished incoming handshake is dropped.
        max_early_sessions: unfinished incoming handshakes of which each has a session already,
            that may speak with the server's first flight; beyond, sessions begin when their
            handshakes are complete.
        aside_after: seconds after which little is kept of an incoming handshake whose client
            has not answered ours; it goes on when the client does.
        max_awake: incoming handshakes without an answer of which all is kept till then; when
            there are more, little is kept of the oldest at once.
        max_connections: of one listener, all states.
        max_half_open: unfinished incoming handshakes; more are dropped unanswered.
        retry_above_half_open: from here on a new client must prove its address (Retry).
        max_resets: packets of unknown connections that are answered in a second.
        unproven_per_second: handshakes without proof that are begun; beyond, a new client
            must prove its address.
        unproven_burst: at once.
        max_half_open_per_prefix: of one network (IPv4 /24, IPv6 /56) whose clients have
            proven their addresses; more are dropped unanswered.
        max_unproven_per_prefix: of one network without proof; more must prove it.
        handshakes_per_prefix: a second, of one network; beyond, a client must prove its
            address, and one that has is dropped unanswered.
        handshake_burst_per_prefix: at once.
        stream_resets_per_second: streams that a peer may abandon (RESET_STREAM, STOP_SENDING);
            one that goes on faster is disconnected.
        stream_reset_burst: at once.
        max_unaccepted: finished handshakes that wait for `accept`; more are refused.
        max_path_changes: address changes of one connection that `events` reports before
            they are read; more are only counted.
        redundancy: bytes of live streams that may be sent again on suspicion, for each byte
            that they cost on the wire, headers included; 0 turns it off. On a clean path
            nothing is, after the first few hundred bytes.
        redundant_below: streams with priority values below this are live.
        socket_buffer_bytes: asked of the kernel for each socket, each direction.
    """

    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    first_stream_window_bytes: int = 64 * 1024
    first_connection_window_bytes: int = 256 * 1024
    max_bidi_streams: int = 128
    max_uni_streams: int = 1024
    max_blocked_streams: int = 1024
    max_datagrams: int = 256
    keep_alive: float | None = None
    linger: float = 3.0
    marks: Marks = Marks()
    handshake_timeout: float = 10.0
    max_early_sessions: int = 32
    aside_after: float = 1.0
    max_awake: int = 32
    max_connections: int = 10_000
    max_half_open: int = 1000
    retry_above_half_open: int = 100
    max_resets: int = 1000
    unproven_per_second: float = 100.0
    unproven_burst: float = 200.0
    max_half_open_per_prefix: int = 250
    max_unproven_per_prefix: int = 50
    handshakes_per_prefix: float = 100.0
    handshake_burst_per_prefix: float = 1000.0
    stream_resets_per_second: float = 500.0
    stream_reset_burst: float = 5000.0
    max_unaccepted: int = 1000
    max_path_changes: int = 16
    redundancy: float = 1.4
    redundant_below: int = 2 << 79
    socket_buffer_bytes: int = 4 * 1024 * 1024

    def stream_window(self, read_bytes: int) -> int:
        """Size the window of a stream of which so much was read."""
        return min(self.stream_window_bytes, self.first_stream_window_bytes + read_bytes)

    def connection_window(self, read_bytes: int) -> int:
        """Size the window of a connection on whose streams so much was read."""
        return min(self.connection_window_bytes, self.first_connection_window_bytes + read_bytes)
