import asyncio

import pytest
from tests.aio import run, settle
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

from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.frame import Subscription
from moqvox.model.drops import Drops


def test_groups_come_as_they_arrive():
    async def main():
        track = track_of()
        reader = track.consume()
        for sequence in (3, 1, 2):
            publish(track, sequence, sequence=sequence)
            assert sequences(reader) == [sequence]
        assert track.latest == 3
        assert track.append_group().sequence == 4

    run(main())


@pytest.mark.parametrize(("ordered", "expected"), [(True, [1, 2, 3]), (False, [3, 2, 1])])
def test_of_several_waiting_groups_the_order_is_as_wished(ordered, expected):
    async def main():
        track = track_of()
        reader = track.consume(Subscription(ordered=ordered, max_age_ms=1000))
        for sequence in (3, 1, 2):
            publish(track, "x", sequence=sequence)
        assert sequences(reader) == expected

    run(main())


def test_a_sequence_is_written_by_the_first_writer_only():
    async def main():
        track = track_of()
        publish(track, "mine", sequence=5)
        with pytest.raises(LocalError, match="exists"):
            track.create_group(5)
        track.create_group(6).abort(1)
        with pytest.raises(LocalError, match="existed"):
            track.create_group(6)

    run(main())


@pytest.mark.parametrize(("sequence", "start"), [(-1, 0), (2**62 - 1, 0), (0, -1)])
def test_impossible_groups_are_the_callers_bug(sequence, start):
    async def main():
        with pytest.raises(LocalError, match="range"):
            track_of().create_group(sequence, frame_start=start)

    run(main())


def test_a_reader_starts_at_the_latest_group_by_default():
    async def main():
        track = track_of()
        assert track.consume().start() is None
        for n in range(3):
            publish(track, n)
        reader = track.consume()
        assert reader.start() == 2
        assert sequences(reader) == [2]
        assert reader.start() == 2

    run(main())


def test_a_maximum_age_asks_for_history():
    async def main():
        track = track_of()
        for n in range(6):
            publish(track, n)
            await asyncio.sleep(1)
        reader = track.consume(Subscription(max_age_ms=3000, ordered=True))
        assert reader.start() == 2
        assert sequences(reader) == [2, 3, 4, 5]

    run(main())


def test_age_counts_from_the_newest_group_not_from_now():
    async def main():
        track = track_of()
        publish(track, 0)
        await asyncio.sleep(1)
        publish(track, 1)
        await asyncio.sleep(30)
        assert sequences(track.consume(Subscription(max_age_ms=1000, ordered=True))) == [0, 1]

    run(main())


def test_a_start_is_an_absolute_floor():
    async def main():
        track = track_of()
        for n in range(4):
            publish(track, n)
        floor = Subscription(max_age_ms=10_000, group_start=2, ordered=True)
        assert sequences(track.consume(floor)) == [2, 3]
        future = track.consume(Subscription(group_start=5, max_age_ms=1))
        assert future.start() == 5
        publish(track, "4")
        assert sequences(future) == []
        publish(track, "5")
        assert sequences(future) == [5]

    run(main())


def test_a_start_without_age_asks_from_exactly_there():
    async def main():
        track = track_of()
        for n in range(4):
            publish(track, n)
            await asyncio.sleep(10)
        reader = track.consume(Subscription(group_start=1, ordered=True))
        assert reader.start() == 1
        publish(track, 4)
        assert sequences(reader) == [1, 2, 3, 4]

    run(main())


def test_a_start_that_is_not_kept_means_the_latest_group():
    async def main():
        track = track_of()
        for sequence in (4, 5, 6):
            publish(track, "x", sequence=sequence)
        assert sequences(track.consume(Subscription(group_start=1, ordered=True))) == [6]

    run(main())


def test_an_aborted_latest_group_is_not_replaced_by_an_older_one():
    async def main():
        track = track_of()
        publish(track, "answer")
        track.append_group().abort(StreamCode.CANCELLED)
        reader = track.consume()
        assert reader.start() == 2
        assert sequences(reader) == []
        publish(track, "next")
        assert sequences(reader) == [2]

    run(main())


def test_a_latecomer_is_not_given_groups_before_its_start_but_one_with_an_age_is():
    async def main():
        track = track_of()
        publish(track, "x", sequence=9)
        plain, patient = track.consume(), track.consume(HISTORY)
        publish(track, "overtaken", sequence=8)
        assert sequences(plain) == [9]
        assert sequences(patient) == [8, 9]

    run(main())


def test_frames_may_be_asked_for_by_number():
    async def main():
        track = track_of()
        publish(track, *"abcdef")
        publish(track, *"ghi")
        wish = Subscription(group_start=0, frame_start=4, group_end=1, frame_end=1, ordered=True)
        reader = track.consume(wish)
        first, second = reader.poll_group(), reader.poll_group()
        assert (first.frame_start, drain(first)) == (4, ["e", "f"])
        assert (second.frame_start, drain(second)) == (0, ["g", "h"])
        assert first.ended
        assert second.ended

    run(main())


def test_a_subscription_with_an_end_ends_there():
    async def main():
        track = track_of()
        publish(track, 0)
        reader = track.consume(Subscription(group_end=1, ordered=True, max_age_ms=1000))
        assert sequences(reader) == [0]
        assert not reader.ended
        assert reader.group_end is None
        publish(track, 1)
        publish(track, 2)
        assert sequences(reader) == [1]
        assert reader.ended
        assert reader.group_end == 2
        assert await reader.next_group() is None

    run(main())


def test_a_subscription_with_an_end_waits_for_groups_that_were_overtaken():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(group_end=2, ordered=True, max_age_ms=1000))
        for sequence in (0, 2, 3, 1):
            publish(track, "x", sequence=sequence)
            got = sequences(reader)
            assert got == ([] if sequence == 3 else [sequence])
            assert reader.ended is (sequence == 1)

    run(main())


def test_groups_missing_before_the_end_are_given_up_when_they_would_be_too_old():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(group_end=2, ordered=True, max_age_ms=1000))
        publish(track, "x", sequence=0)
        publish(track, "x", sequence=3)
        assert sequences(reader) == [0]
        await asyncio.sleep(2)
        assert not reader.ended
        opened = track.create_group(4)
        reader.poll_group()
        reader.wake = wake = Wake()
        opened.write(frame("x"))
        assert wake.calls == 1
        assert reader.ended
        assert reader.group_end == 3

    run(main())


def test_groups_dropped_before_the_end_are_settled():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(group_end=2, max_age_ms=1000))
        publish(track, "x")
        track.drop(1, 9, 5)
        assert sequences(reader) == [0]
        assert reader.ended
        past = track.consume(Subscription(group_end=0))
        publish(track, "x")
        assert sequences(past) == [0]
        late = track.consume(Subscription(group_end=0))
        assert late.ended

    run(main())


def test_a_later_end_takes_in_groups_that_were_past_the_former_one():
    async def main():
        track = track_of()
        wish = Subscription(group_end=1, max_age_ms=60_000, ordered=True)
        reader = track.consume(wish)
        for n in range(5):
            publish(track, n)
        assert sequences(reader) == [0, 1]
        reader.wake = wake = Wake()
        reader.update(Subscription(group_end=3, max_age_ms=60_000, ordered=True))
        assert wake.calls == 1
        assert sequences(reader) == [2, 3]

    run(main())


def test_an_end_that_comes_and_goes_hands_nothing_out_again():
    async def main():
        track = track_of()
        wish = Subscription(max_age_ms=60_000, ordered=True)
        reader = track.consume(wish)
        for n in range(3):
            publish(track, n)
        assert sequences(reader) == [0, 1, 2]
        publish(track, 3)
        reader.update(Subscription(group_end=1, max_age_ms=60_000, ordered=True))
        assert sequences(reader) == []
        reader.update(wish)
        assert sequences(reader) == [3]

    run(main())


def test_an_update_narrows_at_once():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        for n in range(5):
            publish(track, n)
        reader.update(Subscription(group_start=2, group_end=3, max_age_ms=60_000, ordered=True))
        assert sequences(reader) == [2, 3]

    run(main())


def test_a_finished_track_ends_after_its_groups():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        first = track.append_group()
        track.finish()
        assert reader.group_end == 1
        assert not reader.ended
        taken = reader.poll_group()
        assert reader.ended
        first.write(frame("goes on"))
        first.finish()
        assert drain(taken) == ["goes on"]
        with pytest.raises(LocalError, match="ended"):
            track.append_group()
        late = track.consume()
        assert sequences(late) == [0]
        assert late.ended

    run(main())


def test_a_group_overtaken_by_the_end_of_the_track_may_still_come():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        track.finish(2)
        publish(track, "late", sequence=1)
        assert sequences(reader) == [1]
        assert reader.group_end == 2

    run(main())


def test_an_end_that_leaves_out_groups_already_there_means_after_them():
    async def main():
        track = track_of()
        publish(track, "x", sequence=7)
        track.finish(3)
        assert track.consume().group_end == 8

    run(main())


def test_an_abort_ends_readers_and_open_groups_but_not_whole_groups_in_hand():
    async def main():
        track = track_of()
        publish(track, "whole")
        opened = track.append_group()
        opened.write(frame("cut"))
        reader = track.consume(HISTORY)
        whole, cut = reader.poll_group(), reader.poll_group()
        reader.wake = wake = Wake()
        track.abort(9, "gone")
        assert wake.calls >= 1
        assert drain(whole) == ["whole"]
        assert ended_with(cut) == 9
        for late in (reader, track.consume()):
            with pytest.raises(StreamEnded, match="gone"):
                late.poll_group()
            assert not late.ended
        assert not track.used
        assert opened.closed
        with pytest.raises(LocalError):
            track.append_group()

    run(main())


def test_drops_reach_the_readers_within_their_range():
    async def main():
        track = track_of()
        reader = track.consume(Subscription(group_start=5, group_end=8, max_age_ms=1))
        other = track.consume(Subscription(group_start=20, max_age_ms=1))
        reader.wake, other.wake = wake, never = Wake(), Wake()
        track.drop(0, 6, 0x12)
        track.drop(7, 7, 0x12)
        track.drop(8, 30, 0x5)
        assert wake.calls == 1
        assert [reader.poll_drop() for _ in range(3)] == [(5, 7, 0x12), (8, 8, 0x5), None]
        assert other.poll_drop() == (20, 30, 0x5)
        assert never.calls == 1
        with pytest.raises(LocalError, match="range"):
            track.drop(2, 1, 0)

    run(main())


def test_each_drop_wakes_who_has_taken_the_one_before():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        reader.wake = wake = Wake()
        for n in range(3):
            track.drop(n, n, 1)
            assert wake.calls == n + 1
            assert reader.poll_drop() == (n, n, 1)
            assert reader.poll_drop() is None

    run(main())


def test_a_group_aborted_before_it_was_handed_out_is_told_as_dropped():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        reader.wake = wake = Wake()
        opened = track.append_group()
        opened.abort(3)
        assert wake.calls == 2
        assert reader.poll_group() is None
        assert reader.poll_drop() == (0, 0, 3)

    run(main())


def test_unasked_drops_are_bounded():
    drops = Drops()
    for n in range(0, 1000, 2):
        drops.add(n, n, 1)
    taken = []
    while (one := drops.take()) is not None:
        taken.append(one)
    assert len(taken) == Drops.MAX_RANGES
    assert taken[-1] == (998, 998, 1)


def test_groups_share_the_wake_of_their_track_reader():
    async def main():
        track = track_of()
        reader = track.consume()
        opened = track.append_group()
        taken = reader.poll_group()
        reader.wake = wake = Wake()
        opened.write(frame("a"))
        assert wake.calls == 1
        drain(taken)
        reader.poll_group()
        track.append_group()
        assert wake.calls == 2
        own = Wake()
        following = reader.poll_group()
        following.wake = own
        reader.wake = None
        assert following.wake is own
        assert taken.wake is None

    run(main())


def test_a_drop_between_polls_does_not_swallow_the_wake_for_a_group():
    async def main():
        track = track_of()
        reader = track.consume(HISTORY)
        reader.poll_group()
        reader.poll_drop()
        reader.wake = wake = Wake()
        track.drop(0, 0, 1)
        reader.poll_drop()
        track.create_group(1)
        assert wake.calls == 2

    run(main())


def test_iteration_follows_a_track_to_its_end():
    async def main():
        track = track_of()
        got = []

        async def read():
            async for group in track.consume(HISTORY):
                async for taken in group:
                    got.append((group.sequence, taken.payload))  # noqa: PERF401 -- as users write it

        async with asyncio.TaskGroup() as readers:
            readers.create_task(read())
            await settle()
            for n in range(3):
                publish(track, n)
                await asyncio.sleep(1)
            track.finish()
        assert got == [(0, b"0"), (1, b"1"), (2, b"2")]

    run(main())


def test_a_waiting_reader_hears_of_an_abort_and_of_its_own_closing():
    async def main():
        loop = asyncio.get_running_loop()
        track = track_of()
        closing = track.consume()
        loop.call_later(1, closing.close)
        assert await closing.next_group() is None
        loop.call_later(1, track.abort, 4)
        with pytest.raises(StreamEnded):
            await track.consume().next_group()

    run(main())


def test_the_producer_hears_what_its_readers_want_together():
    async def main():
        track = track_of()
        track.wake = wake = Wake()
        assert track.demand() is None
        assert not track.used
        first = track.consume(Subscription(priority=10, group_start=4, group_end=9))
        assert track.demand() == Subscription(priority=10, group_start=4, group_end=9)
        second = track.consume(
            Subscription(priority=3, ordered=True, max_age_ms=50, group_start=2, frame_start=7)
        )
        assert wake.calls == 2
        assert track.demand() == Subscription(
            priority=10, ordered=True, max_age_ms=50, group_start=2, frame_start=7
        )
        second.update(Subscription(priority=200))
        assert wake.calls == 3
        assert track.demand() == Subscription(priority=200)
        second.close()
        first.close()
        first.close()
        assert wake.calls == 5
        assert not track.used

    run(main())


def test_frame_bounds_combine_within_the_outermost_groups():
    async def main():
        track = track_of()
        track.consume(Subscription(group_start=3, frame_start=5, group_end=7, frame_end=2))
        track.consume(Subscription(group_start=3, frame_start=4, group_end=7, frame_end=6))
        track.consume(Subscription(group_start=4, frame_start=0, group_end=6, frame_end=9))
        assert track.demand() == Subscription(
            group_start=3, frame_start=4, group_end=7, frame_end=6
        )
        track.consume(Subscription(group_start=3, frame_start=4, group_end=7))
        assert track.demand().frame_end is None

    run(main())


def test_waiting_until_unused_ends_with_the_last_reader():
    async def main():
        track = track_of()
        await track.wait_unused()
        readers = [track.consume(), track.consume()]
        loop = asyncio.get_running_loop()
        loop.call_later(1, readers[0].close)
        loop.call_later(2, readers[1].close)
        await track.wait_unused()
        assert loop.time() == pytest.approx(2)

    run(main())
