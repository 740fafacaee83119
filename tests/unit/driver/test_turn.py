"""A turn is taken once, however often it was asked for, and its faults are its owner's."""

import asyncio

import pytest
from tests.aio import run

from moqvox.driver.turn import Turn


def test_a_turn_is_taken_once_for_many_wishes():
    async def scenario():
        turn, calls = Turn(), []
        turn.set()
        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(turn.take(lambda: calls.append(len(calls))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert calls == [0]
            for _ in range(5):
                turn.set()
            assert calls == [0]
            await asyncio.sleep(0)
            assert calls == [0, 1]
            taking.cancel()
        turn.set()
        await asyncio.sleep(0)
        assert calls == [0, 1]

    run(scenario())


def test_what_is_asked_for_within_a_turn_comes_in_the_next():
    async def scenario():
        turn, calls = Turn(), []

        def call():
            calls.append(None)
            if len(calls) < 3:
                turn.set()

        async with asyncio.TaskGroup() as tasks:
            taking = tasks.create_task(turn.take(call))
            turn.set()
            for _ in range(6):
                await asyncio.sleep(0)
            assert len(calls) == 3
            taking.cancel()

    run(scenario())


def test_a_fault_fails_who_takes_the_turns():
    async def scenario():
        turn = Turn()

        def fail():
            raise ValueError("a bug")

        turn.set()
        with pytest.raises(ValueError, match="a bug"):
            await turn.take(fail)

    run(scenario())
