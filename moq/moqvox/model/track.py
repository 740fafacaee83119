"""Tracks: groups in order of arrival, one producer, many readers, each with its own wishes."""

from collections.abc import Callable
from typing import Final

from moqvox.errors import LocalError
from moqvox.frame import Subscription
from moqvox.model import group
from moqvox.model.demand import combine
from moqvox.model.feed import Feed
from moqvox.model.reader import Consumer

__all__ = ["LATEST", "Consumer", "Producer"]

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
