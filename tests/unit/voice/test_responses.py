"""From the agent to the ear: pushed fast, played by timestamps, cut in one go, told exactly."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.driver.sides import ALL, driver_on, read_track
from tests.unit.voice.calls import collect, direct, packets, relayed, speak, tone

from moqvox.errors import LocalError
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.media.container import encode_legacy
from moqvox.model import broadcast
from moqvox.model.origin import Origin
from moqvox.transport.memory import LinkSettings, pair
from moqvox.voice.lobby import Lobby
from moqvox.voice.words import Heard, Receipt


def now() -> float:
    return asyncio.get_running_loop().time()


async def begun(line, agent):
    """Get a session going with one short utterance."""
    speech = await speak(line, 2, paced=False)
    session = await agent.session()
    utterance = await anext(session.utterances())
    await collect(utterance)
    await speech.receipt()
    return session


@pytest.mark.parametrize("behind_relay", [False, True])
def test_response_is_pushed_faster_than_real_time_and_played_exactly(behind_relay):
    async def main():
        made = relayed() if behind_relay else direct()
        async with made as (line, agent):
            line = line[0] if behind_relay else line
            session = await begun(line, agent)
            response = session.respond()
            at = now()
            assert await response.write(tone(3000))
            pushed_in = now() - at
            played = await response.played()
            account = line.playback.accounts[response.number]
            return pushed_in, played, now() - at, account, response.speech.written_us

    pushed_in, played, took, account, written_us = run(main())
    assert pushed_in < 0.01
    assert played.complete
    assert played.reported
    assert not played.interrupted
    assert played.ms == played.sent_ms == written_us / 1000
    assert (played.silence_ms, played.underruns) == (0, 0)
    assert 3.0 <= took < 3.4
    assert account.totals.heard_samples == written_us * 48 // 1000


def test_lead_is_capped_and_the_writer_waits_there():
    async def main():
        async with direct(max_lead=2.0) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            leads = []
            begun_at = now()
            for _ in range(10):
                assert await response.write(tone(1000))
                leads.append(response.lead_ms)
            wrote_for = now() - begun_at
            played = await response.played()
            return max(leads), wrote_for, played.complete, played.silence_ms

    lead, wrote_for, complete, silence = run(main())
    assert 1900 <= lead <= 2700
    assert 7 < wrote_for < 9
    assert complete
    assert silence == 0


def test_response_survives_an_outage_shorter_than_its_lead_without_a_gap():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(5000))
            await asyncio.sleep(1)
            line.connection.link.outage(3.0)
            return await response.played()

    played = run(main())
    assert played.complete
    assert played.silence_ms == 0


def test_barge_in_cuts_the_response_and_tells_the_position_exactly():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(8000))
            await asyncio.sleep(2)
            await speak(line, 5, paced=False)
            played = await response.played()
            account = line.playback.accounts[response.number]
            await asyncio.sleep(0.04)  # the fade
            line.pcm.clear()
            await asyncio.sleep(0.5)
            return played, account, not any(b"".join(line.pcm))

    played, account, quiet = run(main())
    assert played.interrupted
    assert played.reported
    assert not played.complete
    assert 1800 < played.ms < 2200
    assert played.ms == account.totals.heard_us / 1000
    assert quiet


def test_first_words_cut_a_greeting_as_well():
    async def main():
        async with relayed() as ([line], agent):
            session = await agent.session()
            greeting = session.respond()
            await greeting.write(tone(5000))
            await asyncio.sleep(1)
            await speak(line, 3)
            played = await greeting.played()
            return played.interrupted, 700 < played.ms < 1200

    assert run(main()) == (True, True)


def test_utterance_that_comes_late_cuts_nothing_that_answers_a_newer_one():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            session._newest = 5
            response = session.respond()
            await response.write(tone(500))
            await speak(line, 3, paced=False)
            return (await response.played()).complete

    assert run(main())


def test_barge_in_can_be_turned_off():
    async def main():
        async with direct(barge_in=False) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(1000))
            await speak(line, 5)
            return (await response.played()).complete

    assert run(main())


def test_cancel_after_full_delivery_silences_the_listener():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(8000))
            response.finish()
            await response.speech.receipt()
            response.cancel()
            played = await response.played()
            await asyncio.sleep(0.04)  # the fade
            line.pcm.clear()
            await asyncio.sleep(0.3)
            return played, any(b"".join(line.pcm)), await response.write(tone(20))

    played, sounds, more = run(main())
    assert played.interrupted
    assert played.ms < 500
    assert not sounds
    assert not more


def test_listener_interrupts_and_the_agent_learns_where():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            async with asyncio.TaskGroup() as tasks:
                writing = tasks.create_task(_write_on(response))
                await asyncio.sleep(1.5)
                (account,) = line.playback.interrupt()
            played = await response.played()
            return account.totals.heard_us / 1000, played.ms, played.interrupted, writing.result()

    heard, told, interrupted, wrote = run(main())
    assert told == heard
    assert 1300 < heard < 1700
    assert interrupted
    assert wrote is False


async def _write_on(response):
    while await response.write(tone(500)):
        pass
    return await response.write(tone(20))


def test_two_responses_play_one_after_the_other():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            first, second = session.respond(), None
            await first.write(tone(1000))
            second = session.respond()
            await second.write(tone(1000))
            at = now()
            played = [await first.played(), await second.played()]
            assert now() - at > 1.9
            order = [item for item, _, _ in line.frames]
            return [p.complete for p in played], order == sorted(order)

    assert run(main()) == ([True, True], True)


def test_response_without_audio_is_played_at_once():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            async with asyncio.timeout(1):
                played = await response.played()
            after = session.respond()
            await after.write(tone(200))
            return played.sent_ms, played.complete, (await after.played()).complete

    assert run(main()) == (0.0, True, True)


def test_bad_pcm_is_refused_before_any_of_it_is_sent():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            with pytest.raises(LocalError, match="whole number"):
                await response.write(tone(2000) + b"x")
            return response.speech.written_us

    assert run(main()) == 0


def test_context_finishes_or_cancels():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            async with session.respond() as good:
                await good.write(tone(200))
            played = await good.played()
            bad = session.respond()
            with pytest.raises(LocalError):
                await _fail_in(bad)
            return played.complete, bad.interrupted

    assert run(main()) == (True, True)


async def _fail_in(response):
    async with response:
        await response.write(tone(2000))
        await response.write(b"odd")


def test_listener_that_takes_audio_but_never_tells_is_estimated():
    async def main():
        async with direct(play=False, max_lead=2.0) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            at = now()
            for _ in range(6):
                assert await response.write(tone(1000))
            async with asyncio.timeout(60):
                played = await response.played()
            return now() - at, played

    took, played = run(main())
    assert 6 <= took < 10
    assert not played.reported
    assert played.complete


def test_listener_whose_player_died_is_taken_at_its_last_word():
    async def main():
        async with direct(play=False) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(2000))
            await asyncio.sleep(0.5)
            line.call.report(response.number, 700_000, "playing")
            async with asyncio.timeout(60):
                played = await response.played()
            return played.ms, played.complete, played.reported

    assert run(main()) == (700.0, False, True)


def test_estimate_of_a_cut_response_stops_where_it_was_cut():
    async def main():
        async with PlainListener() as session:
            response = session.respond()
            await response.write(tone(8000))
            await asyncio.sleep(1)
            response.cancel()
            await asyncio.sleep(5)
            return await response.played()

    played = run(main())
    assert played.ms == pytest.approx(1000, abs=50)
    assert not played.reported


class PlainListener:
    """A publisher of audio that knows MoQ and hang but not our events."""

    def __init__(self):
        self.reader = None

    async def __aenter__(self):
        self._tasks = await asyncio.TaskGroup().__aenter__()
        client, server = pair("moq-lite-06", link=LinkSettings(delay_ms=10))
        published, self.seen = Origin(), Origin()
        producer = broadcast.Producer()
        audio = producer.create_track("audio", TrackInfo(priority=80, ordered=True))
        published.publish("abc/caller", producer.consume())
        self.driver = driver_on(client, published.id)
        self.driver.start(self._tasks)
        self.driver.attach(published, self.seen)
        self.lobby = Lobby()
        local, remote = Origin(), Origin()
        behind = driver_on(server, local.id)
        behind.start(self._tasks)
        behind.attach(local, remote)
        self._tasks.create_task(self.lobby.host(behind, local, remote, eager=True))
        writer = audio.append_group()
        for number, packet in enumerate(packets(3)):
            writer.write(Frame(encode_legacy(20_000 * number, packet), 20_000 * number))
        writer.finish()
        session = await anext(self.lobby.sessions())
        await collect(await anext(session.utterances()))
        found = await self.seen.wait("abc/agent")
        self.reader = await found.subscribe("audio", ALL)
        session.listener = self
        return session

    async def __aexit__(self, *failed):
        self.driver.close()
        self.lobby.close()
        await self._tasks.__aexit__(*failed)


def test_plain_moq_caller_is_served_and_what_it_heard_is_estimated():
    async def main():
        async with PlainListener() as session:
            listener = session.listener
            response = session.respond(max_lead=1.0)
            at = now()
            for _ in range(4):
                assert await response.write(tone(1000))
            played = await response.played()
            took = now() - at
            session.hang_up()
            got = await read_track(listener.reader)
            return played, took, len(got.groups[0]), got.ended

    played, took, frames, ended = run(main())
    assert not played.reported
    assert played.complete
    assert 4 <= took < 4.5
    assert frames == played.sent_ms / 20
    assert ended


def test_agent_that_hangs_up_is_heard_to_its_last_word():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(3000))
            session.hang_up()
            played = await response.played()
            async with asyncio.timeout(5):
                left = [each async for each in line.call.responses()]
            with pytest.raises(LocalError, match="over"):
                session.respond()
            return played.complete, left, str(line.call.ended)

    assert run(main()) == (True, [], "the agent hung up")


def test_receipt_of_an_agent_that_answers_and_leaves_at_once_is_not_lost():
    """All of its words are over before the caller has subscribed to them."""

    async def main():
        async with direct() as (line, agent):
            speech = await speak(line, 3, paced=False)
            session = await agent.session()
            utterance = await anext(session.utterances())
            await utterance.wait_over()
            response = session.respond()
            await response.write(tone(300))
            session.hang_up()
            receipt = await speech.receipt()
            account = await line.playback.wait_account(0)
            await account.over.wait()
            return speech.intact(receipt), account.totals.heard_us >= 300_000

    assert run(main()) == (True, True)


def test_receipts_that_are_due_after_hanging_up_break_nothing():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(2000))
            line.call.outbox.finish()
            line.call.send("late", 1)
            await asyncio.sleep(1)
            response.finish()
            await asyncio.sleep(1)
            line.call.close()
            return line.call.ended is not None

    assert run(main())


def test_sixty_five_responses_leave_no_one_waiting():
    async def main():
        async with direct(play=False) as (line, agent):
            session = await begun(line, agent)
            responses = []
            for _ in range(70):
                response = session.respond()
                await response.write(tone(20))
                responses.append(response)
            async with asyncio.timeout(600):
                played = [await response.played() for response in responses]
            return len(played), len(session.outbox._speeches)

    assert run(main()) == (70, 64)


def test_messages_and_captions_arrive_in_order_through_group_changes():
    async def main():
        link = LinkSettings(delay_ms=20, loss=10, reorder=10)
        async with direct(link=link, play=False) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            heard = []

            async def listen():
                async for message in line.call.messages():
                    heard.append(message)
                    if len(heard) == 1500:
                        return

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(listen())
                for number in range(1499):
                    session.send("n", number)
                    if number % 100 == 0:
                        await asyncio.sleep(0.5)
                session.caption(response, "hello", 120.0)
            return heard

    heard = run(main())
    assert [int(bytes(m.data)) for m in heard[:-1]] == list(range(1499))
    assert (heard[-1].text, heard[-1].start_us) == ("hello", 120_000)


def test_messages_that_nobody_takes_are_bounded_oldest_first(caplog):
    async def main():
        async with direct(play=False) as (line, agent):
            session = await begun(line, agent)
            for number in range(300):
                line.call.send("n", number)
                if number % 50 == 0:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            taken = session.messages()
            return int(bytes((await anext(taken)).data)), len(session.party._messages)

    first, left = run(main())
    assert first == 300 - 256
    assert left == 255
    assert "dropped unread" in caplog.text


BAD_EVENTS = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"type": 3}',
    b'{"type": "ack"}',
    b'{"type": "ack", "speech": "x", "frames": 1}',
    b'{"type": "heard", "speech": 0, "heard_us": 1e99, "state": "playing"}',
    b'{"type": "from the future", "x": [1, 2]}',
    b'{"no": "type"}',
    b'{"type": "message", "name": "\xff"}',
    b'{"type": "message", "name": "' + b"x" * 70_000 + b'"}',
    b'{"type": "cancel", "speech": 99999999999999999999999}',
    b'{"type": "interrupt", "speech": -5}',
    b'{"type": "receipt", "speech": 77, "frames": 1, "ms": 1, "digest": "", '
    b'"added_delay_ms": 0, "complete": true}',
]


def test_bad_and_unknown_events_lose_nothing_else():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            line.call.send("first")
            await anext(session.messages())
            for number, bad in enumerate(BAD_EVENTS):
                line.call.outbox.leg._event_group.write(Frame(bad, 0))
                line.call.send("n", number)
            taken = session.messages()
            numbers = [int(bytes((await anext(taken)).data)) for _ in BAD_EVENTS]
            response = session.respond()
            await response.write(tone(200))
            return numbers, (await response.played()).complete

    assert run(main()) == (list(range(len(BAD_EVENTS))), True)


def test_lies_about_what_was_heard_stay_within_what_was_sent():
    async def main():
        async with direct(play=False, max_lead=1.0) as (line, agent):
            session = await begun(line, agent)
            response = session.respond()
            await response.write(tone(800))
            seen = []
            for heard_us in (-(10**12), 10**15, 2**70):
                line.call.outbox.send(Heard(response.number, heard_us, "playing"))
                await asyncio.sleep(0.1)
                seen.append(response.lead_ms)
            line.call.outbox.send(Receipt(response.number, -1, -1.0, "x", -1.0, True))
            line.call.report(response.number, 10**15, "ended")
            played = await response.played()
            return seen, played.ms == played.sent_ms

    seen, within = run(main())
    assert all(0 <= lead <= 840 for lead in seen)
    assert within


def test_responses_beyond_what_a_player_holds_are_all_heard():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            responses = []
            for _ in range(50):
                response = session.respond()
                await response.write(tone(60))
                responses.append(response)
            async with asyncio.timeout(120):
                played = [await response.played() for response in responses]
            return sum(p.complete for p in played), len(line.playback.accounts) <= 64

    assert run(main()) == (50, True)


def test_response_that_comes_after_a_newer_one_was_played_is_heard_still():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            late = session.outbox.leg.audio.append_group()
            session.outbox.number_from(1)
            response = session.respond()
            await response.write(tone(300))
            await response.played()
            late.write(Frame(encode_legacy(0, packets(1)[0]), 0))
            late.finish()
            async with asyncio.timeout(5):
                account = await line.playback.wait_account(0)
                await account.over.wait()
            return account.totals.heard_us

    assert run(main()) == 20_000


def test_catalog_tells_any_player_what_the_audio_is():
    async def main():
        async with direct() as (line, agent):
            session = await begun(line, agent)
            found = line.driver.broadcast(f"{session.id}/agent")
            reader = await found.subscribe("catalog.json", Subscription())
            frame = await (await reader.next_group()).read()
            return frame.payload

    assert b'"audio"' in run(main())
