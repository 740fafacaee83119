"""The groups of a track by sequence, although their streams overtake each other."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from moqvox.model import group, track

__all__ = ["InOrder"]

BEGIN: Final = 0.5
"""Seconds to wait for what came before the first group that arrives."""

PATIENCE: Final = 5.0
"""Seconds to wait for a group that is missing while later ones are there."""


class InOrder:
    """Reads a track group after group, each handed out once those before it were.

    A group that the publisher drops is passed over at once; one of which nothing is heard
    after `patience` seconds, as sequences may have gaps. Groups are taken from the track only
    when it is their turn or one before them is missing. What comes too late is left out.

    Attributes:
        lost: groups passed over.
    """

    def __init__(self, tracks: track.Consumer, *, patience: float = PATIENCE) -> None:
        self.lost = 0
        self._track = tracks
        self._patience = patience
        self._waiting: dict[int, group.Consumer] = {}
        self._turn = tracks.start()
        self._give_up_at: float | None = None

    async def __aiter__(self) -> AsyncIterator[group.Consumer]:
        """Iterate to the end of the track.

        Raises:
            StreamEnded: it was aborted.
        """
        ended = False
        while not ended:
            self._pass_dropped()
            if self._turn in self._waiting:
                yield self._waiting.pop(self._turn)
                self._turn += 1
                self._give_up_at = None
                continue
            ended = not await self._take()
        for sequence in sorted(self._waiting):
            self.lost += sequence - (sequence if self._turn is None else self._turn)
            self._turn = sequence + 1
            yield self._waiting.pop(sequence)

    async def _take(self) -> bool:
        """Wait for one more group, or until those missing are given up; False at the end."""
        if self._waiting and self._give_up_at is None:
            wait = BEGIN if self._turn is None else self._patience
            self._give_up_at = asyncio.get_running_loop().time() + wait
        try:
            async with asyncio.timeout_at(self._give_up_at):
                reader = await self._track.next_group()
        except TimeoutError:
            first = min(self._waiting)
            self.lost += first - (first if self._turn is None else self._turn)
            self._turn, self._give_up_at = first, None
            return True
        if reader is None:
            return False
        if self._turn is None and reader.sequence == 0:
            self._turn = 0
        if self._turn is not None and reader.sequence < self._turn:
            reader.close()
        else:
            self._waiting[reader.sequence] = reader
        return True

    def _pass_dropped(self) -> None:
        while (dropped := self._track.poll_drop()) is not None:
            start, end, _code = dropped
            if self._turn is not None and start <= self._turn <= end:
                self.lost += end + 1 - self._turn
                self._turn = end + 1
