"""Tracks: groups in order of arrival, one producer, many readers, each with its own wishes.

What happens to a slow reader is decided here and told in docs/decisions/0003-slow-readers.md:
its groups expire by its own `max_age_ms`, it loses its oldest group past `max_lag_bytes`,
and neither the publisher nor another reader notices.
"""

from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Callable
from operator import attrgetter
from typing import Final

from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import cache, group
from moqvox.model.bell import Bell
from moqvox.model.demand import combine
from moqvox.model.feed import Feed

__all__ = ["MAX_DROPS", "Consumer", "Producer"]

MAX_DROPS: Final = 64
"""Ranges of dropped groups kept for a reader that does not ask; the oldest is forgotten."""

_BY_SEQUENCE = attrgetter("sequence")


LATEST: Final = Subscription()
"""The latest group and those to come."""


class Producer:
    """The writing end of a track; made by a broadcast."""

    def __init__(self, feed: Feed, *, on_end: Callable[["Producer"], None] | None = None) -> None:
        self.name = feed.name
        self.info = feed.info
        self._feed = feed
        self._on_end = on_end

    def append_group(self) -> group.Producer:
        """Open the group after the latest.

        Raises:
            LocalError: the track has ended.
        """
        latest = self._feed.latest
        return self.create_group(0 if latest is None else latest + 1)

    def create_group(self, sequence: int, *, frame_start: int = 0) -> group.Producer:
        """Open a group by its sequence, in any order.

        Once finished, groups before the end may still come: streams overtake each other.

        Raises:
            LocalError: the track ended before it, or the sequence is or was in use.
        """
        return group.Producer(self._feed.create(sequence, frame_start))

    def drop(self, group_start: int, group_end: int, code: int) -> None:
        """Tell the readers that groups will not come; both ends inclusive."""
        if group_start > group_end:
            raise LocalError(f"groups {group_start} to {group_end} are not a range")
        self._feed.drop(group_start, group_end, code)

    def finish(self, group_end: int | None = None) -> None:
        """Open no more groups from `group_end` on (exclusive); open ones go on.

        None, or an end that leaves out groups already there, means after the latest.
        """
        feed = self._feed
        if self.closed:
            return
        after_latest = 0 if feed.latest is None else feed.latest + 1
        feed.finish(max(group_end or 0, after_latest))
        self._end()

    def abort(self, code: int, reason: str = "") -> None:
        """End all readers and unfinished groups with `StreamEnded(code)` at once."""
        if self._feed.code is None:
            self._feed.abort(code, reason)
            self._end()

    @property
    def closed(self) -> bool:
        """Whether it was finished or aborted."""
        return self._feed.code is not None or self._feed.end is not None

    @property
    def aborted(self) -> tuple[int, str] | None:
        """Code and reason of the abort, None when there was none."""
        return None if self._feed.code is None else (self._feed.code, self._feed.reason)

    @property
    def latest(self) -> int | None:
        """Highest sequence so far."""
        return self._feed.latest

    @property
    def used(self) -> bool:
        """Whether the track has readers now."""
        return bool(self._feed.readers)

    @property
    def wake(self) -> Callable[[], None] | None:
        """Called when `used` or `demand` may have changed."""
        return self._feed.wake

    @wake.setter
    def wake(self, wake: Callable[[], None] | None) -> None:
        self._feed.wake = wake

    def demand(self) -> Subscription | None:
        """What all readers together want; None = there are none."""
        return combine(reader.subscription for reader in self._feed.readers)

    async def wait_unused(self) -> None:
        """Wait until nobody reads the track."""
        while self.used:
            await self._feed.bell.wait()

    def consume(self, subscription: Subscription = LATEST) -> "Consumer":
        """Make a reader."""
        return Consumer(self._feed, subscription)

    def fetch(
        self, sequence: int, *, frame_start: int = 0, frame_end: int | None = None
    ) -> group.Consumer | None:
        """Read one kept group from `frame_start` to `frame_end` (inclusive), None if not kept."""
        kept = self._feed.groups.get(sequence)
        if kept is None or frame_start < kept.head:
            return None
        return group.Consumer(kept, frame_start=frame_start, frame_end=frame_end)

    def retire(self) -> None:
        """Keep no group for late joiners any more; those who read go on."""
        self._feed.close()

    def _end(self) -> None:
        if self._on_end is not None:
            self._on_end(self)


class Consumer:
    """The reading end of a track.

    `wake` is called when a poll, of groups, of drops or of a group handed out, might
    return something new; at most once between two polls of the same kind: when woken, poll
    until there is nothing. Close it, or the publisher goes on for nobody.
    """

    def __init__(self, feed: Feed, subscription: Subscription) -> None:
        self.name = feed.name
        self.info = feed.info
        self.subscription = subscription
        self._feed = feed
        self._wake: Callable[[], None] | None = None
        self._bell = Bell()
        self._waiting_group = self._waiting_drop = True
        self._closed = False
        self._open: list[group.Consumer] = []
        self._forget_at = 8
        self._drops: deque[tuple[int, int, int]] = deque(maxlen=MAX_DROPS)
        self._first: int | None = None
        self._cursor = feed.arrivals
        self._pending: list[group.Group] = cache.history(
            feed.groups,
            subscription,
            latest=feed.latest,
            newest=feed.newest_arrived,
            max_bytes=feed.limits.max_lag_bytes,
        )
        # Groups that were asked for by number do not expire.
        self._exempt = feed.arrivals if cache.is_exact(feed.groups, subscription) else 0
        self._floor = subscription.group_start or 0
        if not subscription.max_age_ms and feed.latest is not None:
            self._floor = self.start() or 0
        if feed.code is None:
            feed.join(self)

    @property
    def wake(self) -> Callable[[], None] | None:
        """Called on news; groups handed out share it."""
        return self._wake

    @wake.setter
    def wake(self, wake: Callable[[], None] | None) -> None:
        for reader in self._open:
            if reader.wake is self._wake:
                reader.wake = wake
        self._wake = wake

    def start(self) -> int | None:
        """First group this reader is given as things stand; None = nothing published yet."""
        if self._first is not None:
            return self._first
        if self._feed.latest is None:
            return None
        self._take()
        if self._pending:
            return self._pending[0].sequence
        return max(self._feed.latest + 1, self.subscription.group_start or 0)

    def poll_group(self) -> group.Consumer | None:
        """Take the next group: as they arrive; of several, the lowest if ordered else the highest.

        Raises:
            StreamEnded: the track was aborted.
        """
        self._waiting_group = True
        feed = self._feed
        if self._closed:
            return None
        if feed.code is not None:
            raise StreamEnded(feed.code, feed.reason)
        if self._cursor < feed.arrivals:
            self._take()
        if not self._pending:
            return None
        return self._hand_out(self._pending.pop(0 if self.subscription.ordered else -1))

    def poll_drop(self) -> tuple[int, int, int] | None:
        """Take a range of groups that this reader will not get: start, inclusive end, code.

        Groups the publisher dropped, and those the cache or this reader's own bounds made
        it miss. When nobody asks, the oldest of `MAX_DROPS` ranges is forgotten.
        """
        self._waiting_drop = True
        return self._drops.popleft() if self._drops else None

    @property
    def ended(self) -> bool:
        """Whether every group was handed out and no more will come."""
        if self._closed:
            return True
        feed, last = self._feed, self.subscription.group_end
        if feed.code is not None:
            return False
        past = last is not None and feed.latest is not None and feed.latest >= last
        if not past and feed.end is None:
            return False
        self._take()
        return not self._pending

    @property
    def group_end(self) -> int | None:
        """Exclusive end of what this reader gets, once it is known."""
        end, last = self._feed.end, self.subscription.group_end
        if last is not None and (end is not None or self.ended):
            return min(last + 1, last + 1 if end is None else end)
        return end

    def update(self, subscription: Subscription) -> None:
        """Change wishes. They rule groups not handed out yet; the new age rules all at once."""
        self.subscription = subscription
        self._take()
        self._floor = max(self._floor, subscription.group_start or 0)
        self._pending = [g for g in self._pending if self._wants(g.sequence)]
        self.expire()
        self._feed.demand_changed()

    async def next_group(self) -> group.Consumer | None:
        """Wait for the next group; None at the end.

        Raises:
            StreamEnded: the track was aborted.
        """
        while (reader := self.poll_group()) is None and not self.ended:
            await self._bell.wait()
        return reader

    def __aiter__(self) -> AsyncIterator[group.Consumer]:
        return self

    async def __anext__(self) -> group.Consumer:
        reader = await self.next_group()
        if reader is None:
            raise StopAsyncIteration
        return reader

    def close(self) -> None:
        """Want no more groups; those handed out go on until they are closed."""
        if self._closed:
            return
        self._closed = True
        self._wake = None
        self._pending.clear()
        self._open.clear()
        self._drops.clear()
        self._feed.leave(self)
        self._bell.ring()

    # From the feed

    def arrived(self) -> None:
        """A group was added."""
        if self._waiting_group:
            self._waiting_group = False
            self._ring()

    finished = arrived

    def aborted(self) -> None:
        """The track has ended early."""
        self._pending.clear()
        self.arrived()

    def expire(self) -> None:
        """Give up what is too old beside the newest group."""
        if self._open:
            self._forget_read()
            for reader in self._open:
                if self._is_expired(reader.group):
                    reader.cut(StreamCode.DELIVERY_TIMEOUT)
        if self._pending or self._cursor + 1 < self._feed.arrivals:
            self._take()
            for waiting in [g for g in self._pending if self._is_expired(g)]:
                self._give_up(waiting, StreamCode.DELIVERY_TIMEOUT)

    def lost(self, lost: group.Group, code: int) -> None:
        """A group can't be handed out any more."""
        if lost.arrival >= self._cursor:
            if self._wants(lost.sequence):
                self._note_drop(lost.sequence, lost.sequence, code)
        elif lost in self._pending:
            self._give_up(lost, code)

    def dropped(self, group_start: int, group_end: int, code: int) -> None:
        """The publisher will not send these groups."""
        last = self.subscription.group_end
        start = max(group_start, self._floor)
        end = group_end if last is None else min(group_end, last)
        if start <= end:
            self._note_drop(start, end, code)

    def awaits(self, waiting: group.Group) -> bool:
        """Tell whether the group is yet to be handed out."""
        if waiting.arrival >= self._cursor:
            return self._wants(waiting.sequence)
        return waiting in self._pending

    def limit_lag(self, max_lag_bytes: int) -> None:
        """Give up the oldest unread groups until no more than that is unread."""
        if self._cursor < self._feed.arrivals:
            self._take()
        lag_bytes = sum(reader.unread_bytes for reader in self._open)
        lag_bytes += sum(waiting.size_bytes for waiting in self._pending)
        while lag_bytes > max_lag_bytes:
            unread = [reader for reader in self._open if reader.unread_bytes]
            oldest = min(unread, key=_BY_SEQUENCE, default=None)
            if oldest is None and len(self._pending) <= 1:
                break  # when handed out it starts late enough
            if oldest is None or (self._pending and self._pending[0].sequence < oldest.sequence):
                lag_bytes -= self._pending[0].size_bytes
                self._give_up(self._pending[0], StreamCode.TOO_FAR_BEHIND)
            else:
                lag_bytes -= oldest.unread_bytes
                oldest.cut(StreamCode.TOO_FAR_BEHIND)

    def _take(self) -> None:
        """Move groups that arrived since the last time to those waiting, by sequence."""
        if self._cursor == self._feed.arrivals or self._closed:
            return
        for arrived in reversed(self._feed.groups.values()):
            if arrived.arrival < self._cursor:
                break
            if self._wants(arrived.sequence):
                insort(self._pending, arrived, key=_BY_SEQUENCE)
        self._cursor = self._feed.arrivals

    def _hand_out(self, taken: group.Group) -> group.Consumer:
        wishes, limits = self.subscription, self._feed.limits
        start = taken.start_within(limits.max_lag_bytes // 2)
        if taken.sequence == wishes.group_start:
            start = max(start, wishes.frame_start)
        end = wishes.frame_end if taken.sequence == wishes.group_end else None
        reader = group.Consumer(taken, frame_start=start, frame_end=end, wake=self._wake)
        self._open.append(reader)
        if len(self._open) > self._forget_at:
            self._forget_read()
        self._first = taken.sequence if self._first is None else min(self._first, taken.sequence)
        return reader

    def _forget_read(self) -> None:
        for reader in self._open:
            if not reader.active:
                reader.settle()
        self._open = [reader for reader in self._open if reader.active]
        self._forget_at = max(8, 2 * len(self._open))

    def _wants(self, sequence: int) -> bool:
        end = self.subscription.group_end
        return sequence >= self._floor and (end is None or sequence <= end)

    def _is_expired(self, old: group.Group) -> bool:
        newest = self._feed.newest
        if newest is None or old.sequence >= newest[0] or old.arrival < self._exempt:
            return False
        return cache.expired(old.arrived, newest[1], self.subscription.max_age_ms)

    def _give_up(self, waiting: group.Group, code: int) -> None:
        self._pending.remove(waiting)
        self._note_drop(waiting.sequence, waiting.sequence, code)

    def _note_drop(self, start: int, end: int, code: int) -> None:
        if self._drops and self._drops[-1][1:] == (start - 1, code):
            self._drops[-1] = (self._drops[-1][0], end, code)
        else:
            self._drops.append((start, end, code))
        if self._waiting_drop:
            self._waiting_drop = False
            self._ring()

    def _ring(self) -> None:
        if self._wake is not None:
            self._wake()
        self._bell.ring()
