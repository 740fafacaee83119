"""An agent's answer: pushed as fast as it is made, played by its timestamps, cut in one go."""

import asyncio
from types import TracebackType
from typing import Final, Self

from moqvox.errors import LocalError, StreamCode
from moqvox.voice.speech import Speech
from moqvox.voice.words import Played

__all__ = ["Response"]

PIECE_US: Final = 500_000
"""Audio written between two looks at the lead."""

LAST_WORD: Final = 2.0
"""Seconds a listener that never told anything has to say how much it heard of a response that
was cut; one that does has `SILENT`."""

MUTE: Final = 2.0
"""Seconds after the first acknowledgement from which a listener that never says what it
heard is taken to play from then on, by the clock."""

EARLY: Final = 1e-6
"""Seconds by which a timer may be early and counts as on time."""

SILENT: Final = 30.0
"""Seconds beyond what it had in hand after which a listener's last word is its last."""


class Response:
    """One response as its author sees it; made by `Session.respond`.

    Leave it through `played`, `finish` or `cancel`, or use it as an async context manager,
    which finishes it, or cancels it when its body failed.
    """

    def __init__(
        self,
        speech: Speech,
        reports: asyncio.Event,
        attached: asyncio.Event,
        told: asyncio.Event,
        *,
        max_lead: float,
        sample_rate: int,
        channels: int,
    ) -> None:
        self.speech = speech
        self._reports = reports
        self._attached = attached
        self._told = told
        self._max_lead_us = int(1e6 * max_lead)
        self._sample_bytes = 2 * channels
        self._piece_bytes = self._sample_bytes * (sample_rate * PIECE_US // 1_000_000)
        self._first_write: float | None = None

    @property
    def number(self) -> int:
        """By which both sides name it."""
        return self.speech.number

    @property
    def interrupted(self) -> bool:
        """Whether either side cut it short."""
        return self.speech.cancelled

    @property
    def is_short(self) -> bool:
        """Whether it ends before all was said, as the process that made it died."""
        return self.speech.is_short

    @property
    def lead_ms(self) -> float:
        """Audio sent and not heard yet."""
        return (self.speech.written_us - self._heard_us()) / 1000

    async def write(self, pcm: bytes) -> bool:
        """Send s16le PCM of any length, waiting while the lead is at its cap.

        Returns:
            False once the response was cut short or the caller left: what is written then
            goes nowhere, and there is no point in making more.

        Raises:
            LocalError: not a whole number of samples.
        """
        if len(pcm) % self._sample_bytes:
            raise LocalError(f"{len(pcm)} bytes are no whole number of 16-bit samples")
        for at in range(0, len(pcm), self._piece_bytes):
            if not await self._room():
                return False
            self.speech.write(pcm[at : at + self._piece_bytes])
        return not self._done()

    async def write_packet(self, packet: bytes) -> bool:
        """Send one Opus packet as it is; otherwise like `write`.

        Raises:
            MediaError: not an Opus packet.
        """
        if not await self._room():
            return False
        self.speech.write_packet(packet)
        return True

    def finish(self) -> None:
        """End the stream: all was said. Idempotent."""
        self.speech.finish()

    def cancel(self) -> None:
        """Cut it short: its stream is reset, and the listener drops what is unplayed."""
        self.speech.cancel(StreamCode.CANCELLED)

    def lose(self) -> None:
        """Note that the listener is gone for good."""
        self.speech.lose()

    async def played(self) -> Played:
        """Finish it, wait until it was played or cut, and tell how much was really heard.

        Of a listener that takes the audio and never tells, this is an estimate.
        """
        self.finish()
        while not self._settled():
            end = self._expected_end()
            if end is not None and end <= self._now() + EARLY:
                break
            await self._news(None if end is None else end - self._now())
        if self.speech.cancelled and self._reports.is_set():
            await self._last_word()
        return self._outcome()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.cancel()

    def _outcome(self) -> Played:
        heard = self.speech.heard
        heard_us = self._heard_us()
        return Played(
            ms=heard_us / 1000,
            sent_ms=self.speech.written_us / 1000,
            complete=heard_us >= self.speech.written_us and not self.speech.cancelled,
            interrupted=self.speech.cancelled,
            silence_ms=0.0 if heard is None else heard.silence_us / 1000,
            underruns=0 if heard is None else heard.underruns,
            reported=heard is not None,
        )

    def _settled(self) -> bool:
        heard = self.speech.heard
        ended = heard is not None and heard.state in ("ended", "interrupted")
        return ended or not self.speech.written_us or self.speech.lost or self.speech.cancelled

    async def _last_word(self) -> None:
        """Give the listener its time to tell; that stands still while it has no connection."""
        until: float | None = None
        while not self.speech.lost and (
            self.speech.heard is None or self.speech.heard.state == "playing"
        ):
            if not self._attached.is_set():
                until = None
            elif until is None:
                until = self._now() + (SILENT if self._told.is_set() else LAST_WORD)
            if until is not None and until <= self._now() + EARLY:
                return
            await self._news(None if until is None else until - self._now())

    def _done(self) -> bool:
        return self.speech.over.is_set() or self.speech.lost

    async def _room(self) -> bool:
        """Wait until the lead is below its cap; False when nobody listens any more."""
        if self._first_write is None:
            self._first_write = self._now()
        while not self._done():
            ahead_us = self.speech.written_us - self._heard_us() - self._max_lead_us
            if ahead_us < 0:
                return True
            began = self._assumed_begin()
            heard = self.speech.heard is not None or began is None
            await self._news(None if heard else ahead_us / 1e6 + 0.01)
        return False

    async def _news(self, limit: float | None) -> None:
        self.speech.news.clear()
        try:
            async with asyncio.timeout(limit):
                await self.speech.news.wait()
        except TimeoutError:
            return

    def _heard_us(self) -> int:
        if self.speech.heard is not None:
            heard_us = self.speech.heard.heard_us
        else:
            began = self._assumed_begin()
            if began is None:
                return 0
            until = self._now() if self.speech.cut_at is None else self.speech.cut_at
            heard_us = round(1e6 * (until - began))
        return max(0, min(heard_us, self.speech.written_us))

    def _assumed_begin(self) -> float | None:
        """When a listener that does not tell is taken to have begun; None while unknown."""
        if not self._reports.is_set():
            return self._first_write
        return None if self.speech.first_ack is None else self.speech.first_ack + MUTE

    def _expected_end(self) -> float | None:
        """When to believe that no more will be told; None as long as it may be."""
        if not self._attached.is_set():
            return None
        heard, at = self.speech.heard, self.speech.heard_at
        if heard is not None and at is not None:
            left_us = max(0, self.speech.written_us - heard.heard_us)
            return at + left_us / 1e6 + SILENT
        began = self._assumed_begin()
        return None if began is None else began + self.speech.written_us / 1e6

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
