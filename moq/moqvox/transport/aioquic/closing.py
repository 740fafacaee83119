"""A close that we asked for: it lets what is queued arrive, and the peer answer."""

from collections.abc import Callable
from typing import Final

from moqvox.transport.aioquic.ending import Ending
from moqvox.transport.interface import Closed

__all__ = ["HASTY_LINGER", "Closing"]

HASTY_LINGER: Final = 0.25
"""Seconds that a close for an error may take; it should say why, but not keep resources."""

ANSWER_LINGER: Final = 1.0
"""Seconds that the peer has to answer a farewell."""


class Closing:
    """What is to be said at the end, and until when it may wait.

    Attributes:
        ending: what the peer is told in CONNECTION_CLOSE.
        until: when it is said at the latest.
    """

    def __init__(
        self,
        ending: Ending,
        until: float,
        *,
        report: Closed | None,
        farewell: Callable[[], None] | None,
        answered: Callable[[], bool] | None,
    ) -> None:
        self.ending = ending
        self.until = until
        self._report = report
        self._farewell = farewell
        self._answered = answered

    def report(self) -> Closed:
        """Return what the observer is told."""
        return self._report or self.ending.closed()

    def waits(self, now: float, *, has_arrived: bool) -> bool:
        """Whether something is still on its way, or an answer is, and there is time for it."""
        if now >= self.until:
            return False
        return not has_arrived or (
            self._farewell is None and self._answered is not None and not self._answered()
        )

    def say_farewell(self, now: float) -> bool:
        """Say what goes before CONNECTION_CLOSE, if that was not said; then it waits anew."""
        farewell, self._farewell = self._farewell, None
        if farewell is None:
            return False
        farewell()
        self.until = now + (HASTY_LINGER if self._answered is None else ANSWER_LINGER)
        return True
