"""The virtual clock that the other tests trust."""

import asyncio
import itertools

import pytest
from tests.aio import Deadlock, persist, run


def test_hours_pass_in_no_time_and_in_order():
    heard = []

    async def wait(seconds):
        await asyncio.sleep(seconds)
        heard.append((seconds, asyncio.get_running_loop().time()))

    async def main():
        async with asyncio.TaskGroup() as tasks:
            for hours in (3, 1, 2):
                tasks.create_task(wait(hours * 3600))

    run(main())
    assert heard == [(3600, 3600), (7200, 7200), (10800, 10800)]


def test_waiting_for_nothing_is_a_deadlock(monkeypatch):
    monkeypatch.setattr("tests.aio.THREAD_PATIENCE", 0.01)

    async def main():
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="no timer"):
        run(main())


def test_turning_in_a_circle_is_a_deadlock(monkeypatch):
    monkeypatch.setattr("tests.aio.MAX_TURNS", 1000)

    async def main():
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Deadlock, match="no time has passed"):
        run(main())


def test_what_a_callback_raises_fails_the_run():
    def fail():
        raise ZeroDivisionError

    async def main():
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.sleep(1)

    with pytest.raises(ZeroDivisionError):
        run(main())


def test_what_was_sent_arrives_before_time_passes():
    heard = []

    class Answering(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, address):
            heard.append((data, round(asyncio.get_running_loop().time())))
            if data == b"ping":
                self.transport.sendto(b"pong", address)

    async def main():
        loop, here = asyncio.get_running_loop(), ("127.0.0.1", 0)
        first, second = [
            (await loop.create_datagram_endpoint(Answering, local_addr=here))[0] for _ in range(2)
        ]
        for _ in range(3):
            second.sendto(b"ping", first.get_extra_info("sockname"))
            await asyncio.sleep(60)
        first.close()
        second.close()

    run(main(), sockets=True)
    assert heard == [(word, at) for at in (0, 60, 120) for word in (b"ping", b"pong")]


def test_who_looks_at_the_time_in_each_turn_sees_it_pass_with_sockets():
    async def main():
        loop = asyncio.get_running_loop()
        until, turns = loop.time() + 0.01, 0
        while loop.time() < until:
            turns += 1
            await asyncio.sleep(0)
        return turns

    assert 800 < run(main(), sockets=True) < 1000


def test_a_time_that_passes_within_one_turn_comes_to_its_end():
    async def main():
        loop = asyncio.get_running_loop()
        until, looks = loop.time() + 0.002, 0
        while loop.time() < until:
            looks += 1
        return looks

    assert 1900 < run(main(), sockets=True) < 2100


class TimeIsOver(BaseException):
    """What pytest raises, wherever the test is."""


def test_time_that_is_over_in_a_callback_ends_the_run():
    def fail():
        raise TimeIsOver

    async def main():
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.Event().wait()

    with pytest.raises(TimeIsOver):
        run(main())


@pytest.mark.parametrize(("failures", "passes"), [(0, True), (2, True), (3, False)])
def test_what_fails_each_time_fails_and_what_fails_for_a_moment_does_not(failures, passes):
    results = [False] * failures + [True]

    def check():
        assert results.pop(0)

    if passes:
        persist(check)
        assert results == []
    else:
        with pytest.raises(AssertionError):
            persist(check)
