"""A bounded queue that ends for every reader."""

import asyncio

import pytest
from tests.aio import run

from moqvox.voice.mailbox import Mailbox


def test_items_come_in_order_to_readers_that_wait_or_not():
    async def main():
        box = Mailbox(3)
        assert box.put(1)
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(_all(box)) for _ in range(2)]
            await asyncio.sleep(1)
            box.put(2)
            box.put(3)
            await asyncio.sleep(1)
            box.close()
        return sorted(item for task in reading for item in task.result())

    assert run(main()) == [1, 2, 3]


async def _all(box):
    return [item async for item in box]


def test_full_box_refuses_or_gives_up_its_oldest():
    async def main():
        box = Mailbox(2)
        results = [box.put(n) for n in range(3)]
        kept = box.push(7)
        box.close()
        assert not box.put(8)
        assert not box.push(9)
        return results, kept, len(box) <= 2, await _all(box)

    results, kept, bounded, _ = run(main())
    assert results == [True, True, False]
    assert not kept
    assert bounded


@pytest.mark.parametrize("count", [0, 2])
def test_closed_box_gives_out_what_is_there_and_then_nothing_for_ever(count):
    async def main():
        box = Mailbox(5)
        for number in range(count):
            box.put(number)
        box.close()
        return [await box.get() for _ in range(4)]

    assert run(main()) == [*range(count), *[None] * (4 - count)]
