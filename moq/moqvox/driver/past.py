"""One past group asked of the peer, on behalf of one local reader."""

import asyncio

from moqvox.driver.asking import UNANSWERED, Asking, Source
from moqvox.errors import StreamCode
from moqvox.frame import Frame, TrackInfo
from moqvox.model import broadcast, group
from moqvox.session import events

__all__ = ["UpstreamFetch"]


class UpstreamFetch:
    """A fetch passed on to the peer. It is given up when its reader leaves."""

    def __init__(self, owner: Asking, remote: Source, request: broadcast.FetchRequest) -> None:
        self._owner = owner
        self._remote = remote
        self._request = request
        self._info = TrackInfo()
        self._info_request: int | None = None
        self._fetch: int | None = None
        self._producer: group.Producer | None = None
        self._skip = 0
        self._patience: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Ask for the track's facts first: they tell the unit of the timestamps."""
        self._watch_reader()
        self._info_request = self._owner.pump.session.track_info(
            self._remote.path, self._request.name
        )
        if self._info_request is None:
            self._ask()
        else:
            self._owner.requests[self._info_request] = self

    def receive(self, event: events.Event) -> None:
        """Take one event about our requests or the group."""
        match event:
            case events.TrackInfoReceived(info=info):
                self._owner.requests.pop(event.request, None)
                self._info_request = None
                self._info = info
                self._ask()
            case events.GroupOpened(frame_start=frame_start):
                # Versions without frame ranges send the group from its first frame on.
                self._skip = self._request.frame_start - frame_start
                self._producer = self._request.accept(self._info)
            case events.FrameReceived(frame=frame):
                self._take(frame)
            case events.GroupFinished():
                if self._producer is not None:
                    self._producer.finish()
                self._done()
            case events.GroupReset(code=code) | events.RequestFailed(code=code):
                self.close(code)
            case _:
                pass

    def close(self, code: int) -> None:
        """Give up."""
        if self._producer is None:
            self._request.reject(code)
        else:
            self._producer.abort(code)
        for request in (self._info_request, self._fetch):
            if request is not None:
                self._owner.pump.session.cancel(request)
        self._done()

    def _take(self, frame: Frame) -> None:
        if self._producer is None:
            return
        if self._skip > 0:
            self._skip -= 1
            return
        if frame.timestamp is None:
            frame.timestamp = int(self._owner.pump.now() * self._info.timescale)
        self._producer.write(frame)
        if not self._producer.used:
            self.close(StreamCode.CANCELLED)

    def _ask(self) -> None:
        request = self._request
        self._fetch = self._owner.pump.session.fetch(
            self._remote.path,
            request.name,
            group=request.group,
            priority=request.priority,
            frame_start=request.frame_start,
            frame_end=request.frame_end,
        )
        self._owner.requests[self._fetch] = self

    def _watch_reader(self) -> None:
        """Give up a fetch that the peer leaves unanswered, once nobody waits for it."""
        if self._producer is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(UNANSWERED, self._look)

    def _look(self) -> None:
        if self._producer is None and not self._request.wanted:
            self.close(StreamCode.CANCELLED)
            self._owner.pump.woken.set()
        else:
            self._watch_reader()

    def _done(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        for request in (self._info_request, self._fetch):
            if request is not None:
                self._owner.requests.pop(request, None)
        self._owner.forget_groups(self)
        self._remote.forget(self)
