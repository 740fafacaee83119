"""Two sessions drive each other with arbitrary verbs; their views must agree."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.session.pair import End, Pair

from moqvox import path as paths
from moqvox.errors import StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.session.events import (
    Announced,
    FetchRequested,
    FrameReceived,
    GroupFinished,
    GroupOpened,
    GroupReset,
    GroupStopped,
    ProbeRequested,
    RequestCancelled,
    RequestFailed,
    SubscribeRequested,
    SubscriptionEnded,
    TrackInfoReceived,
    TrackInfoRequested,
    Unannounced,
    WatchRequested,
)
from moqvox.session.interface import Announcement
from moqvox.wire.version import LITE_ALPNS

PATHS = ["", "room", "room/a", "room/b", "hall/c"]
CODES = [StreamCode.CANCELLED, StreamCode.NOT_FOUND, StreamCode.TOO_FAR_BEHIND, 70]

sides = st.integers(0, 1)
picks = st.integers(0, 1 << 16)
codes = st.sampled_from(CODES)
small = st.integers(0, 5)
wishes = st.builds(
    Subscription, st.integers(0, 255), st.booleans(), st.sampled_from([0, 500, 60_000])
)


class Sent(msgspec.Struct):
    """A group as its sender sees it."""

    frames: list[Frame] = []
    end: str = "open"  # or finished, reset, stopped


class Side:
    """What one end knows, apart from its session."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.session = end.session
        self.available: dict[str, Announcement] = {}
        self.watching: dict[int, str] = {}
        self.seen: dict[int, set[str]] = {}
        self.watched: dict[int, str] = {}
        self.asked: dict[int, str] = {}
        self.serving: dict[int, set[int]] = {}
        self.finished: set[int] = set()
        self.waiting: list = []
        self.sent: dict[int, Sent] = {}
        self.received: dict[int, list[Frame]] = {}
        self.ended: dict[int, str] = {}
        self.stopped: set[int] = set()
        self.owner: dict[int, int] = {}

    def take_events(self) -> None:
        events, self.end.events = self.end.events, []
        for event in events:
            self.take(event)

    def take(self, event) -> None:
        match event:
            case Announced(request, path):
                assert request in self.watching
                self.seen[request].add(path)
            case Unannounced(request, path):
                assert request in self.watching
                self.seen[request].remove(path)
            case GroupOpened(request, group):
                assert request in self.asked
                assert group not in self.received or group in self.ended
                self.received[group] = []
                self.owner[group] = request
                self.ended.pop(group, None)
            case FrameReceived(group, frame):
                assert group not in self.ended
                assert group not in self.stopped
                self.received[group].append(frame)
            case GroupFinished(group):
                assert self.ended.setdefault(group, "finished") == "finished"
            case GroupReset(group):
                assert self.ended.setdefault(group, "reset") == "reset"
            case GroupStopped(group):
                self.sent[group].end = "stopped"
                for groups in self.serving.values():
                    groups.discard(group)
            case RequestFailed(request):
                assert request in self.asked or request in self.watching
                self.forget(request)
            case TrackInfoReceived(request):
                assert self.asked.pop(request) == "track"
            case SubscriptionEnded(request):
                assert self.asked[request] == "subscription"
            case RequestCancelled(request):
                self.waiting = [each for each in self.waiting if each.request != request]
                self.end_serving(request, "reset")
                self.watched.pop(request, None)
            case (
                WatchRequested()
                | SubscribeRequested()
                | FetchRequested()
                | TrackInfoRequested()
                | ProbeRequested()
            ):
                self.waiting.append(event)

    def forget(self, request: int) -> None:
        self.asked.pop(request, None)
        self.watching.pop(request, None)
        self.seen.pop(request, None)

    def end_serving(self, request: int, how: str) -> None:
        for group in self.serving.pop(request, ()):
            self.sent[group].end = how
        self.finished.discard(request)

    def answer(self, event, code: int, *, accept: bool) -> None:
        """Accept or refuse a request of the peer's."""
        request, session = event.request, self.session
        if not accept:
            session.reject(request, code)
            return
        match event:
            case WatchRequested(_, prefix):
                self.watched[request] = prefix
                shown = [a for p, a in self.available.items() if paths.contains(prefix, p)]
                session.accept_watch(request, shown)
            case SubscribeRequested():
                session.accept(request, TrackInfo(), None)
                self.serving[request] = set()
            case FetchRequested():
                group = session.accept_fetch(request, TrackInfo())
                self.serving[request] = {group}
                self.sent[group] = Sent([])
                self.finished.add(request)  # no further groups
            case TrackInfoRequested():
                session.accept_track(request, TrackInfo())
            case ProbeRequested():
                session.send_probe(request, 1000, 1)

    def open_groups(self) -> list[int]:
        return [name for name, sent in self.sent.items() if sent.end == "open"]


class TwoSessions(RuleBasedStateMachine):
    """Verbs on either side and deliveries, in any order."""

    @initialize(alpn=st.sampled_from(LITE_ALPNS))
    def begin(self, alpn: str) -> None:
        self.pair = Pair(alpn)
        self.sides = [Side(end) for end in self.pair.ends]
        for end in self.pair.ends:
            end.events.clear()

    @rule(picks=st.lists(picks, max_size=12))
    def deliver(self, picks: list[int]) -> None:
        self.pair.collect()
        for pick in picks:
            queues = self.pair.pending()
            if queues:
                self.pair.deliver(queues[pick % len(queues)])
        for side in self.sides:
            side.take_events()

    @rule(accept=st.sampled_from([True, True, True, False]), code=codes)
    def deliver_and_answer_all(self, accept: bool, code: int) -> None:
        self.settle()
        for side in self.sides:
            while side.waiting:
                side.answer(side.waiting.pop(0), code, accept=accept)

    @rule(side=sides, prefix=st.sampled_from(["", "room", "hall"]))
    def watch(self, side: int, prefix: str) -> None:
        it = self.sides[side]
        request = it.session.watch(prefix)
        it.watching[request], it.seen[request] = prefix, set()

    @rule(side=sides, path=st.sampled_from(PATHS[1:]), cost=small)
    def announce(self, side: int, path: str, cost: int) -> None:
        it = self.sides[side]
        it.available[path] = Announcement(path, (cost + 1,), cost)
        for request, prefix in it.watched.items():
            if paths.contains(prefix, path):
                it.session.announce(request, it.available[path])

    @rule(side=sides, path=st.sampled_from(PATHS[1:]))
    def unannounce(self, side: int, path: str) -> None:
        it = self.sides[side]
        it.available.pop(path, None)
        for request, prefix in it.watched.items():
            if paths.contains(prefix, path):
                it.session.unannounce(request, path)

    @rule(side=sides, wishes=wishes)
    def subscribe(self, side: int, wishes: Subscription) -> None:
        it = self.sides[side]
        it.asked[it.session.subscribe("room/a", "audio", wishes)] = "subscription"

    @rule(side=sides, group=small)
    def fetch(self, side: int, group: int) -> None:
        it = self.sides[side]
        it.asked[it.session.fetch("room/a", "audio", group=group)] = "fetch"

    @rule(side=sides)
    def track_info(self, side: int) -> None:
        it = self.sides[side]
        request = it.session.track_info("room/a", "audio")
        if request is not None:
            it.asked[request] = "track"

    @rule(side=sides)
    def request_probe(self, side: int) -> None:
        it = self.sides[side]
        it.asked[it.session.request_probe()] = "probe"

    @precondition(lambda self: any(side.asked or side.watching for side in self.sides))
    @rule(side=sides, pick=picks)
    def cancel(self, side: int, pick: int) -> None:
        it = self.sides[side]
        mine = [*it.asked, *it.watching]
        if mine:
            request = mine[pick % len(mine)]
            it.session.cancel(request)
            it.stopped |= {g for g, r in it.owner.items() if r == request}
            it.forget(request)

    @rule(side=sides, pick=picks, wishes=wishes)
    def update(self, side: int, pick: int, wishes: Subscription) -> None:
        it = self.sides[side]
        mine = [request for request, kind in it.asked.items() if kind == "subscription"]
        if mine:
            it.session.update(mine[pick % len(mine)], wishes)

    @precondition(lambda self: any(side.waiting for side in self.sides))
    @rule(side=sides, accept=st.sampled_from([True, True, True, False]), code=codes)
    def answer(self, side: int, accept: bool, code: int) -> None:
        it = self.sides[side]
        if it.waiting:
            it.answer(it.waiting.pop(0), code, accept=accept)

    @precondition(lambda self: any(side.serving for side in self.sides))
    @rule(side=sides, pick=picks, sequence=small, count=small, end=st.booleans())
    def send_group(self, side: int, pick: int, sequence: int, count: int, end: bool) -> None:
        it = self.sides[side]
        live = [request for request in it.serving if request not in it.finished]
        if not live:
            return
        request = live[pick % len(live)]
        group = it.session.open_group(request, sequence)
        it.sent[group] = Sent([])
        it.serving[request].add(group)
        self.write(side, group, count)
        if end:
            self.end_group(it, group, finish=True, code=0)

    @rule(side=sides, pick=picks, count=small)
    def write_frames(self, side: int, pick: int, count: int) -> None:
        groups = self.sides[side].open_groups()
        if groups:
            self.write(side, groups[pick % len(groups)], count)

    @rule(side=sides, pick=picks, finish=st.booleans(), code=codes)
    def end_a_group(self, side: int, pick: int, finish: bool, code: int) -> None:
        it = self.sides[side]
        groups = it.open_groups()
        if groups:
            self.end_group(it, groups[pick % len(groups)], finish=finish, code=code)

    @rule(side=sides, pick=picks, code=codes)
    def stop_a_group(self, side: int, pick: int, code: int) -> None:
        it = self.sides[side]
        groups = [group for group in it.received if group not in it.ended]
        if groups:
            group = groups[pick % len(groups)]
            it.session.stop_group(group, code)
            it.stopped.add(group)

    @precondition(lambda self: any(side.serving for side in self.sides))
    @rule(side=sides, pick=picks, how=st.sampled_from(["finish", "reject", "drop"]), code=codes)
    def end_serving(self, side: int, pick: int, how: str, code: int) -> None:
        it = self.sides[side]
        live = [request for request in it.serving if request not in it.finished]
        if not live:
            return
        request = live[pick % len(live)]
        if how == "finish":
            it.session.finish(request, 6)
            it.finished.add(request)
        elif how == "drop":
            it.session.drop(request, 1, 2, code)
        else:
            it.session.reject(request, code)
            it.end_serving(request, "reset")

    def write(self, side: int, group: int, count: int) -> None:
        it = self.sides[side]
        for n in range(count):
            frame = Frame(bytes([n]) * (n * 50), 1000 * n)
            it.session.write_frame(group, frame)
            it.sent[group].frames.append(frame)

    def end_group(self, it: Side, group: int, *, finish: bool, code: int) -> None:
        if finish:
            it.session.finish_group(group)
        else:
            it.session.reset_group(group, code)
        it.sent[group].end = "finished" if finish else "reset"
        for groups in it.serving.values():
            groups.discard(group)

    @invariant()
    def what_was_received_was_sent(self) -> None:
        for it, other in self.two_ways():
            names = other.end._names
            for name, sent in other.sent.items():
                frames = it.received.get(names.get(name, -1), [])
                payloads = [frame.payload for frame in sent.frames]
                assert [frame.payload for frame in frames] == payloads[: len(frames)]

    def two_ways(self):
        sides = getattr(self, "sides", None)
        return [(sides[0], sides[1]), (sides[1], sides[0])] if sides else []

    def settle(self) -> None:
        self.pair.settle()
        for side in self.sides:
            side.take_events()

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        self.settle()
        for side in self.sides:
            while side.waiting:
                side.answer(side.waiting.pop(0), 1, accept=True)
        self.settle()
        for it, other in self.two_ways():
            self.check_watches(it, other)
            self.check_groups(it, other)
        self.check_nothing_is_left()

    def check_watches(self, it: Side, other: Side) -> None:
        for request, prefix in it.watching.items():
            assert it.seen[request] == {p for p in other.available if paths.contains(prefix, p)}

    def check_groups(self, it: Side, other: Side) -> None:
        for name, sent in other.sent.items():
            group = other.end._names.get(name)
            if group in it.received and group not in it.stopped and sent.end == "finished":
                if it.ended[group] == "finished":
                    assert len(it.received[group]) == len(sent.frames)
            elif group in it.received and group not in it.stopped and sent.end == "reset":
                assert it.ended[group] == "reset"

    def check_nothing_is_left(self) -> None:
        for it in self.sides:
            for request in [*it.asked, *it.watching]:
                it.session.cancel(request)
        self.settle()
        for it in self.sides:
            left = list(it.session._streams)
            assert left == [], [type(stream).__name__ for stream in left]
            assert it.session.buffered_bytes == it.session._streams.unfinished_bytes == 0
            assert it.session._publisher.sending.groups == {}
            assert it.session._publisher._numbers == set()


TestTwoSessions = TwoSessions.TestCase
TestTwoSessions.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTwoSessions = pytest.mark.slow(TestTwoSessions)
