"""Processes killed with SIGKILL in mid-word: real sockets, real processes, a link between."""

import asyncio

import pytest
from bench.resume import SCENARIOS, run, stage

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_lost_or_heard_twice_when_a_process_is_killed(scenario):
    async def main():
        async with asyncio.timeout(120), stage() as made:
            return await run(scenario, 40.0, 1, made)

    came = asyncio.run(main())
    assert came["intact"]
    assert came["lost_frames"] == came["heard_twice"] == 0
    assert came["resumptions"] >= 1
    assert came["answer_complete"] == [True]
