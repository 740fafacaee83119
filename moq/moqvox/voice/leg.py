"""Our broadcast of one leg of a call: what is missing on the other side, and what comes."""

import asyncio
from typing import Final

from moqvox.errors import Refused, StreamCode
from moqvox.frame import Frame, TrackInfo
from moqvox.media.catalog import CATALOG_TRACK, Catalog, opus_rendition
from moqvox.model import broadcast, cache, group, track
from moqvox.voice.words import Bye, Event, Hello, encode

__all__ = [
    "AUDIO_INFO",
    "AUDIO_TRACK",
    "BITRATE",
    "EVENTS_TRACK",
    "PAST_TRACK",
    "UNANSWERED",
    "Leg",
]

AUDIO_TRACK: Final = "audio"
EVENTS_TRACK: Final = "events"
PAST_TRACK: Final = "past"
UNANSWERED: Final = "unanswered/"

LIMITS: Final = cache.Limits(max_groups=256, max_bytes=32 * 1024 * 1024, max_age=600.0)
"""What is kept for listeners who come late: ten minutes, 32 MiB a track."""

MAX_AGE_MS: Final = int(1000 * LIMITS.max_age)
AUDIO_INFO: Final = TrackInfo(priority=80, ordered=True, max_age_ms=MAX_AGE_MS)

EVENTS_A_GROUP: Final = 1024
"""Events written to one stream before the next begins, so that no stream lives for ever."""

BITRATE: Final = 24_000


class LegBroadcast(broadcast.Producer):
    """A leg's tracks. The caller's first leg also tells whether an agent was there before.

    All tracks below `UNANSWERED` are there until one has said hello, and are refused from then
    on. An agent asks for a name that nobody else asks for, which no relay can answer.
    """

    def __init__(self) -> None:
        super().__init__(limits=LIMITS)
        self._unanswered: track.Producer | None = None
        self._is_answered = False

    def be_unanswered(self) -> None:
        """Tell those who ask that no agent was here yet, until `be_answered`."""
        self._unanswered = self.create_track(UNANSWERED, TrackInfo(priority=60))

    def be_answered(self) -> None:
        """Tell those who ask that an agent was here."""
        self._is_answered = True

    def find(self, name: str) -> track.Producer | None:
        """Return the track to read, None when nobody has it."""
        found = super().find(name)
        if found is not None or self._unanswered is None or not name.startswith(UNANSWERED):
            return found
        if self._is_answered:
            raise Refused(StreamCode.CANCELLED, "an agent was here")
        return self._unanswered


class Leg:
    """One broadcast with its tracks. `hello` is its first event.

    Args:
        hello: who we are.
        number: of the leg.
        began: when the call did, seconds on the loop's clock.
        past: frames of unreceipted speeches before those in `audio`, by speech; None for a
            side that offers no such track.
    """

    def __init__(
        self, hello: Hello, number: int, began: float, past: dict[int, list[Frame]] | None = None
    ) -> None:
        self.number = number
        self.hello = hello
        self.broadcast = LegBroadcast()
        maximum_ms = MAX_AGE_MS
        self.audio = self.broadcast.create_track(AUDIO_TRACK, AUDIO_INFO)
        self._events = self.broadcast.create_track(
            EVENTS_TRACK, TrackInfo(priority=120, ordered=True, max_age_ms=maximum_ms)
        )
        self._catalog = self.broadcast.create_track(CATALOG_TRACK, TrackInfo(priority=100))
        self._began = began
        self._event_group: group.Producer | None = None
        self._event_count = 0
        _describe(self._catalog)
        if past is not None:
            _recall(self.broadcast, past, maximum_ms)
        self.tell(hello)

    def tell(self, event: Event, number: int = 0) -> None:
        """Send one event.

        Raises:
            MediaError: it is longer than 64 KiB.
        """
        payload = encode(event, number)
        if self._events.closed:
            return
        if self._event_group is None or self._event_count >= EVENTS_A_GROUP:
            if self._event_group is not None:
                self._event_group.finish()
            self._event_group = self._events.append_group()
            self._event_count = 0
        self._event_count += 1
        now = asyncio.get_running_loop().time()
        self._event_group.write(Frame(payload, int(1e6 * (now - self._began))))

    def finish(self) -> None:
        """End the tracks in order: what was written is still delivered."""
        self.tell(Bye())
        if self._event_group is not None:
            self._event_group.finish()
        for ended in (self.audio, self._events, self._catalog):
            ended.finish()

    def close(self) -> None:
        """Withdraw it: it is over, and says nothing of the speeches in it."""
        self.broadcast.close(StreamCode.SESSION_CLOSED)


def _describe(catalog: track.Producer) -> None:
    described = Catalog(audio={AUDIO_TRACK: opus_rendition(bitrate=BITRATE)})
    described_group = catalog.append_group()
    described_group.write(Frame(described.encode(), 0))
    described_group.finish()


def _recall(to: broadcast.Producer, past: dict[int, list[Frame]], maximum_ms: int) -> None:
    """Offer frames that the other side has unless it was started anew."""
    recalled = to.create_track(
        PAST_TRACK, TrackInfo(priority=60, ordered=True, max_age_ms=maximum_ms)
    )
    for number, frames in sorted(past.items()):
        speech = recalled.create_group(number)
        for frame in frames:
            speech.write(frame)
        speech.finish()
    recalled.finish()
