"""Bounds: what a peer can make us hold, and how long we wait for it."""

from typing import Final

import msgspec

from moqvox.transport.send_queue import Marks

__all__ = [
    "CLOSE_TIMEOUT",
    "MAX_HEAD_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_SEGMENT_BYTES",
    "Limits",
]

MAX_MESSAGE_BYTES: Final = 16384
"""Of one WebSocket message, in both directions; also the largest frame of QMux 00."""

MAX_SEGMENT_BYTES: Final = MAX_MESSAGE_BYTES - 32
"""Bytes of one STREAM frame; peers that are out there refuse more."""

MAX_HEAD_BYTES: Final = 32 * 1024
"""What a client may send before its HTTP request is whole."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds that a peer has to answer a WebSocket close."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one connection, and of the listener.

    A connection holds at most `connection_window_bytes` that were received and not read,
    `marks.hard` bytes not sent, and `burst_bytes` with `max_reply_bytes` in the socket's
    buffer.

    Attributes:
        stream_window_bytes: received and unread bytes of one stream.
        connection_window_bytes: received and unread bytes of all streams.
        max_bidi_streams: streams of each direction that the peer may have open at once;
            a new one is allowed for each that has ended and was read to its end.
        max_uni_streams: as above.
        max_blocked_streams: our own streams that may wait for the peer's permission.
        max_datagrams: datagrams waiting in each direction; more are dropped.
        max_datagram_bytes: largest datagram taken; 0: none.
        keep_alive: seconds of silence before a ping; None: a third of the idle time-out.
        linger: seconds that a close may take to deliver what is queued.
        marks: bounds of the send queue.
        burst_bytes: most that is given to the socket ahead of what is more urgent.
        max_reply_bytes: answers (pongs, credit) that wait for a peer that does not read;
            with more it is cut off.
        handshake_timeout: seconds from accepting TCP to a connection ready for use.
        answer_timeout: seconds that a plain HTTP answer may take to be read.
        max_connections: of one listener, all states.
        max_half_open: unfinished handshakes and HTTP requests; more are cut off.
        max_unaccepted: connections that wait for `accept`; more are refused.
    """

    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    max_bidi_streams: int = 128
    max_uni_streams: int = 1024
    max_blocked_streams: int = 1024
    max_datagrams: int = 256
    max_datagram_bytes: int = 1400
    keep_alive: float | None = None
    linger: float = 3.0
    marks: Marks = Marks()
    burst_bytes: int = 16 * 1024
    max_reply_bytes: int = 256 * 1024
    handshake_timeout: float = 10.0
    answer_timeout: float = 30.0
    max_connections: int = 10_000
    max_half_open: int = 1000
    max_unaccepted: int = 1000
