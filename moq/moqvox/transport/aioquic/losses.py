"""What is known of a path's losses: whether there are any, how many, and if they come in bursts."""

from typing import Final

__all__ = ["Losses"]

CLEAN_AFTER: Final = 5.0
"""Seconds without a loss after which the path counts as clean."""

BURSTY: Final = 0.45
"""Share of losses that follow another at once, from which on losses count as bursts."""

FIRST_BURSTINESS: Final = 0.5
"""What is supposed until losses are known: a handful of single ones tells otherwise."""

SINGLE: Final = 0.3
"""Share of losses that follow another at once, up to which they surely are single ones."""

BURST_WINDOW: Final = 8
"""Losses over which that share is averaged."""

WINDOW: Final = 64
"""Packets over which the share of losses is averaged."""

FIRST_SHARE: Final = 0.05
"""Share of losses supposed at the first of them."""


class Losses:
    """One path's losses. Pure: the clock is an argument.

    Attributes:
        share: of the packets sent, lost lately; only measured while losses occur.
        burstiness: share of losses that followed another at once.
    """

    def __init__(self) -> None:
        self.share = 0.0
        self.burstiness = FIRST_BURSTINESS
        self._until = 0.0
        self._is_guess = False

    def are_about(self, now: float) -> bool:
        """Whether the path counts as lossy."""
        return now < self._until

    @property
    def were_met(self) -> bool:
        """Whether there has been any sign of loss so far."""
        return self._until > 0

    @property
    def come_in_bursts(self) -> bool:
        """Whether a lost packet is likely to have lost neighbours."""
        return self._until > 0 and self.burstiness > BURSTY

    @property
    def are_single(self) -> bool:
        """Whether a lost packet hardly ever has lost neighbours."""
        return self.burstiness < SINGLE

    def on_sign(self, now: float, *, is_guess: bool) -> None:
        """Take a sign of loss; one that is only a guess may be taken back by `on_false_alarm`."""
        self._is_guess = is_guess and (self._is_guess or now >= self._until)
        self._until = now + CLEAN_AFTER

    def on_false_alarm(self, now: float) -> None:
        """Take it that what was guessed to be lost has arrived: the path was clean all the time."""
        if self._is_guess and now < self._until:
            self._until = now

    def begin(self) -> None:
        """Suppose the share with which a path that was clean begins to lose."""
        self.share = FIRST_SHARE

    def on_run(self, length: int) -> None:
        """Take how many packets, one after another, were lost or did not come."""
        kept = 1 - 1 / BURST_WINDOW
        self.burstiness = 1 - (1 - self.burstiness * kept) * kept ** (length - 1)

    def on_fates(self, now: float, arrived: int, lost: int) -> None:
        """Take what became of packets."""
        if now < self._until:
            known = arrived + lost
            kept = (1 - 1 / WINDOW) ** known
            self.share = self.share * kept + (1 - kept) * lost / max(1, known)
