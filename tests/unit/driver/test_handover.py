"""A session that is asked to move and stays: to look for other ways costs next to nothing."""

import asyncio
from itertools import pairwise

from tests.aio import run
from tests.unit.driver.sides import hub, published, read_track, subscribe, write

from moqvox.driver.handover import LOOK_EVERY, LOOK_RARELY, LOOKS, hand_over
from moqvox.model.origin import Origin


class Leaving:
    """A session that does not end before its time, and notes when it is looked at."""

    def __init__(self, until):
        self.looked_at = []
        self._loop = asyncio.get_running_loop()
        self._until = until

    @property
    def closed(self):
        return self._loop.time() >= self._until

    @property
    def remotes(self):
        self.looked_at.append(self._loop.time())
        return ()


def test_looks_for_other_ways_become_rare_when_a_session_stays_for_an_hour():
    async def main():
        leaving = Leaving(3600.0)
        await hand_over(leaving, Origin())
        return leaving.looked_at

    looked_at = run(main())
    pauses = [round(after - before, 3) for before, after in pairwise(looked_at)]
    assert pauses[: LOOKS - 1] == [LOOK_EVERY] * (LOOKS - 1)
    assert set(pauses[LOOKS - 1 :]) == {LOOK_RARELY}
    assert len(looked_at) < LOOKS + 3600 / LOOK_RARELY


def test_way_that_comes_when_looks_are_rare_is_still_taken():
    async def main():
        edge, near = Origin(), Origin()
        async with hub() as first, hub() as second, asyncio.TaskGroup() as tasks:
            _, audio = published(near)
            first.join(shared=near)
            leaving = first.join(shared=edge)
            second.join(shared=edge)
            reading = tasks.create_task(read_track(await subscribe(edge)))
            write(audio, b"before")
            await asyncio.sleep(1)
            moving = tasks.create_task(hand_over(leaving.driver, edge))
            await asyncio.sleep(3 * LOOKS * LOOK_EVERY)
            second.join(shared=near)
            await asyncio.sleep(LOOK_RARELY + 1)
            leaving.driver.close()
            write(audio, b"after")
            audio.finish()
            got = await reading
            await moving
            return got.payloads, got.ended

    assert run(main()) == ([b"before", b"after"], True)
