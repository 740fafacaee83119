"""From the caller to the agent: whole, at once, acknowledged, one call from another."""

import asyncio

import pytest
from tests.aio import run
from tests.unit.voice.calls import collect, direct, packets, relayed, speak, tone

from moqvox.errors import LocalError, SessionClosed, StreamCode
from moqvox.frame import Frame
from moqvox.media.container import encode_legacy, end_marker
from moqvox.model import cache
from moqvox.transport.memory import LinkSettings
from moqvox.voice import utterance as utterances
from moqvox.voice.far_leg import PATIENCE_MS
from moqvox.voice.inbox import MAX_WAITING
from moqvox.wire.version import LITE_ALPNS

ROUGH = LinkSettings(delay_ms=40, loss=15, jitter_ms=30, reorder=5)


@pytest.mark.parametrize("version", LITE_ALPNS)
def test_utterance_arrives_intact_and_its_receipt_says_so(version):
    async def main():
        async with direct(version) as (line, agent):
            speech = await speak(line, 50)
            utterance = await anext((await agent.session()).utterances())
            heard = await collect(utterance)
            receipt = await speech.receipt()
            return speech, utterance, heard, receipt

    speech, utterance, heard, receipt = run(main())
    assert heard == list(packets(50))
    assert speech.intact(receipt)
    assert (receipt.frames, receipt.ms, receipt.complete) == (50, 1000.0, True)
    assert speech.acked_frames == 50
    assert utterance.duration_us == 1_000_000


def test_utterance_starts_while_the_user_still_talks():
    async def main():
        async with direct() as (line, agent), asyncio.TaskGroup() as tasks:
            speaking = tasks.create_task(speak(line, 100))
            session = await agent.session()
            utterance = await anext(session.utterances())
            first = await anext(utterance.opus())
            return first.arrived, speaking.done()

    arrived, done = run(main())
    assert arrived < 0.2
    assert not done


def test_what_is_spoken_before_the_connection_stands_is_kept():
    async def main():
        async with direct(link=LinkSettings(delay_ms=400)) as (line, agent):
            speech = await speak(line, 10)
            assert not line.call.inbox.has_events.is_set()
            utterance = await anext((await agent.session()).utterances())
            await speech.receipt()
            return await collect(utterance)

    assert run(main()) == list(packets(10))


@pytest.mark.parametrize("seed", range(4))
def test_utterance_is_intact_over_a_rough_link_with_an_outage(seed):
    async def main():
        async with relayed(link=ROUGH) as ([line], _agent):
            await asyncio.sleep(2)
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(speak(line, 150))
                await asyncio.sleep(1 + seed / 10)
                line.connection.link.outage(3.0)
            speech = speaking.result()
            receipt = await speech.receipt()
            return speech.intact(receipt), receipt

    intact, receipt = run(main())
    assert intact
    assert receipt.worst_delay_ms >= 2500


def test_long_utterance_keeps_its_end_when_the_next_begins():
    """A group is as old as its first frame: patience must outlast the longest speech."""

    async def main():
        async with relayed(play=False) as ([line], agent):
            session = await agent.session()
            first = line.call.speak()
            for packet in packets(5):
                first.write_packet(packet)
            await asyncio.sleep(4000)
            line.connection.link.outage(2.0)
            for packet in packets(5):
                first.write_packet(packet)
            first.finish()
            second = await speak(line, 5)
            receipts = [await first.receipt(), await second.receipt()]
            assert not session.closed
            return [first.intact(receipts[0]), second.intact(receipts[1])]

    assert run(main()) == [True, True]
    assert PATIENCE_MS == 24 * 3600 * 1000


def test_many_utterances_come_each_once_and_in_order():
    async def main():
        async with direct(link=LinkSettings(delay_ms=30, loss=10)) as (line, agent):
            speeches = [await speak(line, 5, paced=False) for _ in range(40)]
            session = await agent.session()
            taken = session.utterances()
            numbers = [(await anext(taken)).number for _ in speeches]
            receipts = [await speech.receipt() for speech in speeches]
            return numbers, [s.intact(r) for s, r in zip(speeches, receipts, strict=True)]

    numbers, intact = run(main())
    assert sorted(numbers) == list(range(40))
    assert all(intact)


def test_utterances_that_nobody_takes_are_bounded_and_refused_with_a_receipt():
    async def main():
        async with direct() as (line, agent):
            speeches = []
            for _ in range(MAX_WAITING + 5):
                speeches.append(await speak(line, 1, paced=False))
                await asyncio.sleep(0.02)
            receipts = [await speech.receipt() for speech in speeches]
            session = await agent.session()
            return receipts, len(session.inbox.arrived)

    receipts, waiting = run(main())
    assert waiting == MAX_WAITING
    assert [r.complete for r in receipts] == [True] * MAX_WAITING + [False] * 5
    assert receipts[-1].frames == 0


def test_utterances_taken_are_forgotten_so_that_a_call_may_last():
    async def main():
        async with direct() as (line, agent):
            session = None
            for _ in range(200):
                speech = await speak(line, 1, paced=False)
                session = session or await agent.session()
                await anext(session.utterances())
                await speech.receipt()
            return len(session.inbox._utterances)

    assert run(main()) <= 64


def test_audio_that_is_kept_is_bounded_and_the_receipt_tells(monkeypatch):
    async def main():
        monkeypatch.setattr("moqvox.voice.inbox.MAX_BYTES", 30_000)
        async with direct() as (line, agent):
            first = await speak(line, 50, paced=False)
            second = await speak(line, 200, paced=False)
            receipts = [await first.receipt(), await second.receipt()]
            session = await agent.session()
            third = await speak(line, 10, paced=False)
            taken = session.utterances()
            for _ in range(2):
                await anext(taken)
            await anext(taken)
            assert third.number == 2
            return [r.complete for r in receipts], session.inbox._size_bytes

    complete, size_bytes = run(main())
    assert complete == [True, False]
    assert size_bytes <= 31_000


def test_utterance_past_its_own_bound_ends_early(monkeypatch):
    async def main():
        monkeypatch.setattr(utterances, "MAX_BYTES", 10_000)
        async with direct() as (line, agent):
            speech = await speak(line, 100, paced=False)
            receipt = await speech.receipt()
            utterance = await anext((await agent.session()).utterances())
            return receipt, utterance.cancelled

    receipt, cancelled = run(main())
    assert not receipt.complete
    assert 0 < receipt.frames < 100
    assert cancelled


def test_two_calls_on_one_relay_do_not_mix():
    async def main():
        async with relayed(2) as (lines, agent):
            sessions = {}
            for _ in lines:
                session = await agent.session()
                sessions[session.id] = session
            speeches = [
                await speak(line, 20, hertz=200 + 100 * n, paced=False)
                for n, line in enumerate(lines)
            ]
            heard = []
            for line in lines:
                utterance = await anext(sessions[line.call.id].utterances())
                heard.append(await collect(utterance))
            receipts = [await speech.receipt() for speech in speeches]
            return heard, [s.intact(r) for s, r in zip(speeches, receipts, strict=True)]

    heard, intact = run(main())
    assert heard == [list(packets(20, 200.0)), list(packets(20, 300.0))]
    assert all(intact)


def test_call_that_ends_leaves_the_other_alone():
    async def main():
        async with relayed(2, grace=0.5) as (lines, agent):
            sessions = {}
            for _ in lines:
                session = await agent.session()
                sessions[session.id] = session
            first, second = lines
            first.driver.close()
            await asyncio.sleep(1)
            ended = sessions[first.call.id].closed
            speech = await speak(second, 10)
            return ended, speech.intact(await speech.receipt())

    assert run(main()) == (True, True)


def test_caller_that_never_spoke_can_be_greeted():
    async def main():
        async with relayed() as ([line], agent):
            session = await agent.session()
            response = session.respond()
            await response.write(tone(500))
            played = await response.played()
            return session.id == line.call.id, played.complete

    assert run(main()) == (True, True)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_pcm_comes_out_at_any_rate_and_of_the_right_length(rate):
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak(sample_rate=rate)
            speech.write(tone(500, rate))
            speech.finish()
            utterance = await anext((await agent.session()).utterances())
            pcm = b"".join([chunk async for chunk in utterance.pcm(rate)])
            return len(pcm) / 2 / rate, speech.written_us / 1e6

    seconds, written = run(main())
    assert seconds == pytest.approx(written, abs=0.005)
    assert 0.5 <= written <= 0.56


def test_half_a_sample_is_refused_and_nothing_of_it_sent():
    async def main():
        async with direct() as (line, _):
            speech = line.call.speak()
            with pytest.raises(LocalError, match="whole number"):
                speech.write(b"\0" * 1001)
            return speech.tally.frames

    assert run(main()) == 0


def test_utterance_taken_back_ends_its_readers_and_is_not_complete():
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            for packet in packets(20):
                speech.write_packet(packet)
            utterance = await anext((await agent.session()).utterances())
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(collect(utterance))
                await asyncio.sleep(0.5)
                speech.cancel()
            receipt = await speech.receipt()
            return len(reading.result()), utterance.cancelled, receipt.complete

    assert run(main()) == (20, True, False)


def test_taking_back_that_overtakes_its_speech_still_counts():
    async def main():
        async with direct() as (line, agent):
            await speak(line, 1, paced=False)
            session = await agent.session()
            taken = session.utterances()
            await anext(taken)
            line.call.outbox._speeches[0]._on_cancel(1)
            await asyncio.sleep(0.2)
            second = await speak(line, 5, paced=False)
            third = await speak(line, 5, paced=False)
            receipt = await second.receipt()
            await third.receipt()
            return receipt.complete, (await anext(taken)).number

    assert run(main()) == (False, 2)


BAD_FRAMES = {
    "empty": b"",
    "half a timestamp": b"\xc0",
    "no Opus packet": encode_legacy(0, b"\xff" * 3),
    "too long": encode_legacy(0, b"\x4b\x3f" + b"x" * 5),
}


@pytest.mark.parametrize("bad", list(BAD_FRAMES))
def test_frame_that_is_no_audio_ends_its_utterance_and_no_other(bad):
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            speech.write_packet(packets(1)[0])
            speech._writers[-1].write(Frame(BAD_FRAMES[bad], 0))
            speech.write_packet(packets(1)[0])
            speech.finish()
            good = await speak(line, 10)
            session = await agent.session()
            receipts = await speech.receipt(), await good.receipt()
            return receipts[0].complete, good.intact(receipts[1]), session.closed

    complete, intact, closed = run(main())
    assert not complete
    assert intact
    assert not closed


def test_end_marker_of_other_publishers_is_no_audio():
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            speech.write_packet(packets(1)[0])
            speech._writers[-1].write(Frame(end_marker(20_000), 0))
            speech.finish()
            receipt = await speech.receipt()
            assert (await agent.session()).id == line.call.id
            return receipt.frames, receipt.complete

    assert run(main()) == (1, True)


def test_packet_that_does_not_decode_is_filled_in_for():
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            good = packets(3)
            broken = good[1][:1] + b"\xff" * 200
            for packet in (good[0], broken, good[2]):
                speech.write_packet(packet)
            speech.finish()
            utterance = await anext((await agent.session()).utterances())
            return len(b"".join([chunk async for chunk in utterance.pcm(16_000)]))

    assert run(main()) == 3 * 320 * 2


def test_group_joined_in_its_middle_is_never_called_complete():
    async def main():
        async with direct() as (line, agent):
            line.call.outbox.broadcast._limits = cache.Limits()
            writer = line.call.outbox.leg.audio.create_group(0, frame_start=3)
            for packet in packets(12):
                writer.write(Frame(encode_legacy(0, packet), 0))
            writer.finish()
            session = await agent.session()
            utterance = await anext(session.utterances())
            await utterance.wait_over()
            return utterance.ended, utterance.receipt().complete

    assert run(main()) == (True, False)


def test_call_that_is_lost_wakes_everyone_and_says_why():
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            speech.write_packet(packets(1)[0])
            session = await agent.session()

            async def fail():
                with pytest.raises(SessionClosed) as lost:
                    await speech.receipt()
                return str(lost.value)

            async with asyncio.TaskGroup() as tasks:
                waiting = tasks.create_task(fail())
                iterating = [
                    tasks.create_task(_drain(source))
                    for source in (
                        line.call.responses(),
                        line.call.messages(),
                        session.utterances(),
                        session.messages(),
                    )
                ]
                await asyncio.sleep(0.1)
                agent.drivers[0].close(0x42, "maintenance")
            again = [await _drain(source) for source in (line.call.responses(),)]
            with pytest.raises(LocalError, match="over"):
                line.call.speak()
            with pytest.raises(LocalError, match="over"):
                session.respond()
            counts = [task.result() for task in iterating]
            return waiting.result(), line.call.ended.code, counts, again

    message, code, counts, again = run(main())
    assert "maintenance" in message
    assert code == 0x42
    assert counts == [0, 0, 1, 0]
    assert again == [0]


async def _drain(source):
    return len([item async for item in source])


def test_caller_that_vanishes_for_longer_than_its_grace_ends_its_session():
    async def main():
        async with direct(grace=10) as (line, agent):
            await speak(line, 3)
            session = await agent.session()
            response = session.respond()
            await response.write(tone(10_000))
            line.connection.vanish("battery", reset=True)
            begun = asyncio.get_running_loop().time()
            played = await response.played()
            waited = asyncio.get_running_loop().time() - begun
            return session.closed, played.complete, waited < 40, await response.write(tone(20))

    assert run(main()) == (True, False, True, False)


def test_reset_for_a_lost_session_keeps_the_utterance_for_going_on():
    async def main():
        async with direct() as (line, agent):
            speech = line.call.speak()
            speech.write_packet(packets(1)[0])
            session = await agent.session()
            utterance = await anext(session.utterances())
            speech._writers[-1].abort(StreamCode.SESSION_CLOSED)
            await asyncio.sleep(0.2)
            return utterance.over

    assert run(main()) is False
