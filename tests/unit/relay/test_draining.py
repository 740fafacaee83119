"""Workers that drain: none leaves while another one's callers may hear through it."""

import asyncio

import pytest
from tests.aio import run

from moqvox_relay.draining import DRAINING, GRACE, LOOK_EVERY, SESSIONS, wait_idle


def waited(story, *, sessions=0):
    """How long a worker stays, of whose siblings `story(seconds)` tells the counters."""

    async def main():
        loop = asyncio.get_running_loop()
        began, told = loop.time(), []

        def open_now():
            return sessions if loop.time() - began < 0.5 else 0

        async with asyncio.timeout(20):
            await wait_idle(
                open_now, lambda: told.append(open_now()), lambda: story(loop.time() - began)
            )
        assert told[-1] == 0, "siblings were not told that it is idle"
        return loop.time() - began

    return run(main())


def row(sessions, draining=1.0):
    return {SESSIONS: float(sessions), DRAINING: draining}


def test_worker_stays_as_long_as_a_sibling_that_drains_has_callers():
    assert waited(lambda now: [row(0), row(now < 3)]) == pytest.approx(3, abs=LOOK_EVERY)


def test_worker_stays_until_its_own_callers_have_left():
    assert waited(lambda _: [row(0)], sessions=2) == pytest.approx(0.5, abs=LOOK_EVERY)


def test_idle_workers_end_at_once():
    assert waited(lambda _: [row(0), row(0)]) == 0


def test_sibling_that_has_not_heard_yet_is_waited_for():
    def story(now):
        return [row(1, draining=0) if now < 0.3 else row(now < 2)]

    assert waited(story) == pytest.approx(2, abs=LOOK_EVERY)


def test_worker_that_is_told_alone_does_not_wait_for_those_that_go_on():
    assert waited(lambda _: [row(7, draining=0)]) == pytest.approx(GRACE, abs=LOOK_EVERY)


def test_dead_sibling_is_not_waited_for():
    assert waited(lambda _: [{}]) == 0
