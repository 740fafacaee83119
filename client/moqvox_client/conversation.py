"""Turns of a call: one utterance, one response, and the numbers of both."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from moqvox import voice
from moqvox.errors import SessionClosed
from moqvox.voice.words import Caption, Message
from moqvox_client.errors import Failed
from moqvox_client.sink import Sink
from moqvox_client.source import Chunk
from moqvox_client.trace import Moment, Trace

__all__ = ["Conversation", "Turn"]

log = logging.getLogger("moqvox.client")

TRANSCRIPT: Final = "transcript"
"""Message by which an agent tells what it understood: `{"utterance": n, "text": "..."}`."""

ON_ITS_WAY: Final = 0.25
"""Seconds in which an answer that arrived before the call's end reaches the playback."""

ANSWER_DUE: Final = 2.0
"""Seconds of a connection after which an agent that is there has said so, however far it is."""

LOOK_EVERY: Final = 0.5
"""Seconds between two looks whether an agent was heard, or the connection was lost."""


class Turn(msgspec.Struct):
    """What one turn came to.

    Attributes:
        sent_ms, frames, digest: the utterance as it was sent.
        intact: the receiver got every frame, and the digests agree.
        added_delay_ms, worst_delay_ms: what the network cost its end and its latest frame
            (see `Receipt`).
        path_changes: of our connection, from the first frame to the receipt.
        resumptions: times the call went on over a new connection meanwhile.
        missing: frames that will never come, as (first, last) by their place.
        first_ack_ms: from the first frame's capture to its acknowledgement.
        receipt_ms: from the utterance's last frame to its receipt.
        first_audio_ms: from the last frame to the first sample of the answer, played.
        response_ms, heard_ms, silence_ms, underruns: the answer.
        lead_ms: the most audio in hand while it played.
        heard_complete: all of the answer was heard.
    """

    frames: int = 0
    sent_ms: float = 0.0
    digest: str = ""
    intact: bool = False
    added_delay_ms: float = 0.0
    worst_delay_ms: float = 0.0
    path_changes: int = 0
    resumptions: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    first_ack_ms: float | None = None
    receipt_ms: float = 0.0
    transcript: str = ""
    reply: str = ""
    first_audio_ms: float | None = None
    response_ms: float | None = None
    heard_ms: float = 0.0
    heard_complete: bool = False
    silence_ms: float = 0.0
    underruns: int = 0
    lead_ms: float = 0.0

    def troubles(self) -> list[str]:
        """Say what the utterance went through, if anything."""
        lines = []
        if self.path_changes or self.resumptions:
            lines.append(
                f"went through {self.path_changes} changes of path "
                f"and {self.resumptions} of connection"
            )
        lines += [f"frames {first} to {last} are missing" for first, last in self.missing]
        return lines

    def fields(self) -> dict[str, object]:
        """List everything, for JSON."""
        return msgspec.structs.asdict(self)


class Conversation:
    """A call with its playback, one turn after the other."""

    def __init__(
        self,
        call: voice.Call,
        trace: Trace,
        *,
        play: Callable[[bytes], None] | None = None,
        sink: Sink | None = None,
        on_sent: Callable[[bytes], None] | None = None,
        note: Callable[[str], None] = log.info,
    ) -> None:
        """Hold a conversation over a call.

        Args:
            call: stays the caller's own.
            trace: gets every frame.
            play: takes the answers' PCM.
            sink: takes the answers' packets.
            on_sent: takes each packet that was spoken.
            note: tells the user what there is to wait for.
        """
        self.call = call
        self.playback = voice.Playback(call, play, on_packet=self._received, on_frame=self._played)
        self._trace = trace
        self._sink = sink
        self._on_sent = on_sent
        self._note = note
        self._transcripts: dict[int, str] = {}
        self._replies: dict[int, list[str]] = {}
        self._responses = 0
        self._lead_ms = 0.0
        self._running: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Play and listen until the call is over."""
        self._running = asyncio.current_task()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.playback.run(), name="playback")
            tasks.create_task(self._listen(), name="messages")
            tasks.create_task(self._measure(), name="lead")
            tasks.create_task(self._tell_unanswered(), name="agent")

    def end(self) -> None:
        """Stop playing."""
        if self._running is not None:
            self._running.cancel()

    async def turn(self, name: str, chunks: AsyncIterator[Chunk], *, patience: float) -> Turn:
        """Speak one utterance and wait until its answer was heard.

        Args:
            name: of the utterance, for the user.
            chunks: the utterance.
            patience: seconds from its end until an answer begins; for an agent that is there to
                take it `ANSWER_DUE` at least, counted anew when another connection stands.

        Raises:
            SessionClosed: the call ended before the receipt came.
            Failed: no agent was heard in that time.
        """
        loop = asyncio.get_running_loop()
        turn = Turn()
        expected = self._responses
        paths, resumptions = self.call.path_changes, self.call.resumptions
        speech = self.call.speak()
        began: float | None = None
        async for chunk in chunks:
            began = loop.time() if began is None else began
            timestamp_us, size = speech.start_us + speech.written_us, len(chunk.packet)
            self._trace.frame(
                Moment.CAPTURED, timestamp_us=timestamp_us, size_bytes=size, ns=chunk.captured_ns
            )
            speech.write_packet(chunk.packet)
            self._trace.frame(Moment.WRITTEN, timestamp_us=timestamp_us, size_bytes=size)
            if self._on_sent is not None:
                self._on_sent(chunk.packet)
        speech.finish()
        said = loop.time()
        waited = max(patience, ANSWER_DUE)
        if not await self._is_heeded(speech, waited):
            raise Failed(
                f"no agent answered within {waited:g} s: nobody heard {name} "
                f"({speech.tally.frames} frames, {speech.tally.duration_us / 1e6:.2f} s)"
            )
        receipt = await speech.receipt()
        turn.receipt_ms = 1000 * (loop.time() - said)
        turn.frames, turn.sent_ms = speech.tally.frames, speech.tally.duration_us / 1000
        turn.digest, turn.intact = speech.tally.digest, speech.intact(receipt)
        turn.added_delay_ms = receipt.added_delay_ms
        turn.worst_delay_ms = receipt.worst_delay_ms
        turn.resumptions = self.call.resumptions - resumptions
        turn.path_changes = self.call.path_changes - (0 if turn.resumptions else paths)
        turn.missing = receipt.missing
        if speech.first_ack is not None and began is not None:
            turn.first_ack_ms = 1000 * (speech.first_ack - began)
        await self._answer(turn, expected, said, patience)
        turn.transcript = self._transcripts.get(speech.number, "")
        return turn

    async def _tell_unanswered(self) -> None:
        """Say so, once, if the connection stands and there is no agent."""
        try:
            await self.call.connected()
            async with asyncio.timeout(ANSWER_DUE):
                await self.call.wait_answered()
        except SessionClosed:
            return  # told by who waits for more
        except TimeoutError:
            if not self.call.is_heard:  # agents of old say no hello
                self._note("no agent has answered yet; waiting")

    async def _is_heeded(self, speech: voice.Speech, patience: float) -> bool:
        """Wait until the call is over or there is an agent; False if none is for so long.

        One that was there and is gone is the call's to wait for, and so is a connection.
        """
        loop = asyncio.get_running_loop()
        legs, since = self.call.resumptions, loop.time()
        while not (self.call.is_heard or speech.receipted.is_set()):
            redial, now = self.call.redial, loop.time()
            is_lost = self.call.driver is None or (redial is not None and redial.is_seeking)
            if is_lost or self.call.resumptions != legs:
                legs, since = self.call.resumptions, now
            left = since + patience - now
            if left <= 0:
                return False
            with contextlib.suppress(TimeoutError):
                # Rounded up: timers may ring a hair early, over and over.
                async with asyncio.timeout(min(LOOK_EVERY, left + 0.001)):
                    await speech.receipted.wait()
        return True

    async def _answer(self, turn: Turn, number: int, said: float, patience: float) -> None:
        self._lead_ms = 0.0
        account = await self._begun(number, patience)
        if account is None:
            return
        self._responses = number + 1
        await account.over.wait()
        if account.first_sound is not None:
            turn.first_audio_ms = 1000 * (account.first_sound - said)
        turn.response_ms = account.response.duration_us / 1000
        turn.heard_ms = account.totals.heard_us / 1000
        turn.heard_complete = turn.heard_ms >= turn.response_ms
        turn.silence_ms = account.totals.silence_samples / 48
        turn.underruns = account.totals.underruns
        turn.lead_ms = self._lead_ms
        turn.reply = " ".join(self._replies.get(number, []))

    async def _begun(self, number: int, patience: float) -> voice.Account | None:
        """Wait until an answer begins; None when none comes, or the call ends before."""
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(self.playback.wait_account(number), name="answer")
            ending = tasks.create_task(self.call.wait_over(), name="end")
            await asyncio.wait(
                [waiting, ending], timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            if ending.done():
                await asyncio.wait([waiting], timeout=ON_ITS_WAY)
            waiting.cancel()
            ending.cancel()
        return self.playback.account(number)

    def _received(self, _response: voice.Utterance, packet: voice.Packet) -> None:
        self._trace.frame(
            Moment.RECEIVED, timestamp_us=packet.timestamp_us, size_bytes=len(packet.opus)
        )
        if self._sink is not None:
            self._sink.write(packet.opus)

    def _played(self, _response: int, timestamp_us: int, _now: float) -> None:
        self._trace.frame(Moment.PLAYED, timestamp_us=timestamp_us, size_bytes=0)

    async def _listen(self) -> None:
        async for message in self.call.messages():
            if isinstance(message, Caption):
                self._replies.setdefault(message.speech, []).append(message.text)
            elif isinstance(message, Message) and message.name == TRANSCRIPT:
                try:
                    said = msgspec.json.decode(message.data, type=_Transcript)
                except msgspec.DecodeError as exc:
                    log.warning("the agent's transcript is malformed: %s", exc)
                    continue
                self._transcripts[said.utterance] = said.text

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            stats = self.playback.player.stats(int(1e6 * loop.time()))
            self._lead_ms = max(self._lead_ms, stats.queued_us / 1000)
            await asyncio.sleep(0.05)


class _Transcript(msgspec.Struct):
    utterance: int
    text: str
