"""What packet numbers that are missing say: a loss, a change of order, or a peer's own doing."""

import enum
from collections.abc import Container
from typing import Final

from moqvox.transport.aioquic.losses import CLEAN_AFTER

__all__ = ["Gaps", "Verdict"]

FIRST_DOUBLING: Final = 63
"""Packet numbers up to here count as one range when single ones are missing."""

MOST_REORDERED: Final = 3
"""Numbers missing in a row, at most, of which it may turn out that they are only late."""

REORDERS_FOR: Final = 10.0
"""Seconds that a path counts as one that changes the order: there, gaps are not losses yet."""


class Verdict(enum.Enum):
    """What missing packets are taken for."""

    NOTHING = enum.auto()
    GUESS = enum.auto()
    """For lost, until they come."""
    LOSS = enum.auto()


class Gaps:
    """The gaps in one peer's packet numbers. Pure: the clock is an argument."""

    def __init__(self) -> None:
        self._gap: range | None = None
        self._at = 0.0
        self._reorders_until = 0.0
        self._missed_in = 0

    def judge(self, gap: range, now: float, *, by_server: bool) -> Verdict:
        """Judge missing packets: peers leave out single numbers on purpose, ever more rarely.

        They do so to catch ACKs of what was never received (RFC 9000, section 21.4); moq-rs
        once before number 64, and once in each doubling from there. A server with a crowd of
        such clients would copy for all of them on clean paths; a client's copies are few, and
        it rather begins early.

        Args:
            gap: the numbers that are missing before one that came.
            now: seconds, on the engine's clock.
            by_server: whether they are a server's, so that this side is the client.
        """
        doubling = max(gap.start, FIRST_DOUBLING).bit_length()
        is_deliberate = not by_server and len(gap) == 1 and doubling != self._missed_in
        self._missed_in = doubling
        if is_deliberate:
            return Verdict.NOTHING
        if len(gap) > MOST_REORDERED:
            return Verdict.LOSS
        if not self.is_open(now):
            self._gap, self._at = gap, now
        return Verdict.GUESS if now >= self._reorders_until else Verdict.NOTHING

    def is_open(self, now: float) -> bool:
        """Whether packets are missing of which it is not known if they were only late."""
        return self._gap is not None and now - self._at <= CLEAN_AFTER

    def is_filled(self, received: Container[int], now: float) -> bool:
        """Whether what was missing has just come, so that this path changes the order."""
        gap = self._gap
        if gap is None or not all(number in received for number in gap):
            return False
        self._gap, self._reorders_until = None, now + REORDERS_FOR
        return True
