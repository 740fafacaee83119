"""Decide what sounds at every sample: timestamped audio in, a list of decisions out.

A `Playout` holds *items* (utterances, responses), each a run of timestamped frames that ends
by `end`, `reset` or `flush`. Frames may come minutes before they are due, twice, or late.
`pull` says for each output sample what it is, so that what was heard is known exactly.

Time is an argument, in microseconds of any steady clock. Nothing here touches audio: the
same rules run in `moqvox.media.player` and in the browser, from the same vectors.

How it decides:

* Of two items the one with the lower number plays first, unless the other already sounds.
  A newer item begins when the older one is over.
* An item starts when its lead reaches the target, or it has ended, or the first waiting
  frame is `Policy.start_deadline_us` old. One that ran dry goes on as soon as audio is there
  (`Policy.resume_us`): what an outage held back follows in a burst, and a lead that is still
  too low grows by playing slower. If it relapses again and again (`Policy.relapses_borne`), it
  waits for a longer and longer lead.
* Silence that timestamps ask for is a gap, not an underrun, also when it is noticed only
  after the item ran dry.
* Over `lead_max_us`, `bytes_max` or `items_max` a push is refused and nothing is lost: the
  caller stops reading its stream, so that flow control holds the sender back.
"""

from collections import deque

from msgspec.structs import astuple

from moqvox.errors import LocalError
from moqvox.media.clock import samples_to_us, us_to_samples
from moqvox.media.decision import (
    FRAME_OVERHEAD_BYTES,
    Began,
    Decision,
    Ended,
    Ending,
    Fade,
    Late,
    Outcome,
    Play,
    Policy,
    Pushed,
    Reason,
    Remove,
    Repeat,
    Silence,
    Skip,
    State,
    Stats,
    Totals,
)
from moqvox.media.lead import Lead
from moqvox.media.pace import Pace
from moqvox.media.room import fits
from moqvox.media.timeline import Timeline

__all__ = ["FADE_US", "Playout"]

FADE_US = 20_000
"""Long enough not to click, short enough not to be a word."""

_CLOSED_REMEMBERED = 1_024


class Playout:
    """One output's queue of items. Item numbers are the caller's; higher means newer."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self._lead = Lead(self.policy)
        self._pace = Pace(self.policy)
        self._items: dict[int, Timeline] = {}
        self._current: Timeline | None = None
        self._closed: set[int] = set()
        self._stale_through = -1
        self._committed: deque[Fade | Repeat] = deque()
        self._paused = False

    def open(self, item: int) -> Outcome:
        """Announce an item before its first frame, so that no newer one overtakes it.

        Returns ACCEPTED (also if it is open already), STALE or FULL.
        """
        return self._find(item)[0]

    def push(
        self, item: int, timestamp_us: int, samples: int, now_us: int, size_bytes: int = 0
    ) -> Pushed:
        """Offer one frame; `size_bytes` is what holding it costs the caller."""
        cost_bytes = size_bytes + FRAME_OVERHEAD_BYTES
        if not 1 <= samples <= self.policy.sample_rate or cost_bytes > self.policy.bytes_max // 2:
            return Pushed(outcome=Outcome.INVALID)
        outcome, timeline = self._find(item)
        if timeline is None:
            return Pushed(outcome=outcome)
        place = timeline.place(timestamp_us, samples)
        self._choose()
        items = self._items.values()
        lead = timeline.lead_with(place, samples)
        if not fits(self.policy, items, self._current, timeline, lead, cost_bytes):
            return Pushed(outcome=Outcome.FULL)
        first = not timeline.frames
        pushed = timeline.insert(place, timestamp_us, samples, size_bytes)
        if pushed.kept and not place.clamped:
            media_us = samples_to_us(place.position, self.policy.sample_rate)
            timeline.floor = self._lead.arrived(timeline.floor, media_us, now_us)
        if pushed.kept and first:
            timeline.waiting_since_us = now_us
            timeline.absorb()
        return pushed

    def end(self, item: int) -> Outcome:
        """Note that an item is complete: it plays to its end without waiting for more."""
        outcome, timeline = self._find(item)
        if timeline is not None:
            timeline.close()
        return outcome

    def reset(self, item: int, fade_us: int = FADE_US) -> Ended | None:
        """Drop what is unplayed of one item, after a short fade if it sounds.

        Later frames of it are stale. The account counts the fade as heard: it is certain to
        be played. Returns None if the item was over already; one never seen ends empty.
        """
        if self._is_stale(item):
            return None
        timeline = self._items.get(item) or Timeline(item, self.policy)
        return self._give_up(timeline, Ending.RESET, fade_us)

    def flush(self, fade_us: int = FADE_US, through: int | None = None) -> list[Ended]:
        """Drop everything unplayed at once, after a short fade of what sounds: a barge-in.

        `through` spares items above that number, and makes items up to it stale although
        they were never seen; by default all items known so far are dropped.
        """
        if through is None:
            through = max(self._items, default=-1)
        ended = [
            self._give_up(self._items[item], Ending.FLUSHED, fade_us)
            for item in sorted(self._items)
            if item <= through
        ]
        self._stale_through = max(self._stale_through, through)
        self._closed = {item for item in self._closed if item > self._stale_through}
        return ended

    def pause(self, fade_us: int = FADE_US) -> None:
        """Hold playback where it is, after a short fade; frames are still accepted."""
        if not self._paused:
            self._fade_out(self._current, fade_us)
        self._paused = True

    def resume(self) -> None:
        """Go on from where `pause` held."""
        self._paused = False

    def pull(self, samples: int, now_us: int, stretch: int = 0) -> list[Decision]:
        """Decide the next `samples` of output.

        `stretch` asks to leave out so many source samples (or, negative, to repeat them)
        right here; it is done if `stretch_room` allows it, and then is in the result. The
        caller chooses it because where a cut is inaudible depends on the audio.

        Raises:
            LocalError: `samples` is negative.
        """
        if samples < 0:
            raise LocalError(f"pulled {samples} samples, allowed 0 and up")
        decisions: list[Decision] = []
        if samples:
            self._settle(decisions)
            target_us = self._lead.target_us(now_us)
            self._pace.update(self._current, samples, target_us, paused=self._paused)
            self._stretch(stretch, decisions)
        left = samples
        while left:
            left -= self._emit(left, now_us, decisions)
            self._settle(decisions)
        return decisions

    @property
    def stretch_room(self) -> int:
        """How many samples the next pull may leave out (> 0) or repeat (< 0)."""
        return 0 if self._committed or self._paused else self._pace.room

    def ahead(self, samples: int) -> list[Play]:
        """What the current item would play next without a break, up to `samples`.

        That is after what is committed already.
        """
        self._choose()
        if self._current is None or not self._current.playing:
            return []
        return list(self._current.ahead(samples))

    def committed(self) -> list[Fade | Repeat]:
        """What is decided already and comes first in the next pulls."""
        return list(self._committed)

    def totals(self, item: int) -> Totals | None:
        """The account so far of an item that is not over; None for any other."""
        timeline = self._items.get(item)
        return timeline.totals() if timeline else None

    def stats(self, now_us: int) -> Stats:
        """Take a snapshot for a user interface."""
        self._choose()
        current = self._current
        rate = self.policy.sample_rate
        timelines = self._items.values()
        return Stats(
            state=self._state(),
            item=current.item if current else None,
            lead_us=samples_to_us(current.lead_samples, rate) if current else 0,
            queued_us=samples_to_us(sum(each.lead_samples for each in timelines), rate),
            target_us=self._lead.target_us(now_us),
            spread_us=self._lead.spread_us(now_us),
            pace=self._pace.direction,
            items=len(timelines),
            frames=sum(each.frames for each in timelines),
            held_bytes=sum(each.held_bytes for each in timelines),
        )

    def _state(self) -> State:
        current = self._current
        if self._paused:
            return State.PAUSED
        if current is None:
            return State.IDLE
        if current.playing:
            return State.PLAYING
        return State.UNDERRUN if current.began else State.BUFFERING

    def _is_stale(self, item: int) -> bool:
        return item <= self._stale_through or item in self._closed

    def _find(self, item: int) -> tuple[Outcome, Timeline | None]:
        """Find an item, opening it if it is new and allowed."""
        if item < 0:
            raise LocalError(f"item number {item}, allowed 0 and up")
        timeline = self._items.get(item)
        if timeline is None:
            if self._is_stale(item):
                return Outcome.STALE, None
            if len(self._items) >= self.policy.items_max:
                return Outcome.FULL, None
            timeline = self._items[item] = Timeline(item, self.policy)
        return Outcome.ACCEPTED, timeline

    def _choose(self) -> None:
        """Make the oldest item current, unless one already sounds."""
        if self._current is None or not self._current.began:
            self._current = self._items[min(self._items)] if self._items else None

    def _settle(self, decisions: list[Decision]) -> None:
        """Report items that were heard to their end."""
        self._choose()
        while self._current and self._current.finished and not self._committed:
            decisions.append(self._close(self._current, Ending.PLAYED))
            self._choose()

    def _close(self, timeline: Timeline, how: Ending) -> Ended:
        timeline.drop()
        self._items.pop(timeline.item, None)
        if self._current is timeline:
            self._current = None
        self._closed.add(timeline.item)
        if len(self._closed) > _CLOSED_REMEMBERED:
            self._stale_through = min(self._closed)
            self._closed.remove(self._stale_through)
        return Ended(timeline.item, how, timeline.totals())

    def _give_up(self, timeline: Timeline, how: Ending, fade_us: int) -> Ended:
        if timeline is self._current and not self._paused:
            self._fade_out(timeline, fade_us)
        return self._close(timeline, how)

    def _fade_out(self, timeline: Timeline | None, fade_us: int) -> None:
        """Commit the next moment of audio to a fade, as far as it goes without a break."""
        fading = any(isinstance(each, Fade) for each in self._committed)
        if timeline is None or not timeline.playing or fading:
            return
        total = sum(
            piece.samples
            for piece in timeline.ahead(us_to_samples(fade_us, self.policy.sample_rate))
        )
        start = 0
        while start < total and (piece := timeline.hear(total - start)):
            at = (piece.item, piece.index, piece.timestamp_us, piece.offset, piece.samples)
            self._committed.append(Fade(*at, start, total))
            start += piece.samples

    def _stretch(self, samples: int, decisions: list[Decision]) -> None:
        """Leave out or repeat `samples` here if there is room and audio for it."""
        current, room = self._current, self.stretch_room
        if current is None or not samples or samples * room <= 0 or abs(samples) > abs(room):
            return
        if samples < 0:
            current.repeated_samples -= samples
            current.debt_samples -= samples
            self._committed.append(Repeat(current.item, -samples))
        elif sum(piece.samples for piece in current.ahead(samples)) < samples:
            return
        self._pace.spend(abs(samples))
        while samples > 0 and (piece := current.remove(samples)):
            decisions.append(Remove(*astuple(piece)))
            samples -= piece.samples

    def _emit(self, left: int, now_us: int, decisions: list[Decision]) -> int:
        """Decide one run of output; returns how many samples it covers."""
        if self._committed:
            return self._emit_committed(left, decisions)
        current = self._current
        if self._paused or current is None:
            reason = Reason.PAUSED if self._paused else Reason.IDLE
            decisions.append(Silence(reason, left, current.item if current else None))
            return left
        if not current.playing and not self._start(current, now_us, decisions):
            if current.began:
                current.dry_samples += left
                current.silence_samples += left
            reason = Reason.UNDERRUN if current.began else Reason.BUFFERING
            decisions.append(Silence(reason, left, current.item))
            return left
        self._stay_live(current, now_us, decisions)
        return self._advance(current, left, decisions)

    def _emit_committed(self, left: int, decisions: list[Decision]) -> int:
        head = self._committed.popleft()
        count = min(left, head.samples)
        rest = head.samples - count
        if isinstance(head, Repeat):
            decisions.append(Repeat(head.item, count))
            if rest:
                self._committed.appendleft(Repeat(head.item, rest))
            return count
        frame = (head.item, head.index, head.timestamp_us)
        decisions.append(Fade(*frame, head.offset, count, head.start, head.total))
        if rest:
            at = (head.offset + count, rest, head.start + count)
            self._committed.appendleft(Fade(*frame, *at, head.total))
        return count

    def _start(self, timeline: Timeline, now_us: int, decisions: list[Decision]) -> bool:
        """Start or go on if the lead suffices, no more will come, or the wait is over."""
        if not timeline.frames or timeline.waiting_since_us is None:
            return False
        lead_us = samples_to_us(timeline.lead_samples, self.policy.sample_rate)
        waited_us = now_us - timeline.waiting_since_us
        if not (
            timeline.fin
            or lead_us >= timeline.lead_wanted_us(self._lead.target_us(now_us))
            or waited_us >= self.policy.start_deadline_us
        ):
            return False
        if not timeline.began:
            decisions.append(Began(timeline.item))
        timeline.start()
        return True

    def _stay_live(self, timeline: Timeline, now_us: int, decisions: list[Decision]) -> None:
        """Under `Late.SKIP`, drop the oldest audio when too much has piled up."""
        rate = self.policy.sample_rate
        if self.policy.late is Late.WAIT or timeline.fin:
            return
        lead = timeline.lead_samples
        if lead <= us_to_samples(self.policy.skip_over_us, rate):
            return
        excess = lead - us_to_samples(self._lead.target_us(now_us), rate)
        stop = timeline.cursor + excess
        while (left := stop - timeline.cursor) > 0:
            if piece := timeline.skip(left):
                decisions.append(Skip(*astuple(piece)))

    def _advance(self, timeline: Timeline, left: int, decisions: list[Decision]) -> int:
        """Play the next frame or gap, or run dry."""
        if piece := timeline.hear(left):
            self._pace.played(piece.samples)
            decisions.append(piece)
            return piece.samples
        if gap := min(left, timeline.gap_samples_ahead):
            timeline.pass_gap(gap)
            decisions.append(Silence(Reason.GAP, gap, timeline.item))
            return gap
        self._pace.stop()
        timeline.playing = False
        timeline.waiting_since_us = None
        timeline.underruns += 1
        return 0
