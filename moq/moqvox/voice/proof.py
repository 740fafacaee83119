"""Proves that a resumed call is the same caller's: a chain of hashes, shown from its far end.

Each leg of a call shows one link more. A link that was shown proves nothing any more, and the
next one can't be made from it.
"""

import hashlib
import os
import secrets
from typing import Final

__all__ = ["Chain", "Guard", "make_spare", "take_chain"]

LENGTH: Final = 1024
"""Legs of one call, at most."""

MAX_STEPS: Final = 1024
"""Links that a caller may be ahead of the last one seen: legs of which nothing arrived."""

LINK_BYTES: Final = 32


class Chain:
    """The caller's half: the links, the last made first."""

    def __init__(self, length: int = LENGTH) -> None:
        links = [secrets.token_bytes(LINK_BYTES)]
        for _ in range(length - 1):
            links.append(_next(links[-1]))
        links.reverse()
        self._links = links

    def __len__(self) -> int:
        return len(self._links)

    def token(self, leg: int) -> str:
        """Show the link of a leg, hex; "" when the chain is used up."""
        return self._links[leg].hex() if leg < len(self._links) else ""


_spare: list[Chain] = []
"""At most one, made ahead; each is used for one call."""

os.register_at_fork(after_in_child=_spare.clear)


def make_spare() -> None:
    """Make the next call's chain now, as that takes half a millisecond."""
    if not _spare:
        _spare.append(Chain())


def take_chain() -> Chain:
    """Take a chain that no other call has."""
    return _spare.pop() if _spare else Chain()


class Guard:
    """The agent's half: the last link it accepted."""

    def __init__(self, leg: int, token: str) -> None:
        self.leg = leg
        self._link = _read(token)

    @property
    def token(self) -> str:
        """The link in hex, "" for none."""
        return "" if self._link is None else self._link.hex()

    def was_shown(self, leg: int, token: str) -> bool:
        """Tell whether this is the link accepted last."""
        link = _read(token)
        if link is None or self._link is None:
            return False
        return leg == self.leg and secrets.compare_digest(link, self._link)

    def accept(self, leg: int, token: str) -> bool:
        """Take a link if it is of a later leg and leads to the last one."""
        link = _read(token)
        steps = leg - self.leg
        if link is None or self._link is None or not 0 < steps <= MAX_STEPS:
            return False
        reached = link
        for _ in range(steps):
            reached = _next(reached)
        if not secrets.compare_digest(reached, self._link):
            return False
        self.leg, self._link = leg, link
        return True


def _next(link: bytes) -> bytes:
    return hashlib.sha256(link).digest()


def _read(token: str) -> bytes | None:
    try:
        link = bytes.fromhex(token)
    except ValueError:
        return None
    return link if len(link) == LINK_BYTES else None
