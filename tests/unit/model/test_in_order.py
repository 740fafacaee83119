"""Groups by sequence: waiting for what is missing, but not for ever."""

import asyncio

import pytest
from tests.aio import run

from moqvox.errors import StreamEnded
from moqvox.frame import Frame, Subscription
from moqvox.model import broadcast
from moqvox.model.in_order import InOrder

ALL = Subscription(ordered=True, max_age_ms=86_400_000)


def track(*present):
    producer = broadcast.Producer()
    made = producer.create_track("t")
    for number in present:
        write(made, number)
    return made


def write(made, number):
    group = made.create_group(number)
    group.write(Frame(b"%d" % number, 0))
    group.finish()


async def read(order, into):
    loop = asyncio.get_running_loop()
    async for group in order:
        into.append((group.sequence, round(loop.time(), 2)))
        group.close()


def played(script, *, present=(), **options):
    """Run a script of (time, action on the track) and tell what came out when."""

    async def main():
        made = track(*present)
        order = InOrder(made.consume(ALL), **options)
        got = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(read(order, got))
            for at, action in script:
                await asyncio.sleep(at - asyncio.get_running_loop().time())
                action(made)
        return got, order.lost

    return run(main())


def add(number):
    return lambda made: write(made, number)


def end(made):
    made.finish()


def test_groups_that_overtook_each_other_come_in_order_at_once():
    got, lost = played([(1, add(0)), (1, add(2)), (1.2, add(1)), (2, end)])
    assert got == [(0, 1.0), (1, 1.2), (2, 1.2)]
    assert lost == 0


def test_group_that_overtook_the_very_first_is_held_for_a_moment():
    got, _ = played([(1, add(1)), (1.3, add(0)), (2, end)])
    assert got == [(0, 1.3), (1, 1.3)]


def test_reader_who_joins_in_the_middle_waits_half_a_second_once():
    got, lost = played([(1, add(57)), (1.1, add(58)), (2, add(59)), (3, end)])
    assert got == [(57, 1.5), (58, 1.5), (59, 2.0)]
    assert lost == 0


def test_missing_group_is_given_up_although_later_ones_keep_coming():
    script = [(1, add(0)), *((1 + n / 10, add(n)) for n in range(2, 80)), (20, end)]
    got, lost = played(script, patience=3.0)
    assert [number for number, _ in got] == [0, *range(2, 80)]
    assert got[1] == (2, 4.2)
    assert lost == 1


def test_group_that_comes_after_it_was_given_up_is_left_out():
    got, lost = played([(1, add(0)), (1, add(2)), (8, add(1)), (8, add(3)), (9, end)])
    assert [number for number, _ in got] == [0, 2, 3]
    assert lost == 1


def test_dropped_groups_are_passed_over_with_the_next_that_comes():
    got, lost = played([(1, add(0)), (1, lambda made: made.drop(1, 3, 5)), (1.5, add(4)), (2, end)])
    assert got == [(0, 1.0), (4, 1.5)]
    assert lost == 3


def test_gaps_at_the_end_are_counted_and_nothing_waits():
    got, lost = played([(1, add(5)), (1, add(8)), (1.1, end)], present=(3,))
    assert [number for number, _ in got] == [3, 5, 8]
    assert lost == 3
    assert got[-1][1] == 1.1


def test_abort_reaches_the_reader():
    async def main():
        made = track(0)
        order = InOrder(made.consume(ALL))
        got = []
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_raises(order, got))
            await asyncio.sleep(1)
            made.abort(7)
        return reading.result(), got

    async def _raises(order, got):
        with pytest.raises(StreamEnded) as ended:
            await read(order, got)
        return ended.value.code

    assert run(main()) == (7, [(0, 0.0)])
