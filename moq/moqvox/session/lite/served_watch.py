"""Discovery, the peer asking: an announce stream that we serve.

draft-lcurley-moq-lite, sections "Announce" and "Routing".
"""

from collections.abc import Sequence

from moqvox import path as paths
from moqvox.errors import LocalError, StreamCode
from moqvox.session.events import (
    RequestCancelled,
    WatchRequested,
)
from moqvox.session.interface import Announcement
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.wire.cursor import violation
from moqvox.wire.framing import Framer
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceStatus,
    AnnounceUpdate,
    Announcing,
    encode_announcing,
)
from moqvox.wire.lite.message import decode, encode

__all__ = ["ServedWatch"]


class ServedWatch(ControlStream):
    """The peer watches our broadcasts.

    Where the hop to exclude is told in SETUP only, the request waits for that: peers are seen
    to send it behind the request. One that never comes is waited for as long as for half a
    message.

    Routes through the hop that the peer excludes (by request or by its SETUP) are kept
    back; a told broadcast that changes to such a route is told to be gone.
    """

    __slots__ = ("_accepted", "_exclude", "_numbers", "_prefix", "_reported", "_started", "_told")

    def __init__(self, streams: Streams, name: int, framer: Framer) -> None:
        super().__init__(streams, name, framer)
        self._prefix: str | None = None
        self._exclude = 0
        self._reported = False
        self._accepted = False
        self._told: dict[str, Announcement] = {}
        self._numbers: dict[str, int] = {}
        self._started = 0

    @property
    def expectant(self) -> bool:
        """Whether the request, or the SETUP that completes it, has still to come."""
        return not self._reported

    def take(self) -> bool:
        """Take the request; nothing may follow it."""
        body = self.framer.message()
        if body is None:
            return False
        if self._prefix is not None:
            raise violation("a second message on an announce stream")
        request = decode(AnnounceRequest, body, self.streams.version)
        try:
            self._prefix = paths.normalise(request.prefix)
        except LocalError:
            self.abandon(StreamCode.NOT_FOUND)
            return False
        self._exclude = request.exclude_hop
        version = self.streams.version
        if version.exclude_hop or not version.setup or self.streams.peer is not None:
            self.report()
        return True

    def report(self) -> None:
        """Tell of the request, unless that is done or the request is not there yet."""
        if self._prefix is not None and not self._reported:
            self._reported = True
            self.streams.half_received.stop(self.name)
            event = WatchRequested(self.name, self._prefix, self._excluded())
            self.streams.events.append(event)

    def time_out(self) -> None:
        """Go on without the peer's SETUP, or give up on half a request."""
        if self._prefix is None:
            super().time_out()
        else:
            self.report()

    def receive_fin(self) -> None:
        """Take the peer's goodbye."""
        self.break_off(StreamCode.CANCELLED, "")

    def receive_reset(self, code: int) -> None:
        """Take the peer's goodbye."""
        self.break_off(code, "")

    def break_off(self, code: int, reason: str) -> None:
        """End the watch."""
        self.abandon(code)
        if self._reported:
            self.streams.events.append(RequestCancelled(self.name, code))

    def accept(self, announcements: Sequence[Announcement]) -> None:
        """Tell what is there now."""
        if self._accepted:
            raise LocalError(f"watch {self.name} is accepted already")
        latest = {announcement.path: announcement for announcement in announcements}
        shown = [announcement for announcement in latest.values() if self._shows(announcement)]
        suffixes = [self._suffix(announcement.path) for announcement in shown]
        self._accepted = True
        out = []
        if self.streams.version.announce_ok:
            ok = AnnounceOk(self.streams.origin, len(shown))
            out.append(encode(ok, self.streams.version))
        for announcement, suffix in zip(shown, suffixes, strict=True):
            out.append(self._encode(self._start(suffix, announcement)))
        if out:
            self.streams.write(self.name, b"".join(out))

    def announce(self, announcement: Announcement) -> None:
        """Tell of a new or changed broadcast."""
        suffix = self._suffix(announcement.path)
        self._require_accepted()
        if not self._shows(announcement):
            self.unannounce(announcement.path)
            return
        former = self._told.get(suffix)
        if former is None:
            messages = [self._start(suffix, announcement)]
        else:
            messages = self._replace(suffix, former, announcement)
        if messages:
            self._send(messages)

    def unannounce(self, path: str) -> None:
        """Tell that a broadcast is gone; nothing when it was never told."""
        suffix = self._suffix(path)
        self._require_accepted()
        if suffix in self._told:
            self._send([self._end(suffix)])

    def _require_accepted(self) -> None:
        if not self._accepted:
            raise LocalError(f"watch {self.name} is not accepted yet")

    def _suffix(self, path: str) -> str:
        suffix = paths.relative(self._prefix or "", path)
        if suffix is None:
            raise LocalError(f"{path!r} is not below the watched {self._prefix!r}")
        return suffix

    def _excluded(self) -> int:
        if self._exclude or self.streams.peer is None:
            return self._exclude
        return self.streams.peer.origin

    def _shows(self, announcement: Announcement) -> bool:
        excluded = self._excluded()
        return not excluded or excluded not in announcement.hops

    def _send(self, messages: Sequence[Announcing]) -> None:
        self.streams.write(self.name, b"".join(map(self._encode, messages)))

    def _encode(self, message: Announcing) -> bytes:
        return encode_announcing(message, self.streams.version)

    def _hops(self, announcement: Announcement) -> tuple[int, ...]:
        if self.streams.version.announce_ok:
            return announcement.hops
        return (*announcement.hops, self.streams.origin)

    def _start(self, suffix: str, announcement: Announcement) -> Announcing:
        self._told[suffix] = announcement
        hops, cost = self._hops(announcement), announcement.cost
        if not self.streams.version.announce_typed:
            return AnnounceBroadcast(AnnounceStatus.ACTIVE, suffix, hops)
        self._numbers[suffix] = self._started
        self._started += 1
        return AnnounceStart(suffix, hops, cost, cost)

    def _end(self, suffix: str) -> Announcing:
        del self._told[suffix]
        if self.streams.version.announce_typed:
            return AnnounceEnd(self._numbers.pop(suffix))
        return AnnounceBroadcast(AnnounceStatus.ENDED, suffix)

    def _replace(
        self, suffix: str, former: Announcement, announcement: Announcement
    ) -> list[Announcing]:
        """Replace in place where the version can.

        Where it can't, another route to the same source is kept silent: ending and starting
        the broadcast would cut off those who listen to it. The same route told once more is no
        other route: the source has begun anew, before anybody found its former session dead.
        """
        if self.streams.version.announce_typed:
            self._told[suffix] = announcement
            cost = announcement.cost
            number = self._numbers[suffix]
            return [AnnounceUpdate(number, self._hops(announcement), cost, cost)]
        if self.streams.version.announce_replaces:
            return [self._start(suffix, announcement)]
        is_same_source = former.hops[:1] == announcement.hops[:1] and 0 not in former.hops[:1]
        if is_same_source and former != announcement:
            self._told[suffix] = announcement
            return []
        return [self._end(suffix), self._start(suffix, announcement)]
