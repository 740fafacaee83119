"""Frames are in their speech as soon as they arrive."""

import asyncio

from tests.aio import run, settle
from tests.unit.model.samples import track_of
from tests.unit.voice.calls import packets

from moqvox.errors import MediaError, MoqError, StreamCode, StreamEnded
from moqvox.frame import Frame
from moqvox.media.container import encode_legacy
from moqvox.voice.filling import Filling
from moqvox.voice.inbox import Inbox


class Nobody:
    """Owns an inbox, and listens to nothing."""

    def began(self, utterance):
        pass

    def progress(self, utterance, last):
        pass


def frame(number):
    return Frame(encode_legacy(20_000 * number, packets(4)[number]), 20_000 * number)


async def outcome(filling):
    """Wait for its end; returns what it failed with."""
    try:
        await filling.wait()
    except MoqError as exc:
        return exc
    return None


def fill(body):
    async def main():
        inbox, writer = Inbox(Nobody()), track_of().append_group()
        utterance, reader = inbox.utterance(0), writer.consume()
        writer.write(frame(0))
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            filling = tasks.create_task(outcome(Filling(inbox, utterance, reader, 0)))
            await settle()
            assert len(utterance.packets) == 1
            await body(writer, utterance, filling)
        assert reader.wake is None

    run(main())


def test_a_frame_is_in_its_speech_in_the_turn_in_which_it_is_written():
    async def body(writer, utterance, filling):
        for number in (1, 2, 3):
            writer.write(frame(number))
            assert len(utterance.packets) == number + 1
        writer.finish()
        assert await filling is None

    fill(body)


def test_a_reset_ends_it_with_the_code():
    async def body(writer, _utterance, filling):
        writer.abort(StreamCode.CANCELLED)
        ended = await filling
        assert isinstance(ended, StreamEnded)
        assert ended.code == StreamCode.CANCELLED

    fill(body)


def test_a_frame_that_is_no_audio_ends_it_and_does_not_hurt_who_wrote_it():
    async def body(writer, utterance, filling):
        writer.write(Frame(b"\xff", 20_000))
        writer.write(frame(2))
        assert isinstance(await filling, MediaError)
        assert len(utterance.packets) == 1

    fill(body)


def test_who_waits_no_more_is_told_nothing_more():
    async def body(writer, utterance, filling):
        filling.cancel()
        await asyncio.wait([filling])
        writer.write(frame(1))
        assert len(utterance.packets) == 1

    fill(body)
