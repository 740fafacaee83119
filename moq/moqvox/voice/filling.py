"""A group's frames, on their way into the speech that they make up."""

import asyncio

from moqvox.model import group
from moqvox.voice.inbox import Inbox
from moqvox.voice.utterance import Utterance

__all__ = ["Filling", "place"]


def place(inbox: Inbox, utterance: Utterance, index: int, payload: bytes) -> None:
    """Put a frame into its place; one that is there is passed over.

    Raises:
        MediaError: it is no frame, or there is no room.
    """
    waited_for = utterance.next_frame
    if index < waited_for:
        return
    if index > waited_for:
        utterance.miss(index)
    inbox.add(utterance, payload, asyncio.get_running_loop().time())


class Filling:
    """Puts frames into a speech as they arrive, in the turn in which they do.

    A task that is woken for each frame would cost more than what it has to do. `index` is the
    first frame's place.
    """

    def __init__(
        self, inbox: Inbox, utterance: Utterance, reader: group.Consumer, index: int
    ) -> None:
        self._inbox = inbox
        self._utterance = utterance
        self._reader = reader
        self._index = index
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(self) -> None:
        """Take what is there and what comes, to the group's end.

        Raises:
            StreamEnded: the group was reset, or its connection is gone.
            MediaError: something is no frame, or there is no room.
        """
        self._reader.wake = self._take
        try:
            self._take()
            await self._over
        finally:
            self._reader.wake = None

    def _take(self) -> None:
        if self._over.done():
            return
        reader = self._reader
        try:
            while (frame := reader.poll()) is not None:
                place(self._inbox, self._utterance, self._index, frame.payload)
                self._index += 1
        except Exception as exc:  # noqa: BLE001  # `wait` raises it
            self._over.set_exception(exc)
        else:
            if reader.ended:
                self._over.set_result(None)
