"""The half that answers: requests of the peer's served, groups sent.

draft-lcurley-moq-lite, sections "Announce", "Subscribe", "Fetch", "Track" and "Group".
"""

from collections.abc import Sequence
from typing import TypeVar

from moqvox.errors import LocalError
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import SendDatagram
from moqvox.session.interface import Announcement
from moqvox.session.lite.anticipated import Anticipations
from moqvox.session.lite.groups import Sending
from moqvox.session.lite.served import (
    Served,
    ServedFetch,
    ServedProbe,
    ServedTrack,
)
from moqvox.session.lite.served_subscription import ServedSubscription
from moqvox.session.lite.served_watch import ServedWatch
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.wire.cursor import Writer
from moqvox.wire.framing import Framer
from moqvox.wire.lite.streams import MAX_DATAGRAM_BYTES, BidiType, Datagram

__all__ = ["Publisher"]

S = TypeVar("S", bound=ControlStream)


class Publisher:
    """What one session answers its peer."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._numbers: set[int] = set()
        self.sending = Sending(streams)
        self.anticipations = Anticipations(self.sending)

    def serve(self, kind: BidiType, name: int, framer: Framer) -> ControlStream | None:
        """Begin a request of the peer's; None for a type that this version has not."""
        match kind:
            case BidiType.ANNOUNCE:
                return ServedWatch(self._streams, name, framer)
            case BidiType.SUBSCRIBE:
                return ServedSubscription(
                    self.sending, name, framer, self._numbers, self.anticipations
                )
            case BidiType.FETCH:
                return ServedFetch(self.sending, name, framer)
            case BidiType.TRACK if self._streams.version.track_stream:
                return ServedTrack(self._streams, name, framer)
            case BidiType.PROBE:
                return ServedProbe(self._streams, name, framer)
            case _:
                return None

    def peer_known(self) -> None:
        """Report the watches that waited for the peer's SETUP."""
        for stream in list(self._streams):
            if isinstance(stream, ServedWatch):
                stream.report()

    def accept_watch(self, request: int, announcements: Sequence[Announcement]) -> None:
        """Answer a watch with what is there."""
        watch = self._find(request, ServedWatch)
        if watch is not None:
            watch.accept(announcements)

    def announce(self, request: int, announcement: Announcement) -> None:
        """Tell a watch of a new or changed broadcast."""
        watch = self._find(request, ServedWatch)
        if watch is not None:
            watch.announce(announcement)

    def unannounce(self, request: int, path: str) -> None:
        """Tell a watch that a broadcast is gone."""
        watch = self._find(request, ServedWatch)
        if watch is not None:
            watch.unannounce(path)

    def anticipate(
        self, number: int, broadcast: str, track: str, wishes: Subscription, *, early: bool
    ) -> int:
        """Serve a subscription before it is asked for."""
        if number in self._numbers:
            raise LocalError(f"subscription {number} is there already")
        return self.anticipations.begin(number, broadcast, track, wishes, early=early)

    def number_of(self, request: int) -> int | None:
        """Tell the number of a live subscription that the peer has asked for."""
        if self.anticipations.is_expected(request):
            return None
        served = self._find(request, ServedSubscription)
        return None if served is None else served.number

    def accept_track(self, request: int, info: TrackInfo) -> None:
        """Answer with a track's facts."""
        served = self._find(request, ServedTrack)
        if served is not None:
            served.accept(info)

    def accept(self, request: int, info: TrackInfo, group_start: int | None) -> None:
        """Accept a subscription."""
        served = self._find(request, ServedSubscription)
        if served is not None:
            served.accept(info, group_start)

    def accept_fetch(self, request: int) -> int:
        """Accept a fetch; its group has the request's name."""
        served = self._find(request, ServedFetch)
        if served is not None:
            served.accept()
        return request

    def reject(self, request: int, code: int) -> None:
        """Refuse or give up a request."""
        stream = self._streams.get(self.anticipations.resolve(request))
        if isinstance(stream, Served):
            stream.reject(code)
        elif isinstance(stream, ServedWatch):
            stream.abandon(code)

    def finish(self, request: int, group_end: int, *, keep_open: bool) -> None:
        """Tell a subscription's end."""
        served = self._find(request, ServedSubscription)
        if served is not None:
            served.finish(group_end, keep_open=keep_open)

    def conclude(self, request: int) -> None:
        """End a finished subscription's stream."""
        served = self._find(request, ServedSubscription)
        if served is not None:
            served.conclude()

    def drop(self, request: int, group_start: int, group_end: int, code: int) -> None:
        """Tell a subscription what will not come."""
        served = self._find(request, ServedSubscription)
        if served is not None:
            served.drop(group_start, group_end, code)

    def open_group(self, request: int, sequence: int, frame_start: int) -> int:
        """Begin a group; for an ended subscription one that leads nowhere."""
        served = self._find(request, ServedSubscription)
        if served is None:
            return self._streams.mint()
        return served.open_group(sequence, frame_start)

    def finish_group(self, group: int) -> None:
        """End a group whole."""
        sent = self.sending.groups.get(group)
        if sent is not None:
            self.sending.finish(sent)

    def reset_group(self, group: int, code: int) -> None:
        """Give a group up."""
        sent = self.sending.groups.get(group)
        if sent is not None:
            self.sending.reset(sent, code)

    def send_datagram(self, request: int, sequence: int, frame: Frame) -> bool:
        """Send a group of one frame, if it fits."""
        version = self._streams.version
        if not version.datagrams:
            return False
        served = self._find(request, ServedSubscription)
        if served is None:
            return False
        if frame.timestamp is None:
            raise LocalError("a frame without timestamp, where the version carries them")
        out = Writer()
        Datagram(served.number, sequence, frame.timestamp, frame.payload).write(out, version)
        data = out.getvalue()
        if len(data) > MAX_DATAGRAM_BYTES:
            return False
        self._streams.actions.append(SendDatagram(data, served.early))
        return True

    def send_probe(self, request: int, bitrate_bps: int, rtt_ms: int) -> None:
        """Send an estimate."""
        served = self._find(request, ServedProbe)
        if served is not None:
            served.answer(bitrate_bps, rtt_ms)

    def clear(self) -> None:
        """Forget everything."""
        self.sending.groups.clear()
        self._numbers.clear()
        self.anticipations.clear()

    def _find(self, request: int, kind: type[S]) -> S | None:
        stream = self._streams.get(self.anticipations.resolve(request))
        if stream is None or isinstance(stream, kind):
            return stream
        raise LocalError(f"request {request} is of another kind")
