"""Requests of the peer's that we answer: TRACK, FETCH, PROBE.

draft-lcurley-moq-lite, sections "Track", "Fetch" and "Probe".
"""

from moqvox import path as paths
from moqvox.errors import LocalError, StreamCode
from moqvox.frame import TrackInfo
from moqvox.session.events import (
    FetchRequested,
    GroupStopped,
    ProbeRequested,
    RequestCancelled,
    TrackInfoRequested,
)
from moqvox.session.lite.groups import Sending, SentGroup
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.session.priority import fetch_priority
from moqvox.wire.cursor import violation
from moqvox.wire.framing import Framer
from moqvox.wire.lite.message import decode, encode
from moqvox.wire.lite.messages import (
    Fetch,
    Track,
    TrackReply,
)
from moqvox.wire.lite.setup import Probe

__all__ = ["Served", "ServedFetch", "ServedProbe", "ServedTrack"]


class Served(ControlStream):
    """One request of the peer's."""

    __slots__ = ("asked",)

    def __init__(self, streams: Streams, name: int, framer: Framer) -> None:
        super().__init__(streams, name, framer)
        self.asked = False

    @property
    def request(self) -> int:
        """The name by which the application knows it."""
        return self.name

    @property
    def expectant(self) -> bool:
        """Whether the request itself has still to come."""
        return not self.asked

    def receive_fin(self) -> None:
        """Take the end of the peer's side: it has asked all it wants to ask."""
        if not self.asked:
            self.abandon(StreamCode.CANCELLED)

    def receive_reset(self, code: int) -> None:
        """Take the peer's loss of interest."""
        self.break_off(code, "")

    def break_off(self, code: int, reason: str) -> None:
        """End the request for what the peer did."""
        self.reject(code)
        if self.asked:
            self.streams.events.append(RequestCancelled(self.request, code))

    def reject(self, code: int) -> None:
        """End the request for reasons of our own."""
        self.abandon(code)

    def name_of(self, broadcast: str) -> str | None:
        """Bring a broadcast's path into our form; None, and the request refused, if it has none."""
        try:
            return paths.normalise(broadcast)
        except LocalError:
            self.abandon(StreamCode.NOT_FOUND)
            return None


class ServedTrack(Served):
    """The peer asks for a track's facts."""

    __slots__ = ()

    def take(self) -> bool:
        """Take the request; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            raise violation("a second message on a track stream")
        request = decode(Track, body, self.streams.version)
        broadcast = self.name_of(request.broadcast)
        if broadcast is not None:
            self.asked = True
            self.streams.events.append(TrackInfoRequested(self.name, broadcast, request.track))
        return True

    def accept(self, info: TrackInfo) -> None:
        """Answer, and be done."""
        reply = encode(TrackReply(info), self.streams.version)
        self.streams.write(self.name, reply, fin=True)
        self.streams.drop(self.name)


class ServedFetch(Served):
    """The peer asks for a past group, which goes out on the same stream."""

    __slots__ = ("_group", "_priority", "_sending", "_sequence")

    def __init__(self, sending: Sending, name: int, framer: Framer) -> None:
        super().__init__(sending.streams, name, framer)
        self._sending = sending
        self._group: SentGroup | None = None
        self._priority = self._sequence = 0

    def take(self) -> bool:
        """Take the request; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self.asked:
            raise violation("a second message on a fetch stream")
        request = decode(Fetch, body, self.streams.version)
        broadcast = self.name_of(request.broadcast)
        if broadcast is None:
            return True
        self.asked = True
        self._priority, self._sequence = request.priority, request.group
        self.streams.events.append(
            FetchRequested(
                self.name,
                broadcast,
                request.track,
                request.priority,
                request.group,
                request.group,
                request.frame_start,
                request.frame_end,
            )
        )
        return True

    def accept(self) -> None:
        """Let the group be written to, under the request's own name."""
        if self._group is not None:
            raise LocalError(f"fetch {self.name} is accepted already")
        place = self._sending.places.next()
        self._group = SentGroup(self._sending, self.name, self._sequence, place)
        self._sending.add(self._group)
        self.streams.prioritise(self.name, fetch_priority(self._priority, place))

    def receive_stop(self, code: int) -> None:
        """Take the peer's loss of interest."""
        if self._group is None:
            self.break_off(code, "")
        else:
            self.reject(code)
            self.streams.events.append(GroupStopped(self.name, code))

    def reject(self, code: int) -> None:
        """End the request, and the group with it."""
        self._sending.groups.pop(self.name, None)
        self.abandon(code)


class ServedProbe(Served):
    """The peer wants estimates of our bandwidth."""

    __slots__ = ()

    def begin(self) -> None:
        """Report the stream itself, which asks without a message."""
        self.asked = True
        self.streams.events.append(ProbeRequested(self.name, 0))

    def take(self) -> bool:
        """Take a new target."""
        body = self.framer.message()
        if body is None:
            return False
        target = decode(Probe, body, self.streams.version)
        self.streams.events.append(ProbeRequested(self.name, target.bitrate_bps))
        return True

    def receive_fin(self) -> None:
        """Take the peer's goodbye."""
        self.break_off(StreamCode.CANCELLED, "")

    def answer(self, bitrate_bps: int, rtt_ms: int) -> None:
        """Send an estimate."""
        message = encode(Probe(bitrate_bps, rtt_ms), self.streams.version)
        self.streams.write(self.name, message)
