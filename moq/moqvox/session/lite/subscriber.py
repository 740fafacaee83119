"""The half that asks: watches, subscriptions held, facts and groups asked for.

draft-lcurley-moq-lite, sections "Announce", "Subscribe", "Fetch" and "Track".
"""

from typing import Final

import msgspec

from moqvox import path as paths
from moqvox.errors import LocalError, RemoteError, StreamCode
from moqvox.frame import Frame, Subscription
from moqvox.session.events import DatagramReceived, RequestFailed
from moqvox.session.interface import is_agreed
from moqvox.session.lite.alarm import Alarm
from moqvox.session.lite.asked import (
    Asked,
    AskedFetch,
    AskedProbe,
    AskedSubscription,
    AskedTrack,
    Subscriptions,
)
from moqvox.session.lite.groups import ReceivedGroup
from moqvox.session.lite.parked import Parking
from moqvox.session.lite.streams import Stream, Streams
from moqvox.session.lite.watch import Watch
from moqvox.session.priority import CONTROL
from moqvox.wire.lite.announce import AnnounceRequest
from moqvox.wire.lite.message import Writable, decode, encode
from moqvox.wire.lite.messages import Fetch, Subscribe, Track
from moqvox.wire.lite.setup import Probe, ProbeLevel
from moqvox.wire.lite.streams import MAX_DATAGRAM_BYTES, BidiType, Datagram, GroupHeader
from moqvox.wire.varint import encode_varint

__all__ = ["Subscriber"]

_SETTLE_SECONDS: Final = 0.5
"""How long a peer has to tell its first announcements where nothing marks their end."""


class Subscriber:
    """What one session asks of its peer."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._subscriptions = Subscriptions()
        self._probes_waiting: dict[int, int] = {}
        self.settling = Alarm(_SETTLE_SECONDS)
        self.parking = Parking(streams)

    def watch(self, prefix: str, exclude_hop: int) -> int:
        """Open an announce stream."""
        prefix = paths.normalise(prefix)
        watch = Watch(self._streams, self._streams.mint(), prefix)
        message = AnnounceRequest(prefix, exclude_hop or self._streams.origin)
        self._ask(watch, BidiType.ANNOUNCE, message)
        if not self._streams.version.announce_ok:
            self.settling.start(watch.name)
        return watch.name

    def track_info(self, broadcast: str, track: str) -> int:
        """Open a track stream."""
        asked = AskedTrack(self._streams, self._streams.mint())
        self._ask(asked, BidiType.TRACK, Track(paths.normalise(broadcast), track))
        return asked.name

    def subscribe(
        self, broadcast: str, track: str, wishes: Subscription, number: int | None
    ) -> int:
        """Open a subscribe stream, and let in what was sent for it already."""
        if number is not None and not is_agreed(number):
            raise LocalError(f"{number} is no number to agree on")
        asked = AskedSubscription(self._streams, self._streams.mint(), self._subscriptions, number)
        message = Subscribe(asked.number, paths.normalise(broadcast), track, wishes)
        self._ask(asked, BidiType.SUBSCRIBE, message)
        self._subscriptions.add(asked)
        self.parking.release(asked.number, asked.open_group)
        return asked.name

    def update(self, request: int, wishes: Subscription) -> None:
        """Tell new wishes; nothing when the subscription has ended."""
        stream = self._streams.get(request)
        if isinstance(stream, AskedSubscription):
            stream.update(wishes)

    def fetch(self, message: Fetch) -> int:
        """Open a fetch stream."""
        message = msgspec.structs.replace(message, broadcast=paths.normalise(message.broadcast))
        asked = AskedFetch(
            self._streams,
            self._streams.mint(),
            sequence=message.group,
            frame_start=message.frame_start,
            priority=message.priority,
        )
        self._ask(asked, BidiType.FETCH, message)
        return asked.name

    def request_probe(self, target_bps: int) -> int:
        """Open a probe stream, once the peer has said that it can answer."""
        name = self._streams.mint()
        if self._streams.version.probe_level and self._streams.peer is None:
            self._probes_waiting[name] = target_bps
        else:
            self._open_probe(name, target_bps)
        return name

    def peer_known(self) -> None:
        """Open the probe streams that waited for the peer's SETUP."""
        waiting, self._probes_waiting = self._probes_waiting, {}
        for name, target_bps in waiting.items():
            self._open_probe(name, target_bps)

    def cancel(self, request: int) -> None:
        """End a request; nothing when it has ended."""
        self._probes_waiting.pop(request, None)
        self.settling.stop(request)
        stream = self._streams.get(request) or self._subscriptions.find_ended(request)
        if isinstance(stream, Asked | AskedFetch):
            stream.cancel()
        elif isinstance(stream, Watch):
            stream.abandon(StreamCode.CANCELLED)

    def stop_group(self, group: int, code: int) -> None:
        """Want no more of a group; nothing when it has ended."""
        stream = self._streams.get(group)
        if isinstance(stream, ReceivedGroup):
            stream.stop(code)

    def open_group(self, name: int, header: GroupHeader) -> Stream | None:
        """Let the peer's group come in, or wait; None when nobody wants it (any longer)."""
        subscription = self._subscriptions.find(header.subscription)
        if subscription is not None:
            return subscription.open_group(name, header)
        if self._subscriptions.was_used(header.subscription):
            return None
        return self.parking.park(name, header)

    def clear(self) -> None:
        """Forget everything."""
        self._subscriptions.clear()
        self._probes_waiting.clear()
        self.settling.clear()
        self.parking.clear()

    def receive_datagram(self, data: bytes) -> None:
        """Take a datagram; one that can't be used is dropped."""
        if len(data) > MAX_DATAGRAM_BYTES or not self._streams.version.datagrams:
            return
        try:
            message = decode(Datagram, data, self._streams.version)
        except RemoteError:
            return
        subscription = self._subscriptions.find(message.subscription)
        if subscription is not None:
            frame = Frame(message.payload, message.timestamp)
            event = DatagramReceived(subscription.name, message.sequence, frame)
            self._streams.events.append(event)

    def settle(self, now: float) -> None:
        """Hold initial sets for told whose time is over."""
        for name in self.settling.expire(now):
            stream = self._streams.get(name)
            if isinstance(stream, Watch):
                stream.settle()

    def _open_probe(self, name: int, target_bps: int) -> None:
        peer = self._streams.peer
        if peer is not None and peer.probe == ProbeLevel.NONE:
            reason = "the peer gives no estimates"
            failed = RequestFailed(name, StreamCode.UNSUPPORTED, reason)
            self._streams.events.append(failed)
            return
        data = encode_varint(BidiType.PROBE)
        if target_bps:
            data += encode(Probe(target_bps), self._streams.version)
        # Not early: an estimate may cost the peer bytes of padding.
        self._open(AskedProbe(self._streams, name), data)

    def _ask(self, asked: Stream, kind: BidiType, message: Writable) -> None:
        """Ask for something that changes nothing at the peer, however often it is asked for."""
        data = encode_varint(kind) + encode(message, self._streams.version)
        self._open(asked, data, early=True)

    def _open(self, asked: Stream, data: bytes, *, early: bool = False) -> None:
        self._streams.add(asked)
        self._streams.open(asked.name, bidirectional=True, priority=CONTROL, early=early)
        self._streams.write(asked.name, data)
