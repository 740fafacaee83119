"""What readers of a broadcast want and nobody has yet: a track, or one past group."""

import asyncio
from collections.abc import Callable

from moqvox.errors import LocalError, Refused
from moqvox.frame import Subscription, TrackInfo
from moqvox.model import cache, track
from moqvox.model import group as groups
from moqvox.model.demand import combine
from moqvox.model.feed import Feed

__all__ = ["FetchRequest", "TrackRequest"]


class TrackRequest:
    """A wish for a track; one per name, however many wait for it.

    Args:
        name: the track.
        create: makes the track once the request is accepted.
        abandon: called when the last one waiting has gone.
    """

    def __init__(
        self,
        name: str,
        *,
        create: Callable[["TrackRequest", TrackInfo], track.Producer],
        abandon: Callable[["TrackRequest"], None],
    ) -> None:
        self.name = name
        self.answered = False
        self._create = create
        self._abandon = abandon
        self._infos: dict[asyncio.Future[TrackInfo], None] = {}
        self._readers: dict[asyncio.Future[track.Consumer], Subscription] = {}

    @property
    def subscription(self) -> Subscription | None:
        """What those who wait to read want together; None while only its facts are wanted."""
        return combine(self._readers.values())

    @property
    def wanted(self) -> bool:
        """Whether anybody waits."""
        return bool(self._infos or self._readers)

    def accept(self, info: TrackInfo) -> track.Producer:
        """Create the track in the broadcast; those who wait become its readers.

        Raises:
            LocalError: answered already, or the broadcast has closed.
        """
        if self.answered:
            raise LocalError(f"the request for track {self.name!r} was answered already")
        return self._create(self, info)

    def reject(self, code: int, reason: str = "") -> None:
        """Refuse all who wait; does nothing when answered already."""
        if self.answered:
            return
        self.answered = True
        waiting: list[asyncio.Future[TrackInfo] | asyncio.Future[track.Consumer]]
        waiting = [*self._infos, *self._readers]
        for asker in waiting:
            if not asker.done():
                asker.set_exception(Refused.of(code, reason))
        self._abandon(self)

    def fulfil(self, producer: track.Producer) -> None:
        """Give the track to all who wait (the broadcast's own)."""
        self.answered = True
        for asker in self._infos:
            if not asker.done():
                asker.set_result(producer.info)
        for reader, subscription in self._readers.items():
            if not reader.done():
                reader.set_result(producer.consume(subscription))

    async def info(self) -> TrackInfo:
        """Wait for the track's facts (the broadcast's own)."""
        asker: asyncio.Future[TrackInfo] = asyncio.get_running_loop().create_future()
        self._infos[asker] = None
        try:
            return await asker
        finally:
            del self._infos[asker]
            self._left()

    async def consumer(self, subscription: Subscription) -> track.Consumer:
        """Wait to become a reader of the track (the broadcast's own)."""
        reader: asyncio.Future[track.Consumer] = asyncio.get_running_loop().create_future()
        self._readers[reader] = subscription
        try:
            return await reader
        except asyncio.CancelledError:
            if reader.done() and not reader.cancelled() and reader.exception() is None:
                reader.result().close()
            raise
        finally:
            del self._readers[reader]
            self._left()

    def _left(self) -> None:
        if not self.answered and not self.wanted:
            self._abandon(self)


class FetchRequest:
    """A wish for the frames of one group that is not kept here.

    Attributes:
        name: the track.
        group: its sequence.
        frame_start: first frame wanted.
        frame_end: last frame wanted, inclusive; None = all.
        priority: 0 to 255, higher is sent first.
        answered: whether it was accepted or rejected.
    """

    def __init__(
        self,
        name: str,
        group: int,
        *,
        frame_start: int,
        frame_end: int | None,
        priority: int,
        limits: cache.Limits,
        budget: cache.Budget,
        abandon: Callable[["FetchRequest"], None],
    ) -> None:
        self.name = name
        self.group = group
        self.frame_start = frame_start
        self.frame_end = frame_end
        self.priority = priority
        self.answered = False
        self._limits = limits
        self._budget = budget
        self._abandon = abandon
        self._asker: asyncio.Future[tuple[TrackInfo, groups.Consumer]] | None = None

    @property
    def wanted(self) -> bool:
        """Whether the asker still waits."""
        return self._asker is not None and not self._asker.done()

    def accept(self, info: TrackInfo) -> groups.Producer:
        """Begin the group; its frames are kept for the asker only, as long as he reads.

        Raises:
            LocalError: answered already.
        """
        if self.answered:
            raise LocalError(f"the fetch of group {self.group} was answered already")
        self.answered = True
        self._abandon(self)
        feed = Feed(self.name, info, self._limits, self._budget, joinable=False)
        begun = feed.create(self.group, self.frame_start)
        if self._asker is None or self._asker.done():
            feed.left(begun)
        else:
            reader = groups.Consumer(begun, frame_start=self.frame_start, frame_end=self.frame_end)
            self._asker.set_result((info, reader))
        return groups.Producer(begun)

    def reject(self, code: int, reason: str = "") -> None:
        """Refuse the asker; does nothing when answered already."""
        if self.answered:
            return
        self.answered = True
        self._abandon(self)
        if self._asker is not None and not self._asker.done():
            self._asker.set_exception(Refused.of(code, reason))

    async def consumer(self) -> tuple[TrackInfo, groups.Consumer]:
        """Wait for the group (the broadcast's own)."""
        asker: asyncio.Future[tuple[TrackInfo, groups.Consumer]]
        asker = self._asker = asyncio.get_running_loop().create_future()
        try:
            return await asker
        except asyncio.CancelledError:
            if asker.done() and not asker.cancelled() and asker.exception() is None:
                asker.result()[1].close()
            raise
        finally:
            if not self.answered:
                self._abandon(self)
