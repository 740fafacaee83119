"""Links whose clients are just through: what they say first is heard before they are answered."""

from typing import TYPE_CHECKING, Final

from moqvox.transport.aioquic.resting import Resting

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["HEARING_SECONDS", "HEARING_TURNS", "Hearing"]

HEARING_SECONDS: Final = 0.01
"""So long after its handshake a client's first words may be on their way to the application."""

HEARING_TURNS: Final = 8
"""Turns of the loop that they take from the socket to who reads them, a few of tasks that begin."""


class Hearing:
    """Lets packets to a client wait a few turns while its first words go through.

    They come with the last packet of its handshake, or right behind it. What that calls for
    (the handshake's end, a ticket, connection IDs) and the answers of a session that begins
    take longer to build than the words to be read, and nobody waits for them as for those. No
    time passes in these turns when there is nothing to do.
    """

    __slots__ = ("_due_at", "_until")

    def __init__(self) -> None:
        self._until: dict[Link, float] = {}
        self._due_at = Resting(HEARING_TURNS)

    def add(self, link: "Link", now: float) -> None:
        """Listen to a link from now on."""
        self._until[link] = now + HEARING_SECONDS

    def discard(self, link: "Link") -> None:
        """Let go of a link that is over."""
        self._until.pop(link, None)
        self._due_at.discard(link)

    def hold_back(self, touched: "dict[Link, None]", now: float) -> None:
        """Take those out of `touched` who are listened to, and put back who was for long enough.

        They are due a few turns after they were touched last.
        """
        for link, until in list(self._until.items()):
            if now >= until:
                del self._until[link]
                if link in self._due_at:
                    self._due_at.discard(link)
                    touched[link] = None
            elif link in touched:
                del touched[link]
                self._due_at.discard(link)
                self._due_at.add(link)

    def take_due(self) -> "list[Link]":
        """Note that a turn has passed, and take the links that have waited long enough."""
        return self._due_at.take_due()

    @property
    def holds_any(self) -> bool:
        """Whether a link waits, so that another turn is needed."""
        return bool(self._due_at)

    def __len__(self) -> int:
        return len(self._until) + len(self._due_at)
