import asyncio

import pytest
from tests.aio import run, settle
from tests.unit.model.samples import Wake, drain, ended_with, frame, publish, track_of

from moqvox.errors import LocalError, StreamCode, StreamEnded
from moqvox.model.cache import cost


def test_every_reader_gets_the_same_frames_without_copies():
    async def main():
        writer = track_of().append_group()
        early = writer.consume()
        sent = [frame(n) for n in range(3)]
        for one in sent:
            writer.write(one)
        late = writer.consume()
        for reader in (early, late):
            assert all(reader.poll() is one for one in sent)
            assert reader.poll() is None
            assert not reader.ended

    run(main())


def test_a_whole_group_ends_once_everything_is_read():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        writer.write(frame("a"))
        writer.finish()
        assert not reader.ended
        assert drain(reader) == ["a"]
        assert reader.ended
        assert writer.closed

    run(main())


def test_writing_to_a_closed_group_is_the_callers_bug():
    async def main():
        track = track_of()
        finished, aborted = track.append_group(), track.append_group()
        finished.finish()
        finished.finish()
        aborted.abort(7)
        aborted.finish()
        for writer in (finished, aborted):
            with pytest.raises(LocalError, match="closed"):
                writer.write(frame("late"))

    run(main())


def test_an_abort_is_immediate_even_with_unread_frames():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        writer.write(frame("unread"))
        writer.abort(StreamCode.CANCELLED)
        assert ended_with(reader) == StreamCode.CANCELLED
        assert ended_with(reader) == StreamCode.CANCELLED
        assert not reader.ended
        assert ended_with(writer.consume()) == StreamCode.CANCELLED

    run(main())


def test_a_finished_group_can_still_be_aborted_for_those_who_have_not_read_it():
    async def main():
        writer = track_of().append_group()
        fast, slow = writer.consume(), writer.consume()
        writer.write(frame("a"))
        writer.finish()
        drain(fast)
        writer.abort(StreamCode.CANCELLED)
        assert fast.ended
        assert fast.poll() is None
        assert ended_with(slow) == StreamCode.CANCELLED

    run(main())


def test_the_first_abort_names_the_code():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        writer.abort(1)
        writer.abort(2)
        assert ended_with(reader) == 1

    run(main())


def test_a_reader_is_woken_once_between_two_polls():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        reader.wake = wake = Wake()
        for n in range(3):
            writer.write(frame(n))
        assert wake.calls == 1
        reader.poll()
        writer.write(frame(3))
        assert wake.calls == 2
        drain(reader)
        writer.finish()
        assert wake.calls == 3

    run(main())


def test_a_check_raises_what_a_poll_would_but_takes_no_frame():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        reader.wake = wake = Wake()
        writer.write(frame("a"))
        reader.check()
        writer.write(frame("b"))
        assert wake.calls == 2
        assert drain(reader) == ["a", "b"]
        writer.abort(6)
        with pytest.raises(StreamEnded) as ended:
            reader.check()
        assert ended.value.code == 6
        reader.close()
        reader.check()

    run(main())


def test_a_closed_reader_is_not_woken_and_gets_nothing():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        reader.wake = wake = Wake()
        assert writer.used
        reader.close()
        reader.close()
        writer.write(frame("a"))
        assert not writer.used
        assert wake.calls == 0
        assert reader.poll() is None
        assert reader.ended

    run(main())


def test_a_wake_may_close_other_readers():
    async def main():
        writer = track_of().append_group()
        first, second = writer.consume(), writer.consume()
        first.wake = second.close
        second.wake = first.close
        writer.write(frame("a"))
        assert second.poll() is None

    run(main())


def test_reading_waits_for_frames_and_stops_at_the_end():
    async def main():
        writer = track_of().append_group()
        got: list[list[bytes]] = []

        async def read():
            got.append([taken.payload async for taken in writer.consume()])

        async with asyncio.TaskGroup() as readers:
            readers.create_task(read())
            readers.create_task(read())
            await settle()
            for n in range(3):
                writer.write(frame(n))
                await asyncio.sleep(1)
            writer.finish()
        assert got == [[b"0", b"1", b"2"]] * 2

    run(main())


def test_a_waiting_reader_hears_of_an_abort():
    async def main():
        writer = track_of().append_group()
        asyncio.get_running_loop().call_later(1, writer.abort, 5)
        with pytest.raises(StreamEnded) as ended:
            await writer.consume().read()
        assert ended.value.code == 5

    run(main())


def test_a_waiting_read_ends_when_its_reader_is_closed():
    async def main():
        reader = track_of().append_group().consume()
        asyncio.get_running_loop().call_later(1, reader.close)
        assert await reader.read() is None

    run(main())


def test_a_cancelled_read_takes_no_frame():
    async def main():
        writer = track_of().append_group()
        reader = writer.consume()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await reader.read()
        writer.write(frame("kept"))
        assert drain(reader) == ["kept"]

    run(main())


def test_a_group_may_begin_at_a_later_frame():
    async def main():
        writer = track_of().create_group(4, frame_start=10)
        writer.write(frame("ten"))
        reader = writer.consume()
        assert (writer.frame_start, reader.frame_start) == (10, 10)
        assert drain(reader) == ["ten"]

    run(main())


def test_readers_leave_a_whole_group_once_they_have_read_it():
    async def main():
        track = track_of()
        writer = publish(track, "a")
        reader = writer.consume()
        assert writer.used
        drain(reader)
        assert not writer.used
        still = track.append_group()
        caught_up = still.consume()
        still.finish()
        assert caught_up.ended
        assert not still.used

    run(main())


def test_who_has_taken_the_last_frame_has_read_all_before_he_polls_again():
    async def main():
        writer = publish(track_of(), "a", "b")
        reader = writer.consume()
        reader.wake = wake = Wake()
        assert [reader.poll(), reader.poll()] == [frame("a"), frame("b")]
        writer.abort(3)
        assert wake.calls == 0
        assert reader.ended
        assert reader.poll() is None

    run(main())


def test_trimming_ends_exactly_the_readers_whose_next_frame_is_gone():
    async def main():
        track = track_of()
        writer = track.append_group()
        readers = [writer.consume() for _ in range(6)]
        for n in range(6):
            writer.write(frame(n))
        for taken, reader in enumerate(readers):
            for _ in range(taken):
                reader.poll()
        group = readers[0].group
        freed_bytes = group.trim(3 * cost(frame(0)))
        assert freed_bytes == 3 * cost(frame(0))
        assert group.head == 3
        for reader in readers[:3]:
            assert ended_with(reader) == StreamCode.TOO_FAR_BEHIND
        for taken, reader in enumerate(readers[3:], start=3):
            assert drain(reader) == [str(n) for n in range(taken, 6)]
        assert group.trim(10**9) == 2 * cost(frame(0))
        assert group.trim(10**9) == 0
        assert drain(writer.consume()) == ["5"]

    run(main())
