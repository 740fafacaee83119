"""One utterance or response on its way out: PCM or Opus in, one group of frames out."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice

from moqvox.errors import LocalError, SessionClosed, StreamCode
from moqvox.frame import Frame
from moqvox.media.codec import Encoder, StreamEncoder
from moqvox.media.container import decode_legacy, encode_legacy
from moqvox.media.opus import SAMPLE_RATE, SAMPLE_RATES, packet_duration_us
from moqvox.media.resample import Resampler
from moqvox.model import cache, group
from moqvox.voice.digest import Tally
from moqvox.voice.words import Ack, Heard, Interrupt, Receipt

__all__ = ["Format", "Speech"]

FRAME_MS = 20

ACK_DUE = 20
"""Frames without an acknowledgement that make one due; one comes for each ten."""


class Format:
    """PCM of any rate in, Opus packets of 20 ms out."""

    def __init__(self, sample_rate: int, channels: int, bitrate: int) -> None:
        self.sample_bytes = 2 * channels
        codec_rate = sample_rate if sample_rate in SAMPLE_RATES else SAMPLE_RATE
        self._encoder = StreamEncoder(Encoder(codec_rate, channels, bitrate, FRAME_MS))
        self._resampler = (
            Resampler(sample_rate, codec_rate, channels) if codec_rate != sample_rate else None
        )

    def push(self, pcm: bytes) -> list[bytes]:
        """Encode what makes whole frames."""
        return self._encoder.push(pcm if self._resampler is None else self._resampler.push(pcm))

    def finish(self) -> list[bytes]:
        """Encode the rest, padded with silence to a whole frame."""
        packets = [] if self._resampler is None else self._encoder.push(self._resampler.flush())
        last, _padding = self._encoder.flush()
        return packets + last


class Speech:
    """One reliable stream of timestamped Opus, and what the other side says of it.

    Attributes:
        number: the group's sequence, by which both sides name the speech.
        start_us: media time of its first sample.
        heard: the listener's last word on how far it was played.
        heard_at: when that came, and
        first_ack: when the first acknowledgement came, seconds on the loop's clock.
        over: set when no more will be written.
        resumptions: legs it went on over, after its first.
        kept_bytes: frames kept for a new leg, overhead counted.
        cut_at: when it was cut short, None as long as it was not.
        lost: nothing more will be heard of it from the other side.
        is_short: it ends before all was said, as the process that made it died.
    """

    def __init__(
        self,
        number: int,
        start_us: int,
        make: Callable[[], Format],
        *,
        on_cancel: Callable[[int], None],
        on_kept: Callable[[Frame], None],
        on_end: Callable[[int], None] = lambda _number: None,
    ) -> None:
        self.number = number
        self.start_us = start_us
        self.heard: Heard | None = None
        self.heard_at: float | None = None
        self.cut_at: float | None = None
        self.lost = False
        self.acked_frames = 0
        self.first_ack: float | None = None
        self.resumptions = 0
        self.kept_bytes = 0
        self.news = asyncio.Event()
        self.over = asyncio.Event()
        self.receipted = asyncio.Event()
        self.tally = Tally()
        self._kept: deque[Frame] = deque()
        self._writers: list[group.Producer] = []
        self._make = make
        self._on_cancel = on_cancel
        self._on_kept = on_kept
        self._on_end = on_end
        self.is_short = False
        self._format: Format | None = None
        self._receipt: Receipt | None = None
        self._why_lost: SessionClosed | None = None

    @property
    def written_us(self) -> int:
        """Audio sent so far."""
        return self.tally.duration_us

    @property
    def cancelled(self) -> bool:
        """Whether it was cut short, by either side."""
        return self.cut_at is not None

    @property
    def first_kept(self) -> int:
        """Index of the first frame that a new leg could have."""
        return self.tally.frames - len(self._kept)

    @property
    def is_waiting(self) -> bool:
        """Whether an acknowledgement or the receipt is due."""
        if self.is_settled:
            return False
        return self.over.is_set() or self.tally.frames >= self.acked_frames + ACK_DUE

    @property
    def is_settled(self) -> bool:
        """Whether a new leg needs nothing of it."""
        return self.lost or self.cancelled or self._receipt is not None

    def kept_before(self, frame: int) -> list[Frame]:
        """List the kept frames before one."""
        return list(islice(self._kept, max(0, frame - self.first_kept)))

    def go_on(self, writer: group.Producer, frame: int, *, beside: bool = False) -> None:
        """Write what is kept from `frame` on, and all that comes, to a group of a new leg.

        Args:
            writer: the group.
            frame: index in the speech.
            beside: what comes goes to the leg before as well, until `stay`.
        """
        self._writers = [*self._writers[-1:], writer] if beside else [writer]
        for kept in islice(self._kept, max(0, frame - self.first_kept), None):
            writer.write(kept)
        if self.over.is_set():
            writer.finish()

    def stay(self) -> None:
        """Write to the latest leg alone."""
        del self._writers[:-1]

    def revive(
        self, payloads: Iterable[bytes], duration_us: int, *, is_short: bool, cut: bool
    ) -> None:
        """Take what another process said of it, which is all that will be said.

        Of one that was cut only how long it was is of interest.
        """
        if cut:
            self.cut_at = asyncio.get_running_loop().time()
            self.tally.duration_us = duration_us
        for payload in payloads:
            frame = decode_legacy(payload)
            self._keep(Frame(payload, frame.timestamp_us), packet_duration_us(frame.payload))
        self.is_short = is_short
        self.over.set()

    def attend(self) -> None:
        """Note that the other side is there again: its silence meant nothing."""
        if self.heard_at is not None:
            self.heard_at = asyncio.get_running_loop().time()
        self.news.set()

    def settle(self) -> None:
        """Keep nothing of it for another leg."""
        self._kept.clear()
        self.kept_bytes = 0

    def drop_kept(self, excess_bytes: int, oldest_us: int) -> int:
        """Let go of kept frames from before `oldest_us`, and further ones of so many bytes."""
        freed_bytes = 0
        while self._kept and (
            freed_bytes < excess_bytes or (self._kept[0].timestamp or 0) < oldest_us
        ):
            freed_bytes += cache.cost(self._kept.popleft())
        self.kept_bytes -= freed_bytes
        return freed_bytes

    def write(self, pcm: bytes) -> None:
        """Encode and send s16le PCM of any length; less than a frame waits for more."""
        if self.over.is_set():
            return
        if self._format is None:
            self._format = self._make()
        if len(pcm) % self._format.sample_bytes:
            raise LocalError(f"{len(pcm)} bytes are no whole number of 16-bit samples")
        for packet in self._format.push(pcm):
            self._send(packet)

    def write_packet(self, packet: bytes) -> None:
        """Send an Opus packet as it is.

        Raises:
            MediaError: it is not one.
        """
        if not self.over.is_set():
            self._send(packet)

    def finish(self) -> None:
        """Send what is left, padded to a whole frame, and end the stream."""
        if self.over.is_set():
            return
        if self._format is not None:
            for packet in self._format.finish():
                self._send(packet)
        self._on_end(self.number)
        for writer in self._writers:
            writer.finish()
        self.over.set()

    def cancel(self, code: int = StreamCode.CANCELLED) -> None:
        """Reset the stream: nothing of it that has not been heard shall be."""
        if self.cut_at is not None:
            return
        self.cut_at = asyncio.get_running_loop().time()
        self._on_cancel(self.number)
        for writer in self._writers:
            writer.abort(code)
        self.settle()
        self.over.set()
        self.news.set()

    def tell(self, event: Ack | Receipt | Heard | Interrupt) -> None:
        """Take what the other side says of this speech."""
        now = asyncio.get_running_loop().time()
        if self.first_ack is None:
            self.first_ack = now
        match event:
            case Ack(frames=frames):
                self.acked_frames = max(self.acked_frames, frames)
            case Receipt():
                self._receipt = event
                self.acked_frames = event.frames
                if not event.frames and self.heard is None:
                    self.heard, self.heard_at = Heard(self.number, 0, "interrupted"), now
                self.settle()
                self.receipted.set()
            case Heard():
                self.heard, self.heard_at = event, now
                if event.state == "interrupted":
                    self.cancel()
            case Interrupt():
                self.cancel()
        self.news.set()

    async def receipt(self) -> Receipt:
        """Wait for the receiver's receipt.

        Raises:
            SessionClosed: the call ended before it came.
        """
        await self.receipted.wait()
        if self._receipt is not None:
            return self._receipt
        message = "the call ended before the receipt came"
        if self._why_lost is None:
            raise SessionClosed(reason=message)
        why = self._why_lost
        raise SessionClosed(why.code, f"{message}: {why}", remote=why.remote) from why

    def lose(self, why: SessionClosed | None = None) -> None:
        """Wake everyone who waits: nothing more will come of the other side."""
        if self.lost:
            return
        self.lost, self._why_lost = True, why
        self.settle()
        if not self.over.is_set():
            for writer in self._writers:
                writer.abort(StreamCode.CANCELLED)
            self.over.set()
        self.receipted.set()
        self.news.set()

    def intact(self, receipt: Receipt) -> bool:
        """Whether what arrived is what was sent, to the byte."""
        return (
            receipt.complete
            and receipt.frames == self.tally.frames
            and receipt.digest == self.tally.digest
        )

    def _send(self, packet: bytes) -> None:
        duration_us = packet_duration_us(packet)
        timestamp_us = self.start_us + self.tally.duration_us
        frame = Frame(encode_legacy(timestamp_us, packet), timestamp_us)
        self._keep(frame, duration_us)
        self._on_kept(frame)
        for writer in self._writers:
            writer.write(frame)

    def _keep(self, frame: Frame, duration_us: int) -> None:
        self.tally.add(frame.payload, duration_us)
        self._kept.append(frame)
        self.kept_bytes += cache.cost(frame)
