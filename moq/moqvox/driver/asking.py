"""What one session has asked of its peer, and who waits for which answer."""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from moqvox.driver.pump import Pump
from moqvox.frame import TrackInfo
from moqvox.model import broadcast
from moqvox.session import events

__all__ = ["UNANSWERED", "Agreed", "Asker", "Asking", "Source"]

UNANSWERED: Final = 10.0
"""Seconds between two looks at whether anybody still waits for what the peer leaves unanswered."""


class Agreed(msgspec.Struct, frozen=True):
    """A track that both sides know beforehand.

    Attributes:
        number: of the subscription to it, one of `session.interface.AGREED`.
        info: what a publisher goes by who sends groups before it has told the track's facts.
    """

    number: int
    info: TrackInfo


class Asker(Protocol):
    """Something that has asked the peer and hears of what comes."""

    def receive(self, event: events.Event) -> None:
        """Take one event about its requests or groups."""

    def close(self, code: int) -> None:
        """End for good."""


class Source(Protocol):
    """The broadcast that an asker fills."""

    @property
    def path(self) -> str:
        """Its name at the peer."""

    @property
    def agreed(self) -> Mapping[str, Agreed]:
        """Tracks of it that both sides know beforehand, by name."""

    @property
    def producer(self) -> broadcast.Producer:
        """Where its tracks go."""

    def forget(self, upstream: Asker) -> None:
        """Let go of an asker that ended."""


class Asking:
    """Our open requests to the peer, and who waits for which.

    Attributes:
        linger: seconds an upstream without readers, or with groups outstanding, is kept.
    """

    def __init__(self, pump: Pump, linger: float) -> None:
        self.pump = pump
        self.linger = linger
        self.requests: dict[int, Asker] = {}
        self.groups: dict[int, Asker] = {}

    def forget_groups(self, asker: Asker) -> None:
        """Let no group lead to an asker any more."""
        for group in [group for group, owner in self.groups.items() if owner is asker]:
            del self.groups[group]
