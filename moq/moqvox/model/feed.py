"""What a track's producer and its readers share: the kept groups, and who must hear of them."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from moqvox.errors import LocalError
from moqvox.frame import Subscription, TrackInfo
from moqvox.model import cache
from moqvox.model.bell import Bell
from moqvox.model.group import Group

__all__ = ["MAX_SEQUENCE", "Feed", "Reader"]

MAX_SEQUENCE: Final = 2**62 - 2
"""Highest group sequence that every version can also name as an exclusive end."""

LAG_CHECKS: Final = 16
"""Lag is looked at each time this part of its bound was written, so it may pass by that part."""


class Reader(Protocol):
    """What a feed tells the readers of its track."""

    subscription: Subscription

    def arrived(self) -> None:
        """A group was added."""

    def expire(self) -> None:
        """Another group is the newest now: give up what is too old beside it."""

    def lost(self, group: Group, code: int) -> None:
        """A group can't be handed out any more."""

    def dropped(self, group_start: int, group_end: int, code: int) -> None:
        """The publisher will not send these groups."""

    def finished(self) -> None:
        """The track will open no more groups."""

    def aborted(self) -> None:
        """The track has ended early."""

    def awaits(self, group: Group) -> bool:
        """Tell whether the group is yet to be handed out."""

    def limit_lag(self, max_lag_bytes: int) -> None:
        """Give up the oldest unread groups until no more than that is unread."""


class Feed:
    """The state of one track.

    Attributes:
        groups: kept groups by sequence, in order of arrival.
        arrivals: groups that ever arrived; a reader's cursor counts them.
        latest: highest sequence ever opened.
        newest: the highest sequence that has a frame, and when that came (loop time).
        end: exclusive end once the track is finished.
        code: why the track was aborted, None while it was not.
        wake: called when readers come, go or change their wishes.
        bell: rung with it.
    """

    def __init__(
        self,
        name: str,
        info: TrackInfo,
        limits: cache.Limits,
        budget: cache.Budget,
        *,
        joinable: bool = True,
    ) -> None:
        self.name = name
        self.info = info
        self.limits = limits
        self.groups: dict[int, Group] = {}
        self.arrivals = 0
        self.latest: int | None = None
        self.newest: tuple[int, float] | None = None
        self.end: int | None = None
        self.code: int | None = None
        self.reason = ""
        self.readers: dict[Reader, None] = {}
        self.wake: Callable[[], None] | None = None
        self.bell = Bell()
        age = info.max_age_ms / 1000
        max_age = min(limits.max_age, age) if age else limits.max_age
        self._shelf = cache.Shelf(limits, budget, max_age)
        self._gone = cache.Sequences()
        self._joinable = True
        self._unchecked_bytes = 0
        if not joinable:
            self.close()

    def create(self, sequence: int, frame_start: int) -> Group:
        """Open a group.

        Raises:
            LocalError: the track ended before it, or the sequence is taken.
        """
        if self.code is not None or (self.end is not None and sequence >= self.end):
            raise LocalError(f"group {sequence} of track {self.name!r}, which has ended")
        if not (0 <= sequence <= MAX_SEQUENCE and frame_start >= 0):
            raise LocalError(f"group {sequence} from frame {frame_start} is out of range")
        if sequence in self.groups or sequence in self._gone:
            raise LocalError(f"group {sequence} of track {self.name!r} exists or existed already")
        group = Group(self, sequence, frame_start, self.arrivals)
        self.arrivals += 1
        self.groups[sequence] = group
        self.latest = sequence if self.latest is None else max(self.latest, sequence)
        self._shelf.add(group, _now())
        for reader in tuple(self.readers):
            reader.arrived()
        return group

    def began(self, group: Group) -> None:
        """Note that the first frame is there."""
        group.arrived = _now()
        if self.newest is None or group.sequence > self.newest[0]:
            self.newest = group.sequence, group.arrived
            for reader in tuple(self.readers):
                reader.expire()

    def wrote(self, size_bytes: int) -> None:
        """Note that a frame was added; evict, trim and cut off what is over the bounds."""
        self._shelf.charge(size_bytes)
        self._unchecked_bytes += size_bytes
        if self._unchecked_bytes * LAG_CHECKS >= self.limits.max_lag_bytes:
            self._unchecked_bytes = 0
            for reader in tuple(self.readers):
                reader.limit_lag(self.limits.max_lag_bytes)

    def finished(self, group: Group) -> None:
        """Note that a group is whole."""
        self._shelf.finish(group, _now())

    def lost(self, group: Group, code: int) -> None:
        """Note that a group was aborted or evicted."""
        self._shelf.remove(group)
        if self.groups.pop(group.sequence, None) is not None:
            self._gone.add(group.sequence)
            for reader in tuple(self.readers):
                reader.lost(group, code)

    def left(self, group: Group) -> None:
        """Drop a group that nobody can come to read any more."""
        if self._joinable or self.groups.get(group.sequence) is not group:
            return
        if not (group.used or self.awaited(group)):
            self._shelf.evict(group)

    def awaited(self, group: Group) -> bool:
        """Tell whether a reader has yet to be given the group."""
        return any(reader.awaits(group) for reader in self.readers)

    def join(self, reader: Reader) -> None:
        """Let a reader know of everything from now on."""
        self.readers[reader] = None
        self.demand_changed()

    def leave(self, reader: Reader) -> None:
        """Forget a reader."""
        if reader in self.readers:
            del self.readers[reader]
            self.demand_changed()

    def demand_changed(self) -> None:
        """Tell the producer that its readers want something else."""
        if self.wake is not None:
            self.wake()
        self.bell.ring()

    def drop(self, group_start: int, group_end: int, code: int) -> None:
        """Tell the readers that groups will not come."""
        for reader in tuple(self.readers):
            reader.dropped(group_start, group_end, code)

    def finish(self, end: int) -> None:
        """Open no groups from `end` on."""
        self.end = end
        for reader in tuple(self.readers):
            reader.finished()

    def abort(self, code: int, reason: str) -> None:
        """End all readers and unfinished groups; who reads a whole group may go on."""
        self.code, self.reason = code, reason
        for group in [g for g in self.groups.values() if not g.finished]:
            group.abort(code)
        readers = tuple(self.readers)
        self.readers.clear()
        for reader in readers:
            reader.aborted()
        self.demand_changed()
        self.close()

    def close(self) -> None:
        """Keep groups only for those who read them now: nobody can join any more."""
        self._joinable = False
        self._shelf.release_newest(_now())
        for group in [g for g in self.groups.values() if g.finished]:
            self.left(group)

    @property
    def newest_arrived(self) -> float | None:
        """Loop time of the newest group's first frame."""
        return None if self.newest is None else self.newest[1]


def _now() -> float:
    return asyncio.get_running_loop().time()
