"""Puts our session in the place of one side of a captured connection.

What the other side sent is fed to it; what the replaced side did is asked of it as verbs.
"""

from tests.golden.capture import Capture, Line
from tests.golden.streams import take_opener, take_replies

from moqvox.frame import Frame, TrackInfo
from moqvox.session.actions import OpenStream, SendDatagram, Write
from moqvox.session.interface import Announcement
from moqvox.session.lite.session import LiteSession
from moqvox.wire.error_code import from_wire
from moqvox.wire.lite.announce import (
    AnnounceBroadcast,
    AnnounceEnd,
    AnnounceOk,
    AnnounceStart,
    AnnounceStatus,
)
from moqvox.wire.lite.message import decode
from moqvox.wire.lite.messages import SubscribeEnd, SubscribeOk, SubscribeStart
from moqvox.wire.lite.setup import Role, Setup
from moqvox.wire.lite.streams import BidiType, Datagram, UniType
from moqvox.wire.version import lite_version


class Replay:
    """One side replaced.

    Attributes:
        events: all that the session reported.
        streams: QUIC's stream numbers to the session's names.
        expected, written: bytes per stream, of the replaced side and of the session.
    """

    def __init__(self, captured: Capture, *, client: bool) -> None:
        self.captured = captured
        self.version = lite_version(captured.alpn)
        self.client = client
        self.session = self._replacement()
        self.events = []
        self.streams: dict[int, int] = {}
        self.expected: dict[int, bytes] = {}
        self.written: dict[int, bytes] = {}
        self.datagrams: list[tuple[bytes, bytes]] = []
        self._kinds: dict[int, BidiType] = {}
        self._told: dict[int, list[str]] = {}
        self._subscriptions: dict[int, int] = {}
        self._sent_datagrams: list[bytes] = []

    def run(self) -> "Replay":
        self.session.start(0.0)
        self._drain()
        for line in self.captured.lines:
            if line.client == self.client:
                self._ours(line)
            else:
                self._theirs(line)
            self._drain()
        return self

    def peers_bytes(self) -> dict[int, bytes]:
        """Join what the other side sent, per stream."""
        joined: dict[int, bytes] = {}
        for line in self.captured.lines:
            if line.client != self.client and line.stream is not None:
                joined[line.stream] = joined.get(line.stream, b"") + line.data
        return joined

    def _replacement(self) -> LiteSession:
        mine = [line for line in self.captured.lines if line.client == self.client]
        setup, origin = Setup(), 0
        for line in mine:
            if self._is_setup(line):
                setup = decode(Setup, line.data[2:], self.version)
        if not self.version.setup and self.version.exclude_hop:
            opened = [line for line in mine if line.opened_by_client == self.client]
            (asked,) = [line.data for line in opened if line.data[:1] == b"\x01"]
            request = take_opener(self.version, asked, bidirectional=True).messages[1]
            origin = request.exclude_hop
        return LiteSession(
            self.captured.alpn,
            is_client=self.client,
            webtransport=False,
            path=setup.path or "",
            origin=setup.origin or origin,
            publishes=setup.role is not Role.SUBSCRIBER,
            subscribes=setup.role is not Role.PUBLISHER,
        )

    def _is_setup(self, line: Line) -> bool:
        opened = line.stream is not None and line.opened_by_client == line.client
        return opened and not line.bidirectional and line.data[:1] == b"\x01"

    def _drain(self) -> None:
        self.events += self.session.events()
        for action in self.session.actions():
            if isinstance(action, Write):
                self.written[action.stream] = self.written.get(action.stream, b"") + action.data
            elif isinstance(action, SendDatagram):
                self._sent_datagrams.append(action.data)
            elif isinstance(action, OpenStream):
                self.written[action.stream] = b""

    def _theirs(self, line: Line) -> None:
        if line.stream is None:
            self.session.receive_datagram(line.data)
            return
        if line.stream not in self.streams:
            name = self.session.accept_stream(bidirectional=line.bidirectional)
            self.streams[line.stream] = name
            if line.bidirectional:
                taken = take_opener(self.version, line.data, bidirectional=True)
                self._kinds[line.stream] = taken.messages[0]
                if taken.messages[0] is BidiType.SUBSCRIBE:
                    self._subscriptions[taken.messages[1].number] = name
        name = self.streams[line.stream]
        if line.abandon == "RESET":
            self.session.receive_reset(name, line.code)
        elif line.abandon:
            self.session.receive_stop(name, line.code)
        else:
            self.session.receive_stream(name, line.data, fin=line.fin)

    def _ours(self, line: Line) -> None:
        if line.stream is None:
            self._datagram(line.data)
        elif line.abandon:
            self._abandon(line)
        elif line.stream in self.streams:
            self.expected[line.stream] = self.expected.get(line.stream, b"") + line.data
            self._reply(line)
        else:
            self.expected[line.stream] = line.data
            self.streams[line.stream] = self._open(line)

    def _datagram(self, data: bytes) -> None:
        datagram = decode(Datagram, data, self.version)
        frame = Frame(datagram.payload, datagram.timestamp)
        request = self._subscriptions[datagram.subscription]
        assert self.session.send_datagram(request, datagram.sequence, frame)
        self._drain()
        self.datagrams.append((data, self._sent_datagrams.pop()))

    def _abandon(self, line: Line) -> None:
        name = self.streams[line.stream]
        if line.opened_by_client == self.client:
            self.session.cancel(name)
        else:
            self.session.reject(name, from_wire(line.code))

    def _open(self, line: Line) -> int:
        taken = take_opener(self.version, line.data, bidirectional=line.bidirectional)
        kind, *rest = taken.messages
        if kind is UniType.SETUP:
            return 1  # `start` sent it
        if kind is UniType.GROUP:
            header, *frames = rest
            request = self._subscriptions[header.subscription]
            group = self.session.open_group(
                request, header.sequence, frame_start=header.frame_start
            )
            self._send_group(group, frames)
            return group
        self._kinds[line.stream] = kind
        match kind:
            case BidiType.ANNOUNCE:
                return self.session.watch(rest[0].prefix)
            case BidiType.PROBE:
                return self.session.request_probe()
            case BidiType.TRACK:
                return self.session.track_info(rest[0].broadcast, rest[0].track)
            case BidiType.SUBSCRIBE:
                return self.session.subscribe(rest[0].broadcast, rest[0].track, rest[0].wishes)
            case BidiType.FETCH:
                fetch = rest[0]
                return self.session.fetch(
                    fetch.broadcast,
                    fetch.track,
                    group=fetch.group,
                    priority=fetch.priority,
                    frame_start=fetch.frame_start,
                    frame_end=fetch.frame_end,
                )
        raise AssertionError(kind)

    def _send_group(self, group: int, frames: list[Frame]) -> None:
        for frame in frames:
            self.session.write_frame(group, frame)
        self.session.finish_group(group)

    def _reply(self, line: Line) -> None:
        name, kind = self.streams[line.stream], self._kinds[line.stream]
        if kind is BidiType.ANNOUNCE:
            self._announce(name, line)
            return
        for message in take_replies(self.version, kind, line.data).messages:
            match message:
                case SubscribeOk(priority, ordered, max_age_ms, group_start):
                    info = TrackInfo(priority, ordered, max_age_ms)
                    self.session.accept(name, info, group_start)
                case SubscribeStart(group):
                    self.session.accept(name, TrackInfo(), group)
                case SubscribeEnd(group):
                    self.session.finish(name, group)
                case Frame():
                    if not self.written.get(name):
                        self.session.accept_fetch(name, TrackInfo())
                    self.session.write_frame(name, message)
                    self._drain()
                case _ if kind is BidiType.TRACK:
                    self.session.accept_track(name, message.info)
                case _:
                    self.session.send_probe(name, message.bitrate_bps, message.rtt_ms)
        if kind is BidiType.FETCH and line.fin:
            self.session.finish_group(name)

    def _announce(self, name: int, line: Line) -> None:
        first = name not in self._told
        told = self._told.setdefault(name, [])
        prefix = b"" if first or not self.version.announce_ok else b"\x02\x00\x00"  # any OK
        messages = take_replies(self.version, BidiType.ANNOUNCE, prefix + line.data).messages
        if first:
            initial = []
            if self.version.announce_ok:
                count = messages.pop(0).active
                initial = [self._announcement(each, told) for each in messages[:count]]
                messages = messages[count:]
            self.session.accept_watch(name, initial)
        for message in messages:
            match message:
                case AnnounceEnd(number):
                    self.session.unannounce(name, told[number])
                case AnnounceBroadcast(status=AnnounceStatus.ENDED, suffix=suffix):
                    self.session.unannounce(name, suffix)
                case AnnounceOk():
                    pass  # the one put in front above
                case _:
                    self.session.announce(name, self._announcement(message, told))

    def _announcement(self, message, told: list[str]) -> Announcement:
        told.append(message.suffix)
        hops = message.hops
        if not self.version.announce_ok:
            hops = hops[:-1]  # our own, which the session adds
        cost = message.warm_cost if isinstance(message, AnnounceStart) else 0
        return Announcement(message.suffix, hops, cost)
