"""The moq-lite session, versions 03 to 06: both roles, sans-IO.

draft-lcurley-moq-lite. What a method promises is told in `moqvox.session.interface`; the
docstrings here add what is particular to moq-lite.
"""

from collections.abc import Sequence
from typing import Final

from moqvox.errors import LocalError
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.actions import Action, Close
from moqvox.session.events import Event
from moqvox.session.interface import Announcement, Limits
from moqvox.session.lite.incoming import Ends, IncomingBidi, IncomingUni
from moqvox.session.lite.publisher import Publisher
from moqvox.session.lite.streams import Streams
from moqvox.session.lite.subscriber import Subscriber
from moqvox.session.priority import CONTROL
from moqvox.wire.error_code import from_wire
from moqvox.wire.lite.message import encode
from moqvox.wire.lite.messages import Fetch
from moqvox.wire.lite.setup import Goaway, ProbeLevel, Role, Setup
from moqvox.wire.lite.streams import BidiType, UniType
from moqvox.wire.varint import encode_varint
from moqvox.wire.version import lite_version

__all__ = ["LiteSession"]

_LIMITS: Final = Limits()


class LiteSession:
    """One moq-lite session.

    Args:
        version: ALPN name, one of `wire.version.LITE_ALPNS`.
        is_client: whether this end dialled.
        webtransport: whether the transport carries a URL and maps stream codes itself; on
            raw QUIC the session maps them and a client sends its path in SETUP.
        path: path and query to ask for, in SETUP of raw-QUIC clients only.
        origin: our hop id, below 2**62; 0 = none, which gives up the defence against loops.
        publishes: a client's role as told in SETUP; both is the default and not told.
        subscribes: likewise.

    Raises:
        LocalError: unknown version, or an origin out of range.
    """

    def __init__(
        self,
        version: str,
        *,
        is_client: bool,
        webtransport: bool,
        path: str = "",
        origin: int = 0,
        limits: Limits = _LIMITS,
        publishes: bool = True,
        subscribes: bool = True,
    ) -> None:
        self._version = lite_version(version)
        encode_varint(origin)
        self._streams = Streams(self._version, limits, origin=origin, map_codes=not webtransport)
        self._publisher = Publisher(self._streams)
        self._subscriber = Subscriber(self._streams)
        self._ends = Ends(self._publisher, self._subscriber, is_client, webtransport)
        self._setup = Setup(
            ProbeLevel.REPORT,
            path if path and is_client and not webtransport else None,
            _role(publishes, subscribes) if is_client else None,
            origin=origin,
        )
        self._alarms = (
            self._streams.half_received,
            self._subscriber.settling,
            self._subscriber.parking.waiting,
            self._publisher.anticipations.waiting,
        )
        self._now = 0.0
        self._closed = False
        self._said_goodbye = False

    @property
    def version(self) -> str:
        """The negotiated version's ALPN name."""
        return self._version.alpn

    @property
    def has_setup(self) -> bool:
        """Whether the peer will send a SETUP."""
        return self._version.setup

    @property
    def has_timestamps(self) -> bool:
        """Whether frames carry timestamps on this version's wire."""
        return self._version.timestamps

    @property
    def buffered_bytes(self) -> int:
        """How many received bytes wait for the rest of their message or frame."""
        return sum(stream.buffered for stream in self._streams)

    # From the network

    def accept_stream(self, *, bidirectional: bool) -> int:
        """Name a stream that the peer opened; one too many is refused at once."""
        name = self._streams.mint()
        if not self._closed:
            kind = IncomingBidi if bidirectional else IncomingUni
            stream = kind(self._streams, name, self._ends)
            self._streams.admit(stream, bidirectional=bidirectional)
        return name

    def receive_stream(self, stream: int, data: bytes, *, fin: bool) -> None:
        """Take bytes of a stream."""
        known = self._streams.get(stream)
        if known is not None:
            known.receive(data, fin=fin)

    def receive_reset(self, stream: int, code: int) -> None:
        """Take the peer's RESET_STREAM, its code plain or mapped."""
        known = self._streams.get(stream)
        if known is not None:
            known.receive_reset(from_wire(code))

    def receive_stop(self, stream: int, code: int) -> None:
        """Take the peer's STOP_SENDING, its code plain or mapped."""
        known = self._streams.get(stream)
        if known is not None:
            known.receive_stop(from_wire(code))

    def receive_datagram(self, data: bytes) -> None:
        """Take a datagram; one that can't be used is dropped."""
        if not self._closed:
            self._subscriber.receive_datagram(data)

    # From the clock

    def handle_timeout(self, now: float) -> None:
        """Give up half-received messages, and hold overdue initial sets for told.

        Raises:
            RemoteError: CONTROL_TIMEOUT, for half a SETUP or GOAWAY.
        """
        self._now = now
        for name in self._streams.half_received.expire(now):
            stream = self._streams.get(name)
            if stream is not None:
                stream.time_out()
        self._subscriber.settle(now)
        self._subscriber.parking.expire(now)
        self._publisher.anticipations.expire(now)

    def deadline(self) -> float | None:
        """When `handle_timeout` is wanted next; the time last told for at once."""
        earliest = None
        for alarm in self._alarms:
            if alarm.is_set:
                due = alarm.deadline()
                if due is not None and (earliest is None or due < earliest):
                    earliest = due
        return None if earliest is None else max(earliest, self._now)

    # From the application: the session

    def start(self, now: float) -> None:
        """Send SETUP, where the version has one."""
        self._now = now
        if self._version.setup and not self._closed:
            data = encode_varint(UniType.SETUP) + encode(self._setup, self._version)
            self._open(data, bidirectional=False, fin=True, early=True)

    def goaway(self, uri: str = "", timeout_ms: int = 0) -> None:
        """Ask the peer to move elsewhere, once; the version carries no time-out.

        Raises:
            LocalError: a client names a URI, or the URI is too long.
        """
        if uri and self._ends.is_client:
            raise LocalError("a client can't tell its server where to go")
        if not self._version.goaway or self._said_goodbye or self._closed:
            return
        data = encode_varint(BidiType.GOAWAY) + encode(Goaway(uri), self._version)
        self._said_goodbye = True
        self._open(data, bidirectional=True, fin=False)

    def send_probe(self, request: int, bitrate_bps: int, rtt_ms: int) -> None:
        """Answer `ProbeRequested` with one more estimate."""
        self._publisher.send_probe(request, bitrate_bps, rtt_ms)

    def request_probe(self, target_bps: int = 0) -> int:
        """Ask for estimates; waits for the peer's SETUP, and fails if that offers none."""
        return self._idle() or self._subscriber.request_probe(target_bps)

    def close(self, code: int, reason: str) -> None:
        """End the session; later calls do nothing."""
        if not self._closed:
            self._closed = True
            self._streams.clear()
            self._subscriber.clear()
            self._publisher.clear()
            self._streams.actions.append(Close(code, reason))

    # From the application: discovery

    def watch(self, prefix: str, exclude_hop: int = 0) -> int:
        """Ask for the peer's broadcasts; routes through ourselves are always left out."""
        return self._idle() or self._subscriber.watch(prefix, exclude_hop)

    def accept_watch(self, request: int, announcements: Sequence[Announcement]) -> None:
        """Answer `WatchRequested`; routes through the excluded hop are left out."""
        self._publisher.accept_watch(request, announcements)

    def announce(self, request: int, announcement: Announcement) -> None:
        """Tell a watcher of a broadcast, in place of what it was told of the path before."""
        self._publisher.announce(request, announcement)

    def unannounce(self, request: int, path: str) -> None:
        """Tell a watcher that a broadcast is gone."""
        self._publisher.unannounce(request, path)

    # From the application: asking for tracks

    def track_info(self, broadcast: str, track: str) -> int | None:
        """Ask for a track's facts; None where SUBSCRIBE_OK tells them."""
        if not self._version.track_stream:
            return None
        return self._idle() or self._subscriber.track_info(broadcast, track)

    def subscribe(
        self, broadcast: str, track: str, subscription: Subscription, number: int | None = None
    ) -> int:
        """Ask for groups; frame ranges are widened to whole groups where there are none.

        In version 06 `group_start` is a floor under what `max_age_ms` asks for, and 0 is none;
        in earlier ones it asks for history by itself.
        """
        return self._idle() or self._subscriber.subscribe(broadcast, track, subscription, number)

    def update(self, request: int, subscription: Subscription) -> None:
        """Replace the wishes of a live subscription."""
        self._subscriber.update(request, subscription)

    def fetch(
        self,
        broadcast: str,
        track: str,
        *,
        group: int,
        priority: int = 128,
        frame_start: int = 0,
        frame_end: int | None = None,
    ) -> int:
        """Ask for one past group, whole where the version has no frame ranges.

        Its group has the request's own id. A refusal is `RequestFailed`; `GroupFinished` or
        `GroupReset` ends the request.
        """
        if self._idle():
            return self._idle()
        return self._subscriber.fetch(
            Fetch(broadcast, track, priority, group, frame_start, frame_end)
        )

    def set_timescale(self, request: int, timescale: int) -> None:
        """Nothing: timestamps pass through in the track's own units."""

    def cancel(self, request: int) -> None:
        """End one of our requests; nothing more of it is reported."""
        self._subscriber.cancel(request)

    def stop_group(self, group: int, code: int) -> None:
        """Want no more of a group that the peer sends."""
        self._subscriber.stop_group(group, code)

    def accept_offer(self, request: int, subscription: Subscription) -> None:
        """Nothing: moq-lite peers push no tracks."""

    # From the application: answering

    def anticipate(
        self,
        number: int,
        broadcast: str,
        track: str,
        subscription: Subscription,
        *,
        early: bool = False,
    ) -> int:
        """Serve a subscription before the peer has asked for it."""
        return self._idle() or self._publisher.anticipate(
            number, broadcast, track, subscription, early=early
        )

    def number_of(self, request: int) -> int | None:
        """Tell the number that the peer gave a live subscription."""
        return self._publisher.number_of(request)

    def accept_track(self, request: int, info: TrackInfo) -> None:
        """Answer `TrackInfoRequested`."""
        self._publisher.accept_track(request, info)

    def accept(self, request: int, info: TrackInfo, group_start: int | None) -> None:
        """Answer `SubscribeRequested`; without `group_start` the first group tells it."""
        self._publisher.accept(request, info, group_start)

    def accept_fetch(self, request: int, info: TrackInfo) -> int:
        """Answer `FetchRequested`; the group has the request's own id."""
        return self._publisher.accept_fetch(request)

    def reject(self, request: int, code: int, reason: str = "") -> None:
        """Refuse or give up a request of the peer's; the wire has no room for the reason."""
        self._publisher.reject(request, code)

    def finish(self, request: int, group_end: int, *, keep_open: bool = False) -> None:
        """Tell the end; the stream ends when the last open group of it has, or in `conclude`."""
        self._publisher.finish(request, group_end, keep_open=keep_open)

    def conclude(self, request: int) -> None:
        """End the stream of a finished request; peers take groups still on the way for cut."""
        self._publisher.conclude(request)

    def drop(self, request: int, group_start: int, group_end: int, code: int) -> None:
        """Tell that groups, both ends inclusive, will not come."""
        self._publisher.drop(request, group_start, group_end, code)

    def open_group(self, request: int, sequence: int, *, frame_start: int = 0) -> int:
        """Begin a group; `frame_start` only where the version has frame ranges."""
        return self._publisher.open_group(request, sequence, frame_start)

    def write_frame(self, group: int, frame: Frame) -> None:
        """Append a frame.

        Raises:
            LocalError: it is over `max_frame_bytes`, or has no timestamp where the version
                carries them (the driver stamps).
        """
        self._publisher.sending.write_frame(group, frame)

    def finish_group(self, group: int) -> None:
        """End a group: it is whole."""
        self._publisher.finish_group(group)

    def reset_group(self, group: int, code: int) -> None:
        """Give a group up."""
        self._publisher.reset_group(group, code)

    def send_datagram(self, request: int, sequence: int, frame: Frame) -> bool:
        """Send a group of one frame unreliably; False above 1200 bytes."""
        return self._publisher.send_datagram(request, sequence, frame)

    # Out

    def events(self) -> list[Event]:
        """Drain what happened, oldest first."""
        events = self._streams.events
        if not events:
            return []
        self._streams.events = []
        return events

    def actions(self) -> list[Action]:
        """Drain what the transport must do, in order."""
        actions = self._streams.actions
        if not actions:
            return []
        self._streams.actions = []
        return actions

    def _idle(self) -> int:
        """Return a name that leads nowhere when the session is closed, 0 while it is open."""
        return self._streams.mint() if self._closed else 0

    def _open(self, data: bytes, *, bidirectional: bool, fin: bool, early: bool = False) -> None:
        name = self._streams.mint()
        self._streams.open(name, bidirectional=bidirectional, priority=CONTROL, early=early)
        self._streams.write(name, data, fin=fin)


def _role(publishes: bool, subscribes: bool) -> Role | None:
    if publishes == subscribes:
        return None
    return Role.PUBLISHER if publishes else Role.SUBSCRIBER
