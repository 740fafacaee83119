"""Groups: frames in order, one writer, many readers.

`Group` is what they share: one list of frames. Writing appends to it and wakes the readers
that have polled since they were last woken; polling is an index into it. There is no task,
no queue and no copy per reader (bench/model.py measures both).
"""

import sys
from array import array
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable

from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.frame import Frame
from moqvox.model import cache
from moqvox.model.bell import Bell
from moqvox.model.ledger import Ledger

__all__ = ["Consumer", "Group", "Producer"]


class Group:
    """The frames of a group, and who reads them.

    Attributes:
        head: index of the first kept frame; grows when the cache drops frames.
        arrival: place in the track's order of arrival.
        arrived: loop time of the first frame, None before it.
        evicted: given up by the cache; what is written goes nowhere.
        retired_at: loop time since which the cache counts its age (the cache's own).
    """

    __slots__ = (
        "_before_bytes",
        "_ends_bytes",
        "_ledger",
        "_readers",
        "arrival",
        "arrived",
        "code",
        "evicted",
        "finished",
        "frame_start",
        "frames",
        "head",
        "retired_at",
        "sequence",
        "size_bytes",
    )

    def __init__(self, ledger: Ledger, sequence: int, frame_start: int, arrival: int) -> None:
        self.sequence = sequence
        self.frame_start = frame_start
        self.arrival = arrival
        self.arrived: float | None = None
        self.frames: list[Frame] = []
        self.head = frame_start
        self.size_bytes = cache.GROUP_BYTES
        self.finished = False
        self.evicted = False
        self.code: int | None = None
        self.retired_at = 0.0
        self._ledger = ledger
        self._readers: dict[Consumer, None] = {}
        # Bytes written up to the end of each kept frame, and before the first one, so that
        # what a reader has not read is one subtraction.
        self._ends_bytes = array("q")
        self._before_bytes = 0

    def append(self, frame: Frame) -> None:
        """Add a frame and wake the readers."""
        size_bytes = len(frame.payload) + len(frame.properties) + cache.FRAME_BYTES
        ends_bytes = self._ends_bytes
        ends_bytes.append((ends_bytes[-1] if ends_bytes else self._before_bytes) + size_bytes)
        self.frames.append(frame)
        self.size_bytes += size_bytes
        if self.arrived is None:
            self._ledger.began(self)
        self._ledger.wrote(size_bytes)
        self._wake()

    def finish(self) -> None:
        """Make it whole."""
        self.finished = True
        self._ledger.finished(self)
        self._wake()
        for reader in tuple(self._readers):
            if not reader.active:
                self.detach(reader)

    def abort(self, code: int) -> None:
        """End all readers that have not read everything, and drop the frames."""
        self.code = code
        self._ledger.lost(self, code)
        for reader in tuple(self._readers):
            reader.cut(code)
        self._clear()

    def evict(self) -> None:
        """Drop all frames; readers that still need them end as too far behind."""
        self.evicted = True
        self._ledger.lost(self, StreamCode.TOO_FAR_BEHIND)
        for reader in tuple(self._readers):
            reader.cut(StreamCode.TOO_FAR_BEHIND)
        self._clear()

    def trim(self, excess_bytes: int) -> int:
        """Drop frames from the head, but never the last one; returns the bytes freed."""
        wanted = bisect_left(self._ends_bytes, self._before_bytes + excess_bytes) + 1
        count = min(wanted, len(self.frames) - 1)
        if count <= 0:
            return 0
        freed_bytes = self._ends_bytes[count - 1] - self._before_bytes
        self.size_bytes -= freed_bytes
        self._before_bytes = self._ends_bytes[count - 1]
        del self.frames[:count], self._ends_bytes[:count]
        self.head += count
        for reader in tuple(self._readers):
            if reader.position < self.head:
                reader.cut(StreamCode.TOO_FAR_BEHIND)
        return freed_bytes

    def needed(self) -> bool:
        """Tell whether a reader still has to read frames of it."""
        return self._ledger.awaited(self) or any(reader.unread_bytes for reader in self._readers)

    def unread_bytes(self, position: int, end: int = sys.maxsize) -> int:
        """Bytes from frame `position` on, before frame `end`."""
        ends_bytes = self._ends_bytes
        index = max(position - self.head, 0)
        count = min(end - self.head, len(ends_bytes))
        if index >= count:
            return 0
        return ends_bytes[count - 1] - (ends_bytes[index - 1] if index else self._before_bytes)

    def start_within(self, max_bytes: int) -> int:
        """Index of the first frame from which on there are at most `max_bytes`, or one frame."""
        ends_bytes = self._ends_bytes
        if not ends_bytes or ends_bytes[-1] - self._before_bytes <= max_bytes:
            return self.head
        index = bisect_left(ends_bytes, ends_bytes[-1] - max_bytes) + 1
        return self.head + min(index, len(ends_bytes) - 1)

    def attach(self, reader: "Consumer") -> None:
        """Let a reader know of changes."""
        self._readers[reader] = None

    def detach(self, reader: "Consumer") -> None:
        """Forget a reader."""
        if reader in self._readers:
            del self._readers[reader]
            self._ledger.left(self)

    @property
    def used(self) -> bool:
        """Whether anybody reads it."""
        return bool(self._readers)

    def _wake(self) -> None:
        for reader in tuple(self._readers):
            if reader.waiting:
                reader.waiting = False
                if reader.wake is not None:
                    reader.wake()
                if reader.bell is not None:
                    reader.bell.ring()

    def _clear(self) -> None:
        self.head += len(self.frames)
        if self._ends_bytes:
            self._before_bytes = self._ends_bytes[-1]
        self.frames, self._ends_bytes = [], array("q")
        self.size_bytes = 0
        self._readers.clear()


class Producer:
    """The writing end of a group; made by a track.

    It is never held up by readers. Once the cache has given the group up, writing goes on
    without effect.
    """

    __slots__ = ("_group", "frame_start", "sequence")

    def __init__(self, group: Group) -> None:
        self.sequence = group.sequence
        self.frame_start = group.frame_start
        self._group = group

    def write(self, frame: Frame) -> None:
        """Append a frame; it belongs to the readers from now on.

        Raises:
            LocalError: the group was finished or aborted.
        """
        group = self._group
        if group.finished or group.code is not None:
            raise LocalError(f"write to group {self.sequence}, which is closed")
        if not group.evicted:
            group.append(frame)

    def finish(self) -> None:
        """Make the group whole. Again, or after an abort, it does nothing."""
        if not self.closed:
            self._group.finish()

    def abort(self, code: int) -> None:
        """End the group early: readers get `StreamEnded` at once, unread frames included.

        A finished group may still be aborted (a spoken answer is interrupted long after it
        was written); readers that have read all of it do not notice.
        """
        if self._group.code is None:
            self._group.abort(code)

    @property
    def closed(self) -> bool:
        """Whether it was finished or aborted."""
        return self._group.finished or self._group.code is not None

    @property
    def next_index(self) -> int:
        """Index of the frame that `write` appends next."""
        return self._group.head + len(self._group.frames)

    @property
    def used(self) -> bool:
        """Whether anybody reads the group now."""
        return self._group.used

    def consume(self) -> "Consumer":
        """Make a reader of all kept frames and those to come."""
        return Consumer(self._group)


class Consumer:
    """The reading end of a group.

    `wake` is called when a poll might return something new: for frames and the end at most
    once between two polls, so poll until there is nothing; for an early end always.

    Attributes:
        sequence: the group's place in the track.
        frame_start: index of the first frame this reader gets.
        wake: called on news; a track's groups share the track reader's.
        position: index of the next frame.
        waiting: polled since last woken (the model's own).
        bell: for `read` (the model's own).
    """

    __slots__ = (
        "_closed",
        "_code",
        "_end",
        "_group",
        "bell",
        "frame_start",
        "position",
        "sequence",
        "waiting",
        "wake",
    )

    def __init__(
        self,
        group: Group,
        *,
        frame_start: int = 0,
        frame_end: int | None = None,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self.sequence = group.sequence
        self.frame_start = self.position = max(frame_start, group.head)
        self.wake = wake
        self.waiting = True
        self.bell: Bell | None = None
        self._group = group
        self._end = sys.maxsize if frame_end is None else frame_end + 1
        self._code = group.code
        self._closed = False
        if self._code is None:
            group.attach(self)

    def poll(self) -> Frame | None:
        """Take the next frame, None when there is none (yet).

        Raises:
            StreamEnded: the group was aborted, this reader is too far behind
                (TOO_FAR_BEHIND), or the group too old for it (DELIVERY_TIMEOUT).
        """
        self.waiting = True
        if self._code is not None:
            raise StreamEnded(self._code)
        frames, index = self._group.frames, self.position - self._group.head
        if index < len(frames) and self.position < self._end and not self._closed:
            self.position += 1
            return frames[index]
        if not self.active:
            self._group.detach(self)
        return None

    def check(self) -> None:
        """Raise what `poll` would raise, but take no frame; news wake as after a poll."""
        self.waiting = True
        if self._code is not None:
            raise StreamEnded(self._code)

    @property
    def ended(self) -> bool:
        """Whether everything wanted was read and nothing more will come."""
        if self._code is not None:
            return False
        return self._closed or self._has_all()

    @property
    def group(self) -> Group:
        """The shared group (the model's own)."""
        return self._group

    @property
    def active(self) -> bool:
        """Whether a poll may still bring frames."""
        return self._code is None and not self._closed and not self._has_all()

    @property
    def unread_bytes(self) -> int:
        """Bytes, overhead counted, that are there and unread."""
        return self._group.unread_bytes(self.position, self._end) if self.active else 0

    async def read(self) -> Frame | None:
        """Wait for the next frame; None at the end.

        Raises:
            StreamEnded: as `poll`.
        """
        if self.bell is None:
            self.bell = Bell()
        while (frame := self.poll()) is None and not self.ended:
            await self.bell.wait()
        return frame

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        frame = await self.read()
        if frame is None:
            raise StopAsyncIteration
        return frame

    def close(self) -> None:
        """Want no more; `wake` is not called again."""
        if self._closed:
            return
        self._closed = True
        self._code = None
        self.wake = None
        self._group.detach(self)
        if self.bell is not None:
            self.bell.ring()

    def cut(self, code: int) -> None:
        """End this reader early unless it has read everything (the model's own).

        It is woken even if it has not polled since it was last: one that is held up with
        frames unread must hear at once that they are void.
        """
        if not self.active:
            return
        self._code = code
        self._group.detach(self)
        self.waiting = False
        if self.wake is not None:
            self.wake()
        if self.bell is not None:
            self.bell.ring()

    def _has_all(self) -> bool:
        group = self._group
        if self.position >= self._end:
            return True
        return group.finished and self.position - group.head >= len(group.frames)
