"""A relay that died is noticed by its silence, on either side; one that lives is not given up."""

import asyncio
from itertools import pairwise

import pytest
from tests.aio import run
from tests.sim.calls import world
from tests.unit.driver.sides import joined
from tests.unit.voice.calls import packets

from moqvox.transport.memory import LinkSettings
from moqvox.voice.knock import BUSY, IDLE, keep_knocking
from moqvox.voice.playback import Playback

FRAMES = 150
RELAYS = ("one", "two")


class Echo:
    """An agent that notes when it hears what, and says it again."""

    def __init__(self):
        self.heard_at = []
        self.sessions = 0

    async def __call__(self, session):
        self.sessions += 1
        async for utterance in session.utterances():
            said = []
            async for packet in utterance.opus():
                self.heard_at.append(asyncio.get_running_loop().time())
                said.append(packet.opus)
            response = session.respond()
            for packet in said:
                await response.write_packet(packet)
                await asyncio.sleep(0.02)
            response.finish()


async def converse(trouble, at, rtt_ms=50.0):
    """Call an agent at the first of two relays, and make trouble so many seconds into it."""
    async with world() as made:
        agent = made.agent = Echo()
        for name in RELAYS:
            made.relay(name)
            made.network.route("phone", name).change(LinkSettings(delay_ms=rtt_ms / 2))
            made.network.route("agent", name).change(LinkSettings(delay_ms=0.5))
        made.attend("agent", *RELAYS)
        await asyncio.sleep(1)
        arrived_at = []
        async with made.call(*RELAYS) as call, asyncio.TaskGroup() as tasks:
            loop = asyncio.get_running_loop()
            playback = Playback(call, on_packet=lambda *_: arrived_at.append(loop.time()))
            playing = tasks.create_task(playback.run())
            tasks.create_task(say(call))
            await asyncio.sleep(at)
            trouble(made)
            account = await playback.wait_account(0)
            await account.over.wait()
            playing.cancel()
        assert len(agent.heard_at) == len(arrived_at) == FRAMES
        assert agent.sessions == 1
        return call.resumptions, longest(agent.heard_at), longest(arrived_at)


async def say(call):
    speech = call.speak()
    for packet in packets(FRAMES):
        speech.write_packet(packet)
        await asyncio.sleep(0.02)
    speech.finish()


def longest(times):
    return max(after - before for before, after in pairwise(times))


def kill(made):
    made.processes[0].kill(reset=False)


@pytest.mark.parametrize("at", [1.51, 1.53, 4.51, 4.55])
def test_call_goes_on_at_the_other_relay_within_a_second_and_two_round_trips(at):
    resumptions, gap_up, gap_down = run(converse(kill, at))
    assert resumptions == 1
    assert max(gap_up, gap_down) < 1.0


@pytest.mark.parametrize("at", [1.5, 4.5])
@pytest.mark.parametrize("rtt_ms", [50, 300])
@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_call_outlives_a_dead_network_on_the_connection_that_it_has(seconds, rtt_ms, at):
    def cut(made):
        for name in RELAYS:
            made.network.route("phone", name).outage(seconds)

    resumptions, gap_up, gap_down = run(converse(cut, at, rtt_ms))
    assert resumptions == 0
    assert max(gap_up, gap_down) >= seconds


@pytest.mark.parametrize(("busy", "pause"), [(True, BUSY), (False, IDLE), (None, None)])
def test_who_only_listens_asks_now_and_then(busy, pause):
    async def main():
        async with joined() as (client, _), asyncio.TaskGroup() as tasks:
            await asyncio.sleep(5)
            before = client.connection.stats().sent_packets
            knocking = tasks.create_task(keep_knocking(client.connection, lambda: busy))
            await asyncio.sleep(10)
            knocking.cancel()
            return client.connection.stats().sent_packets - before

    asked = run(main())
    if pause is None:
        assert asked == 0
    else:
        assert 10 / pause / 3 < asked < 4 * 10 / pause
