"""A track beside a plain reference model: many readers, random writes, ends and bounds.

Whatever happens, each reader sees every frame of a group in order and once, or a legal early
end; each group is handed out once or told as dropped; nobody sleeps through news; the cache
keeps within its bounds and its books are exact.
"""

import asyncio
from itertools import count

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from tests.aio import run

from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.frame import Frame, Subscription
from moqvox.model import broadcast, cache
from moqvox.model.cache import FRAME_BYTES, GROUP_BYTES
from moqvox.model.drops import Drops

MAX_FRAME_BYTES = 400
UNBOUNDED = cache.Limits(max_age=1e9)
LIMITS = st.one_of(
    st.just(UNBOUNDED),
    st.builds(
        cache.Limits,
        max_groups=st.integers(1, 4),
        max_bytes=st.integers(1, 8000),
        max_age=st.sampled_from([0.0, 1.0, 5.0]),
        max_lag_bytes=st.just(10**6) | st.integers(1, 6000),
    ),
)
SMALL = st.integers(0, 7)
WISHES = st.builds(
    Subscription,
    ordered=st.booleans(),
    max_age_ms=st.sampled_from([0, 500, 2000, 10**9]),
    group_start=st.none() | st.none() | SMALL,
    group_end=st.none() | st.none() | SMALL,
    frame_start=st.integers(0, 2),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), SMALL, st.integers(0, MAX_FRAME_BYTES)),
        st.tuples(st.just("burst"), SMALL, st.integers(1, 9)),
        st.tuples(st.just("open"), SMALL, st.integers(0, 2)),
        st.tuples(st.just("append"), SMALL, SMALL),
        st.tuples(st.just("finish"), SMALL, SMALL),
        st.tuples(st.just("abort"), SMALL, st.integers(64, 70)),
        st.tuples(st.just("sleep"), st.sampled_from([0.25, 1.0, 3.0]), SMALL),
        st.tuples(st.just("join"), WISHES, SMALL),
        st.tuples(st.just("drain"), SMALL, SMALL),
        st.tuples(st.just("nibble"), SMALL, SMALL),
        st.tuples(st.just("take"), SMALL, SMALL),
        st.tuples(st.just("update"), WISHES, SMALL),
        st.tuples(st.just("leave"), SMALL, SMALL),
        st.tuples(st.just("drop"), st.integers(20, 24), st.integers(0, 2)),
        st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 9)),
    ),
    min_size=8,
    max_size=40,
)
PATIENT = Subscription(max_age_ms=10**9, ordered=True)


class PlainGroup:
    """What was written, for ever."""

    def __init__(self, sequence, frame_start):
        self.sequence = sequence
        self.frame_start = frame_start
        self.frames = []
        self.arrived = None
        self.finished = False
        self.code = None


class Watched:
    """A group reader with what it has seen."""

    def __init__(self, reader, plain):
        self.reader = reader
        self.plain = plain
        self.index = reader.frame_start
        self.over = False
        assert reader.frame_start >= plain.frame_start

    def poll(self, world, owner):
        """Poll once; True when there was a frame."""
        if self.over:
            return False
        try:
            frame = self.reader.poll()
        except StreamEnded as ended:
            world.check_early_end(owner, self, ended.code)
            self.over = True
            return False
        if frame is None:
            if self.reader.ended:
                assert self.plain.finished
                assert self.index >= self.plain.frame_start + len(self.plain.frames)
                self.over = True
            return False
        assert frame is self.plain.frames[self.index - self.plain.frame_start]
        self.index += 1
        return True


class Subscriber:
    """A track reader with what it was given."""

    def __init__(self, world, wishes):
        self.world = world
        self.woken = True
        self.wakes = 0
        self.strictest_ms = wishes.max_age_ms
        self.joined = len(world.order)
        exact = wishes.max_age_ms == 0 and wishes.group_start in world.kept()
        self.exempt = set(world.plain) if exact else set()
        self.reader = world.track.consume(wishes)
        self.reader.wake = self.wake
        self.given = {}
        self.dropped = []
        self.ended = self.ended_at = None
        self.narrowed = False

    def wake(self):
        self.woken = True
        self.wakes += 1

    def take_groups(self):
        while self.ended is None:
            try:
                taken = self.reader.poll_group()
            except StreamEnded as ended:
                self.ended = "aborted"
                legal = ended.code == self.world.code
                assert legal, ended  # noqa: PT017 -- an abort is one of several legal ends
                break
            if taken is None:
                if self.reader.ended:
                    self.ended = "whole"
                    self.ended_at = len(self.world.order)
                break
            assert taken.sequence not in self.given
            end = self.reader.subscription.group_end
            assert end is None or taken.sequence <= end
            assert taken.sequence >= (self.reader.subscription.group_start or 0)
            self.given[taken.sequence] = Watched(taken, self.world.plain[taken.sequence])
        while (lost := self.reader.poll_drop()) is not None:
            assert lost[0] <= lost[1]
            self.dropped.append(lost)

    def take(self):
        self.woken = True
        self.take_groups()

    def drain(self):
        self.woken = False
        self.take_groups()
        for one in self.given.values():
            while one.poll(self.world, self):
                pass

    def nibble(self):
        self.woken = True
        for one in self.given.values():
            if one.poll(self.world, self):
                return

    def sleeps_soundly(self):
        """Nobody woke it, so polling brings nothing."""
        before = len(self.given), len(self.dropped), self.ended
        self.take_groups()
        assert (len(self.given), len(self.dropped), self.ended) == before
        for one in self.given.values():
            over = one.over
            assert not one.poll(self.world, self)
            assert one.over == over


class World:
    """The track, the reference and the readers."""

    def __init__(self, limits):
        self.limits = limits
        self.budget = cache.Budget()
        self.track = broadcast.Producer(limits=limits, budget=self.budget).create_track("t")
        self.plain = {}
        self.order = []
        self.writers = {}
        self.newest = None
        self.code = None
        self.end = None
        self.subscribers = []
        self.numbers = count()

    def kept(self):
        return self.track._feed.groups

    def pick(self, things, number):
        things = list(things)
        return things[number % len(things)] if things else None

    # Steps

    def open(self, sequence, frame_start):
        latest = self.track.latest
        if sequence in self.plain or self.code is not None or self._past_end(sequence):
            try:
                self.track.create_group(sequence, frame_start=frame_start)
            except LocalError:
                return
            raise AssertionError("a taken sequence was taken again")
        self._opened(self.track.create_group(sequence, frame_start=frame_start))
        assert self.track.latest == (sequence if latest is None else max(latest, sequence))

    def append(self, *_):
        if self.code is None and self.end is None:
            self._opened(self.track.append_group())

    def _past_end(self, sequence):
        return self.end is not None and sequence >= self.end

    def _opened(self, writer):
        self.writers[writer.sequence] = writer
        self.plain[writer.sequence] = PlainGroup(writer.sequence, writer.frame_start)
        self.order.append(writer.sequence)

    def write(self, number, size_bytes):
        writer = self.pick((w for w in self.writers.values() if not w.closed), number)
        if writer is not None:
            plain = self.plain[writer.sequence]
            frame = Frame(bytes(size_bytes), next(self.numbers))
            plain.frames.append(frame)
            if plain.arrived is None and writer.sequence in self.kept():
                plain.arrived = asyncio.get_running_loop().time()
                if self.newest is None or writer.sequence > self.newest.sequence:
                    self.newest = plain
            writer.write(frame)

    def burst(self, number, frames):
        for _ in range(frames):
            self.write(number, MAX_FRAME_BYTES // 2)

    def take(self, number, _):
        one = self.pick(self.subscribers, number)
        if one is not None:
            one.take()

    def finish(self, number, _):
        writer = self.pick((w for w in self.writers.values() if not w.closed), number)
        if writer is not None:
            self.plain[writer.sequence].finished = True
            writer.finish()

    def abort(self, number, code):
        writer = self.pick(self.writers.values(), number)
        if writer is not None:
            plain = self.plain[writer.sequence]
            if plain.code is None:
                plain.code = code
            writer.abort(code)

    def drop(self, start, more):
        self.track.drop(start, start + more, 77)

    def join(self, wishes, _):
        if len(self.subscribers) < 5:
            self.subscribers.append(Subscriber(self, wishes))

    def drain(self, number, _):
        one = self.pick(self.subscribers, number)
        if one is not None:
            one.drain()

    def nibble(self, number, _):
        one = self.pick(self.subscribers, number)
        if one is not None:
            one.nibble()

    def update(self, wishes, number):
        one = self.pick(self.subscribers, number)
        if one is not None:
            one.drain()
            one.woken = one.narrowed = True
            one.strictest_ms = min(one.strictest_ms, wishes.max_age_ms)
            one.reader.update(wishes)

    def leave(self, number, _):
        one = self.pick(self.subscribers, number)
        if one is not None:
            one.reader.close()
            for watched in one.given.values():
                watched.reader.close()
            self.subscribers.remove(one)

    def end_track(self, kind, ahead):
        if kind == 0 and self.code is None:
            self.code = 99
            for plain in self.plain.values():
                if not plain.finished and plain.code is None:
                    plain.code = 99
            self.track.abort(99)
        elif kind == 1 and self.code is None and self.end is None:
            latest = self.track.latest
            self.end = max(ahead, 0 if latest is None else latest + 1)
            self.track.finish(ahead)

    # Judgements

    def is_old(self, owner, plain):
        if self.newest is None or plain.arrived is None or plain is self.newest:
            return False
        if plain.sequence >= self.newest.sequence:
            return False
        return self.newest.arrived - plain.arrived >= (owner.strictest_ms + 1) / 1000

    def check_early_end(self, owner, watched, code):
        plain = watched.plain
        event(f"early end {code}")
        if code == StreamCode.DELIVERY_TIMEOUT:
            assert self.is_old(owner, plain)
            assert plain.sequence not in owner.exempt
        elif code == StreamCode.TOO_FAR_BEHIND:
            assert self.limits is not UNBOUNDED
        else:
            assert code == plain.code

    def check(self, wakes_before, cut_before):
        feed = self.track._feed
        held = sum(group.size_bytes for group in feed.groups.values())
        assert held == self.budget.size_bytes
        for group in feed.groups.values():
            frames_bytes = sum(cache.cost(frame) for frame in group.frames)
            assert group.size_bytes == GROUP_BYTES + frames_bytes
        assert len(feed.groups) <= self.limits.max_groups
        least = GROUP_BYTES + FRAME_BYTES + MAX_FRAME_BYTES
        assert held <= max(self.limits.max_bytes, least)
        for one in self.subscribers:
            if one not in wakes_before:
                continue
            cut = cut_of(one)
            if cut - cut_before[one]:
                assert one.wakes > wakes_before[one]
            if not one.woken:
                one.sleeps_soundly()
            for watched in one.given.values():
                sequence = watched.plain.sequence
                if watched.reader.active and self.is_old(one, watched.plain) and not one.narrowed:
                    assert sequence in one.exempt

    def check_nothing_vanished(self):
        for one in self.subscribers:
            one.drain()
            if one.ended == "aborted" or one.narrowed or len(one.dropped) >= Drops.MAX_RANGES:
                continue
            end = one.reader.subscription.group_end
            for sequence in self.order[one.joined : one.ended_at]:
                if sequence < one.reader._floor or (end is not None and sequence > end):
                    assert sequence not in one.given
                    continue
                told = any(start <= sequence <= last for start, last, _ in one.dropped)
                assert told or sequence in one.given
                if self.limits is UNBOUNDED and not told:
                    watched = one.given[sequence]
                    read_all = watched.index >= watched.plain.frame_start + len(
                        watched.plain.frames
                    )
                    assert watched.over or read_all


def cut_of(one):
    return {s for s, watched in one.given.items() if watched.reader._code is not None}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(limits=LIMITS, wishes=WISHES, steps=STEPS)
def test_readers_see_every_frame_once_in_order_or_a_legal_early_end(limits, wishes, steps):
    async def main():
        world = World(limits)
        for wish in (PATIENT, wishes):
            world.join(wish, 0)
        world.append()
        for kind, first, second in steps:
            wakes = {one: one.wakes for one in world.subscribers}
            cuts = {one: cut_of(one) for one in world.subscribers}
            if kind == "sleep":
                await asyncio.sleep(first)
            elif kind == "end":
                world.end_track(first, second)
            else:
                getattr(world, kind)(first, second)
            world.check(wakes, cuts)
        world.check_nothing_vanished()

    run(main())
