"""What loss recovery asks of the connection whose packets it watches, and tells it."""

from collections.abc import Collection
from typing import Protocol

__all__ = ["Numbering"]


class Numbering(Protocol):
    """Knows how far the packets are numbered, and which numbers were left out."""

    @property
    def skipped_numbers(self) -> Collection[int]:
        """Numbers that were never used."""

    @property
    def next_packet_number(self) -> int:
        """One more than the highest packet number sent."""

    def on_probe(self, now: float) -> None:
        """Learn that a probe is about to leave."""

    def on_run(self, length: int) -> None:
        """Learn how many packets were lost one after another."""

    def on_fates(self, now: float, arrived: int, lost: int) -> None:
        """Learn what became of packets."""

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits: for live bytes that are under way, or for a handshake."""

    def on_loss(self, now: float, *, is_guess: bool = False) -> None:
        """Learn of a sign that packets are lost; a guess is that no ACK came in time."""

    def on_false_alarm(self, now: float) -> None:
        """Learn that everything under way at the time of a guess has arrived."""
