"""The engine's stream tables: idle streams cost nothing per packet, urgent ones go first.

Upstream visits every open stream for every packet. Here it sees only the streams that have
something to do, in the order in which they should be served.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from aioquic.quic.stream import QuicStream

from moqvox.transport.aioquic.limits import Limits

if TYPE_CHECKING:
    from moqvox.transport.aioquic.private.receiver import Receiver
    from moqvox.transport.aioquic.private.sender import Sender

__all__ = ["CREDIT_STEPS", "BusyStreams", "HeldStream", "StreamTable"]

CREDIT_STEPS: Final = 4
"""Credit goes out once a quarter of a window was read: one frame for many reads."""

NONE: Final[frozenset[int]] = frozenset()

MAX_LIVE: Final = 64
"""Pieces of live streams remembered until the next packet."""


class HeldStream(QuicStream):
    """A stream that is kept until the application has read its end.

    Attributes:
        priority: lower values are served first.
        handed_bytes: how much of it the application has read.
        is_released: the application has read its end, or there is nothing to read.
    """

    priority: int
    handed_bytes: int
    is_released: bool
    sender: "Sender"  # type: ignore[mutable-override]  # set once, when it is adopted
    receiver: "Receiver"  # type: ignore[mutable-override]  # as above

    @property
    def is_finished(self) -> bool:
        """Whether the engine may discard it."""
        return self.is_released and self.receiver.is_finished and self.sender.is_finished

    @property
    def is_busy(self) -> bool:
        """Whether the engine has anything to do for it.

        Nothing at all is said of a stream that the peer has not allowed yet: upstream would
        send its reset, which breaks the peer's limit (RFC 9000, section 4.6).
        """
        sender = self.sender
        has_words = not sender.buffer_is_empty or sender.reset_pending or self.receiver.stop_pending
        return (has_words and not self.is_blocked) or self.is_finished

    @property
    def has_more_than_data(self) -> bool:
        """Whether it has anything to do but to send bytes and its end."""
        return self.sender.reset_pending or self.receiver.stop_pending or self.is_finished


def _priority(stream: HeldStream) -> int:
    return stream.priority


class BusyStreams(list[HeldStream]):
    """The streams worth a look when a packet is written, urgent ones first.

    Among equals the order of arrival rules, and those that were served go to the end.

    Attributes:
        has_only_data: whether bytes, or the end, are all that any of them has to send.
    """

    __slots__ = ("has_only_data", "is_sorted", "members")

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[int | None, None] = {}
        self.is_sorted = True
        self.has_only_data = True

    def reset(self, streams: Iterable[HeldStream]) -> None:
        """Begin anew with those of these that have more to do."""
        if self:
            self.clear()
            self.members.clear()
        self.has_only_data = True
        for stream in streams:
            self.append(stream)

    def append(self, stream: HeldStream) -> None:
        """Add it, once, if it has something to do."""
        if not stream.is_busy:
            return
        if stream.has_more_than_data:
            self.has_only_data = False
        if stream.stream_id not in self.members:
            self._add(stream)

    def append_fed(self, stream: HeldStream) -> None:
        """Add one that the peer has allowed and that was just given bytes, or its end."""
        if stream.stream_id not in self.members:
            self._add(stream)

    def _add(self, stream: HeldStream) -> None:
        self.members[stream.stream_id] = None
        super().append(stream)
        self.is_sorted = False

    def serve(self, served: list[HeldStream]) -> None:
        """Move those that were served to the end, and let go of those that have no more."""
        left = [stream for stream in self if stream not in served]
        left += [stream for stream in served if not stream.sender.buffer_is_empty]
        self[:] = left
        self.members = {stream.stream_id: None for stream in left}
        self.is_sorted = len(left) < 2

    def extend(self, streams: Iterable[HeldStream]) -> None:
        """Add those that have more to do."""
        for stream in streams:
            self.append(stream)

    def in_order(self) -> "BusyStreams":
        """Sort; returns itself."""
        if len(self) > 1:
            self.sort(key=_priority)
        self.is_sorted = True
        return self


def _refuse_credit(_limit: int) -> bool:
    """Raise no limit of a connection that is over."""
    return False


class StreamTable(dict[int, HeldStream]):
    """The engine's streams by ID, and the books on their bytes.

    Attributes:
        busy: the streams with something to do.
        due: those with a limit to announce; all that upstream sees of `values`.
        discarded: streams that ended in every respect since `take_discarded`.
        held: those of ours that may not send before the handshake is complete.
        fed_bytes: bytes given to the engine, without those that a reset made pointless.
        watches_live: whether `take_live` is to tell what live streams are fed.
        under_way_of: lists start, stop and end mark of a sender's frames on the way.
    """

    under_way_of: Callable[["Sender"], Iterable[tuple[int, int, bool]]]

    def __init__(
        self,
        adopt: Callable[[QuicStream], HeldStream],
        raise_max_data: Callable[[int], bool],
        limits: Limits,
    ) -> None:
        super().__init__()
        self.busy = BusyStreams()
        self.due: dict[int, HeldStream] = {}
        self.discarded: list[int] = []
        self.held: dict[int, None] = {}
        self.fed_bytes = 0
        self.watches_live = False
        self._live: list[tuple[int, int, int]] = []
        self._adopt = adopt
        self._raise_max_data = raise_max_data
        self._handed_bytes = 0
        self._unsettled = NONE
        self._limits = limits

    def __setitem__(self, stream_id: int, stream: QuicStream) -> None:
        """Take over a stream that upstream just made, before it is used."""
        super().__setitem__(stream_id, self._adopt(stream))

    def pop(self, stream_id: int) -> HeldStream:  # type: ignore[override]  # the one use of it
        """Discard a finished stream."""
        self.due.pop(stream_id, None)
        self.discarded.append(stream_id)
        return super().pop(stream_id)

    def values(self) -> list[HeldStream]:  # type: ignore[override]  # upstream only iterates
        """List the streams that may have a MAX_STREAM_DATA to send."""
        return list(self.due.values())

    def dismantle(self) -> None:
        """Let go of all streams, and of the engine; remember which were never settled."""
        self._unsettled = frozenset(
            stream_id for stream_id, stream in self.items() if not stream.sender.is_finished
        )
        self.clear()
        self.due.clear()
        self.busy.reset(())
        self._raise_max_data = _refuse_credit
        del self._adopt, self.under_way_of

    def owe(self, stream: QuicStream) -> None:
        """Announce a stream's limit with the next packet."""
        stream_id = stream.stream_id
        if stream_id is not None and stream_id in self:
            self.due[stream_id] = self[stream_id]

    def settle(self, stream: QuicStream) -> None:
        """Note that a stream's limit went out."""
        if stream.stream_id is not None:
            self.due.pop(stream.stream_id, None)

    def take_discarded(self) -> list[int]:
        """Take the streams that ended in every respect since the last call."""
        discarded, self.discarded = self.discarded, []
        return discarded

    def wake(self, stream_id: int | None) -> None:
        """Look at a stream when the next packet is written, if it has anything to do."""
        stream = self.get(stream_id) if stream_id is not None else None
        if stream is not None:
            self.busy.append(stream)

    def allowance(self, stream_id: int) -> int:
        """Count the bytes that a stream may send under the peer's limits; -1: not even its end."""
        stream = self.get(stream_id)
        if stream is None or stream.is_blocked or stream_id in self.held:
            return -1
        return stream.max_stream_data_remote - stream.sender.end_offset

    def feed(self, stream_id: int, data: bytes, *, fin: bool) -> None:
        """Give bytes to the engine; dropped when the sending side has ended."""
        stream = self.get(stream_id)
        if stream is not None and stream.sender.takes_bytes:
            stream.sender.write(data, end_stream=fin)
            self.fed_bytes += len(data)
            if stream.is_blocked:
                self.busy.append(stream)
            else:
                self.busy.append_fed(stream)
            if self.watches_live and data and stream.priority < self._limits.redundant_below:
                if len(self._live) >= MAX_LIVE:
                    del self._live[0]
                stop = stream.sender.end_offset
                self._live.append((stream_id, stop - len(data), stop))

    def take_live(self) -> list[tuple[int, int, int]]:
        """Take stream, start and stop of what live streams were fed since the last call."""
        live = self._live
        if live:
            self._live = []
        return live

    def lacks(self, stream_id: int, start: int, stop: int, thin_bytes: int) -> bool:
        """Whether some of a range has not arrived, and its stream is thin enough to copy."""
        stream = self.get(stream_id)
        if stream is None or stream.sender.held_bytes > thin_bytes:
            return False
        return stream.sender.lacks(start, stop)

    def under_way(self, thin_bytes: int) -> list[tuple[int, int, int]]:
        """Find stream, start and stop of what live, thin streams have sent or are about to."""
        found: list[tuple[int, int, int]] = []
        for stream_id, stream in self.items():
            sender = stream.sender
            start, stop = sender.released_offset, sender.end_offset
            is_live = stream.priority < self._limits.redundant_below
            if is_live and start < stop <= start + thin_bytes:
                found.append((stream_id, start, stop))
        return found

    def has_live_under_way(self) -> bool:
        """Whether bytes of a live stream, thin or not, have not arrived as far as we know."""
        return any(
            stream.priority < self._limits.redundant_below
            and stream.sender.released_offset < stream.sender.highest_offset
            for _, stream in self.items()
        )

    def repeat(self, stream_id: int, start: int, stop: int) -> int:
        """Send what was sent of a range again, unless it has arrived; how many bytes."""
        stream = self.get(stream_id)
        return stream.sender.repeat(start, stop) if stream is not None else 0

    def settled(self, stream_id: int) -> bool:
        """Whether the peer has acknowledged the end of our sending side, or its reset."""
        stream = self.get(stream_id)
        if stream is None:
            return stream_id not in self._unsettled
        return stream.sender.is_finished

    def set_priority(self, stream_id: int, priority: int) -> None:
        """Change the place of what the engine already has."""
        stream = self.get(stream_id)
        if stream is not None:
            stream.priority = priority
            self.busy.is_sorted = False

    def abandon(self, stream_id: int, code: int) -> None:
        """Reset our sending side, if it is still open."""
        stream = self.get(stream_id)
        if stream is not None:
            stream.sender.reset(code)
            self.wake(stream_id)

    def refuse(self, stream_id: int, code: int) -> None:
        """Send STOP_SENDING, if the peer's side is still open."""
        stream = self.get(stream_id)
        if stream is not None and not stream.receiver.is_finished:
            stream.receiver.stop(code)
            self.wake(stream_id)

    def hand_over(self, stream_id: int, size: int) -> bool:
        """Note that the application has read bytes; whether new credit should go out."""
        self._handed_bytes += size
        handed_bytes = self._handed_bytes
        grown = self._raise_max_data(handed_bytes + self._limits.connection_window(handed_bytes))
        stream = self.get(stream_id)
        if stream is None:
            return grown
        stream.handed_bytes += size
        window = self._limits.stream_window(stream.handed_bytes)
        limit = stream.handed_bytes + window
        growth = limit - stream.max_stream_data_local
        if growth * CREDIT_STEPS >= window and not stream.receiver.is_finished:
            stream.max_stream_data_local = limit
            self.owe(stream)
            grown = True
        return grown

    def release(self, stream_id: int) -> bool:
        """Note that the end of a stream was read; whether there is something to send.

        Bytes that a reset swallowed are credited to the connection.
        """
        stream = self.get(stream_id)
        if stream is None or stream.is_released:
            return False
        swallowed = stream.receiver.highest_offset - stream.handed_bytes
        grown = swallowed > 0 and self.hand_over(stream_id, swallowed)
        stream.is_released = True
        self.wake(stream_id)
        return grown or stream.is_finished
