"""When a connection that was lost, or fell silent, is replaced."""

import asyncio
import contextlib
import itertools
import random

import pytest
from tests.aio import run

from moqvox.transport.failures import ConnectFailed
from moqvox.transport.interface import Closed, Stats
from moqvox.transport.urge import Urge
from moqvox.voice.redial import Redial, _wait_revived


class Line:
    """A connection's driver, as far as it is looked at."""

    def __init__(self, rtt=0.05):
        self.connection = self
        self.remote_address = "server"
        self.goaway = asyncio.Event()
        self.goaway_uri = ""
        self.pings = []
        self._rtt = rtt
        self._ended = asyncio.Event()

    def stats(self):
        return Stats(rtt=self._rtt, unacked_bytes=1)

    def ping(self):
        self.pings.append(asyncio.get_running_loop().time())

    @property
    def closed(self):
        return self._ended.is_set()

    def close(self, *_):
        self._ended.set()

    async def wait_closed(self):
        await self._ended.wait()
        return Closed(0, "started anew", lost=True)


@pytest.mark.parametrize(("rtt", "patience"), [(0.05, 0.4), (0.12, 0.4), (0.2, 0.6)])
def test_silent_connection_has_another_one_tried_beside(rtt, patience):
    async def main():
        loop, dialled = asyncio.get_running_loop(), []

        async def dial(_url):
            dialled.append(loop.time())
            if len(dialled) > 1:
                await asyncio.sleep(10)
            return Line(rtt)

        async def hold(line):
            await line.wait_closed()

        redial = Redial(["a"], dial, patience=9, dice=random.Random(1))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await redial.run(hold, settled=lambda: asyncio.sleep(0), may_return=lambda: True)
        return [at - dialled[0] for at in dialled]

    assert run(main()) == [0, pytest.approx(patience, abs=0.001)]


@pytest.mark.parametrize("away", [0.47, 0.7, 0.9, 1.3, 2.2, 5.1])
@pytest.mark.parametrize("answers", ["refuses", "is silent"])
def test_server_that_tells_of_its_restart_is_dialled_at_once(away, answers):
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        lines = []

        async def dial(_url):
            if lines and loop.time() < began + away:
                if answers == "refuses":
                    raise ConnectFailed("nobody there")
                await asyncio.sleep(10)
            await asyncio.sleep(0.05)
            lines.append(Line())
            return lines[-1]

        redial = Redial(["a"], dial, patience=60, dice=random.Random(1))
        held = []

        async def hold(line):
            held.append(loop.time() - began)
            await line.wait_closed()

        async def killed():
            await asyncio.sleep(away)
            lines[0].close()
            await asyncio.sleep(1)
            for line in lines:
                line.close()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(killed())
            await redial.run(
                hold, settled=lambda: asyncio.sleep(0), may_return=lambda: len(held) < 2
            )
        return held[1]

    assert run(main()) == pytest.approx(away + 0.05, abs=0.001)


def test_silent_server_is_asked_often_and_then_now_and_then():
    async def main():
        line = Line()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(22):
                await _wait_revived(line)
        began = line.pings[0]
        return [at - began for at in line.pings]

    pings = run(main())
    assert 90 <= sum(at < 2 for at in pings) <= 101
    assert 90 <= sum(at >= 2 for at in pings) <= 101


@pytest.mark.parametrize("urls", [["a"], ["a", "b"]])
def test_attempt_under_way_asks_again_while_a_server_may_be_about_to_be_back(urls):
    async def main():
        loop, urge, asked, lines = asyncio.get_running_loop(), Urge(), [], []

        async def dial(_url):
            if lines:
                me = object()
                urge.add(me, lambda: asked.append(loop.time() - began))
                try:
                    await asyncio.sleep(20)
                finally:
                    urge.discard(me)
            lines.append(Line())
            return lines[-1]

        async def hold(line):
            await line.wait_closed()

        began = loop.time()
        redial = Redial(urls, dial, patience=9, dice=random.Random(1), urge=urge)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(9):
                await redial.run(hold, settled=lambda: asyncio.sleep(0), may_return=lambda: True)
        return asked

    asked = run(main())
    if len(urls) > 1:  # the attempt under way may be to another one
        assert asked == []
        return
    gaps = [after - before for before, after in itertools.pairwise(asked)]
    assert gaps == pytest.approx([0.04] * 24 + [0.1] * 10, abs=0.001)
    assert len(asked) == 35
    assert asked[-1] < 0.7 + 2.0


@pytest.mark.parametrize("urls", [["a"], ["a", "b"]])
def test_attempt_under_way_asks_again_when_the_server_tells_of_its_restart(urls):
    async def main():
        urge, dialled, lines = Urge(), [], [Line()]

        async def dial(url):
            if not dialled:
                dialled.append(url)
                return lines[0]
            dialled.append(url)
            answered = asyncio.Event()
            urge.add(answered, answered.set)
            try:
                await answered.wait()
            finally:
                urge.discard(answered)
            lines.append(Line())
            return lines[-1]

        async def hold(line):
            if line is lines[0]:
                await asyncio.sleep(0.9)
            line.close()

        redial = Redial(urls, dial, patience=5, dice=random.Random(1), urge=urge)
        await redial.run(hold, settled=lambda: asyncio.sleep(0), may_return=lambda: len(lines) < 2)
        return dialled

    dialled = run(main())
    if len(urls) == 1:
        assert dialled == ["a", "a"]
    else:  # the attempt under way may be to another one
        assert dialled.count("b") >= 1
        assert len(dialled) > 2
