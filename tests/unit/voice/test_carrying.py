"""Agents that are killed, and those that take their journals up."""

import asyncio
import logging

from tests.aio import run
from tests.sim.calls import world
from tests.unit.voice.calls import packets

from moqvox.voice.playback import Playback
from moqvox.voice.proof import Chain

SOUND = list(packets(100))


class Agent:
    """Keeps its sessions; a test says what they do."""

    def __init__(self) -> None:
        self.sessions = asyncio.Queue()
        self.heard = []

    async def __call__(self, session):
        self.sessions.put_nowait(session)
        async for utterance in session.utterances():
            self.heard.append((session, utterance.number))

    async def next(self):
        return await self.sessions.get()


class Scene:
    """A call that was answered, with all it takes to kill the agent."""

    def __init__(self, made, server, call, agent, session) -> None:
        self.made, self.server, self.call, self.agent, self.session = (
            made,
            server,
            call,
            agent,
            session,
        )

    async def restart(self):
        self.server.restart()
        return await self.agent.next()


def scene(body, tmp_path, *, journal=True, **more):
    async def main():
        async with world(journal=str(tmp_path) if journal else "", **more) as made:
            made.agent = agent = Agent()
            server = made.server("agent")
            async with made.call("agent") as call:
                speech = call.speak()
                speech.write_packet(SOUND[0])
                speech.finish()
                session = await agent.next()
                await speech.receipt()
                await body(Scene(made, server, call, agent, session))

    run(main())


async def until(condition):
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("never came")


async def first_response(call):
    return await anext(call.responses())


def say(session, count, *, ends=True):
    response = session.respond()
    for packet in SOUND[:count]:
        response.speech.write_packet(packet)
    if ends:
        response.finish()
    return response


def test_an_answer_goes_on_when_its_agent_was_killed(tmp_path):
    async def body(scene):
        said = say(scene.session, 50, ends=False)
        heard = await first_response(scene.call)
        await until(lambda: len(heard.packets) == 50)
        for packet in SOUND[50:]:
            said.speech.write_packet(packet)
        said.finish()  # none of which was sent
        session = await scene.restart()
        assert session.name == scene.session.name
        (carried,) = session.carried
        assert (carried.number, carried.is_short) == (said.number, False)
        await heard.wait_over()
        assert [packet.opus for packet in heard.packets] == SOUND
        receipt = await carried.speech.receipt()
        assert carried.speech.intact(receipt)
        assert receipt.digest == said.speech.tally.digest
        scene.call.report(heard.number, 1_500_000, "interrupted")
        played = await carried.played()
        assert (played.ms, played.interrupted) == (1500, True)

    scene(body, tmp_path)


def test_an_answer_whose_maker_died_ends_there_and_both_sides_know(tmp_path):
    async def body(scene):
        say(scene.session, 30, ends=False)
        heard = await first_response(scene.call)
        session = await scene.restart()
        (carried,) = session.carried
        assert carried.is_short
        await heard.wait_over()
        assert heard.ended
        assert not heard.is_whole
        assert len(heard.packets) == 30
        receipt = await carried.speech.receipt()
        assert (receipt.complete, receipt.frames) == (False, 30)
        rest = say(session, 10)
        assert rest.number == carried.number + 1

    scene(body, tmp_path)


def test_an_answer_is_carried_by_one_process_after_the_other(tmp_path):
    async def body(scene):
        say(scene.session, 30, ends=False)
        heard = await first_response(scene.call)
        await scene.restart()
        session = await scene.restart()
        (carried,) = session.carried
        assert carried.is_short
        await heard.wait_over()
        assert len(heard.packets) == 30

    scene(body, tmp_path)


def test_a_caller_plays_on_and_the_heard_position_is_exact(tmp_path):
    async def body(scene):
        async with asyncio.TaskGroup() as tasks:
            playback = Playback(scene.call)
            playing = tasks.create_task(playback.run())
            say(scene.session, 100)
            account = await playback.wait_account(0)
            await until(lambda: account.totals.heard_us)
            session = await scene.restart()
            played = await session.carried[0].played()
            assert (played.ms, played.complete, played.silence_ms) == (2000, True, 0)
            assert account.totals.heard_us == 2_000_000
            playing.cancel()

    scene(body, tmp_path)


def test_a_carried_answer_is_cut_by_the_next_word(tmp_path):
    async def body(scene):
        say(scene.session, 100)
        heard = await first_response(scene.call)
        session = await scene.restart()
        scene.call.speak().write_packet(SOUND[0])
        await heard.taken_back.wait()
        assert session.carried[0].interrupted

    scene(body, tmp_path)


def test_an_utterance_that_barged_in_before_the_kill_does_not_cut_its_own_answer(tmp_path):
    async def body(scene):
        speech = scene.call.speak()
        speech.write_packet(SOUND[0])
        await until(lambda: scene.session.inbox.next_number == 2)
        say(scene.session, 100)
        await first_response(scene.call)
        session = await scene.restart()
        speech.finish()
        assert (await speech.receipt()).complete
        assert not session.carried[0].interrupted
        assert (session, 1) in scene.agent.heard

    scene(body, tmp_path)


def test_how_far_an_answer_was_heard_that_was_cut_before_the_kill_is_told_to_the_next(tmp_path):
    async def body(scene):
        say(scene.session, 100).cancel()
        session = await scene.restart()
        scene.call.report(0, 700_000, "interrupted")
        played = await session.carried[0].played()
        assert (played.ms, played.sent_ms, played.interrupted) == (700, 2000, True)

    scene(body, tmp_path)


def test_an_answer_that_was_heard_is_not_carried(tmp_path):
    async def body(scene):
        response = say(scene.session, 10)
        await (await first_response(scene.call)).wait_over()
        scene.call.report(0, 200_000, "ended")
        await response.speech.receipt()
        await response.played()
        session = await scene.restart()
        assert session.carried == ()
        assert session.unanswered == ()
        assert say(session, 1).number == 1

    scene(body, tmp_path)


def test_an_utterance_that_nobody_answered_is_told_of(tmp_path):
    async def body(scene):
        session = await scene.restart()
        assert session.unanswered == (0,)

    scene(body, tmp_path)


def test_an_utterance_whose_receipt_is_lost_is_heard_again_unless_it_was_answered(tmp_path):
    async def body(scene):
        scene.session.outbox.leg.tell = lambda _event, _number=0: None  # it gets nothing out
        one, two = (scene.call.speak() for _ in range(2))
        for speech in (one, two):
            speech.write_packet(SOUND[0])
            speech.finish()
        inbox = scene.session.inbox
        await until(lambda: inbox.next_number == 3 and not inbox.under_way)
        session = await scene.restart()
        assert session.unanswered == (0,)
        await one.receipt()
        await two.receipt()
        assert [number for who, number in scene.agent.heard if who is session] == [1, 2]

    scene(body, tmp_path)


def test_messages_go_on_where_the_dead_process_stopped_reading(tmp_path):
    async def body(scene):
        for number in range(3):
            scene.call.send("note", number)
        read = scene.session.messages()
        assert bytes((await anext(read)).data) == b"0"
        await until(lambda: not len(scene.call.outbox.unnoted))
        session = await scene.restart()
        read = session.messages()
        assert [bytes((await anext(read)).data) for _ in range(2)] == [b"1", b"2"]

    scene(body, tmp_path)


def test_a_stranger_does_not_get_a_call_that_only_the_journal_knows(tmp_path, caplog):
    async def body(scene):
        say(scene.session, 100)
        await first_response(scene.call)
        scene.server.kill()
        chain, scene.call._chain = scene.call._chain, Chain()
        scene.server.start()
        await until(lambda: "a stranger asks for call" in caplog.text)
        assert scene.agent.sessions.empty()
        scene.call._chain = chain
        session = await scene.agent.next()
        assert session.name == scene.session.name

    caplog.set_level(logging.WARNING)
    scene(body, tmp_path)


def test_a_file_is_there_as_long_as_its_call(tmp_path):
    async def body(scene):
        assert len(list(tmp_path.iterdir())) == 1
        await scene.restart()
        assert len(list(tmp_path.iterdir())) == 1
        scene.call.outbox.finish()
        await asyncio.sleep(1)
        scene.call.driver.close()
        await until(lambda: not list(tmp_path.iterdir()))

    scene(body, tmp_path)


def test_an_agent_that_hung_up_stays_so(tmp_path):
    async def body(scene):
        say(scene.session, 100)
        scene.session.hang_up()
        heard = await first_response(scene.call)
        scene.server.restart()
        await heard.wait_over()
        assert [packet.opus for packet in heard.packets] == SOUND
        await scene.call.wait_over()
        assert scene.call.inbox.left
        assert scene.agent.sessions.empty()

    scene(body, tmp_path)


def test_a_damaged_file_makes_the_call_a_new_one(tmp_path, caplog):
    async def body(scene):
        say(scene.session, 100)
        heard = await first_response(scene.call)
        scene.server.kill()
        (file,) = tmp_path.iterdir()
        text = bytearray(file.read_bytes())
        text[100] ^= 1
        file.write_bytes(text)
        scene.server.start()
        session = await scene.agent.next()
        assert session.name != scene.session.name
        assert session.carried == ()
        await heard.wait_over()

    scene(body, tmp_path)
    assert len([each for each in caplog.records if "is ignored" in each.message]) == 1


def test_a_file_of_a_long_call_begins_anew_between_two_answers(tmp_path, monkeypatch):
    monkeypatch.setattr("moqvox.voice.scribe.RENEW_BYTES", 1000)

    async def body(scene):
        responses = scene.call.responses()
        for number in range(3):
            response = say(scene.session, 100)
            await (await anext(responses)).wait_over()
            scene.call.report(number, 2_000_000, "ended")
            await response.played()
            await response.speech.receipt()
        last = say(scene.session, 100)
        assert scene.session.party.scribe.size_bytes < 2 * sum(map(len, SOUND))
        heard = await anext(responses)
        session = await scene.restart()
        assert [each.number for each in session.carried] == [last.number]
        await heard.wait_over()
        assert [packet.opus for packet in heard.packets] == SOUND
        start_us = heard.packets[0].timestamp_us
        assert session.respond().speech.start_us >= start_us + 2_000_000

    scene(body, tmp_path)


def test_without_a_journal_a_killed_agents_answer_ends(tmp_path):
    async def body(scene):
        say(scene.session, 30, ends=False)
        heard = await first_response(scene.call)
        session = await scene.restart()
        assert session.name != scene.session.name
        await heard.wait_over()
        assert not heard.is_whole

    scene(body, tmp_path, journal=False)
