"""What a user did wrong, or what went wrong for a user."""

import difflib
from collections.abc import Iterable

__all__ = ["Failed", "UsageError", "did_you_mean"]


class UsageError(Exception):
    """The command line, the environment or the file asks for something impossible: exit 2."""


class Failed(Exception):
    """The job was understood, tried and not done: exit 1. The message is all a user sees."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End a message with the nearest known name, or with nothing when none is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
