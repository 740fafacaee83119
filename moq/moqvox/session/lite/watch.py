"""Discovery, our side asking: an announce stream that the peer serves.

draft-lcurley-moq-lite, sections "Announce" and "Routing".
"""

from typing import Final

from moqvox import path as paths
from moqvox.errors import LocalError, StreamCode
from moqvox.session.events import Announced, RequestFailed, Unannounced, WatchReady
from moqvox.session.lite.streams import ControlStream, Streams
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceStart,
    AnnounceStatus,
    AnnounceUpdate,
    Announcing,
    decode_announcing,
)
from moqvox.wire.lite.message import decode

__all__ = ["Watch"]

_UNUSABLE: Final = "\0"
"""Stands for a path that breaks our rules; no usable path has control characters."""


class Watch(ControlStream):
    """We watch the peer's broadcasts.

    Left out are routes that already went through us, as following them would make a loop,
    routes of too many hops, and paths that break the rules of `moqvox.path`: a third party
    chose them, so they are no reason to leave the peer.
    """

    __slots__ = ("_live", "_missing", "_numbers", "_ok", "_prefix", "_ready", "_started")

    def __init__(self, streams: Streams, name: int, prefix: str) -> None:
        super().__init__(streams, name)
        self._prefix = prefix
        self._ok: AnnounceOk | None = None
        self._ready = False
        self._missing = 0
        self._started = 0
        self._numbers: dict[int, str] = {}
        self._live: dict[str, bool] = {}

    def take(self) -> bool:
        """Take the opening reply or an announcement."""
        version = self.streams.version
        if version.announce_ok and self._ok is None:
            body = self.framer.message()
            if body is None:
                return False
            self._begin(decode(AnnounceOk, body, version))
            return True
        message: Announcing
        if version.announce_typed:
            typed = self.framer.typed()
            if typed is None:
                return False
            message = decode_announcing(*typed, version)
        else:
            body = self.framer.message()
            if body is None:
                return False
            message = decode(AnnounceBroadcast, body, version)
        self._apply(message)
        return True

    def settle(self) -> None:
        """Hold the initial set for told, in versions that do not mark its end."""
        if not self._ready:
            self._ready = True
            self.streams.events.append(WatchReady(self.name))

    def receive_fin(self) -> None:
        """Take the publisher's goodbye."""
        self.break_off(StreamCode.CANCELLED, "the publisher ended its announcements")

    def receive_reset(self, code: int) -> None:
        """Take the publisher's refusal or goodbye."""
        self.break_off(code, "")

    def break_off(self, code: int, reason: str) -> None:
        """End the watch; everything it told is gone."""
        self.abandon(code)
        for path, shown in self._live.items():
            if shown:
                self.streams.events.append(Unannounced(self.name, path))
        self.streams.events.append(RequestFailed(self.name, code, reason))

    def _begin(self, ok: AnnounceOk) -> None:
        limit = self.streams.limits.max_announcements
        if ok.active > limit:
            reason = f"{ok.active} announcements, {limit} are allowed"
            self.break_off(StreamCode.EXCESSIVE_LOAD, reason)
            return
        self._ok = ok
        self._missing = ok.active
        if not self._missing:
            self.settle()

    def _apply(self, message: Announcing) -> None:
        match message:
            case AnnounceStart():
                self._start(message)
            case AnnounceUpdate():
                path = self._numbers.get(message.number)
                if path is None:
                    self._refuse(f"an update of announcement {message.number}, which is not live")
                else:
                    self._show(path, message.hops, message.warm_cost)
            case AnnounceEnd():
                path = self._numbers.pop(message.number, None)
                if path is None:
                    self._refuse(f"an end of announcement {message.number}, which is not live")
                else:
                    self._hide(path)
            case AnnounceBroadcast(status=AnnounceStatus.ENDED):
                self._hide(self._path(message.suffix))
            case AnnounceBroadcast():
                self._show(self._path(message.suffix), message.hops, 0)
                self._count()

    def _start(self, message: AnnounceStart) -> None:
        path = self._path(message.suffix)
        if path in self._live:
            self._refuse(f"a second start of {path!r}")
            return
        self._numbers[self._started] = path
        self._started += 1
        if len(self._numbers) > self.streams.limits.max_announcements:
            self._overflow()
            return
        self._show(path, message.hops, message.warm_cost)
        self._count()

    def _count(self) -> None:
        if self._missing and self.live:
            self._missing -= 1
            if not self._missing:
                self.settle()

    def _path(self, suffix: str) -> str:
        try:
            return paths.normalise(paths.join(self._prefix, suffix))
        except LocalError:
            return _UNUSABLE

    def _show(self, path: str, hops: tuple[int, ...], cost: int) -> None:
        if path == _UNUSABLE:
            return
        if self._ok is not None:
            hops = (*hops, self._ok.hop)
        looped = self.streams.origin != 0 and self.streams.origin in hops
        if looped or len(hops) > self.streams.limits.max_hops:
            if self._live.get(path):
                self.streams.events.append(Unannounced(self.name, path))
            shown = False
        else:
            self.streams.events.append(Announced(self.name, path, hops, cost))
            shown = True
        self._live[path] = shown
        if len(self._live) > self.streams.limits.max_announcements:
            self._overflow()

    def _hide(self, path: str) -> None:
        """Take a broadcast away; an unknown one was filtered by the peer before it was told."""
        if self._live.pop(path, False):
            self.streams.events.append(Unannounced(self.name, path))

    def _overflow(self) -> None:
        limit = self.streams.limits.max_announcements
        self.break_off(StreamCode.EXCESSIVE_LOAD, f"more than {limit} announcements")

    def _refuse(self, reason: str) -> None:
        self.break_off(StreamCode.MALFORMED_TRACK, reason)
