"""Full collections go through what is new only, and what was frozen is collected when idle."""

import asyncio
import gc
import sys
import weakref

import pytest
from tests.aio import run

from moqvox import collector

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="3.14's collector works in small steps by itself"
)

MANY = 50_000


class Node:
    """Something that refers to itself, once it is told to."""

    def __init__(self) -> None:
        self.self: Node | None = None


def seen_by_a_full_collection() -> int:
    return len(gc.get_objects())


def test_what_a_full_collection_has_seen_the_next_does_not_see():
    async def main():
        async with collector.spare(lambda: False):
            alive = [Node() for _ in range(MANY)]
            gc.collect()
            after = seen_by_a_full_collection()
            return len(alive), after

    alive, after = run(main())
    assert (alive, after < MANY / 100) == (MANY, True)


def test_full_collections_come_by_themselves_while_there_is_little_to_see():
    async def main():
        async with collector.spare(lambda: False):
            most = 0
            alive = []
            for _ in range(10):
                alive.append([Node() for _ in range(MANY // 10)])
                most = max(most, seen_by_a_full_collection())
            return len(alive), most

    ballast = [Node() for _ in range(4 * MANY)]
    alive, most = run(main())
    assert (alive, most < 3 * MANY / 5) == (10, True)
    del ballast


async def lost_in_a_cycle() -> weakref.ref:
    """Freeze something alive, which then refers to itself and is forgotten."""
    node = Node()
    gc.collect()
    node.self = node
    return weakref.ref(node)


async def until_freed(lost: weakref.ref) -> float:
    clock = asyncio.get_running_loop().time
    began = clock()
    async with asyncio.timeout(2 * collector.PATIENCE):
        while lost() is not None:  # noqa: ASYNC110  # nothing tells that it is freed
            await asyncio.sleep(10)
    return clock() - began


@pytest.mark.parametrize(
    ("idle", "seconds"), [(True, collector.LOOK_EVERY), (False, collector.PATIENCE)]
)
def test_what_was_frozen_and_is_garbage_goes_when_idle_or_at_the_latest_after_hours(idle, seconds):
    async def main():
        async with collector.spare(lambda: idle):
            lost = await lost_in_a_cycle()
            gc.collect()
            assert lost() is not None
            return await until_freed(lost)

    assert seconds <= run(main()) <= seconds + collector.LOOK_EVERY


def test_who_loses_much_in_cycles_asks_for_it_sooner():
    async def main():
        async with collector.spare(lambda: False, patience=600.0):
            lost = await lost_in_a_cycle()
            return await until_freed(lost)

    assert 600.0 <= run(main()) <= 600.0 + collector.LOOK_EVERY


def test_the_collector_is_as_it_was_after_that():
    before = gc.get_threshold(), list(gc.callbacks)

    async def main():
        async with collector.spare(lambda: False):
            assert gc.get_threshold() != before[0]

    run(main())
    assert (gc.get_threshold(), list(gc.callbacks), gc.get_freeze_count()) == (*before, 0)
