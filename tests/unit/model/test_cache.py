import asyncio
import gc
import tracemalloc

import pytest
from tests.aio import run
from tests.unit.model.samples import (
    HISTORY,
    drain,
    ended_with,
    frame,
    kept,
    publish,
    sequences,
    track_of,
)

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, cache
from moqvox.model.cache import FRAME_BYTES, GROUP_BYTES


def traced_bytes(make):
    """Memory that what `make` returns takes, as CPython counts it."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    kept = make()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept is not None
    return after - before


def test_the_cost_of_a_frame_is_what_it_takes_after_two_versions_sent_it():
    async def main():
        group = track_of().append_group()
        keys = ("lite", "ietf")

        def fill():
            for n in range(2000):
                one = Frame(bytes(100), 1_000_000_000 + n)
                for key in keys:
                    one.headers[key] = bytes(6)
                group.write(one)
            return group

        each = traced_bytes(fill) / 2000 - 100
        assert 0.6 * FRAME_BYTES < each < FRAME_BYTES

    run(main())


def test_the_cost_of_a_group_is_what_it_takes_without_frames():
    async def main():
        track = track_of(cache.Limits(max_groups=10_000))

        def fill():
            for _ in range(2000):
                track.append_group().finish()
            return track

        each = traced_bytes(fill) / 2000
        assert 0.5 * GROUP_BYTES < each < GROUP_BYTES

    run(main())


def test_groups_are_bounded_in_number_the_oldest_whole_ones_go():
    async def main():
        track = track_of(cache.Limits(max_groups=3))
        for n in range(10):
            publish(track, n)
        assert kept(track) == [7, 8, 9]
        with pytest.raises(LocalError, match="existed"):
            track.create_group(2)

    run(main())


def test_unfinished_groups_are_bounded_too_and_writing_on_has_no_effect():
    async def main():
        track = track_of(cache.Limits(max_groups=3))
        opened = [track.append_group() for _ in range(10)]
        for one in opened:
            one.write(frame("x"))
            one.finish()
        assert kept(track) == [7, 8, 9]

    run(main())


def test_whole_groups_go_before_unfinished_ones():
    async def main():
        track = track_of(cache.Limits(max_groups=3))
        speaking = track.append_group()
        for n in range(10):
            publish(track, n)
        speaking.write(frame("still here"))
        assert kept(track) == [0, 9, 10]

    run(main())


def test_bytes_are_bounded_overhead_counted():
    async def main():
        budget = cache.Budget()
        each = GROUP_BYTES + FRAME_BYTES + 100
        track = track_of(cache.Limits(max_bytes=each * 5), budget=budget)
        for _ in range(20):
            publish(track, "x" * 100)
            assert budget.size_bytes <= each * 5
        assert kept(track) == [15, 16, 17, 18, 19]

    run(main())


def test_of_groups_that_came_out_of_order_the_lowest_goes_first():
    async def main():
        track = track_of(cache.Limits(max_groups=3))
        for sequence in (9, 5, 7, 8):
            publish(track, "x", sequence=sequence)
        assert kept(track) == [7, 8, 9]

    run(main())


def test_an_hour_of_open_microphone_is_one_group_and_is_bounded():
    async def main():
        limits = cache.Limits(max_bytes=100_000)
        budget = cache.Budget()
        track = track_of(limits, budget=budget)
        microphone = track.append_group()
        stuck = track.consume().poll_group()
        for n in range(5_000):
            microphone.write(frame(n))
            assert budget.size_bytes <= limits.max_bytes
        assert ended_with(stuck) == StreamCode.TOO_FAR_BEHIND
        late = track.consume().poll_group()
        assert late.frame_start > 4_000
        assert drain(late) == [str(n) for n in range(late.frame_start, 5_000)]

    run(main())


def test_a_reader_that_keeps_up_does_not_notice_the_trimming():
    async def main():
        track = track_of(cache.Limits(max_bytes=20_000))
        microphone = track.append_group()
        reader = track.consume().poll_group()
        for n in range(500):
            microphone.write(frame(n))
            assert drain(reader) == [str(n)]

    run(main())


def test_the_last_frame_of_the_newest_group_always_stays():
    async def main():
        track = track_of(cache.Limits(max_bytes=1))
        publish(track, "catalog")
        assert drain(track.consume().poll_group()) == ["catalog"]

    run(main())


def test_whole_groups_age_once_a_newer_one_exists():
    async def main():
        track = track_of(cache.Limits(max_age=10))
        publish(track, 0)
        await asyncio.sleep(100)
        assert kept(track) == [0]
        publish(track, 1)
        await asyncio.sleep(9)
        publish(track, 2)
        assert kept(track) == [0, 1, 2]
        await asyncio.sleep(14)
        publish(track, 3)
        assert kept(track) == [2, 3]

    run(main())


def test_the_publishers_smaller_age_rules():
    async def main():
        track = track_of(cache.Limits(max_age=1000), TrackInfo(max_age_ms=2000))
        publish(track, 0)
        publish(track, 1)
        await asyncio.sleep(3)
        publish(track, 2)
        assert kept(track) == [1, 2]

    run(main())


def test_a_group_that_a_reader_is_still_on_outlives_its_age():
    async def main():
        track = track_of(cache.Limits(max_age=1))
        publish(track, "a", "b")
        reader = track.consume(HISTORY).poll_group()
        waiting = track.consume(HISTORY)
        reader.poll()
        for n in range(5):
            publish(track, n)
            await asyncio.sleep(3)
        assert drain(reader) == ["b"]
        assert sequences(waiting) == [0, 1, 2, 3, 4, 5]
        publish(track, "next")
        await asyncio.sleep(3)
        publish(track, "and next")
        assert 0 not in kept(track)

    run(main())


def test_an_idle_track_is_released_when_its_budget_is_touched():
    async def main():
        budget = cache.Budget()
        idle = track_of(cache.Limits(max_age=10), budget=budget)
        for _ in range(100):
            publish(idle, "x" * 1000)
        await asyncio.sleep(20)
        assert budget.size_bytes > 100_000
        publish(track_of(budget=budget), "elsewhere")
        assert budget.size_bytes < 5_000
        for _ in range(100):
            publish(idle, "x" * 1000)
        await asyncio.sleep(20)
        budget.sweep(asyncio.get_running_loop().time())
        assert budget.size_bytes < 5_000

    run(main())


def test_tracks_of_one_budget_age_each_at_its_own_pace():
    async def main():
        budget = cache.Budget()
        slow = track_of(cache.Limits(max_age=1000), budget=budget)
        for n in range(3):
            publish(slow, n)
        await asyncio.sleep(1)
        fast = track_of(cache.Limits(max_age=2), budget=budget)
        for n in range(3):
            publish(fast, n)
        await asyncio.sleep(3)
        publish(slow, 3)
        assert kept(fast) == [2]
        assert kept(slow) == [0, 1, 2, 3]

    run(main())


def test_a_days_soak_leaves_no_slope():
    async def main():
        budget = cache.Budget()
        track = track_of(cache.Limits(max_age=10), budget=budget)
        reader = track.consume(HISTORY)
        peaks = []
        for _ in range(24):
            peak = 0
            for _ in range(50):
                await asyncio.sleep(72)
                publish(track, "word")
                for taken in iter(reader.poll_group, None):
                    drain(taken)
                peak = max(peak, budget.size_bytes)
            peaks.append(peak)
        assert max(peaks) == peaks[0]

    run(main())


def test_tracks_share_a_budget_and_the_oldest_whole_groups_go_first():
    async def main():
        each = GROUP_BYTES + FRAME_BYTES + 100
        budget = cache.Budget(6 * each)
        first, second = track_of(budget=budget), track_of(budget=budget)
        for _ in range(4):
            publish(first, "x" * 100)
            await asyncio.sleep(1)
        for _ in range(4):
            publish(second, "x" * 100)
            await asyncio.sleep(1)
            assert budget.size_bytes <= budget.max_bytes
        assert kept(first) == [2, 3]
        assert kept(second) == [0, 1, 2, 3]

    run(main())


def test_when_only_newest_groups_are_left_the_fattest_tracks_lose_their_head():
    async def main():
        budget = cache.Budget(200_000)
        tracks = [track_of(budget=budget) for _ in range(4)]
        microphones = [track.append_group() for track in tracks]
        for n in range(1000):
            for microphone in microphones[: 4 if n < 50 else 1]:
                microphone.write(frame(n))
                assert budget.size_bytes <= budget.max_bytes
        starts = [track.consume().poll_group().frame_start for track in tracks]
        assert starts[0] > 500
        assert starts[1:] == [0, 0, 0]

    run(main())


def test_unfinished_older_groups_go_before_the_head_of_the_newest():
    async def main():
        budget = cache.Budget(50_000)
        track = track_of(budget=budget)
        stuck = track.append_group()
        for n in range(50):
            stuck.write(frame(n))
        reader = track.consume().poll_group()
        newest = track.append_group()
        for n in range(90):
            newest.write(frame(n))
        assert ended_with(reader) == StreamCode.TOO_FAR_BEHIND
        assert drain(track.consume().poll_group()) == [str(n) for n in range(90)]

    run(main())


def test_a_budget_too_small_for_single_newest_frames_keeps_those_and_no_more():
    async def main():
        budget = cache.Budget(1_000)
        tracks = [track_of(budget=budget) for _ in range(5)]
        for track in tracks:
            for n in range(5):
                publish(track, n)
        for track in tracks:
            assert drain(track.consume().poll_group()) == ["4"]
        assert budget.size_bytes < 5 * 2 * (GROUP_BYTES + FRAME_BYTES)

    run(main())


def test_closing_a_broadcast_gives_its_bytes_back():
    async def main():
        budget = cache.Budget()
        made = broadcast.Producer(budget=budget)
        track = made.create_track("a")
        publish(track, "whole")
        track.append_group().write(frame("half"))
        reader = track.consume(HISTORY).poll_group()
        made.close()
        assert budget.size_bytes == GROUP_BYTES + FRAME_BYTES + len("whole")
        assert drain(reader) == ["whole"]
        assert budget.size_bytes == 0

    run(main())


def test_evicted_sequences_are_remembered_in_bounded_memory():
    gone = cache.Sequences()
    for n in (5, 3, 4, 10, 9, 1, 4):
        gone.add(n)
    assert len(gone) == 3
    assert [n for n in range(12) if n in gone] == [1, 3, 4, 5, 9, 10]
    for n in range(100, 100_000, 7):
        gone.add(n)
    assert len(gone) == cache.Sequences.MAX_RANGES
    assert 8 in gone
    assert 99_997 in gone
    assert 99_998 not in gone


@pytest.mark.parametrize(
    ("age", "allowed_ms", "old"),
    [(0.0, 0, False), (0.0009, 0, False), (0.5, 500, False), (0.502, 500, True), (1.0, 0, True)],
)
def test_age_is_compared_in_whole_milliseconds(age, allowed_ms, old):
    assert cache.expired(100.0, 100.0 + age, allowed_ms) is old


def test_nothing_is_old_before_its_first_frame_or_without_a_newer_group():
    assert not cache.expired(None, 1.0, 0)
    assert not cache.expired(1.0, None, 0)


def test_history_for_a_joiner_is_capped_at_the_old_end():
    async def main():
        each = GROUP_BYTES + FRAME_BYTES + 100
        track = track_of(cache.Limits(max_lag_bytes=3 * each))
        for _ in range(10):
            publish(track, "x" * 100)
        assert kept(track) == [7, 8, 9]
        assert sequences(track.consume(Subscription(group_start=0, ordered=True))) == [7, 8, 9]

    run(main())
