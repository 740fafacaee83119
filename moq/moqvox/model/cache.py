"""What stays for late joiners, for how long and at what cost. Pure decisions, no clock.

A track's groups stand on a `Shelf`, bounded in groups, bytes and age; the shelves of an
origin share a `Budget` in bytes. What goes first, on a shelf as in a budget:

1. whole groups that are not their track's newest, the oldest first;
2. unfinished groups that are not their track's newest, the oldest first;
3. the head frames of the newest group (an open microphone is one group for an hour).

The last frame of a track's newest group always stays, so that a track published once and
seldom changed, as a catalog, can be joined at any time.
"""

from bisect import bisect_left, bisect_right, insort
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Protocol, TypeVar

import msgspec

from moqvox.frame import Frame, Subscription

__all__ = [
    "FRAME_BYTES",
    "GROUP_BYTES",
    "Budget",
    "Entry",
    "Limits",
    "Sequences",
    "Shelf",
    "cost",
    "expired",
    "history",
]

FRAME_BYTES: Final = 416
"""What a kept frame takes beyond its payload once it was sent in two wire versions.

Measured on CPython 3.11 (tests/unit/model/test_cache.py measures it again): the frame, its
timestamp, the payload's object header, the two encoded headers and their dict, its places
in the group's list and table.
"""

GROUP_BYTES: Final = 1_024
"""What a kept group takes without frames and readers: measured as `FRAME_BYTES` is."""

SHED_PART: Final = 8
"""Trimming frees an eighth more than it must, so that it is rare."""


class Limits(msgspec.Struct, frozen=True, gc=False):
    """Bounds of the tracks of one broadcast. Bytes count overhead (`FRAME_BYTES`).

    Attributes:
        max_groups: groups kept per track, unfinished ones included.
        max_bytes: bytes kept per track.
        max_age: seconds a whole group stays once a newer one exists; a publisher's smaller
            `TrackInfo.max_age_ms` rules. Groups that a reader is still on stay longer.
        max_lag_bytes: unread bytes after which a reader loses its oldest group.
        max_tracks: live tracks of a broadcast.
        max_requests: unanswered requests of a broadcast.
    """

    max_groups: int = 4_096
    max_bytes: int = 32 * 1024 * 1024
    max_age: float = 60.0
    max_lag_bytes: int = 16 * 1024 * 1024
    max_tracks: int = 1_024
    max_requests: int = 1_024


def cost(frame: Frame) -> int:
    """Bytes that a kept frame takes."""
    return len(frame.payload) + len(frame.properties) + FRAME_BYTES


class Entry(Protocol):
    """What a shelf must know of a group."""

    sequence: int
    size_bytes: int
    finished: bool
    arrived: float | None
    retired_at: float

    def evict(self) -> None:
        """Drop all frames; readers that still need them end as too far behind."""

    def trim(self, excess_bytes: int) -> int:
        """Drop frames from the head, but never the last one; returns the bytes freed."""

    def needed(self) -> bool:
        """Tell whether a reader still has to read frames of it."""


E = TypeVar("E", bound=Entry)


def expired(arrived: float | None, newest: float | None, max_age_ms: int) -> bool:
    """Tell whether a group is too old beside the newest one (moq-lite, "Expiration").

    Args:
        arrived: when the group's first frame came; None = not yet, so it is not old.
        newest: when the newest group's first frame came; None = there is no newer one.
        max_age_ms: what the subscriber allows. Ages count in whole milliseconds, so that
            groups out of one batch of packets do not oust each other at 0.
    """
    return (
        arrived is not None and newest is not None and newest - arrived >= (max_age_ms + 1) / 1000
    )


def history(
    groups: Mapping[int, E],
    subscription: Subscription,
    *,
    latest: int | None,
    newest: float | None,
    max_bytes: int,
) -> list[E]:
    """Choose what a new reader gets of the past, lowest sequence first.

    The latest group, and with a maximum age those not older than that; with an exact
    `group_start` that is kept and no maximum age, everything from there on. What is more
    than `max_bytes` is left out at the old end, down to a single group.
    """
    start, end = subscription.group_start or 0, subscription.group_end
    exact = is_exact(groups, subscription)
    if not exact and not subscription.max_age_ms:
        sequences = [latest] if latest is not None and latest in groups else []
    else:
        sequences = sorted(groups, reverse=True)
    chosen: list[E] = []
    total_bytes = 0
    for sequence in sequences:
        group = groups[sequence]
        if sequence < start:
            break
        old = not exact and expired(group.arrived, newest, subscription.max_age_ms)
        if (end is not None and sequence > end) or (old and sequence != latest):
            continue
        total_bytes += group.size_bytes
        if chosen and total_bytes > max_bytes:
            break
        chosen.append(group)
    chosen.reverse()
    return chosen


def is_exact(groups: Mapping[int, E], subscription: Subscription) -> bool:
    """Tell whether the subscriber asks for exactly the kept groups from `group_start` on."""
    return subscription.max_age_ms == 0 and subscription.group_start in groups


class Sequences:
    """A set of group sequences in ranges, bounded: the two lowest ranges merge when full.

    So a gap between long forgotten groups counts as forgotten as well.
    """

    MAX_RANGES: Final = 256

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __contains__(self, sequence: int) -> bool:
        at = bisect_right(self._starts, sequence) - 1
        return at >= 0 and sequence <= self._ends[at]

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, sequence: int) -> None:
        """Put one sequence in."""
        if sequence in self:
            return
        at = bisect_right(self._starts, sequence)
        joins_left = at > 0 and self._ends[at - 1] == sequence - 1
        joins_right = at < len(self._starts) and self._starts[at] == sequence + 1
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_left:
            self._ends[at - 1] = sequence
        elif joins_right:
            self._starts[at] = sequence
        else:
            self._starts.insert(at, sequence)
            self._ends.insert(at, sequence)
            if len(self._starts) > self.MAX_RANGES:
                del self._starts[1], self._ends[0]


class Shelf:
    """The kept groups of one track, in order of arrival.

    Args:
        limits: the track's bounds.
        budget: what the track's bytes also count against.
        max_age: seconds that whole groups stay once a newer one exists.
    """

    def __init__(self, limits: Limits, budget: "Budget", max_age: float) -> None:
        self.max_age = max_age
        self.size_bytes = 0
        self.latest: int | None = None
        self._limits = limits
        self._budget = budget
        self._keeps_newest = True
        self._entries: dict[int, Entry] = {}
        self._retired: list[int] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Entry, now: float) -> None:
        """Put a group up, and make room for it."""
        self._budget.sweep(now)
        if not self._entries:
            self._budget.join(self, now)
        self._entries[entry.sequence] = entry
        before = self._entries.get(self.latest) if self.latest is not None else None
        if self.latest is None or entry.sequence > self.latest:
            self.latest = entry.sequence
            if self._keeps_newest and before is not None and before.finished:
                self._retire(before, now)
        self.charge(entry.size_bytes)

    def charge(self, size_bytes: int) -> None:
        """Count bytes that a group has taken; evict what is over the bounds."""
        self.size_bytes += size_bytes
        budget, limits = self._budget, self._limits
        budget.size_bytes += size_bytes
        if self.size_bytes > limits.max_bytes or len(self._entries) > limits.max_groups:
            self._fit()
        if budget.size_bytes > budget.max_bytes:
            budget.fit()

    def finish(self, entry: Entry, now: float) -> None:
        """Let a whole group age unless it is the newest."""
        if entry.sequence in self._entries and not self._is_newest(entry):
            self._retire(entry, now)

    def remove(self, entry: Entry) -> None:
        """Take a group down without a word to its readers."""
        if self._entries.pop(entry.sequence, None) is None:
            return
        if self._budget.forget(entry):
            del self._retired[bisect_left(self._retired, entry.sequence)]
        self._release(entry.size_bytes)
        if not self._entries:
            self._budget.leave(self)

    def evict(self, entry: Entry) -> None:
        """Take a group down; readers on it end as too far behind."""
        self.remove(entry)
        entry.evict()

    def release_newest(self, now: float) -> None:
        """Let the newest group age like the others; for when nobody can join any more."""
        if not self._keeps_newest:
            return
        self._keeps_newest = False
        newest = self._entries.get(self.latest) if self.latest is not None else None
        if newest is not None and newest.finished:
            self._retire(newest, now)

    def shed(self, excess_bytes: int) -> None:
        """Free about `excess_bytes` of what is not yet whole or is the newest."""
        goal = self.size_bytes - excess_bytes
        while self.size_bytes > goal and (entry := self._oldest()) is not None:
            self.evict(entry)
        newest = self._entries.get(self.latest) if self.latest is not None else None
        if self.size_bytes > goal and newest is not None:
            self._release(newest.trim(self.size_bytes - goal))

    def _fit(self) -> None:
        limits = self._limits
        while self._retired and self._is_over():
            self.evict(self._entries[self._retired[0]])
        while self._is_over() and (entry := self._oldest()) is not None:
            self.evict(entry)
        if self.size_bytes > limits.max_bytes:
            self.shed(self.size_bytes - limits.max_bytes + limits.max_bytes // SHED_PART)

    def _is_over(self) -> bool:
        limits = self._limits
        return self.size_bytes > limits.max_bytes or len(self._entries) > limits.max_groups

    def _is_newest(self, entry: Entry) -> bool:
        return self._keeps_newest and entry.sequence == self.latest

    def _oldest(self) -> Entry | None:
        return next((e for e in self._entries.values() if not self._is_newest(e)), None)

    def _retire(self, entry: Entry, now: float) -> None:
        entry.retired_at = now
        insort(self._retired, entry.sequence)
        self._budget.retire(entry, self)

    def _release(self, size_bytes: int) -> None:
        self.size_bytes -= size_bytes
        self._budget.size_bytes -= size_bytes


class Budget:
    """Bytes that many tracks may keep together, overhead counted.

    It also ages: whole groups leave when their time is over, or up to a quarter of it
    (at least `SWEEP_SECONDS`) later, when any track of the budget gets a group or somebody
    calls `sweep`. There is no timer: until then the bound in bytes holds.
    """

    SWEEP_PART: Final = 4
    SWEEP_SECONDS: Final = 0.25

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.max_bytes = max_bytes
        self.size_bytes = 0
        self._shelves: dict[Shelf, None] = {}
        self._retired: OrderedDict[Entry, Shelf] = OrderedDict()
        self._sweep_at = 0.0
        self._shed_at_bytes = 0

    def sweep(self, now: float) -> None:
        """Release whole groups that are past their age and that no reader is on."""
        if now < self._sweep_at:
            return
        shortest = min((shelf.max_age for shelf in self._shelves), default=0.0)
        self._sweep_at = now + max(shortest / self.SWEEP_PART, self.SWEEP_SECONDS)
        due = []
        for entry, shelf in self._retired.items():
            age = now - entry.retired_at
            if age <= shortest:
                break
            if age > shelf.max_age:
                due.append((entry, shelf))
        for entry, shelf in due:
            if not entry.needed():
                shelf.evict(entry)

    def fit(self) -> None:
        """Get below the bound again, the oldest whole groups first, then the fattest tracks."""
        while self._retired and self.size_bytes > self.max_bytes:
            entry, shelf = next(iter(self._retired.items()))
            shelf.evict(entry)
        if self.size_bytes <= self.max_bytes:
            self._shed_at_bytes = 0
        elif self.size_bytes > self._shed_at_bytes:
            self._shed()

    def _shed(self) -> None:
        goal = self.max_bytes - self.max_bytes // SHED_PART
        before = self.size_bytes + 1
        while goal < self.size_bytes < before:
            before = self.size_bytes
            for shelf in sorted(self._shelves, key=_size, reverse=True):
                if self.size_bytes <= goal:
                    break
                shelf.shed(min(self.size_bytes - goal, shelf.size_bytes // 4))
        # Where only single newest frames are left, looking again at each write is no use.
        stuck = self.size_bytes > self.max_bytes
        self._shed_at_bytes = self.size_bytes + self.max_bytes // 16 if stuck else 0

    def join(self, shelf: Shelf, now: float) -> None:
        """Take part in the budget."""
        self._shelves[shelf] = None
        soon = max(shelf.max_age / self.SWEEP_PART, self.SWEEP_SECONDS)
        self._sweep_at = min(self._sweep_at, now + soon)

    def leave(self, shelf: Shelf) -> None:
        """Hold nothing any more."""
        self._shelves.pop(shelf, None)

    def retire(self, entry: Entry, shelf: Shelf) -> None:
        """Count a group among those that may go."""
        self._retired[entry] = shelf

    def forget(self, entry: Entry) -> bool:
        """Forget a group that has gone; tells whether it was retired."""
        return self._retired.pop(entry, None) is not None


def _size(shelf: Shelf) -> int:
    return shelf.size_bytes
