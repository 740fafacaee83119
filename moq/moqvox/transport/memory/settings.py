"""What a link in memory does to packets, and what its connections hold at most."""

from typing import Final

import msgspec

from moqvox.errors import LocalError
from moqvox.transport.send_queue import Marks
from moqvox.transport.streams.grant import Grant

__all__ = ["SECONDS", "Limits", "LinkSettings"]

SECONDS: Final = 1e-3
"""One millisecond in seconds."""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What one direction of a link does.

    Attributes:
        loss: percent, each packet by itself; 100 is as dead as an outage.
        delay_ms: added to every packet.
        jitter_ms: up to this much more, uniform; order is kept.
        reorder: percent held back `reorder_ms` longer, so that others overtake them.
        duplicate: percent that arrive once more, `reorder_ms` later.
        rate_kbps: 1000 bits per second; 0 is no limit. The sender knows the rate and keeps
            what does not fit yet, so no queue stands in front of the link.

    Raises:
        LocalError: a value out of range.
    """

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    reorder: float = 0.0
    reorder_ms: float = 20.0
    duplicate: float = 0.0
    rate_kbps: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate"):
            percent = getattr(self, name)
            if not 0 <= percent <= 100:
                raise LocalError(f"{name} of {percent} %, 0 to 100 is possible")
        for name in ("delay_ms", "jitter_ms", "reorder_ms", "rate_kbps"):
            amount = getattr(self, name)
            if not 0 <= amount < 1e9:
                raise LocalError(f"{name} of {amount}, 0 or more is possible")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of a connection, the same on both sides.

    Attributes:
        stream_window_bytes: received and unread bytes of one stream.
        connection_window_bytes: received and unread bytes of all streams.
        max_bidi_streams: streams of each direction that the peer may have open at once; a
            new one is allowed for each that has ended and was read to its end.
        max_uni_streams: as above.
        max_blocked_streams: our own streams that may wait for the peer's permission.
        max_datagrams: datagrams waiting in each direction; more are dropped.
        max_datagram_bytes: the largest that is sent; 0 turns them off.
        max_path_changes: reported before they are read; more are only counted.
        max_unaccepted: connections that wait for a listener's `accept`; more are refused.
        idle_timeout: seconds without a sign of the peer after which it is lost. Keep-alive packets
            are implied: time counts only while nothing could arrive.
        linger: seconds that a close may take to deliver what is queued.
        marks: bounds of the send queue.
    """

    stream_window_bytes: int = 256 * 1024
    connection_window_bytes: int = 1024 * 1024
    max_bidi_streams: int = 128
    max_uni_streams: int = 1024
    max_blocked_streams: int = 1024
    max_datagrams: int = 256
    max_datagram_bytes: int = 1150
    max_path_changes: int = 16
    max_unaccepted: int = 1000
    idle_timeout: float = 30.0
    linger: float = 3.0
    marks: Marks = Marks()

    def grant(self) -> Grant:
        """What each side lets the other send at first."""
        return Grant(
            max_data=self.connection_window_bytes,
            max_stream_data_bidi_local=self.stream_window_bytes,
            max_stream_data_bidi_remote=self.stream_window_bytes,
            max_stream_data_uni=self.stream_window_bytes,
            max_streams_bidi=self.max_bidi_streams,
            max_streams_uni=self.max_uni_streams,
        )
