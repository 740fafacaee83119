"""What one side of a call publishes: its audio, its events, its catalog."""

import asyncio
from typing import Final

from moqvox.errors import LocalError, SessionClosed
from moqvox.frame import Frame, TrackInfo
from moqvox.media.catalog import CATALOG_TRACK, Catalog, opus_rendition
from moqvox.model import broadcast, cache, group, track
from moqvox.voice.speech import Format, Speech
from moqvox.voice.words import Ack, Cancel, Event, Heard, Interrupt, Receipt, encode

__all__ = ["AUDIO_TRACK", "EVENTS_TRACK", "KEEP", "Outbox"]

AUDIO_TRACK: Final = "audio"
EVENTS_TRACK: Final = "events"

KEEP: Final = cache.Limits(max_groups=256, max_bytes=32 * 1024 * 1024, max_age=600.0)
"""What is kept for listeners who come late or come back: ten minutes, 32 MiB a track."""

EVENTS_A_GROUP: Final = 1024
"""Events written to one stream before the next begins, so that no stream lives for ever."""

MAX_LIVE: Final = 64
"""Speeches that wait for a word from the other side; past it the oldest waits no longer."""

BITRATE: Final = 24_000


class Outbox:
    """One side's broadcast. Speeches are numbered from 0; of two, the older is sent first."""

    def __init__(self) -> None:
        self.broadcast = broadcast.Producer(limits=KEEP)
        maximum_ms = int(1000 * KEEP.max_age)
        self._audio = self.broadcast.create_track(
            AUDIO_TRACK, TrackInfo(priority=80, ordered=True, max_age_ms=maximum_ms)
        )
        self._events = self.broadcast.create_track(
            EVENTS_TRACK, TrackInfo(priority=120, ordered=True, max_age_ms=maximum_ms)
        )
        self._catalog = self.broadcast.create_track(CATALOG_TRACK, TrackInfo(priority=100))
        self._describe(self._catalog)
        self._event_group: group.Producer | None = None
        self._event_count = 0
        self._started = asyncio.get_running_loop().time()
        self._speeches: dict[int, Speech] = {}
        self._finished = False

    def speech(self, sample_rate: int, channels: int = 1, bitrate: int = BITRATE) -> Speech:
        """Begin the next speech; its media time is now, or the end of the one before.

        Raises:
            LocalError: the call is over.
        """
        if self._finished:
            raise LocalError("the call is over")
        now_us = int(1e6 * (asyncio.get_running_loop().time() - self._started))
        last = self._speeches[max(self._speeches)] if self._speeches else None
        start_us = now_us if last is None else max(now_us, last.start_us + last.written_us)
        speech = Speech(
            self._audio.append_group(),
            start_us,
            lambda: Format(sample_rate, channels, bitrate),
            lambda number: self.send(Cancel(number)),
        )
        self._speeches[speech.number] = speech
        if len(self._speeches) > MAX_LIVE:
            self._speeches.pop(min(self._speeches)).lose()
        return speech

    def send(self, event: Event) -> None:
        """Tell the other side something, reliably and in order; nothing once the call is over.

        Raises:
            MediaError: the event is longer than 64 KiB.
        """
        payload = encode(event)
        if self._finished:
            return
        if self._event_group is None or self._event_count >= EVENTS_A_GROUP:
            if self._event_group is not None:
                self._event_group.finish()
            self._event_group = self._events.append_group()
            self._event_count = 0
        self._event_count += 1
        self._event_group.write(Frame(payload, self._now_us()))

    def tell(self, event: Ack | Receipt | Heard | Interrupt) -> None:
        """Take the other side's word on one of our speeches."""
        speech = self._speeches.get(event.speech)
        if speech is not None:
            speech.tell(event)

    def live(self) -> list[Speech]:
        """List the speeches not known to be played to their end or cut, oldest first."""
        return [
            speech
            for _, speech in sorted(self._speeches.items())
            if not speech.cancelled and (speech.heard is None or speech.heard.state == "playing")
        ]

    def finish(self) -> None:
        """End the tracks in order: what was written is still delivered."""
        if self._finished:
            return
        for speech in self._speeches.values():
            speech.finish()
        self._finished = True
        if self._event_group is not None:
            self._event_group.finish()
        for ended in (self._audio, self._events, self._catalog):
            ended.finish()

    def lose(self, why: SessionClosed | None = None) -> None:
        """Expect no more word of the other side; who waits for it is told why."""
        for speech in self._speeches.values():
            speech.lose(why)

    def close(self, why: SessionClosed | None = None) -> None:
        """Withdraw everything."""
        self._finished = True
        self.lose(why)
        self.broadcast.close()

    def _now_us(self) -> int:
        return int(1e6 * (asyncio.get_running_loop().time() - self._started))

    def _describe(self, catalog: track.Producer) -> None:
        described = Catalog(audio={AUDIO_TRACK: opus_rendition(bitrate=BITRATE)})
        described_group = catalog.append_group()
        described_group.write(Frame(described.encode(), 0))
        described_group.finish()
