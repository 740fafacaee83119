"""Groups of subscriptions that we are about to ask for, which their publisher knew already.

A caller that was here before speaks in its first flight (see `anticipated`). That flight may be
handled before the application has asked for the track, so the groups wait a moment: few, short,
and only those whose number was agreed on.
"""

from collections.abc import Callable
from typing import Final

from moqvox.errors import StreamCode
from moqvox.session.interface import is_agreed
from moqvox.session.lite.alarm import Alarm
from moqvox.session.lite.groups import ReceivedGroup
from moqvox.session.lite.streams import Stream, Streams
from moqvox.wire.lite.streams import GroupHeader

__all__ = ["Parking"]

MAX_PARKED: Final = 4
MAX_PARKED_BYTES: Final = 64 * 1024
PARKED_SECONDS: Final = 1.0


class Parking:
    """Groups that wait for their subscription; at most 4, of 64 KiB in all, for a second."""

    def __init__(self, streams: Streams) -> None:
        self.waiting = Alarm(PARKED_SECONDS)
        self.held_bytes = 0
        self._streams = streams
        self._parked: dict[int, _ParkedGroup] = {}

    def park(self, name: int, header: GroupHeader) -> "_ParkedGroup | None":
        """Let a group wait; None when it has to be refused."""
        if not is_agreed(header.subscription) or len(self._parked) >= MAX_PARKED:
            return None
        parked = self._parked[name] = _ParkedGroup(self._streams, name, header, self)
        self._streams.half_received.stop(name)
        self._streams.add(parked)
        self.waiting.start(name)
        return parked

    def release(self, number: int, open_group: Callable[[int, GroupHeader], ReceivedGroup]) -> None:
        """Let the groups of a subscription come in."""
        for parked in list(self._parked.values()):
            if parked.header.subscription == number:
                data, fin = bytes(parked.data), parked.fin
                self.forget(parked)
                group = open_group(parked.name, parked.header)
                if data or fin:
                    group.receive(data, fin=fin)

    def expire(self, now: float) -> None:
        """Refuse the groups whose subscription has not come."""
        for name in self.waiting.expire(now):
            self._parked[name].refuse(StreamCode.CANCELLED)

    def forget(self, parked: "_ParkedGroup") -> None:
        """Hold a group no longer."""
        self.waiting.stop(parked.name)
        self.held_bytes -= len(parked.data)
        del self._parked[parked.name]

    def clear(self) -> None:
        """Forget everything."""
        self.waiting.clear()
        self._parked.clear()
        self.held_bytes = 0


class _ParkedGroup(Stream):
    """A group that waits."""

    __slots__ = ("_parking", "data", "fin", "header")

    def __init__(self, streams: Streams, name: int, header: GroupHeader, parking: Parking) -> None:
        super().__init__(streams, name)
        self.header = header
        self.data = bytearray()
        self.fin = False
        self._parking = parking

    @property
    def buffered(self) -> int:
        """How many received bytes wait."""
        return len(self.data)

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Keep bytes."""
        if self._parking.held_bytes + len(data) > MAX_PARKED_BYTES:
            self.refuse(StreamCode.EXCESSIVE_LOAD)
            return
        self._parking.held_bytes += len(data)
        self.data += data
        self.fin = fin

    def receive_reset(self, code: int) -> None:
        """Take the peer's giving up."""
        self._parking.forget(self)
        self.streams.drop(self.name)

    def receive_stop(self, code: int) -> None:
        """Ignore what a peer can't do on this stream."""

    def refuse(self, code: int) -> None:
        """Want no more of it."""
        self.streams.stop(self.name, code)
        self.receive_reset(code)
