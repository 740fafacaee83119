"""CONNECTION_CLOSE, which nobody acknowledges, said often enough (RFC 9000, section 10.2.1)."""

import math

from moqvox.transport.address import Address

__all__ = ["LastWords"]

Datagrams = list[tuple[bytes, Address]]


class LastWords:
    """What we said last, and when it is to be said again.

    Once by itself, a probe time-out later, for a peer that only listens; and in answer to
    packets that come still, to the first, the second, the fourth and so on.

    Attributes:
        due_at: when to say it by itself; infinite: not (any more).
    """

    def __init__(self) -> None:
        self.due_at = math.inf
        self._words: Datagrams = []
        self._asked = 0

    def said(self, words: Datagrams, again_at: float) -> None:
        """Remember what left."""
        self._words = words
        self.due_at = again_at

    def answer(self) -> Datagrams:
        """Take what a late packet gets."""
        self._asked += 1
        return self._words if self._asked & (self._asked - 1) == 0 else []

    def take_due(self, now: float) -> Datagrams:
        """Take what is due by itself."""
        if now < self.due_at:
            return []
        self.due_at = math.inf
        return self._words
