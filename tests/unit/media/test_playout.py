"""Properties of playout that hold for any order of events."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from moqvox.media.decision import (
    CatchUp,
    Decision,
    Ended,
    Fade,
    Late,
    Outcome,
    Play,
    Policy,
    Reason,
    Remove,
    Repeat,
    Silence,
    Skip,
)
from moqvox.media.playout import Playout

quick = settings(max_examples=40, deadline=None)
RATE = 1000

FIXED = Policy(sample_rate=RATE, target_min_us=100_000, target_max_us=100_000)


def out_samples(decisions: list[Decision]) -> int:
    kinds = (Play, Fade, Silence, Repeat)
    return sum(each.samples for each in decisions if isinstance(each, kinds))


def spelled(decisions: list[Decision]) -> list[object]:
    """What each output sample is, and every decision that takes none, in order."""
    result: list[object] = []
    for each in decisions:
        match each:
            case Play():
                result += [
                    ("play", each.item, each.index, each.offset + k) for k in range(each.samples)
                ]
            case Fade():
                result += [
                    ("fade", each.item, each.index, each.offset + k, each.start + k)
                    for k in range(each.samples)
                ]
            case Silence():
                result += [("silence", each.reason, each.item)] * each.samples
            case Repeat():
                result += [("repeat", each.item)] * each.samples
            case _:
                result.append(each)
    return result


timestamps = st.one_of(
    st.integers(0, 40).map(lambda n: n * 20_000),
    st.integers(-(2**63), 2**64),
    st.integers(-3_000_000, 9_000_000),
)
items = st.integers(0, 4)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("push"), items, timestamps, st.integers(-1, 300), st.integers(0, 2_000)),
        st.tuples(st.just("run"), items, st.integers(0, 500), st.integers(1, 60)),
        st.tuples(st.just("pull"), st.integers(0, 400), st.integers(-20, 20)),
        st.tuples(st.just("end"), items),
        st.tuples(st.just("open"), items),
        st.tuples(st.just("reset"), items, st.integers(0, 30_000)),
        st.tuples(st.just("flush"), st.integers(0, 30_000), st.none() | items),
        st.tuples(st.just("pause"), st.integers(0, 30_000)),
        st.tuples(st.just("resume")),
        st.tuples(st.just("wait"), st.integers(-100_000, 2_000_000)),
    ),
    min_size=12,
    max_size=60,
)
policies = st.builds(
    Policy,
    sample_rate=st.sampled_from([1_000, 16_000]),
    target_max_us=st.sampled_from([60_000, 400_000]),
    late=st.sampled_from(Late),
    catch_up=st.sampled_from(CatchUp),
    catch_up_after_us=st.just(100_000),
    skip_over_us=st.sampled_from([150_000, 500_000]),
    lead_max_us=st.just(6_000_000),
    gap_max_us=st.just(1_500_000),
    bytes_max=st.just(16_384),
    items_max=st.just(3),
)


class Story:
    """Runs operations and keeps the invariants that need no model."""

    def __init__(self, policy: Policy) -> None:
        self.playout = Playout(policy)
        self.policy = policy
        self.now_us = 0
        self.heard: dict[int, int] = {}
        self.removed: dict[int, int] = {}
        self.skipped: dict[int, int] = {}
        self.repeated: dict[int, int] = {}
        self.kept: dict[int, int] = {}
        self.over: dict[int, Ended] = {}
        self.fading: set[int] = set()

    def do(self, operation: tuple) -> None:
        verb, *args = operation
        match verb:
            case "push":
                self.push(*args)
            case "run":
                item, start, count = args
                for k in range(count):
                    self.push(item, (start + k) * 20_000, self.policy.sample_rate // 50, 60)
            case "pull":
                self.pull(*args)
            case "wait":
                self.now_us = max(0, self.now_us + args[0])
            case "reset":
                ended = self.playout.reset(*args)
                if ended:
                    self.close(ended)
            case "flush":
                for ended in self.playout.flush(*args):
                    self.close(ended)
            case _:
                getattr(self.playout, verb)(*args)
        self.check_bounds()

    def push(self, item: int, timestamp_us: int, samples: int, size: int) -> None:
        pushed = self.playout.push(item, timestamp_us, samples, self.now_us, size)
        if item in self.over:
            assert pushed.outcome in (Outcome.STALE, Outcome.INVALID)
        if pushed.outcome in (Outcome.ACCEPTED, Outcome.DUPLICATE, Outcome.LATE):
            assert pushed.kept + pushed.duplicate + pushed.late == samples
            assert (pushed.outcome is Outcome.ACCEPTED) == (pushed.kept > 0)
        else:
            assert pushed.index is None
            assert pushed.kept == 0
        self.kept[item] = self.kept.get(item, 0) + pushed.kept

    def close(self, ended: Ended) -> None:
        assert ended.item not in self.over
        self.over[ended.item] = ended
        totals = ended.totals
        assert totals.heard_samples + totals.skipped_samples + totals.dropped_samples == (
            self.kept.get(ended.item, 0)
        )
        assert totals.heard_samples >= self.heard.get(ended.item, 0)

    def pull(self, samples: int, stretch: int) -> None:
        room = self.playout.stretch_room
        decisions = self.playout.pull(samples, self.now_us, stretch)
        assert out_samples(decisions) == samples
        self.now_us += samples * 1_000_000 // self.policy.sample_rate
        for each in decisions:
            self.note(each)
        if not 0 < stretch <= room:
            assert not any(isinstance(each, Remove) for each in decisions)

    def note(self, each: Decision) -> None:
        match each:
            case Play() | Remove():
                assert each.item not in self.over
                self.add(self.heard, each)
                if isinstance(each, Remove):
                    self.add(self.removed, each)
            case Fade():
                assert 0 <= each.start < each.start + each.samples <= each.total
                self.add(self.heard, each)
            case Skip():
                assert self.policy.late is Late.SKIP
                self.add(self.skipped, each)
            case Repeat():
                self.add(self.repeated, each)
            case Silence():
                assert each.samples > 0
            case Ended():
                self.close(each)
                assert each.totals.heard_samples == self.heard.get(each.item, 0)
                assert each.totals.dropped_samples == 0
                assert each.totals.removed_samples == self.removed.get(each.item, 0)
                assert each.totals.skipped_samples == self.skipped.get(each.item, 0)
                assert each.totals.repeated_samples == self.repeated.get(each.item, 0)
            case _:
                pass

    @staticmethod
    def add(account: dict[int, int], piece: Play | Fade | Skip | Remove | Repeat) -> None:
        account[piece.item] = account.get(piece.item, 0) + piece.samples

    def check_bounds(self) -> None:
        stats = self.playout.stats(self.now_us)
        assert stats.items <= self.policy.items_max
        assert stats.held_bytes <= self.policy.bytes_max * 3 // 2
        assert stats.queued_us <= self.policy.lead_max_us * 3 // 2
        assert self.policy.target_min_us <= stats.target_us <= self.policy.target_max_us
        for item in range(5):
            totals = self.playout.totals(item)
            if totals is not None:
                assert min(totals.silence_samples, totals.gap_samples, totals.underruns) >= 0
                pending = sum(
                    each.samples
                    for each in self.playout.committed()
                    if isinstance(each, Fade) and each.item == item
                )
                assert totals.heard_samples == self.heard.get(item, 0) + pending


@quick
@given(policies, operations)
def test_whatever_happens_the_account_is_exact_and_memory_is_bounded(
    policy: Policy, script: list[tuple]
) -> None:
    story = Story(policy)
    for operation in script:
        story.do(operation)


@quick
@given(policies, operations, st.lists(st.integers(1, 50), min_size=1, max_size=8))
def test_how_a_pull_is_cut_up_changes_nothing_that_is_heard(
    policy: Policy, script: list[tuple], sizes: list[int]
) -> None:
    whole, parts = Story(policy), Story(policy)
    for operation in script:
        if operation[0] != "pull":
            whole.do(operation)
            parts.do(operation)
            continue
        samples, now_us = operation[1], whole.now_us
        expected = whole.playout.pull(samples, now_us)
        came: list[Decision] = []
        left, turn = samples, 0
        while left:  # all at the same instant, so that only the cutting differs
            size = min(left, sizes[turn % len(sizes)])
            came += parts.playout.pull(size, now_us)
            left, turn = left - size, turn + 1
        assert spelled(came) == spelled(expected)
        for each in expected:
            whole.note(each)
        for each in came:
            parts.note(each)


arrivals = st.lists(
    st.tuples(st.integers(1, 60), st.integers(0, 300), st.booleans(), st.integers(1, 200)),
    min_size=1,
    max_size=40,
)


@quick
@given(arrivals, st.sampled_from([CatchUp.NEVER, CatchUp.REBUFFERED, CatchUp.LIVE]))
def test_waiting_plays_all_that_was_pushed_once_and_in_order(
    frames: list[tuple[int, int, bool, int]], catch_up: CatchUp
) -> None:
    policy = Policy(sample_rate=RATE, catch_up=catch_up, catch_up_after_us=0)
    playout = Playout(policy)
    heard: list[object] = []
    pushed: list[object] = []
    now_us = position = 0
    for index, (samples, delay_ms, again, pulled) in enumerate(frames):
        now_us += delay_ms * 1_000
        for _ in range(2 if again else 1):
            playout.push(1, position * 1_000, samples, now_us)
        pushed += [(index, k) for k in range(samples)]
        position += samples
        heard += playout.pull(pulled, now_us)
    playout.end(1)
    heard += playout.pull(position + 1, now_us)
    played = [
        (each.index, each.offset + k)
        for each in heard
        if isinstance(each, Play)
        for k in range(each.samples)
    ]
    assert played == pushed
    (ended,) = [each for each in heard if isinstance(each, Ended)]
    silence = [
        each for each in heard if isinstance(each, Silence) and each.reason is Reason.UNDERRUN
    ]
    assert ended.totals.heard_samples == position
    assert ended.totals.silence_samples <= sum(each.samples for each in silence)


@quick
@given(arrivals)
def test_a_sample_by_sample_model_agrees(frames: list[tuple[int, int, bool, int]]) -> None:
    playout = Playout(FIXED)
    queue: deque[tuple[int, int]] = deque()
    playing, began, waiting_since_us = False, False, None
    now_us = position = played = relapses = 0
    wanted, resumed_at = 100, None
    for index, (samples, delay_ms, _, pulled) in enumerate(frames):
        now_us += delay_ms * 1_000
        if not queue and waiting_since_us is None:
            waiting_since_us = now_us
        playout.push(1, position * 1_000, samples, now_us)
        queue.extend((index, k) for k in range(samples))
        position += samples
        expected: list[tuple] = []
        for _ in range(pulled):
            late = waiting_since_us is not None and now_us - waiting_since_us >= 500_000
            if not playing and queue and (len(queue) >= wanted or late):
                resumed_at = played if began else None
                playing = began = True
            if playing and queue:
                played += 1
                expected.append(("play", 1, *queue.popleft()))
            else:
                if playing:
                    waiting_since_us = None
                    stretch = 0 if resumed_at is None else played - resumed_at
                    relapsed = resumed_at is not None and stretch < 1_000
                    relapses = 0 if stretch >= 10_000 else relapses + relapsed
                    wanted = min(100, 20 * 2 ** max(0, relapses - 3))
                playing = False
                reason = Reason.UNDERRUN if began else Reason.BUFFERING
                expected.append(("silence", reason, 1))
        came = [each for each in spelled(playout.pull(pulled, now_us)) if isinstance(each, tuple)]
        assert came == expected


@quick
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 40))
def test_after_a_flush_at_most_the_fade_is_heard(before: int, after: int, fade_ms: int) -> None:
    playout = Playout(FIXED)
    for k in range(20):
        playout.push(1, k * 50_000, 50, 0)
    playout.pull(before, 0)
    (ended,) = playout.flush(fade_ms * 1_000)
    assert playout.push(1, 1_000_000, 50, 0).outcome is Outcome.STALE
    tail = playout.pull(after, 0)
    assert not any(isinstance(each, Play) for each in tail)
    faded = sum(each.samples for each in tail if isinstance(each, Fade))
    assert faded == min(fade_ms, after)
    assert ended.totals.heard_samples == before + fade_ms


def test_a_stall_shorter_than_the_lead_is_not_heard() -> None:
    """Pushed ahead by 5 s, nothing for 4 s, then the rest at once."""
    playout = Playout(Policy(sample_rate=RATE))
    for k in range(100):
        playout.push(1, k * 50_000, 50, 0)
    decisions = playout.pull(4_000, 0)
    for k in range(100, 200):
        playout.push(1, k * 50_000, 50, 4_000_000)
    playout.end(1)
    decisions += playout.pull(6_000, 4_000_000)
    assert not any(isinstance(each, Silence) for each in decisions)


def test_a_sender_that_stays_too_slow_is_heard_in_long_stretches() -> None:
    """One that gives 20 ms each 25 ms, for 60 s: no stutter, but a wait each few seconds."""
    playout = Playout(Policy(sample_rate=RATE))
    dry = [False]
    for now_ms in range(0, 60_000, 5):
        if now_ms % 25 == 0:
            playout.push(1, now_ms * 800, 20, now_ms * 1_000)
        decisions = playout.pull(5, now_ms * 1_000)
        dry.append(any(isinstance(each, Silence) for each in decisions))
    begins = [n for n in range(1, len(dry)) if dry[n] and not dry[n - 1]]
    assert sum(n < 1_000 for n in begins) <= 10  # the first 5 s: 10 attempts at most
    assert sum(n >= 1_000 for n in begins) <= 35  # then at least a second and a half between


def test_silence_inserted_is_the_stall_less_the_lead() -> None:
    """A live source with 100 ms in hand stalls for 500 ms, then delivers what it owes."""
    playout = Playout(FIXED)
    decisions: list[Decision] = []
    for tick in range(100):
        now_us = tick * 20_000
        if not 30 <= tick < 55:
            arrived = range(30, 56) if tick == 55 else [tick]
            for k in arrived:
                playout.push(1, k * 20_000, 20, now_us)
        decisions += playout.pull(20, now_us)
    inserted = sum(
        each.samples
        for each in decisions
        if isinstance(each, Silence) and each.reason is Reason.UNDERRUN
    )
    assert inserted == 500 - 80
    totals = playout.totals(1)
    assert totals is not None
    assert totals.silence_samples == inserted
    assert totals.underruns == 1
