"""When live bytes travel again before anyone knows whether they were lost.

A lost packet is noticed a round trip later, and what it carried arrives half a round trip
after that; a copy in the next packet arrives one frame later. Voice is thin, so copies are
cheap. Three kinds are made:

- each piece of a live stream goes along with the packets that follow it; how many of them
  depends on the measured share of losses;
- a piece whose ACK is overdue goes along until it is acknowledged, and if no ACK comes at
  all, or losses have come in bursts before, so does everything else that is under way;
- when nothing new is written, a timer sends what would have gone along.

Where losses come in bursts (or it is not known yet), copies in the very next packets are lost
with their originals: there, each piece goes along with the first and the third packet after
its own. What a longer burst takes all the same is noticed when the first ACK is overdue, and
from then on one packet must get through with everything: the first leaves at that moment, the
next 12 ms later at most, and after two of them probes, which the congestion window lets pass.

On a clean path nothing is copied, but for the first few pieces of a connection, of whose path
nothing is known yet. The first sign of loss, in either direction, starts the copies, and they
end when the path has been clean for a while. Copies count against pacing and half of the
congestion window, and against a budget that the live bytes themselves earn.
"""

import math
from typing import Final

from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.losses import Losses
from moqvox.transport.aioquic.streams import StreamTable

__all__ = ["Redundancy"]

FIRST_BYTES: Final = 640
"""So much of what is written first is copied once: losses are not known to be rare yet."""

TURN: Final = 0.025
"""Seconds to wait for new bytes to go along with; longer than a frame of voice."""

GRACE: Final = 0.0625
"""Part of a round trip that an ACK may be late, at least `MIN_GRACE` seconds.

Where the round trip hardly varies, less: four times its variance, at least `CALM` of that.
"""

MIN_GRACE: Final = 0.008
CALM: Final = 0.625

HOPELESS_AFTER: Final = 10.0
"""Seconds without an ACK after which a path is rather dead than lossy: copies feed nobody."""

MAX_TIMED: Final = 4
"""Turns in a row that the timer makes without new bytes; then only probes leave."""

MAX_PIECES: Final = 64
"""Pieces watched, the oldest; at 20 ms of voice each, more than a second of them."""

LEAST_WINDOW_BYTES: Final = 2400
"""The smallest congestion window (RFC 9002, section 7.2)."""

RESERVE: Final = 0.2
"""Part of what the congestion window is larger that copies leave to what is new."""

AGES: Final = (3, 1)
"""After how many turns a piece goes along again where bursts are to be expected.

If the budget is short of both, the later copy is worth more: it outlives a longer burst.
"""

BURST_SAVINGS_BYTES: Final = 3700
"""So much of the budget such copies leave for what is overdue."""

ALL_TURNS: Final = 2
"""Turns of a burst in which everything goes along as far as the congestion window has room."""

AGAIN: Final = 0.0115
"""Seconds between them at most: the sooner after the burst's end one comes, the better.

At a round trip of 100 ms the second leaves with the frame at 120 ms, not just before it.
"""

PROBE_SOON: Final = 0.015
FIRST_PROBES: Final = 4
PROBE_EVERY: Final = 0.03
"""Seconds, after them, between probes with what is oldest, the first few and later ones.

The first one through ends the pause, and most bursts that got so far end within 0.1 s.
"""

OVERDRAFT_BYTES: Final = 6000
"""How far a burst, or a silent path, may spend ahead of what is earned."""

MAX_TURN_BYTES: Final = 1000
"""Copied in one turn, so that they fit a packet with what is new."""

MAX_PIECE_BYTES: Final = 200
"""More at once is watched in parts, which are copied each as it fits."""

THIN_BYTES: Final = 4096
"""A stream that has more under way is not copied: it is bulk, whatever its priority."""

STALLED_BYTES: Final = 1 << 20
"""The same while no ACK comes: more than `HOPELESS_AFTER` of any voice."""

PACKET_BYTES: Final = 57
"""What a packet with a piece of a stream costs besides: headers of IP, UDP and QUIC, the tag."""

NEAR: Final = 2
"""Copies that go before all others; more are made of what the budget has left."""

SILENCE: Final = 2 * TURN
"""Seconds without any ACK, when one is overdue, that mean a burst: then everything is copied."""

MISSED: Final = 2
"""How many times the lateness of ACKs by the peer's habit is added to that.

Where one ACK answers two packets, the loss of a single ACK is 80 ms of silence: were everything
copied for it, nothing would be left of the budget for what is lost.
"""

SAVINGS_BYTES: Final = 4096
"""Unused budget kept for bursts."""

STEPS: Final = ((0.01, 1), (0.07, 2), (1.0, 3))
"""Up to which share of losses how many copies are made."""


class Piece:
    """Bytes of a stream that were given to the engine in one go."""

    __slots__ = ("at", "start", "stop", "stream", "turn")

    def __init__(self, stream: int, start: int, stop: int, turn: int, at: float) -> None:
        self.stream = stream
        self.start = start
        self.stop = stop
        self.turn = turn
        self.at = at


class Redundancy:
    """One connection's copies. Pure: the clock and the path's state are arguments.

    Attributes:
        copied_bytes: stream bytes that were queued again ahead of any loss.
        is_active: whether anything is copied; if not, nothing here costs anything.
        losses: what is known of the path's losses.
    """

    def __init__(self, limits: Limits, table: StreamTable) -> None:
        self.copied_bytes = 0
        self.is_active = table.watches_live = limits.redundancy > 0
        self.losses = Losses()
        self._share = limits.redundancy
        self._table = table
        self._pieces: list[Piece] = []
        self._budget = float(SAVINGS_BYTES)
        self._first_bytes = FIRST_BYTES
        self._turn = 0
        self._turn_at = 0.0
        self._timed = 0
        self._overdue_after = 0.0
        self._ack_lateness = 0.0
        self._variance = math.inf
        self._passed_at = 0.0
        self._arrived_at = 0.0
        self._troubled = 0
        self._probe_at = 0.0
        self._probes = 0

    def on_loss(self, now: float) -> None:
        """Take a sign of loss; after the first, all that is under way goes out again now."""
        self._take_sign(now, is_guess=False)

    def on_guess(self, now: float) -> None:
        """Take the want of an ACK for a loss, until `on_false_alarm`."""
        self._take_sign(now, is_guess=True)

    def _take_sign(self, now: float, *, is_guess: bool) -> None:
        if self._share <= 0:
            return
        was_clean = not (self.losses.are_about(now) or self._troubled)
        self.losses.on_sign(now, is_guess=is_guess)
        if was_clean:
            self.is_active = self._table.watches_live = True
            self.losses.begin()
            self._turn_at = now - TURN
            self._arrived_at = now
            self._timed = 0
            self._budget = float(SAVINGS_BYTES)
            self._pieces.clear()
            for under_way in self._table.under_way(THIN_BYTES):
                self._watch(*under_way, now)

    def on_silence(self, now: float) -> None:
        """Take the want of ACKs for a sign of loss: all that is under way is overdue."""
        self.on_guess(now)
        self._arrived_at = now - SILENCE - TURN
        for piece in self._pieces:
            piece.at -= self._overdue_after + TURN

    def on_false_alarm(self, now: float) -> None:
        """Take it that nothing was lost when ACKs were late: the path was clean all the time."""
        self.losses.on_false_alarm(now)

    def on_habit(self, late: float, passed_at: float, variance: float = math.inf) -> None:
        """Take how late ACKs are, when the newest packet in one had left, and the RTT's variance.

        Browsers answer every second packet, or after 25 ms: taken for overdue, every other piece
        would go along once more, until nothing is left of the budget for those that are lost.
        """
        self._ack_lateness = late
        self._passed_at = passed_at
        self._variance = variance

    def on_probe(self, now: float) -> None:
        """Fill a probe, which congestion control lets pass, with all that is under way."""
        if self._share <= 0:
            return
        self.forget_arrived()
        room_bytes = MAX_TURN_BYTES
        for piece in self._pieces:
            if piece.stop - piece.start > room_bytes:
                break
            room_bytes -= self._repeat(piece)

    def take_probe(self, now: float) -> bool:
        """Fill a probe if it is time for one more: whether it must leave.

        A silent path is not left to recovery's probes. Each new packet puts those off, until
        the congestion window is full; then each pause between them is twice the one before,
        and the path may have been back for half of the last.
        """
        if not self._is_stranded or now < self._probe_at:
            return False
        self._probes += 1
        self._probe_at = now + (PROBE_SOON if self._probes <= FIRST_PROBES else PROBE_EVERY)
        if not self._pieces or self._is_hopeless(now):
            return False
        before = self.copied_bytes
        self.on_probe(now)
        spent = self.copied_bytes - before + PACKET_BYTES
        self._budget = max(-OVERDRAFT_BYTES, self._budget - spent)
        return bool(self._pieces)

    @property
    def _is_stranded(self) -> bool:
        """Whether no ACK came although everything went along again and again."""
        turns = ALL_TURNS if self._timed < MAX_TIMED else 0
        return self._troubled > turns

    def on_fates(self, now: float, arrived: int, lost: int) -> None:
        """Take what became of packets."""
        self._timed = 0
        if arrived:
            self._arrived_at = now
            self._troubled = self._probes = 0
            if self.losses.come_in_bursts:  # lest the timer goes off for each that has arrived
                self.forget_arrived()
        self.losses.on_fates(now, arrived, lost)

    @property
    def due_at(self) -> float | None:
        """When pieces should go out again although nothing new goes along; None: never."""
        if not self._pieces:
            return None
        if self._is_stranded and not self._is_hopeless(self._probe_at):
            return self._probe_at
        if self._timed >= MAX_TIMED:
            return None
        overdue_at = self._pieces[0].at + self._overdue_after
        when = self._turn_at + TURN
        if not self.losses.come_in_bursts:
            is_due = self._pieces[-1].turn + self._copies > self._turn
            return when if is_due else max(when, overdue_at)
        if overdue_at <= self._turn_at:
            return self._turn_at + AGAIN
        is_due = self._pieces[-1].turn + max(AGES) > self._turn
        return min(when, overdue_at) if is_due else overdue_at

    def advance(self, now: float, rtt: float, room_bytes: int, window_bytes: int) -> None:
        """Queue the copies that go along with what leaves now, if anything calls for a turn.

        Args:
            now: seconds, on the engine's clock.
            rtt: smoothed round trip.
            room_bytes: what congestion control lets leave now, new bytes included.
            window_bytes: the congestion window.
        """
        fresh, due_at = self._table.take_live(), self.due_at
        if not (self.losses.are_about(now) or self._first_bytes > 0 or self._troubled):
            self._rest()
        elif fresh or (due_at is not None and now >= due_at):
            most = max(GRACE * rtt, MIN_GRACE)
            grace = min(most, max(CALM * most, 4 * self._variance))
            self._overdue_after = rtt + grace + self._ack_lateness
            room_bytes -= round(RESERVE * max(0, window_bytes - LEAST_WINDOW_BYTES))
            self._take_turn(now, fresh, room_bytes)

    def _take_turn(self, now: float, fresh: list[tuple[int, int, int]], room_bytes: int) -> None:
        self._turn += 1
        self._turn_at = now
        self._timed = 0 if fresh else self._timed + 1
        new_bytes = sum(stop - start for _, start, stop in fresh)
        if fresh:
            earned = self._share * (new_bytes + PACKET_BYTES)
            self._budget = min(SAVINGS_BYTES, self._budget + earned)
        self._copy(now, min(room_bytes - new_bytes, MAX_TURN_BYTES))
        self._first_bytes -= new_bytes
        for piece in fresh:
            self._watch(*piece, now)

    @property
    def _copies(self) -> int:
        """In how many turns a piece goes along again."""
        if not self.losses.were_met:
            return 1
        return next(copies for share, copies in STEPS if self.losses.share <= share)

    def _copy(self, now: float, room_bytes: int) -> None:
        self.forget_arrived()
        if not self._pieces or self._is_hopeless(now):
            return
        chosen = self._chosen(now)
        room_bytes = min(room_bytes, round(self._budget) + OVERDRAFT_BYTES * self._may_owe(now))
        before = self.copied_bytes
        for piece in chosen:
            if piece.stop - piece.start > room_bytes:
                break
            room_bytes -= self._repeat(piece)
        copied = self.copied_bytes - before
        self._budget -= copied + PACKET_BYTES * (copied > 0 and self._timed > 0)

    def _may_owe(self, now: float) -> bool:
        """Whether there is a burst; no single ACK in it ends that, as much may be missing yet."""
        return self._is_silent(now) or (
            self.losses.come_in_bursts and self._pieces[0].at < self._overdue_before(now)
        )

    def _overdue_before(self, now: float) -> float:
        """Return until when a piece must have left for its ACK to be overdue now."""
        # An ACK that passes one over comes at once, however late the peer's others are.
        return max(now - self._overdue_after, self._passed_at)

    def _chosen(self, now: float) -> list[Piece]:
        """Choose what to copy, the most wanted first: in bursts all of it, or just the oldest."""
        turn, copies = self._turn, self._copies
        near = min(copies, NEAR)
        last = [piece for piece in reversed(self._pieces) if piece.turn + near >= turn]
        if not self.losses.were_met:
            return last
        rest = [piece for piece in self._pieces if piece.turn + near < turn]
        overdue = [piece for piece in rest if piece.at < self._overdue_before(now)]
        if self.losses.come_in_bursts and not overdue:
            if self._budget <= BURST_SAVINGS_BYTES:
                return []
            return [piece for age in AGES for piece in self._pieces if turn - piece.turn == age]
        if self.losses.come_in_bursts or (self._is_silent(now) and overdue):
            self._troubled += 1
            return [] if self._is_stranded else rest + last[::-1]
        spare = self._budget - SAVINGS_BYTES / 2
        more = [piece for piece in rest if piece.turn + copies >= turn and spare > 0]
        return last + overdue + more

    def _is_silent(self, now: float) -> bool:
        habit = self._ack_lateness if self.losses.are_single else 0.0
        return now - self._arrived_at > SILENCE + MISSED * habit

    def _is_hopeless(self, now: float) -> bool:
        return now - self._pieces[0].at > HOPELESS_AFTER

    def _watch(self, stream: int, start: int, stop: int, now: float) -> None:
        for first in range(start, stop, MAX_PIECE_BYTES):
            if len(self._pieces) < MAX_PIECES:
                last = min(stop, first + MAX_PIECE_BYTES)
                self._pieces.append(Piece(stream, first, last, self._turn, now))

    def _repeat(self, piece: Piece) -> int:
        copied = self._table.repeat(piece.stream, piece.start, piece.stop)
        self.copied_bytes += copied
        return copied

    def _rest(self) -> None:
        """The path is clean: watch nothing any more."""
        self.is_active = self._table.watches_live = False
        self._pieces.clear()

    def forget_arrived(self) -> None:
        """Watch no longer what need not be copied any more."""
        lacks = self._table.lacks
        # What piles up while no ACK comes does not make bulk of a thin stream.
        most_bytes = STALLED_BYTES if self._troubled else THIN_BYTES
        kept = [
            piece
            for piece in self._pieces
            if lacks(piece.stream, piece.start, piece.stop, most_bytes)
        ]
        if len(kept) < len(self._pieces):
            self._pieces = kept
            self._troubled = self._troubled if kept else 0
