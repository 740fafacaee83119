"""moq-rs, both ends: a group per packet, and a subscriber that skips what is 500 ms late.

500 ms is what Pipecat's MoQ transport asks of moq-rs for the caller's audio unless it is told
otherwise. The broadcast stands before the connection does, so what is spoken meanwhile is
kept as long as moq-rs keeps it.
"""

import asyncio
from typing import Final

import moq

from moqvox_client.lab.frames import FRAME_NS
from moqvox_client.lab.sides import CallerSide, ServerSide, main

PROMPT: Final = "prompt"
ANSWER: Final = "answer"
TRACK: Final = "audio"
FRAME_US: Final = FRAME_NS // 1000
MAX_AGE_MS: Final = 500
OPUS_HEAD: Final = b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\x00\x00"


def _publish(broadcast: moq.BroadcastProducer) -> moq.MediaProducer:
    media = broadcast.publish_audio(moq.AudioFormat.OPUS, OPUS_HEAD, track=TRACK)
    broadcast.announce()
    return media


def _write(media: moq.MediaProducer, index: int, frame: bytes) -> None:
    media.write_frame(frame, index * FRAME_US)
    media.cut()


async def _listen(
    origin: moq.OriginProducer, name: str, side: CallerSide | ServerSide, max_age_ms: int
) -> None:
    broadcast = await origin.consume().announced_broadcast(name).available()
    catalog = await broadcast.catalog()
    track, audio = next(iter(catalog.audio.items()))
    wanted = moq.Subscription(max_age_us=1000 * max_age_ms)
    async for frame in await broadcast.subscribe_media(track, audio, wanted):
        side.ear.take(frame.timestamp_us // FRAME_US, bytes(frame.payload))


async def call(side: CallerSide) -> None:
    """Speak from the first moment on."""
    job = side.job
    outgoing, incoming = moq.OriginProducer(), moq.OriginProducer()
    broadcast = outgoing.create_broadcast(PROMPT)
    media = _publish(broadcast)
    side.begin()

    async def speak() -> None:
        async for numbered in side.speech():
            _write(media, *numbered)

    async def connected() -> None:
        async with moq.Client(
            f"moqt://{job.host}:{job.caller_port or job.port}/",
            tls_roots=[job.root],
            websocket_enabled=False,
            publish=outgoing,
            subscribe=incoming,
        ):
            side.mark("connected")
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(speak()),
            tasks.create_task(connected()),
            tasks.create_task(_listen(incoming, ANSWER, side, 60_000)),
        ]
        await side.listen_to_the_end()
        for task in running:
            task.cancel()


async def take(side: ServerSide) -> None:
    """Take callers until told to stop."""
    job = side.job
    max_age_ms = int(job.options.get("max_age_ms", MAX_AGE_MS))
    outgoing, incoming = moq.OriginProducer(), moq.OriginProducer()
    server = moq.Server(
        f"{job.host}:{job.port}",
        tls_cert=[job.cert],
        tls_key=[job.key],
        publish=outgoing,
        subscribe=incoming,
    )

    is_over = False

    async def accept() -> None:
        async for request in server:
            tasks.create_task(_serve(request))

    async def hear() -> None:
        try:
            await _listen(incoming, PROMPT, side, max_age_ms)
        except moq.Error:
            if not is_over:  # else the caller has left, as it does at the end of a run
                raise

    async with server, asyncio.TaskGroup() as tasks:
        tasks.create_task(accept())
        tasks.create_task(hear())
        side.ready()
        await side.prompt_over()
        is_over = True
        side.heard()  # what is late by now was dropped
        if job.answered:
            answer = outgoing.create_broadcast(ANSWER)  # goes when it is let go of
            media = _publish(answer)
            await media.demand().used()
            async for numbered in side.reply():
                _write(media, *numbered)
        await asyncio.Event().wait()


async def _serve(request: moq.Request) -> None:
    try:
        await (await request.accept()).closed()
    except moq.Error as exc:
        print(f"session: {exc}", flush=True)


if __name__ == "__main__":
    main(call, take)
