"""Whatever the network delivers ends in events or in a coded refusal, however it is cut."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.session import wires

from moqvox.errors import RemoteError, SessionCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.events import (
    FetchRequested,
    ProbeRequested,
    SubscribeRequested,
    TrackInfoRequested,
    WatchRequested,
)
from moqvox.session.interface import Announcement, Limits
from moqvox.session.lite.session import LiteSession
from moqvox.wire.version import LITE_VERSIONS, LiteVersion

pytestmark = pytest.mark.slow

LIMITS = Limits(
    max_message_bytes=64,
    max_frame_bytes=64,
    max_requests=4,
    max_announcements=4,
    max_hops=3,
    control_timeout=5.0,
)
BOUND = 4 * 64 + (4 + 16 + 8) * (64 + 16)
"""Unfinished frames together, and a message and its head for each stream that may be open."""

versions = st.sampled_from(LITE_VERSIONS)


class Play:
    """A session that asks for one of everything and answers all it is asked."""

    def __init__(self, version: LiteVersion, *, client: bool) -> None:
        self.session = LiteSession(
            version.alpn, is_client=client, webtransport=True, origin=2, limits=LIMITS
        )
        self.session.start(0.0)
        self.events: list = []
        self.names: list[int] = []
        self.refusal: RemoteError | None = None
        fetched = self.session.fetch("a", "t", group=1)
        asked = [self.session.watch("room"), self.session.watch(""), fetched]
        asked.append(self.session.track_info("a", "t") or fetched)
        asked += [self.session.subscribe("a", "t", Subscription()) for _ in range(3)]
        asked.append(self.session.request_probe())
        self.asked = asked

    def open(self, *, bidirectional: bool) -> int:
        return self.session.accept_stream(bidirectional=bidirectional)

    def take(self, call) -> None:
        """Make a call from the network; after a refusal nothing is called any more."""
        if self.refusal is None:
            try:
                call()
            except RemoteError as exc:
                self.refusal = exc
            self.answer(self.session.events())
        assert self.refusal is None or self.refusal.code in set(SessionCode)
        assert self.session.buffered_bytes <= BOUND

    def answer(self, events: list) -> None:
        self.events += events
        session = self.session
        for event in events:
            match event:
                case WatchRequested(request, prefix):
                    session.accept_watch(request, [Announcement(f"{prefix}/z".strip("/"))])
                case SubscribeRequested(request):
                    session.accept(request, TrackInfo(), 3)
                    group = session.open_group(request, 3)
                    session.write_frame(group, Frame(b"x", 1))
                    session.finish(request, 4)
                case FetchRequested(request):
                    group = session.accept_fetch(request, TrackInfo())
                    session.write_frame(group, Frame(b"x", 1))
                    session.finish_group(group)
                case TrackInfoRequested(request):
                    session.accept_track(request, TrackInfo())
                case ProbeRequested(request):
                    session.send_probe(request, 1, 1)
        session.actions()


ends = st.sampled_from(["", "", "fin", "reset", "stop"])
steps = st.sampled_from(["open", "open", "bytes", "bytes", "end", "datagram", "time"])
codes = st.integers(0, 70) | st.integers(0, 2**62 - 1)


@st.composite
def deliveries(draw, version: LiteVersion, *, valid: bool):
    """Draw streams: (bidirectional or the index of a request of ours, bytes, end, code)."""

    def contents(strategy):
        return draw(strategy if valid else wires.mutated(strategy))

    streams = []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["request", "data", "answer", "answer"]))
        if kind == "answer":
            data = contents(wires.answers(version))
            streams.append((draw(st.integers(0, 7)), data, draw(ends), draw(codes)))
        elif kind == "data":
            streams.append((False, contents(wires.data_streams(version)), draw(ends), draw(codes)))
        else:
            streams.append((True, contents(wires.requests(version)), draw(ends), draw(codes)))
    return streams


def play(version: LiteVersion, client: bool, streams, pieces) -> Play:
    """Deliver streams one after another, each cut by `pieces`."""
    it = Play(version, client=client)
    for which, data, end, code in streams:
        name = it.open(bidirectional=which) if isinstance(which, bool) else it.asked[which]
        for start, stop, last in pieces(data):
            chunk, fin = data[start:stop], last and end == "fin"
            it.take(lambda n=name, c=chunk, f=fin: it.session.receive_stream(n, c, fin=f))
        if end == "reset":
            it.take(lambda n=name, c=code: it.session.receive_reset(n, c))
        elif end == "stop":
            it.take(lambda n=name, c=code: it.session.receive_stop(n, c))
    return it


def whole(data: bytes):
    return [(0, len(data), True)]


def cut(cuts: list[int]):
    def pieces(data: bytes):
        edges = [0, *sorted(min(each, len(data)) for each in cuts), len(data)]
        spans = list(pairwise(edges))
        return [(start, stop, n == len(spans) - 1) for n, (start, stop) in enumerate(spans)]

    return pieces


@settings(max_examples=150, deadline=None)
@given(versions, st.booleans(), st.data(), st.lists(st.integers(0, 120), max_size=6))
def test_chunking_never_changes_events(version, client, data, cuts):
    streams = data.draw(deliveries(version, valid=data.draw(st.booleans())))
    at_once = play(version, client, streams, whole)
    in_pieces = play(version, client, streams, cut(cuts))
    assert in_pieces.events == at_once.events
    refusals = [it.refusal and (it.refusal.code, it.refusal.reason) for it in (at_once, in_pieces)]
    assert refusals[0] == refusals[1]


@settings(max_examples=150, deadline=None)
@given(versions, st.booleans(), st.data())
def test_any_bytes_end_in_events_or_a_coded_refusal_and_wait_in_bounded_memory(
    version, client, data
):
    it = Play(version, client=client)
    streams: list[int] = list(it.asked)
    now = 0.0
    for _ in range(data.draw(st.integers(1, 20))):
        match data.draw(
            st.sampled_from(["open", "open", "bytes", "bytes", "end", "dgram", "time"])
        ):
            case "open":
                streams.append(it.open(bidirectional=data.draw(st.booleans())))
            case "bytes":
                name = data.draw(st.sampled_from(streams))
                sense = wires.requests(version) | wires.data_streams(version)
                chunk = data.draw(wires.mutated(sense | wires.answers(version)))
                fin = data.draw(st.booleans())
                it.take(lambda n=name, c=chunk, f=fin: it.session.receive_stream(n, c, fin=f))
            case "end":
                name, code = data.draw(st.sampled_from(streams)), data.draw(codes)
                receive = data.draw(
                    st.sampled_from([it.session.receive_reset, it.session.receive_stop])
                )
                it.take(lambda r=receive, n=name, c=code: r(n, c))
            case "datagram":
                datagram = data.draw(wires.mutated(wires.datagrams(version)))
                it.take(lambda d=datagram: it.session.receive_datagram(d))
            case _:
                now += data.draw(st.sampled_from([0.1, 3.0, 6.0]))
                it.take(lambda n=now: it.session.handle_timeout(n))


@settings(max_examples=60, deadline=None)
@given(versions, st.data())
def test_streams_that_interleave_report_what_they_report_alone(version, data):
    groups = data.draw(st.lists(wires.groups(version), max_size=4))

    def frames_of(it: Play) -> list:
        """List what became of each group, in a form that can be sorted."""
        told: dict[int, list] = {}
        for event in it.events:
            group = getattr(event, "group", None)
            if group is not None and group not in it.asked:
                frame = getattr(event, "frame", None)
                content = (frame.payload, frame.timestamp) if frame is not None else ()
                told.setdefault(group, []).append((type(event).__name__, content))
        return sorted(told.values(), key=repr)

    alone = play(version, True, [(False, group, "fin", 0) for group in groups], whole)
    mixed = Play(version, client=True)
    waiting = [(mixed.open(bidirectional=False), group) for group in groups]
    while waiting:
        index = data.draw(st.integers(0, len(waiting) - 1))
        name, rest = waiting.pop(index)
        size = data.draw(st.integers(0, len(rest)))
        fin = size == len(rest)
        mixed.take(lambda n=name, c=rest[:size], f=fin: mixed.session.receive_stream(n, c, fin=f))
        if not fin:
            waiting.append((name, rest[size:]))
    assert frames_of(mixed) == frames_of(alone)
