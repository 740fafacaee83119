"""The cases by name."""

import enum
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from interop.scene import Scene

__all__ = ["CASES", "Case", "Direction", "case"]

Play = Callable[[Scene], Awaitable[None]]


class Direction(enum.Enum):
    """Who is between whom, or who speaks to whom."""

    THROUGH_MOQVOX = "peer -> moqvox -> peer"
    THROUGH_PEER = "moqvox -> peer -> moqvox"
    TO_MOQVOX = "peer -> moqvox"
    FROM_MOQVOX = "moqvox -> peer"


class Case(msgspec.Struct, frozen=True):
    """Something to show.

    Attributes:
        summary: one line for `--list`.
    """

    name: str
    direction: Direction
    summary: str
    play: Play


CASES: Final[dict[str, Case]] = {}


def case(name: str, direction: Direction) -> Callable[[Play], Play]:
    """Register a case; the first line of its docstring is its summary."""

    def register(play: Play) -> Play:
        if name in CASES:
            raise ValueError(f"two cases are named {name!r}")
        summary = (play.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        CASES[name] = Case(name, direction, summary, play)
        return play

    return register
