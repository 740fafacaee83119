"""The reading end of a track, and what happens to a slow reader.

The rules are told in docs/decisions/0003-slow-readers.md: groups expire by the reader's own
`max_age_ms`, it loses its oldest group past `max_lag_bytes`, and neither the publisher nor
another reader notices.
"""

from bisect import insort
from collections.abc import AsyncIterator, Callable, Iterable
from operator import attrgetter

from moqvox.errors import StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model import cache, group
from moqvox.model.bell import Bell
from moqvox.model.drops import Drops
from moqvox.model.feed import Feed

__all__ = ["Consumer"]

_BY_SEQUENCE = attrgetter("sequence")


class Consumer:
    """The reading end of a track.

    `wake` is called when a poll, of groups, of drops or of a group handed out, might
    return something new: at most once between two polls of the same kind, so poll until
    there is nothing; for an early end always. Close it, or the publisher goes on for nobody.
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
        self._drops = Drops()
        self._first: int | None = None
        self._settled = 0
        self._later: group.Group | None = None
        self._aside: dict[int, group.Group] = {}
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
        self._set_aside(feed.groups.values())
        self._note_later()
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
        it miss. When nobody asks, the oldest of `Drops.MAX_RANGES` is forgotten.
        """
        self._waiting_drop = True
        return self._drops.take()

    @property
    def ended(self) -> bool:
        """Whether every group was handed out and no more will come.

        With a `group_end`, also when all up to it were handed out or dropped, or later ones
        have been coming for longer than `max_age_ms`: what was overtaken is too old then.
        """
        if self._closed:
            return True
        if self._feed.code is not None:
            return False
        self._take()
        return not self._pending and (self._feed.end is not None or self._is_past_end())

    @property
    def group_end(self) -> int | None:
        """Exclusive end of what this reader gets, once it is known."""
        end, last = self._feed.end, self.subscription.group_end
        if last is not None and (end is not None or self.ended):
            return min(last + 1, last + 1 if end is None else end)
        return end

    def update(self, subscription: Subscription) -> None:
        """Change wishes; they rule what is not handed out yet, the age rules all.

        A later end takes in kept groups that were past the former one when they came; an earlier
        start or a larger age does not bring the past back.
        """
        self._take()
        self.subscription = subscription
        self._floor = max(self._floor, subscription.group_start or 0)
        waiting = [*self._pending, *self._aside.values()]
        self._pending = sorted((g for g in waiting if self._wants(g.sequence)), key=_BY_SEQUENCE)
        self._aside = {}
        self._set_aside(waiting)
        self._note_later()
        self.expire()
        self.arrived()
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
        self._aside.clear()
        self._open.clear()
        self._drops = Drops()
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
        self._aside.clear()
        self._waiting_group = False
        self._ring()

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
        if self._later is not None:
            self.arrived()

    def lost(self, lost: group.Group, code: int) -> None:
        """A group can't be handed out any more."""
        self._aside.pop(lost.sequence, None)
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
                if self._pending:
                    insort(self._pending, arrived, key=_BY_SEQUENCE)
                else:
                    self._pending.append(arrived)
            elif arrived.sequence >= self._floor:
                self._later = self._later or arrived
                self._aside[arrived.sequence] = arrived
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
        self._settled += 1
        return reader

    def _forget_read(self) -> None:
        active = []
        for reader in self._open:
            if reader.active:
                active.append(reader)
            else:
                reader.group.detach(reader)
        self._open = active
        self._forget_at = max(8, 2 * len(self._open))

    def _set_aside(self, groups: Iterable[group.Group]) -> None:
        """Remember groups past the wished end, for which it may be moved."""
        end = self.subscription.group_end
        if end is not None:
            self._aside.update((kept.sequence, kept) for kept in groups if kept.sequence > end)

    def _note_later(self) -> None:
        """Remember the first kept group past the wished end."""
        end = self.subscription.group_end
        groups = self._feed.groups.values()
        later = (kept for kept in groups if end is not None and kept.sequence > end)
        self._later = next(later, None)

    def _is_past_end(self) -> bool:
        wishes, first = self.subscription, self.start()
        if wishes.group_end is None or first is None:
            return False
        if self._settled > wishes.group_end - first:
            return True
        later, newest = self._later, self._feed.newest_arrived
        return later is not None and cache.expired(later.arrived, newest, wishes.max_age_ms)

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
        self._drops.add(start, end, code)
        self._settled += end + 1 - start
        if self._waiting_drop:
            self._waiting_drop = False
            self._ring()

    def _ring(self) -> None:
        if self._wake is not None:
            self._wake()
        self._bell.ring()
