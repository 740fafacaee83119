"""One item's audio in order: where each frame belongs, and how far it has been heard.

Positions count samples from the item's first accepted frame. A timestamp names a piece of
audio: what has the same timestamps is the same audio, and is kept once.
"""

from collections import deque
from collections.abc import Iterator

from msgspec import Struct

from moqvox.media.clock import samples_to_us, us_to_samples
from moqvox.media.decision import (
    FRAME_OVERHEAD_BYTES,
    Late,
    Outcome,
    Play,
    Policy,
    Pushed,
    Totals,
)
from moqvox.media.lead import Floor

__all__ = ["Place", "Timeline"]

_TIMESTAMP_LIMIT_US = 2**52
"""Timestamps are cut to plus or minus this, so that a double holds any difference."""

_SPAN_LIMIT_US = 4 * 3600 * 1_000_000
"""Distances from the newest frame are cut to this before they are turned into samples."""

_GAPS_REMEMBERED = 64

_RELAPSE_US = 1_000_000
"""Running dry within this after going on means that the lead was too low for it."""

_STEADY_US = 10_000_000
"""Playing for so long makes earlier relapses forgotten."""

_DOUBLINGS_MAX = 12
"""Doublings of the lead: more than from the shortest frame to the longest target."""


class _Segment(Struct):
    """A frame, or what is left of it, at its place."""

    position: int
    index: int
    timestamp_us: int
    offset: int
    samples: int
    held_bytes: int

    @property
    def end(self) -> int:
        return self.position + self.samples


class Place(Struct, frozen=True):
    """Where a frame belongs, and whether its timestamp had to be clamped for that."""

    position: int
    clamped: bool


class Timeline:
    """The frames of one item that are still to be heard, and the account of the rest.

    `cursor` is the position of the next output sample. `end` is where the newest audio ends.
    """

    def __init__(self, item: int, policy: Policy) -> None:
        self.item = item
        self.cursor = 0
        self.end = 0
        self.held_bytes = 0
        self.fin = False
        self.began = False
        self.playing = False
        self.floor: Floor | None = None
        self.waiting_since_us: int | None = None
        self.dry_samples = 0
        """Silence put in since the item ran dry; 0 while it has not."""

        self.debt_samples = 0
        """Delay that underruns and repeats added and catching up has not won back."""

        self.silence_samples = 0
        self.underruns = 0
        self.repeated_samples = 0
        self._relapses = 0
        self._resumed_at: int | None = None
        self._policy = policy
        self._segments: deque[_Segment] = deque()
        self._gaps: deque[tuple[int, int]] = deque(maxlen=_GAPS_REMEMBERED)
        self._anchor: tuple[int, int] | None = None
        self._origin = 0
        self._heard_to = 0
        self._heard_timestamp_us: int | None = None
        self._next_index = 0
        self._heard = self._skipped = self._removed = self._dropped = 0
        self._gap_samples = self._late = self._duplicate = self._clamped = 0

    @property
    def frames(self) -> int:
        """How many frames are held."""
        return len(self._segments)

    @property
    def lead_samples(self) -> int:
        """Audio and gaps from the next output sample to the end of the newest frame."""
        return self.end - self.cursor if self._segments else 0

    @property
    def gap_samples_ahead(self) -> int:
        """Silence due before the next frame."""
        return self._segments[0].position - self.cursor if self._segments else 0

    @property
    def finished(self) -> bool:
        """Whether everything was heard and no more will come."""
        return self.fin and not self._segments

    def place(self, timestamp_us: int, samples: int) -> Place:
        """Find where a frame belongs.

        Distances are measured from the newest frame, so that a sender whose timestamps run
        a little off its samples never opens a gap. Too far ahead is cut to the longest gap;
        absurdly far back is a clock that jumped, and the frame follows the newest one.
        """
        stamp_us = _clamp(timestamp_us, _TIMESTAMP_LIMIT_US)
        if self._anchor is None:
            return Place(0, clamped=stamp_us != timestamp_us)
        anchor_us, anchor = self._anchor
        rate = self._policy.sample_rate
        position = anchor + us_to_samples(_clamp(stamp_us - anchor_us, _SPAN_LIMIT_US), rate)
        if abs(position - self.end) <= self._snap(samples):
            return Place(self.end, clamped=stamp_us != timestamp_us)
        gap_max = us_to_samples(self._policy.gap_max_us, rate)
        if position > self.end + gap_max:
            return Place(self.end + gap_max, clamped=True)
        if position < self._origin - gap_max:
            return Place(self.end, clamped=True)
        return Place(position, clamped=stamp_us != timestamp_us)

    def lead_with(self, place: Place, samples: int) -> int:
        """The lead, in samples, if a frame were accepted there."""
        start = self.cursor if self.began else min(self.cursor, place.position)
        return max(self.end, place.position + samples) - start

    def insert(self, place: Place, timestamp_us: int, samples: int, size_bytes: int) -> Pushed:
        """Put a frame at its place, or as much of it as is new.

        A frame that overlaps others keeps its first stretch that nothing else covers.
        """
        start, clamped = place.position, place.clamped
        self._clamped += clamped
        slot, low, high = self._slot(start)
        snap = self._snap(samples)
        if low is not None and abs(start - low) <= snap:
            start = low
        first = start if low is None else max(start, low)
        last = start + samples if high is None else min(start + samples, high)
        kept = max(0, last - first)
        if kept <= snap and kept < samples:
            kept = 0
        late = 0 if kept == samples else self._overlap_with_gaps(start, start + samples)
        late = min(late, samples - kept)
        duplicate = samples - kept - late
        self._late += late
        self._duplicate += duplicate
        if not kept:
            outcome = Outcome.LATE if late else Outcome.DUPLICATE
            return Pushed(outcome=outcome, duplicate=duplicate, late=late, clamped=clamped)
        index = self._next_index
        self._next_index += 1
        held = size_bytes + FRAME_OVERHEAD_BYTES
        segment = _Segment(first, index, timestamp_us, first - start, kept, held)
        self._segments.insert(slot, segment)
        self.held_bytes += held
        self._stretch_to(segment, start)
        return Pushed(
            outcome=Outcome.ACCEPTED,
            index=index,
            kept=kept,
            duplicate=duplicate,
            late=late,
            clamped=clamped,
        )

    def lead_wanted_us(self, target_us: int) -> int:
        """The lead to gather before playing starts, or goes on after it ran dry."""
        if not self.began:
            return target_us
        doublings = max(0, self._relapses_so_far() - self._policy.relapses_borne)
        return min(target_us, self._policy.resume_us << doublings)

    def start(self) -> None:
        """Note that playing starts, or goes on."""
        if self.began:
            self._relapses = self._relapses_so_far()
            self._resumed_at = self.cursor
        self.began = self.playing = True
        self.debt_samples += self.dry_samples
        self.dry_samples = 0

    def absorb(self) -> None:
        """Count silence put in while dry towards the gap that the new frame asks for.

        A sender that pauses sends nothing: the silence was its own, not an underrun.
        """
        absorbed = min(self.dry_samples, self.gap_samples_ahead)
        if not absorbed:
            return
        self.pass_gap(absorbed)
        self.dry_samples -= absorbed
        self.silence_samples -= absorbed
        if not self.dry_samples:
            self.underruns -= 1
            self.playing = True

    def close(self) -> None:
        """Note that no more will come. A wait for more after the last sample was no underrun."""
        self.fin = True
        if self.dry_samples and not self._segments:
            self.underruns -= 1
            self.silence_samples -= self.dry_samples
            self.dry_samples = 0

    def ahead(self, samples: int) -> Iterator[Play]:
        """What would be played next without a break, up to `samples`; takes nothing."""
        position = self.cursor
        for segment in self._segments:
            if segment.position != position or samples <= 0:
                return
            count = min(samples, segment.samples)
            yield Play(self.item, segment.index, segment.timestamp_us, segment.offset, count)
            position += count
            samples -= count

    def hear(self, samples: int) -> Play | None:
        """Take up to `samples` of the frame at the cursor; none when nothing is there."""
        piece = self._take(samples)
        if piece is not None:
            self._heard += piece.samples
        return piece

    def remove(self, samples: int) -> Play | None:
        """Take like `hear`, for time-stretch to leave out."""
        piece = self.hear(samples)
        if piece is not None:
            self._removed += piece.samples
            self.debt_samples = max(0, self.debt_samples - piece.samples)
        return piece

    def skip(self, samples: int) -> Play | None:
        """Take like `hear`, unheard; passes over gaps."""
        gap = min(samples, self.gap_samples_ahead)
        self._leave_empty(gap)
        piece = self._take(samples - gap) if samples > gap else None
        if piece is not None:
            self._skipped += piece.samples
        return piece

    def pass_gap(self, samples: int) -> None:
        """Move the cursor through silence that the timestamps ask for."""
        self._leave_empty(samples)
        self._gap_samples += samples

    def drop(self) -> None:
        """Give up everything unplayed."""
        self._dropped += sum(segment.samples for segment in self._segments)
        self._segments.clear()
        self.held_bytes = 0

    def totals(self) -> Totals:
        """The account so far."""
        heard_us = samples_to_us(self._heard_to - self._origin, self._policy.sample_rate)
        return Totals(
            heard_samples=self._heard,
            heard_us=heard_us if self.began else 0,
            heard_timestamp_us=self._heard_timestamp_us,
            gap_samples=self._gap_samples,
            silence_samples=self.silence_samples,
            underruns=self.underruns,
            late_samples=self._late,
            duplicate_samples=self._duplicate,
            skipped_samples=self._skipped,
            dropped_samples=self._dropped,
            removed_samples=self._removed,
            repeated_samples=self.repeated_samples,
            clamped_frames=self._clamped,
        )

    def _relapses_so_far(self) -> int:
        """How often in a row it ran dry soon after going on, this time included."""
        if self._resumed_at is None:
            return 0
        played_us = samples_to_us(self.cursor - self._resumed_at, self._policy.sample_rate)
        if played_us >= _STEADY_US:
            return 0
        most = self._policy.relapses_borne + _DOUBLINGS_MAX
        return min(self._relapses + (played_us < _RELAPSE_US), most)

    def _snap(self, samples: int) -> int:
        """How far off a frame may be and still count as adjacent: never half its length."""
        return min(us_to_samples(self._policy.snap_us, self._policy.sample_rate), samples // 2)

    def _slot(self, start: int) -> tuple[int, int | None, int | None]:
        """Find where in the queue a frame goes, and the bounds of the free stretch there."""
        slot = len(self._segments)
        while slot and self._segments[slot - 1].position > start:
            slot -= 1
        high = self._segments[slot].position if slot < len(self._segments) else None
        if slot:
            return slot, self._segments[slot - 1].end, high
        if not self.began:
            return slot, None, high
        live = self._policy.late is Late.SKIP
        return slot, self.cursor if live else self._heard_to, high

    def _overlap_with_gaps(self, start: int, stop: int) -> int:
        return sum(
            max(0, min(stop, high, self.cursor) - max(start, low)) for low, high in self._gaps
        )

    def _stretch_to(self, segment: _Segment, start: int) -> None:
        """Extend the item by a new segment whose frame begins at `start`."""
        if self._anchor is None or segment.end > self.end:
            self._anchor = (_clamp(segment.timestamp_us, _TIMESTAMP_LIMIT_US), start)
            self.end = segment.end
        if not self.began:
            self._origin = self.cursor = self._segments[0].position
        elif segment.position < self.cursor:
            self._rewind(segment.position)

    def _rewind(self, position: int) -> None:
        """Go back in a gap for audio that came late: the gap was a wait after all."""
        samples = self.cursor - position
        self.cursor = position
        self._gap_samples -= samples
        self.silence_samples += samples
        self.debt_samples += samples
        low, _ = self._gaps.pop()
        if low < position:
            self._gaps.append((low, position))

    def _leave_empty(self, samples: int) -> None:
        """Move the cursor past a place without audio; what comes for it later is late."""
        if not samples:
            return
        start = self.cursor
        if self._gaps and self._gaps[-1][1] == start:
            start = self._gaps.pop()[0]
        self.cursor += samples
        self._gaps.append((start, self.cursor))

    def _take(self, samples: int) -> Play | None:
        if not self._segments or self._segments[0].position != self.cursor:
            return None
        segment = self._segments[0]
        count = min(samples, segment.samples)
        piece = Play(self.item, segment.index, segment.timestamp_us, segment.offset, count)
        segment.position += count
        segment.offset += count
        segment.samples -= count
        if not segment.samples:
            self._segments.popleft()
            self.held_bytes -= segment.held_bytes
        self.cursor += count
        self._heard_to = self.cursor
        self._heard_timestamp_us = segment.timestamp_us + samples_to_us(
            segment.offset, self._policy.sample_rate
        )
        return piece


def _clamp(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))
