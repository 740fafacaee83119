"""Broadcasts: tracks by name, published outright or made when somebody asks."""

from collections import deque
from collections.abc import AsyncIterator, Callable

from moqvox.errors import LocalError, NotFound, Refused, StreamCode
from moqvox.frame import Subscription, TrackInfo
from moqvox.model import cache, track
from moqvox.model import group as groups
from moqvox.model.bell import Bell
from moqvox.model.feed import Feed
from moqvox.model.request import FetchRequest, TrackRequest

__all__ = ["Consumer", "FetchRequest", "Producer", "TrackRequest"]

PLAIN = TrackInfo()
LIMITS = cache.Limits()


class Producer:
    """The publishing end of a broadcast. Close it: its tracks and its cache live until then.

    Args:
        dynamic: what nobody has is asked for through `requests`; else it is not found.
        limits: bounds of its tracks and requests.
        budget: shared with other broadcasts; None = one of its own.
    """

    def __init__(
        self,
        *,
        dynamic: bool = False,
        limits: cache.Limits = LIMITS,
        budget: cache.Budget | None = None,
    ) -> None:
        self.dynamic = dynamic
        self._limits = limits
        self._budget = cache.Budget() if budget is None else budget
        self._tracks: dict[str, track.Producer] = {}
        self._requested: set[str] = set()
        self._asked: dict[str, TrackRequest] = {}
        self._fetches: dict[FetchRequest, None] = {}
        self._queue: deque[TrackRequest | FetchRequest] = deque()
        self._serving = False
        self._ended: tuple[int, str] | None = None
        self._bell = Bell()
        self._closing: dict[Callable[[], None], None] = {}

    def create_track(self, name: str, info: TrackInfo = PLAIN) -> track.Producer:
        """Publish a track; who waits for one of that name gets it.

        Raises:
            LocalError: the name is live, there are too many tracks, or the broadcast closed.
        """
        old = self._tracks.get(name)
        if self._ended is not None:
            raise LocalError(f"track {name!r} of a broadcast that is closed")
        if old is not None and not old.closed:
            raise LocalError(f"track {name!r} is live already")
        if old is None and len(self._tracks) >= self._limits.max_tracks:
            raise LocalError(f"more than {self._limits.max_tracks} tracks in a broadcast")
        if old is not None:
            self.remove_track(name)
        feed = Feed(name, info, self._limits, self._budget)
        made = self._tracks[name] = track.Producer(feed, on_end=self._track_ended)
        request = self._asked.pop(name, None)
        if request is not None:
            self._unqueue(request)
            request.fulfil(made)
        return made

    def remove_track(self, name: str) -> None:
        """Forget a track, so that the next who wants it is asked for anew; its readers go on."""
        self._requested.discard(name)
        removed = self._tracks.pop(name, None)
        if removed is not None:
            removed.retire()

    async def requests(self) -> AsyncIterator[TrackRequest | FetchRequest]:
        """Iterate over what readers want and nobody has, until the broadcast closes.

        At most `Limits.max_requests` may be unanswered; more are refused as excessive load.

        Raises:
            LocalError: the broadcast is not dynamic, or somebody iterates already.
        """
        if not self.dynamic or self._serving:
            raise LocalError("requests have one reader, and only where a broadcast is dynamic")
        self._serving = True
        try:
            while self._ended is None:
                if self._queue:
                    yield self._queue.popleft()
                else:
                    await self._bell.wait()
        finally:
            self._serving = False

    def close(self, code: int = StreamCode.CANCELLED, reason: str = "") -> None:
        """Abort all tracks and refuse all requests, those already taken included."""
        if self._ended is not None:
            return
        self._ended = code, reason
        self._queue.clear()
        unanswered: list[TrackRequest | FetchRequest] = [*self._asked.values(), *self._fetches]
        for request in unanswered:
            request.reject(code, reason)
        for live in tuple(self._tracks.values()):
            live.abort(code, reason)
            live.retire()
        self._tracks.clear()
        self._requested.clear()
        self._bell.ring()
        closing, self._closing = self._closing, {}
        for call in closing:
            call()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._ended is not None

    def consume(self) -> "Consumer":
        """Make a reading end."""
        return Consumer(self)

    # For the reading end

    def find(self, name: str) -> track.Producer | None:
        """Return the track to read, None when nobody has it.

        Raises:
            Refused: it was aborted, or the broadcast has closed.
        """
        if self._ended is not None:
            raise Refused.of(*self._ended)
        found = self._tracks.get(name)
        if found is not None and found.aborted is not None:
            raise Refused.of(*found.aborted)
        return found

    def ask(self, name: str) -> TrackRequest:
        """Request a track, or join the request that is under way.

        Raises:
            Refused: not found, or there are too many tracks or requests.
        """
        asked = self._asked.get(name)
        if asked is None:
            self._admit(f"no track {name!r}")
            if len(self._tracks) + len(self._asked) >= self._limits.max_tracks:
                raise Refused(StreamCode.EXCESSIVE_LOAD, "too many tracks in the broadcast")
            asked = TrackRequest(name, create=self._accept, abandon=self._abandon_track)
            self._asked[name] = asked
            self._enqueue(asked)
        return asked

    def ask_group(
        self, name: str, group: int, *, frame_start: int, frame_end: int | None, priority: int
    ) -> FetchRequest:
        """Request a past group.

        Raises:
            Refused: not found, or there are too many requests.
        """
        self._admit(f"no group {group} of track {name!r}")
        fetch = FetchRequest(
            name,
            group,
            frame_start=frame_start,
            frame_end=frame_end,
            priority=priority,
            limits=self._limits,
            budget=self._budget,
            abandon=self._abandon_fetch,
        )
        self._fetches[fetch] = None
        self._enqueue(fetch)
        return fetch

    def call_when_closed(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call once when the broadcast closes; returns what takes that back."""
        self._closing[call] = None

        def take_back() -> None:
            self._closing.pop(call, None)

        return take_back

    async def wait_closed(self) -> None:
        """Wait until the broadcast closes."""
        while self._ended is None:
            await self._bell.wait()

    def _admit(self, missing: str) -> None:
        if not self.dynamic:
            raise NotFound(missing)
        if len(self._asked) + len(self._fetches) >= self._limits.max_requests:
            raise Refused(StreamCode.EXCESSIVE_LOAD, "too many unanswered requests")

    def _enqueue(self, request: TrackRequest | FetchRequest) -> None:
        self._queue.append(request)
        self._bell.ring()

    def _unqueue(self, request: TrackRequest | FetchRequest) -> None:
        if request in self._queue:
            self._queue.remove(request)

    def _accept(self, request: TrackRequest, info: TrackInfo) -> track.Producer:
        made = self.create_track(request.name, info)
        self._requested.add(request.name)
        return made

    def _abandon_track(self, request: TrackRequest) -> None:
        """Forget a request nobody waits for, unless somebody works on it."""
        if request.answered or request in self._queue:
            self._unqueue(request)
            if self._asked.get(request.name) is request:
                del self._asked[request.name]

    def _abandon_fetch(self, request: FetchRequest) -> None:
        if request.answered or request in self._queue:
            self._unqueue(request)
            self._fetches.pop(request, None)

    def _track_ended(self, ended: track.Producer) -> None:
        if ended.name in self._requested and self._tracks.get(ended.name) is ended:
            self.remove_track(ended.name)


class Consumer:
    """The reading end of a broadcast; any number of readers may share it."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer

    async def info(self, name: str) -> TrackInfo:
        """Get a track's facts, asking the publisher where need be.

        Raises:
            Refused: the publisher refuses, or the track or broadcast has ended.
            NotFound: there is no such track.
        """
        found = self._producer.find(name)
        return found.info if found is not None else await self._producer.ask(name).info()

    async def subscribe(
        self, name: str, subscription: Subscription = track.LATEST
    ) -> track.Consumer:
        """Read a track, asking the publisher where need be.

        Raises:
            Refused: the publisher refuses, or the track or broadcast has ended.
            NotFound: there is no such track.
        """
        found = self._producer.find(name)
        if found is not None:
            return found.consume(subscription)
        return await self._producer.ask(name).consumer(subscription)

    async def fetch(
        self,
        name: str,
        group: int,
        *,
        frame_start: int = 0,
        frame_end: int | None = None,
        priority: int = 128,
    ) -> tuple[TrackInfo, groups.Consumer]:
        """Read one past group, from the cache or by asking the publisher.

        Args:
            name: the track.
            group: its sequence.
            frame_start: first frame wanted.
            frame_end: last frame wanted, inclusive; None = all, those still to come included.
            priority: 0 to 255, for the way from the publisher, among fetches: 0 for bulk, which
                then waits for whatever fills a gap. All live groups go before any.

        Raises:
            Refused: the publisher refuses, or the track or broadcast has ended.
            NotFound: there is no such group.
        """
        found = self._producer.find(name)
        if found is not None:
            reader = found.fetch(group, frame_start=frame_start, frame_end=frame_end)
            if reader is not None:
                return found.info, reader
        asked = self._producer.ask_group(
            name, group, frame_start=frame_start, frame_end=frame_end, priority=priority
        )
        return await asked.consumer()

    @property
    def closed(self) -> bool:
        """Whether the publisher closed it."""
        return self._producer.closed

    async def wait_closed(self) -> None:
        """Wait until the publisher closes it."""
        await self._producer.wait_closed()

    def call_when_closed(self, call: Callable[[], None]) -> Callable[[], None]:
        """Call once when the broadcast closes; returns what takes that back."""
        return self._producer.call_when_closed(call)
