"""The rules of docs/decisions/0003-slow-readers.md."""

import asyncio

from tests.aio import run
from tests.unit.model.samples import (
    HISTORY,
    Wake,
    drain,
    ended_with,
    frame,
    publish,
    sequences,
    track_of,
)

from moqvox.errors import StreamCode
from moqvox.frame import Subscription
from moqvox.model import cache
from moqvox.model.cache import FRAME_BYTES
from moqvox.model.feed import LAG_CHECKS

EACH = FRAME_BYTES + 100
LAG = cache.Limits(max_lag_bytes=32 * EACH)


def test_a_group_older_than_the_maximum_age_ends_for_the_reader_that_is_on_it():
    async def main():
        track = track_of()
        strict = track.consume(Subscription(max_age_ms=500))
        patient = track.consume(Subscription(max_age_ms=5000))
        publish(track, "a", "b")
        readers = strict.poll_group(), patient.poll_group()
        for reader in readers:
            reader.poll()
            reader.wake = Wake()
        await asyncio.sleep(1)
        opened = track.append_group()
        assert readers[0].wake.calls == 0
        opened.write(frame("newer"))
        assert readers[0].wake.calls == 1
        assert readers[1].wake.calls == 0
        assert ended_with(readers[0]) == StreamCode.DELIVERY_TIMEOUT
        assert drain(readers[1]) == ["b"]

    run(main())


def test_a_group_never_expires_before_a_newer_one_has_a_frame():
    async def main():
        track = track_of()
        reader = track.consume()
        publish(track, "a")
        await asyncio.sleep(1000)
        track.append_group()
        await asyncio.sleep(1000)
        assert sequences(reader) == [1, 0]

    run(main())


def test_groups_not_handed_out_are_skipped_when_too_old_and_told_as_dropped():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(max_age_ms=1500, ordered=True))
        for n in range(6):
            publish(track, n)
            await asyncio.sleep(1)
        assert sequences(reader) == [4, 5]
        assert reader.poll_drop() == (0, 3, StreamCode.DELIVERY_TIMEOUT)

    run(main())


def test_a_group_that_was_read_in_time_does_not_notice_newer_ones():
    async def main():
        track = track_of()
        reader = track.consume()
        publish(track, "a")
        taken = reader.poll_group()
        assert drain(taken) == ["a"]
        await asyncio.sleep(1)
        publish(track, "b")
        assert taken.poll() is None
        assert taken.ended

    run(main())


def test_a_late_group_of_a_lower_sequence_is_young():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(max_age_ms=100))
        publish(track, "x", sequence=5)
        await asyncio.sleep(10)
        publish(track, "overtaken", sequence=4)
        assert sequences(reader) == [5, 4]

    run(main())


def test_a_late_group_of_a_lower_sequence_makes_no_other_group_old():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(max_age_ms=100, ordered=True))
        publish(track, "a", sequence=3)
        publish(track, "b", sequence=5)
        held = reader.poll_group()
        await asyncio.sleep(10)
        publish(track, "overtaken", sequence=4)
        assert drain(held) == ["a"]
        assert sequences(reader) == [4, 5]

    run(main())


def test_a_larger_age_can_be_asked_for_on_the_way():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(max_age_ms=10))
        publish(track, "a")
        taken = reader.poll_group()
        reader.update(Subscription(max_age_ms=60_000))
        await asyncio.sleep(5)
        publish(track, "b")
        assert drain(taken) == ["a"]
        third = publish(track, "c")
        await asyncio.sleep(5)
        publish(track, "d")
        held = [reader.poll_group() for _ in range(3)]
        reader.update(Subscription(max_age_ms=10))
        assert drain(held[0]) == ["d"]
        assert ended_with(held[1]) == StreamCode.DELIVERY_TIMEOUT
        assert third.closed

    run(main())


def test_past_the_byte_bound_a_reader_loses_its_group_and_goes_on_with_the_next():
    async def main():
        track = track_of(LAG)
        slow, fast = track.consume(HISTORY), track.consume(HISTORY)
        writer = track.append_group()
        stuck, flowing = slow.poll_group(), fast.poll_group()
        stuck.wake = wake = Wake()
        stuck.poll()
        for n in range(32):
            writer.write(frame(f"{n:100}"))
            assert len(drain(flowing)) == 1
        assert wake.calls == 1
        assert drain(stuck)[:1] == [f"{0:100}"]
        for n in range(40):
            writer.write(frame(f"{n:100}"))
            assert len(drain(flowing)) == 1
        assert ended_with(stuck) == StreamCode.TOO_FAR_BEHIND
        writer.finish()
        publish(track, "next")
        assert drain(slow.poll_group()) == ["next"]
        assert flowing.ended
        assert drain(fast.poll_group()) == ["next"]

    run(main())


def test_lag_is_cut_within_a_sixteenth_of_its_bound():
    async def main():
        track = track_of(LAG)
        reader = track.consume(HISTORY)
        writer = track.append_group()
        stuck = reader.poll_group()
        unread_bytes = 0
        while stuck.active:
            unread_bytes = stuck.unread_bytes
            writer.write(frame("x" * 100))
        most_bytes = LAG.max_lag_bytes * (1 + 1 / LAG_CHECKS)
        assert LAG.max_lag_bytes <= unread_bytes + EACH <= most_bytes + EACH

    run(main())


def test_a_reader_that_is_held_up_hears_at_once_of_an_early_end():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        writer = track.append_group()
        held = reader.poll_group()
        reader.wake = wake = Wake()
        writer.write(frame("unread"))
        assert wake.calls == 1
        writer.abort(StreamCode.CANCELLED)
        assert wake.calls == 2
        track.abort(StreamCode.SESSION_CLOSED)
        assert wake.calls == 3
        assert ended_with(held) == StreamCode.CANCELLED

    run(main())


def test_lag_counts_over_all_groups_of_a_reader_and_the_oldest_goes_first():
    async def main():
        track = track_of(cache.Limits(max_lag_bytes=10_000))
        reader = track.consume(HISTORY)
        publish(track, *("x" * 100 for _ in range(5)))
        held = reader.poll_group()
        reader.wake = wake = Wake()
        for _ in range(10):
            publish(track, *("x" * 100 for _ in range(5)))
        assert ended_with(held) == StreamCode.TOO_FAR_BEHIND
        got = sequences(reader)
        assert got[-1] == 10
        assert 1 <= len(got) <= 3
        assert got == sorted(got)
        assert reader.poll_drop() == (1, got[0] - 1, StreamCode.TOO_FAR_BEHIND)
        assert wake.calls >= 1

    run(main())


def test_one_long_group_that_waits_is_joined_late_instead_of_lost():
    async def main():
        track = track_of(LAG)
        reader = track.consume()
        writer = track.append_group()
        for n in range(200):
            writer.write(frame(f"{n:100}"))
        joined = reader.poll_group()
        assert 0 < joined.frame_start < 200
        assert joined.unread_bytes <= LAG.max_lag_bytes // 2
        assert len(drain(joined)) == 200 - joined.frame_start

    run(main())


def test_one_stalled_reader_of_a_hundred_leaves_the_others_and_the_publisher_alone():
    async def main():
        budget = cache.Budget()
        limits = cache.Limits(max_lag_bytes=20 * EACH, max_bytes=60 * EACH)
        track = track_of(limits, budget=budget)
        readers = [track.consume(HISTORY) for _ in range(100)]
        for _ in range(10):
            writer = track.append_group()
            groups = [reader.poll_group() for reader in readers[1:]]
            for n in range(30):
                writer.write(frame(f"{n:100}"))
                assert all(len(drain(group)) == 1 for group in groups)
            writer.finish()
            assert all(group.ended for group in groups)
            assert budget.size_bytes <= limits.max_bytes
        assert sequences(readers[0]) == [9]
        assert readers[0].poll_drop() == (0, 8, StreamCode.TOO_FAR_BEHIND)

    run(main())


def test_a_reader_whose_groups_are_evicted_unseen_is_told():
    async def main():
        track = track_of(cache.Limits(max_groups=2))
        reader = track.consume(HISTORY)
        reader.wake = wake = Wake()
        for n in range(5):
            publish(track, n)
        assert wake.calls == 2
        assert sequences(reader) == [3, 4]
        assert reader.poll_drop() == (0, 2, StreamCode.TOO_FAR_BEHIND)

    run(main())


def test_readers_of_one_frame_groups_do_not_pile_up_memory():
    async def main():
        track = track_of(cache.Limits(max_groups=10_000))
        reader = track.consume(HISTORY)
        taken = None
        for n in range(1000):
            writer = publish(track, n)
            taken = reader.poll_group()
            assert taken.poll() is not None
            if n % 2:
                writer.abort(1)
        assert taken is not None
        assert len(reader._open) <= 16
        for _ in range(1000):
            track.append_group().finish()
            reader.poll_group()
        assert len(reader._open) <= 16

    run(main())
