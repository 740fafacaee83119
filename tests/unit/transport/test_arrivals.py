"""The queue between a listener's door and its `accept`."""

import asyncio

import pytest
from tests.aio import run

from moqvox.errors import SessionClosed
from moqvox.transport.arrivals import Arrivals


def test_who_came_before_the_end_is_still_handed_out():
    async def main() -> None:
        arrivals: Arrivals[str] = Arrivals()
        arrivals.add("first")
        arrivals.close(3, "going")
        assert await arrivals.next() == "first"
        with pytest.raises(SessionClosed, match="going"):
            await arrivals.next()

    run(main())


def test_the_end_wakes_everybody_who_waits_and_the_first_reason_counts():
    async def main() -> list[object]:
        arrivals: Arrivals[str] = Arrivals()
        heard: list[object] = []

        async def wait() -> None:
            try:
                heard.append(await arrivals.next())
            except SessionClosed as closed:
                heard.append((closed.code, closed.reason))

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(wait())
            await asyncio.sleep(0)
            arrivals.close(3, "going")
            arrivals.close(4, "gone")
        assert arrivals.is_closed
        return heard

    assert run(main()) == [(3, "going")] * 3
