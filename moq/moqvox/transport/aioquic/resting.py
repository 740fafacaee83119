"""Links that have heard something that calls for no packet now, until their answer is due."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from moqvox.transport.aioquic.link import Link

__all__ = ["TURNS", "Resting"]

TURNS: Final = 4
"""Turns of the loop that an application has to answer what came: its driver's, a reader's, a
writer's and the driver's again."""


class Resting:
    """Lets links wait a few turns of the loop for something to say.

    An ACK that is due soon travels with it then, and needs no timer, which costs more than
    the turns: they pass anyway when there is an answer. A link that hears more meanwhile
    waits no longer for that.
    """

    __slots__ = ("_turn", "_turns", "_until")

    def __init__(self, turns: int = TURNS) -> None:
        self._turn = 0
        self._turns = turns
        self._until: dict[Link, int] = {}

    def add(self, link: "Link") -> None:
        """Let a link rest, from this turn on."""
        self._until.setdefault(link, self._turn + self._turns)

    def discard(self, link: "Link") -> None:
        """Let go of a link, which has its turn or is over."""
        self._until.pop(link, None)

    def take_due(self) -> list["Link"]:
        """Note that a turn has passed, and take the links that have rested long enough."""
        self._turn += 1
        due: list[Link] = []
        for link, turn in self._until.items():
            if turn > self._turn:
                break
            due.append(link)
        for link in due:
            del self._until[link]
        return due

    def __contains__(self, link: "Link") -> bool:
        return link in self._until

    def __len__(self) -> int:
        return len(self._until)
