"""The broadcasts of a call by name, one pair for each of its legs."""

import asyncio
from typing import Final

from moqvox.model import broadcast, origin

__all__ = ["AGAIN", "AGENT", "CALLER", "RESUMED", "AgentView", "leg_name", "read_name"]

CALLER: Final = "caller"
AGENT: Final = "agent"

AGAIN: Final = "again"
"""Below a leg's name: a word by which an agent asks for the next leg."""

RESUMED: Final = "resumed"
"""What a caller connected directly also answers to on a later leg."""

MAX_LEG: Final = 1_000_000

PROOF: Final = 2.0
"""Seconds that a request for a later leg's answer waits for the caller's proof."""


def leg_name(call: str, leg: int) -> str:
    """Name what is above a leg's `caller` and `agent`."""
    return f"{call}/{leg}" if leg else call


def read_name(name: str) -> tuple[str, int]:
    """Tell the call and the leg of a name; one without a number is a call's first leg."""
    call, _, number = name.rpartition("/")
    is_number = number.isascii() and number.isdecimal() and number[0] != "0"
    if not call or not is_number or int(number[:8]) > MAX_LEG:
        return name, 0
    return call, int(number)


class AgentView:
    """An agent's origin, in which a later leg's answer may be asked for before it is there."""

    def __init__(self, inner: origin.Origin) -> None:
        self._inner = inner

    def get(self, path: str) -> broadcast.Consumer | None:
        """Find a broadcast."""
        return self._inner.get(path)

    async def find(self, path: str) -> broadcast.Consumer | None:
        """Find a broadcast; give its caller a moment to prove itself."""
        name, _, role = path.rpartition("/")
        found = self._inner.get(path)
        if found is not None or role != AGENT or not read_name(name)[1]:
            return found
        try:
            async with asyncio.timeout(PROOF):
                return await self._inner.wait(path)
        except TimeoutError:
            return None

    async def wait(self, path: str) -> broadcast.Consumer:
        """Wait for a broadcast."""
        return await self._inner.wait(path)

    def watch(self, prefix: str = "", *, exclude_hop: int = 0) -> origin.Watch:
        """Watch what is announced."""
        return self._inner.watch(prefix, exclude_hop=exclude_hop)
