"""When live bytes travel again before anyone knows whether they were lost.

A lost packet is noticed a round trip later, and what it carried arrives half a round trip
after that; a copy in the next packet arrives one frame later. Voice is thin, so copies are
cheap: each piece of a live stream goes along with the next two, and once more with all that
is not acknowledged when an ACK is overdue, which is what a burst of losses looks like.

On a clean path nothing is copied. The first sign of loss, in either direction, starts it, and
it ends when the path has been clean for a while. Copies count against congestion control like
everything else, and against a budget that the live bytes themselves earn.
"""

from collections import deque
from typing import Final

from moqvox.transport.aioquic.limits import Limits
from moqvox.transport.aioquic.streams import StreamTable

__all__ = ["Redundancy"]

COPIES: Final = 2
"""Turns in which a piece goes along again."""

CLEAN_AFTER: Final = 5.0
"""Seconds without a loss after which the path counts as clean."""

TURN: Final = 0.025
"""Seconds to wait for new bytes to go along with; longer than a frame of voice."""

OVERDUE: Final = 1.25
"""Round trips, and a `TURN`, after which a missing ACK means a burst of losses."""

MAX_PIECES: Final = 64
"""Pieces watched; at 20 ms of voice each, more than a second of them."""

THIN_BYTES: Final = 4096
"""A stream that has more under way is not copied: it is bulk, whatever its priority."""

SAVINGS_BYTES: Final = 4096
"""Unused budget kept for bursts."""


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
        is_active: whether there were losses lately; if not, nothing here costs anything.
    """

    def __init__(self, limits: Limits, table: StreamTable) -> None:
        self.copied_bytes = 0
        self.is_active = False
        self._share = limits.redundancy
        self._table = table
        self._pieces: deque[Piece] = deque(maxlen=MAX_PIECES)
        self._budget = float(SAVINGS_BYTES)
        self._turn = 0
        self._turn_at = 0.0
        self._lossy_until = 0.0

    def on_loss(self, now: float) -> None:
        """Take a sign of loss; after the first, all that is under way goes out again now."""
        if self._share <= 0:
            return
        self._lossy_until = now + CLEAN_AFTER
        if not self.is_active:
            self.is_active = self._table.watches_live = True
            self._turn_at = now - TURN
            self._budget = float(SAVINGS_BYTES)
            under_way = self._table.under_way(THIN_BYTES)[-MAX_PIECES:]
            self._pieces.extend(Piece(*piece, self._turn, now) for piece in under_way)

    @property
    def due_at(self) -> float | None:
        """When pieces should go out again although nothing new goes along; None: never."""
        when = self._turn_at + TURN
        if not self._pieces:
            return None
        return when if self._pieces[-1].turn + COPIES > self._turn else None

    def advance(self, now: float, rtt: float, room_bytes: int) -> None:
        """Queue the copies that go along with what leaves now, if anything calls for a turn.

        Args:
            now: seconds, on the engine's clock.
            rtt: smoothed round trip.
            room_bytes: what congestion control lets leave now, new bytes included.
        """
        if now >= self._lossy_until:
            self._rest()
        fresh = self._table.take_live()
        due_at = self.due_at
        if not fresh and (due_at is None or now < due_at):
            return
        self._turn += 1
        self._turn_at = now
        new_bytes = sum(stop - start for _, start, stop in fresh)
        self._budget = min(SAVINGS_BYTES, self._budget + self._share * new_bytes)
        self._copy(now, rtt * OVERDUE + TURN, room_bytes - new_bytes)
        for stream, start, stop in fresh:
            self._pieces.append(Piece(stream, start, stop, self._turn, now))

    def _copy(self, now: float, overdue_after: float, room_bytes: int) -> None:
        self._forget_arrived()
        if self._pieces and now - self._pieces[0].at > overdue_after:
            self._restart(now)
        for piece in reversed(self._pieces):
            if piece.turn + COPIES < self._turn:
                continue
            size = piece.stop - piece.start
            if size > min(self._budget, room_bytes):
                break
            copied = self._table.repeat(piece.stream, piece.start, piece.stop)
            self._budget -= copied
            room_bytes -= copied
            self.copied_bytes += copied

    def _restart(self, now: float) -> None:
        """Copy all that is under way as if it were new."""
        for piece in self._pieces:
            piece.turn, piece.at = self._turn, now

    def _rest(self) -> None:
        """The path is clean: watch nothing any more."""
        self.is_active = self._table.watches_live = False
        self._pieces.clear()

    def _forget_arrived(self) -> None:
        lacks = self._table.lacks
        kept = [
            piece
            for piece in self._pieces
            if lacks(piece.stream, piece.start, piece.stop, THIN_BYTES)
        ]
        if len(kept) < len(self._pieces):
            self._pieces = deque(kept, maxlen=MAX_PIECES)
