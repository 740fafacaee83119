"""A caller that was here before speaks before it is asked to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.aio import run
from tests.unit.driver.sides import driver_on
from tests.unit.voice.calls import Agent, Line, caller_on, collect, direct, packets, speak

from moqvox.model.origin import Origin
from moqvox.transport.aioquic import Wallet
from moqvox.transport.memory import LinkSettings, Network
from moqvox.url import parse_url
from moqvox.voice.ahead import FIRST_AUDIO, SPEAK_FIRST, speak_first
from moqvox.voice.far_leg import wishes_for
from moqvox.voice.host import Host
from moqvox.voice.leg import AUDIO_INFO, AUDIO_TRACK
from moqvox.voice.lobby import Lobby
from moqvox.voice.names import CALLER
from moqvox.wire.version import LITE_ALPNS

ADDRESS = parse_url("moqt://example.com:4443/")
SERVER = "voice example.com 4443"
HALF_S = 0.2
FAR = LinkSettings(delay_ms=1000 * HALF_S)


def knowing() -> Wallet:
    wallet = Wallet()
    wallet.note(SERVER, SPEAK_FIRST)
    return wallet


async def heard_at(version: str, wallet: Wallet):
    """Call and speak; tell after how many round trips the first frame was there."""
    async with direct(version, link=FAR) as (line, agent):
        began = asyncio.get_running_loop().time()
        speak_first(line.driver, wallet, ADDRESS)
        speech = await speak(line, 50)
        utterance = await anext((await agent.session()).utterances())
        heard = [packet async for packet in utterance.opus()]
        receipt = await speech.receipt()
        assert speech.intact(receipt)
        assert receipt.missing == ()
        assert [packet.opus for packet in heard] == list(packets(50))
        return round((heard[0].arrived - began) / (2 * HALF_S), 1)


@pytest.mark.parametrize("version", LITE_ALPNS)
def test_the_first_frame_arrives_half_a_round_trip_after_the_start(version):
    wallet = knowing()
    assert run(heard_at(version, wallet)) == 0.5
    assert wallet.take_note(SERVER, SPEAK_FIRST)


def test_a_stranger_is_asked_first_and_is_none_the_next_time():
    wallet = Wallet()
    assert run(heard_at("moq-lite-06", wallet)) == 1.0
    assert run(heard_at("moq-lite-06", wallet)) == 0.5


@pytest.mark.parametrize("delay_s", [0.5, 3.0], ids=["kept", "refused"])
def test_an_agent_that_asks_late_hears_everything(delay_s, monkeypatch):
    """Groups wait a second for it; those that came too early for that are sent again."""

    async def main():
        run_host = Host.run

        async def late(host):
            await asyncio.sleep(delay_s)
            await run_host(host)

        monkeypatch.setattr(Host, "run", late)
        async with direct(link=FAR) as (line, agent):
            speak_first(line.driver, knowing(), ADDRESS)
            speech = await speak(line, 50)
            utterance = await anext((await agent.session()).utterances())
            return speech, await collect(utterance), await speech.receipt()

    speech, heard, receipt = run(main())
    assert heard == list(packets(50))
    assert speech.intact(receipt)


def test_an_agent_that_has_unlearnt_it_hears_everything_and_is_not_expected_to_again(monkeypatch):
    monkeypatch.setattr("moqvox.voice.ahead.AGREED_TRACKS", {})
    wallet = knowing()
    assert run(heard_at("moq-lite-06", wallet)) == 1.0
    assert not wallet.take_note(SERVER, SPEAK_FIRST)


def test_the_facts_that_are_agreed_on_are_those_that_are_told():
    async def main():
        async with direct() as (line, _):
            source = line.call.outbox.broadcast
            return await source.consume().info(AUDIO_TRACK)

    assert run(main()) == AUDIO_INFO


def test_a_caller_without_the_track_is_told_apart_as_before():
    async def main():
        async with direct() as (line, agent):
            line.driver.anticipate(FIRST_AUDIO + 1, CALLER, "none", wishes_for(AUDIO_TRACK))
            await speak(line, 5)
            return await collect(await anext((await agent.session()).utterances()))

    assert run(main()) == list(packets(5))


@contextlib.asynccontextmanager
async def early_call(*, early: bool, takes_early: bool = True) -> AsyncIterator[tuple[Line, Agent]]:
    """Call over a connection that is there before the agent's server has answered."""
    network = Network(link=FAR)
    listener = network.listen("agent", ["moq-lite-06"], takes_early=takes_early)
    lobby = Lobby()
    async with asyncio.TaskGroup() as tasks:
        client = await network.connect("agent", ["moq-lite-06"], early=True)
        line = caller_on(client, tasks)
        speak_first(line.driver, knowing(), ADDRESS, early=early)

        async def serve() -> None:
            local, remote = Origin(), Origin()
            driver = driver_on(await listener.accept(), local.id)
            driver.start(tasks)
            driver.attach(local, remote)
            await lobby.host(driver, local, remote, eager=True)

        tasks.create_task(serve(), name="host")
        try:
            yield line, Agent(lobby)
        finally:
            line.call.close()
            line.driver.close()
            lobby.close()


@pytest.mark.parametrize(
    ("early", "takes_early", "expected"),
    [(True, True, 0.5), (False, True, 1.5), (True, False, 1.5)],
    ids=["early", "not allowed", "refused"],
)
def test_first_words_go_with_the_first_packet_if_the_caller_lets_them(early, takes_early, expected):
    async def main():
        async with early_call(early=early, takes_early=takes_early) as (line, agent):
            began = asyncio.get_running_loop().time()
            speech = await speak(line, 50)
            session = await agent.session()
            utterance = await anext(session.utterances())
            heard = [packet async for packet in utterance.opus()]
            assert speech.intact(await speech.receipt())
            assert [packet.opus for packet in heard] == list(packets(50))
            assert await session.wait_proven()
            assert session.id == line.call.id
            return round((heard[0].arrived - began) / (2 * HALF_S), 1)

    assert run(main()) == expected


def test_early_words_have_no_name_until_the_caller_has_heard_the_server():
    """As those of somebody who repeats a record: his server's answer tells him nothing."""

    async def main():
        async with early_call(early=True) as (line, agent):
            await speak(line, 5)
            session = await agent.session()
            line.connection.link.begin_outage()
            utterance = await anext(session.utterances())
            assert (await anext(utterance.opus())).opus == packets(5)[0]
            return session.id, await session.wait_proven()

    assert run(main()) == ("", False)
