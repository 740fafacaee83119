"""Calls that outlive their connections: nothing lost, nothing twice, nobody taken in."""

import asyncio

import pytest
from tests.aio import run
from tests.sim.calls import world
from tests.unit.driver.sides import driver_on
from tests.unit.voice.calls import packets, tone

from moqvox.transport.memory import pair
from moqvox.voice.call import Call
from moqvox.voice.keep import Keep
from moqvox.voice.lobby import Lobby
from moqvox.voice.playback import Playback
from moqvox.voice.proof import Chain, Guard, make_spare, take_chain
from moqvox.voice.words import Hello


async def say(call, count, *, hertz=300.0):
    """Speak at the pace of speech."""
    speech = call.speak()
    for packet in packets(count, hertz):
        speech.write_packet(packet)
        await asyncio.sleep(0.02)
    speech.finish()
    return speech


class Listener:
    """An agent that remembers all it hears and answers nothing."""

    def __init__(self):
        self.heard = []
        self.messages = []
        self.sessions = []

    async def __call__(self, session):
        self.sessions.append(session)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._note(session))
            async for utterance in session.utterances():
                heard = [p.opus async for p in utterance.opus()]
                if utterance.is_whole or not session.closed:  # else it was killed
                    self.heard.append((utterance.number, heard))

    async def _note(self, session):
        async for message in session.messages():
            self.messages.append(bytes(message.data))


async def lose(call, made):
    """Cut the caller's connection as a dead network would, unseen by the other side."""
    call.driver.connection.vanish("the network went away", reset=False)


def test_utterance_goes_on_over_the_next_connection_where_it_stopped():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.server("agent")
            async with made.call("agent") as call, asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(say(call, 100))
                await asyncio.sleep(1)
                await lose(call, made)
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech, receipt, call.resumptions

    agent, speech, receipt, resumptions = run(main())
    assert agent.heard == [(0, list(packets(100)))]
    assert speech.intact(receipt)
    assert receipt.resumptions == resumptions == 1
    assert receipt.missing == ()
    assert len(agent.sessions) == 1


class Speaker:
    """An agent that answers each utterance with a long tone."""

    def __init__(self, ms=4000):
        self.ms = ms
        self.heard = []
        self.played = []
        self.sessions = []

    async def __call__(self, session):
        self.sessions.append(session)
        async for utterance in session.utterances():
            self.heard.append([p.opus async for p in utterance.opus()])
            response = session.respond()
            if await response.write(tone(self.ms)):
                self.played.append(await response.played())


async def converse(made, call, trouble, *, after=1.0, playback=None):
    """Speak, and make trouble while the answer plays; what the player really put out."""
    playback = playback or Playback(call)
    async with asyncio.TaskGroup() as tasks:
        playing = tasks.create_task(playback.run())
        speech = await say(call, 20)
        await playback.wait_account(0)
        await asyncio.sleep(after)
        await trouble()
        account = playback.accounts[max(playback.accounts)]
        await account.over.wait()
        await asyncio.sleep(2)
        playing.cancel()
    return speech, playback


@pytest.mark.parametrize("after", [0.1, 1.0, 3.9, 4.2])
def test_answer_goes_on_and_the_position_stays_exact(after):
    async def main():
        async with world() as made:
            agent = made.agent = Speaker()
            made.server("agent")
            async with made.call("agent") as call:
                _, playback = await converse(made, call, lambda: lose(call, made), after=after)
                return agent, playback, call.resumptions

    agent, playback, resumptions = run(main())
    assert resumptions == 1
    assert list(playback.accounts) == [0]
    account = playback.accounts[0]
    (played,) = agent.played
    assert played.complete
    assert played.reported
    assert played.ms == account.totals.heard_us / 1000 == played.sent_ms
    assert account.response.is_whole


def test_agent_killed_in_mid_prompt_hears_it_whole_when_it_is_back():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            server = made.server("agent")
            async with made.call("agent") as call, asyncio.TaskGroup() as tasks:
                first = await say(call, 30)
                await first.receipt()
                speaking = tasks.create_task(say(call, 100, hertz=200.0))
                await asyncio.sleep(1)
                server.restart()
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech.intact(receipt), call.resumptions

    agent, intact, resumptions = run(main())
    assert agent.heard == [(0, list(packets(30))), (1, list(packets(100, 200.0)))]
    assert intact
    assert resumptions == 1
    assert len(agent.sessions) == 2


def test_agent_killed_in_mid_answer_answers_the_next_utterance_under_a_new_number():
    async def main():
        async with world() as made:
            agent = made.agent = Speaker(2000)
            server = made.server("agent")

            async with made.call("agent") as call:

                async def restart():
                    server.restart()
                    await asyncio.sleep(1)
                    await say(call, 20)
                    await playback.wait_account(1)

                playback = Playback(call)
                await converse(made, call, restart, playback=playback)
                return agent, playback

    agent, playback = run(main())
    assert sorted(playback.accounts) == [0, 1]
    assert agent.played[-1].complete
    assert len(agent.heard) == 2


@pytest.mark.parametrize("side", ["caller", "agent", "both"])
def test_call_goes_on_over_another_relay_of_the_same_origin(side):
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            one, two = made.relay("one"), made.relay("two")
            urls = {"caller": ["one", "two"], "agent": ["two"]}
            if side == "both":
                urls["agent"] = ["one", "two"]
            else:
                made.uplink("two", "one")
            made.attend("agent", *urls["agent"])
            await asyncio.sleep(2)
            async with made.call(*urls["caller"]) as call, asyncio.TaskGroup() as tasks:
                await asyncio.sleep(1)
                speaking = tasks.create_task(say(call, 100))
                await asyncio.sleep(1)
                one.kill()
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech.intact(receipt), len(agent.sessions), two

    agent, intact, sessions, _ = run(main())
    assert agent.heard == [(0, list(packets(100)))]
    assert intact
    assert sessions == 1


def test_agent_behind_a_relay_that_was_killed_is_found_by_its_callers_again():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.relay("relay")
            attending = made.attend("agent", "relay")
            await asyncio.sleep(2)
            async with made.call("relay") as call, asyncio.TaskGroup() as tasks:
                first = await say(call, 10)
                await first.receipt()
                speaking = tasks.create_task(say(call, 100, hertz=200.0))
                await asyncio.sleep(1)
                attending.restart()
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech.intact(receipt)

    agent, intact = run(main())
    assert intact
    assert agent.heard == [(0, list(packets(10))), (1, list(packets(100, 200.0)))]
    assert len(agent.sessions) == 2


def test_messages_and_captions_come_once_and_in_order_whatever_happens():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.server("agent")
            async with made.call("agent") as call:
                await call.connected()
                for number in range(60):
                    call.send("n", number)
                    await asyncio.sleep(0.05)
                    if number % 15 == 14:
                        await lose(call, made)
                await asyncio.sleep(5)
                return agent.messages, call.resumptions, len(call.outbox.unnoted)

    messages, resumptions, unnoted = run(main())
    assert messages == [b"%d" % number for number in range(60)]
    assert resumptions == 4
    assert unnoted == 0


def test_caller_that_stays_away_longer_than_its_grace_is_gone():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.server("agent", grace=5)
            async with made.call("agent", patience=0.0) as call:
                await say(call, 10)
                await lose(call, made)
                await asyncio.sleep(23)
                (session,) = agent.sessions
                before = session.closed, session.connected
                await asyncio.sleep(5)
                return before, session.closed, call.ended

    before, after, ended = run(main())
    assert before == (False, False)
    assert after
    assert "network went away" in str(ended)


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-06"])
def test_relay_that_drains_hands_its_calls_over_before_it_goes(version):
    async def main():
        async with world(version) as made:
            agent = made.agent = Listener()
            one, _ = made.relay("one"), made.relay("two")
            made.attend("agent", "one", "two")
            await asyncio.sleep(2)
            async with made.call("one", "two") as call, asyncio.TaskGroup() as tasks:
                await asyncio.sleep(1)
                before = call.driver
                speaking = tasks.create_task(say(call, 150))
                await asyncio.sleep(1)
                one.drain()
                await before.wait_closed()
                is_settled = call._answered.is_set()
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech, receipt, call, is_settled

    agent, speech, receipt, call, is_settled = run(main())
    assert agent.heard == [(0, list(packets(150)))]
    assert speech.intact(receipt)
    assert call.redial.moves == 1
    assert is_settled
    assert receipt.worst_delay_ms < 20, "a frame waited for the new connection"
    assert len(agent.sessions) == 1


def test_stranger_who_knows_the_name_gets_nothing_and_disturbs_nobody():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.server("agent")
            async with made.call("agent") as call, asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(say(call, 100))
                await asyncio.sleep(0.5)
                async with made.call("agent", host="stranger") as stranger:
                    stranger.id = call.id
                    stranger._legs = 1
                    stranger.speak().write_packet(packets(1)[0])
                    await asyncio.sleep(3)
                    answered = stranger.inbox.greeted
                speech = await speaking
                receipt = await speech.receipt()
                return agent, speech.intact(receipt), answered, call.resumptions

    agent, intact, answered, resumptions = run(main())
    assert not answered
    assert intact
    assert resumptions == 0
    assert agent.heard == [(0, list(packets(100)))]


def test_agent_that_takes_its_caller_back_from_another_one_uses_no_number_again():
    async def main():
        chain = Chain(8)
        lobby = Lobby(grace=60)
        session = lobby.session("caller")
        session.begin_late(Hello(call="c", leg=1, token=chain.token(1), next=2), "caller")
        before = session.respond().number
        session.accept(Hello(call="c", leg=3, token=chain.token(3), session="b", next=7), "caller")
        after = session.respond().number
        session.end()
        lobby.close()
        return before, after

    assert run(main()) == (2, 7)


def test_token_that_was_shown_opens_nothing_again():
    chain = Chain(8)
    guard = Guard(0, chain.token(0))
    assert guard.accept(3, chain.token(3))
    assert not guard.accept(3, chain.token(3))
    assert not guard.accept(2, chain.token(2))
    assert not guard.accept(5, chain.token(4))
    assert not guard.accept(4, "00" * 32)
    assert not guard.accept(4, "zz")
    assert not guard.accept(5000, chain.token(4))
    assert guard.accept(4, chain.token(4))
    assert chain.token(8) == ""


def test_frames_past_the_bound_are_told_to_be_missing():
    async def main():
        async with world() as made:
            agent = made.agent = Listener()
            made.server("agent")
            async with made.call("agent", keep=Keep(max_bytes=20_000)) as call:
                await call.connected()
                await asyncio.sleep(1)
                made.network.route("phone", "agent").begin_outage()
                await lose(call, made)
                speech = call.speak()
                for packet in packets(100):
                    speech.write_packet(packet)
                speech.finish()
                kept = call.outbox.kept_bytes
                made.network.route("phone", "agent").end_outage()
                receipt = await speech.receipt()
                await asyncio.sleep(1)
                return agent.heard, speech, receipt, kept

    heard, speech, receipt, kept = run(main())
    ((first, last),) = receipt.missing
    assert kept <= 20_000
    assert first == 0
    assert 0 < last < 99
    assert not receipt.complete
    assert not speech.intact(receipt)
    assert receipt.frames == 99 - last
    assert heard == [(0, list(packets(100))[last + 1 :])]


def test_of_three_connections_the_middle_one_is_written_to_until_the_last_is_answered():
    async def main():
        call = Call()
        formers = []
        async with asyncio.TaskGroup() as tasks:
            drivers = []
            for number in range(3):
                driver = driver_on(pair("moq-lite-06")[0], number + 1)
                driver.start(tasks)
                drivers.append(driver)
                tasks.create_task(call.hold(driver))
                await asyncio.sleep(0.1)
            for driver in drivers:
                formers.append(call.outbox.former and call.outbox.former.number)
                driver.close()
                await driver.wait_closed()
                await asyncio.sleep(0.1)
            call.close()
        return formers

    assert run(main()) == [1, 1, None]


def test_chain_that_was_made_ahead_is_one_calls_only():
    make_spare()
    make_spare()
    tokens = [take_chain().token(0) for _ in range(3)]
    assert len(set(tokens)) == 3
