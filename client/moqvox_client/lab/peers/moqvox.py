"""Ourselves: `moqvox.voice` on raw QUIC or WebTransport, as an application uses it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from moqvox import voice
from moqvox.connect import Wallet
from moqvox.driver.scope import scope
from moqvox.errors import MoqError
from moqvox.listen import Keys
from moqvox.transport.credentials import ServerCertificate, Verify
from moqvox_client.lab.frames import FRAME_NS
from moqvox_client.lab.job import KEYS
from moqvox_client.lab.sides import CallerSide, ServerSide, main

FRAME_US = FRAME_NS // 1000
RATE = 48_000
SAMPLE_BYTES = 2
LOOK_S = 0.005
CALLS = "calls"
"""Where a server that is to be killed has its journal."""

TICKET_S = 0.3
"""Seconds in which what a server gives for next time arrives."""


class Ear:
    """Keeps every sample that was played, silence too, from the first frame's arrival on."""

    def __init__(self, side: CallerSide) -> None:
        self._side = side
        self._first_us: dict[int, int] = {}
        self._begins: dict[int, int] = {}
        self.began_ns = 0
        self.played = bytearray()

    def take(self, response: voice.Utterance, packet: voice.Packet) -> None:
        """Note a packet as it arrives; frames are numbered by their timestamps.

        Where the server is killed, a second response has what the first one lacks.
        """
        first_us = self._first_us.setdefault(response.number, packet.timestamp_us)
        there = len(self._side.ear.arrived) if self._side.job.journal else 0
        index = self._begins.setdefault(response.number, there)
        index += (packet.timestamp_us - first_us) // FRAME_US
        self._side.ear.take(index, packet.opus, int(1e9 * packet.arrived))

    @property
    def begins(self) -> list[int]:
        """The frame that each response began with."""
        return sorted(self._begins.values())

    def play(self, pcm: bytes) -> None:
        """Stand in for the loudspeaker."""
        if not self._side.ear.arrived:
            return
        due_ns = time.monotonic_ns() - len(self.played) // SAMPLE_BYTES * 1_000_000_000 // RATE
        self.began_ns = min(self.began_ns or due_ns, due_ns)
        self.played += pcm


async def call(side: CallerSide) -> None:
    """Call, speak, hear the answer."""
    job = side.job
    scheme = "https" if job.options.get("webtransport") else "moqt"
    url = f"{scheme}://{job.host}:{job.caller_port or job.port}/"
    urls = job.urls or [url]
    ear = Ear(side)
    verify = Verify.authority(Path(job.root).read_bytes())
    wallet = Wallet()
    if job.options.get("resumed"):
        await _call_before(url, verify, wallet)
    await voice.prepare()  # as a program does that was there before its user calls
    side.begin()
    try:
        async with voice.call(urls, verify=verify, wallet=wallet) as made, scope() as tasks:
            playback = voice.Playback(made, ear.play, on_packet=ear.take)
            playing = tasks.create_task(playback.run(), name="playback")
            speaking = tasks.create_task(_speak(side, made), name="prompt")
            climbing = tasks.create_task(_climb(side, made), name="set-up")
            fate = tasks.create_task(_watch(side, made), name="connection")
            await _listen(side, playback)
            if job.again:
                await _within_the_limit(side, speaking)
            side.extra["resumed_ns"] = [side.began_ns + int(1e9 * at) for at in made.resumed_at]
            side.extra["resumptions"] = made.resumptions
            for name, at in made.marks.items():
                side.marks.setdefault(name, int(1e9 * at))
            if made.ended is not None:
                side.extra["error"] = str(made.ended)
            side.extra["ear_ns"] = ear.began_ns
            side.extra["begins"] = ear.begins
            fate.cancel()
            speaking.cancel()
            climbing.cancel()
            playing.cancel()
    except* MoqError as exc:
        side.extra["error"] = "; ".join(map(str, exc.exceptions))
    Path(job.folder, "played.pcm").write_bytes(ear.played)


async def _call_before(url: str, verify: Verify, wallet: Wallet) -> None:
    """Make a call and end it, as a caller does that was here before."""
    async with voice.call(url, verify=verify, wallet=wallet) as made:
        driver = await made.connected()
        await driver.wait_setup()
        await asyncio.sleep(TICKET_S)


async def _climb(side: CallerSide, made: voice.Call) -> None:
    """Mark the rungs of the set-up."""
    driver = await made.connected()
    side.mark("connected")

    async def set_up() -> None:
        await driver.wait_setup()
        side.mark("session")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(set_up(), name="session")
        audio = made.outbox.broadcast.find("audio")
        while audio is not None and not audio.used:
            await asyncio.sleep(0.001)
        side.mark("subscribed")


async def _speak(side: CallerSide, made: voice.Call) -> None:
    speech = made.speak()
    async for _index, frame in side.speech():
        speech.write_packet(frame)
    speech.finish()
    receipt = await speech.receipt()
    side.mark("receipt")
    side.extra["intact"] = speech.intact(receipt)
    if side.job.again:
        while not made.resumed_at:
            await asyncio.sleep(LOOK_S)
        speech = made.speak()
        async for _index, frame in side.second_speech():
            speech.write_packet(frame)
        speech.finish()
        side.extra["intact"] = speech.intact(await speech.receipt())


async def _watch(side: CallerSide, made: voice.Call) -> None:
    """Note when the first connection was known to be over."""
    driver = await made.connected()
    await driver.wait_closed()
    side.extra["over_ns"] = time.monotonic_ns()


async def _within_the_limit(side: CallerSide, task: "asyncio.Task[None]") -> None:
    left = side.began_ns / 1e9 + side.job.limit_s - time.monotonic()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, left)):
            await asyncio.shield(task)


async def _listen(side: CallerSide, playback: voice.Playback) -> None:
    """Wait until the answer was heard to its end, or the job's limit."""
    if not side.job.answered:
        await side.listen_to_the_end()
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(side.job.limit_s):
            account = await playback.wait_account(0)
            await account.over.wait()
            while account.response.is_short:
                account = await playback.wait_account(account.response.number + 1)
                await account.over.wait()
            side.extra["counted_silence_ms"] = account.totals.silence_samples / 48


async def take(side: ServerSide) -> None:
    """Take calls until told to stop; the first whole prompt is answered."""
    async with _desk(side) as desk, scope() as tasks:
        side.ready()
        async for session in desk:
            tasks.create_task(_converse(side, session), name=f"call-{session.id}")


@contextlib.asynccontextmanager
async def _desk(side: ServerSide) -> AsyncIterator[voice.Desk]:
    """Listen, or meet callers at relays."""
    job = side.job
    if job.urls:
        verify = Verify.authority(Path(job.root).read_bytes())
        async with voice.attend(job.urls, verify=verify) as desk:
            yield desk
        return
    tls = ServerCertificate(Path(job.cert).read_bytes(), Path(job.key).read_bytes())
    keys = Keys.read(Path(job.folder, KEYS))
    async with voice.serve(
        f"{job.host}:{job.port}",
        tls=tls,
        keys=keys,
        barge_in=not job.again,
        journal=Path(job.folder, CALLS) if job.journal else None,
    ) as desk:
        yield desk


async def _converse(side: ServerSide, session: voice.Session) -> None:
    for short in (each for each in session.carried if each.is_short):
        await _answer(side, session, short.speech.tally.frames)
    async for utterance in session.utterances():
        first_us: int | None = None
        async for packet in utterance.opus():
            first_us = packet.timestamp_us if first_us is None else first_us
            index = side.job.skipped + (packet.timestamp_us - first_us) // FRAME_US
            side.take(index, packet.opus, int(1e9 * packet.arrived))
        if side.answered_ns is None and side.job.answered and not session.carried:
            await _answer(side, session)


async def _answer(side: ServerSide, session: voice.Session, start: int = 0) -> None:
    """Say the answer, or what a server that was killed has left of it."""
    response = session.respond()
    async for _index, frame in side.reply(start=start):
        if not await response.write_packet(frame):
            break
    response.finish()


if __name__ == "__main__":
    main(call, take)
