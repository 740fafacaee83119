"""The live streams of one session, and what goes in and out on them."""

from collections.abc import Iterator
from typing import Final

from moqvox.errors import StreamCode
from moqvox.session.actions import Action, OpenStream, Prioritise, Reset, Stop, Write
from moqvox.session.events import Event
from moqvox.session.interface import Limits
from moqvox.session.lite.alarm import Alarm
from moqvox.wire.error_code import to_wire
from moqvox.wire.framing import Framer, Oversized
from moqvox.wire.lite.setup import Setup
from moqvox.wire.version import LiteVersion

__all__ = ["ControlStream", "Stream", "Streams"]

_FRAMES_IN_PART: Final = 4
"""How many frames of the largest size may wait unfinished in one session."""

_DATA_STREAMS_PER_REQUEST: Final = 4
"""How many groups may be coming in at once, as a multiple of the limit on requests."""


class Streams:
    """What both halves of a session share.

    Attributes:
        events: for the application, oldest first.
        actions: for the transport, in order.
        peer: the peer's SETUP, once it is there.
        half_received: streams with a control message that is not whole yet.
    """

    def __init__(
        self, version: LiteVersion, limits: Limits, *, origin: int, map_codes: bool
    ) -> None:
        self.version = version
        self.limits = limits
        self.origin = origin
        self.events: list[Event] = []
        self.actions: list[Action] = []
        self.peer: Setup | None = None
        self.half_received = Alarm(limits.control_timeout)
        self.unfinished_bytes = 0
        self._map_codes = map_codes
        self._live: dict[int, Stream] = {}
        self._requests: set[int] = set()
        self._data: set[int] = set()
        self._minted = 0

    def mint(self) -> int:
        """Return a name that no stream had before."""
        self._minted += 1
        return self._minted

    def open(self, stream: int, *, bidirectional: bool, priority: int, early: bool = False) -> None:
        """Have the transport open a stream under a minted name; see `OpenStream` for `early`."""
        self.actions.append(OpenStream(stream, bidirectional, priority, early))

    def write(self, stream: int, data: bytes, *, fin: bool = False) -> None:
        """Have the transport send bytes."""
        self.actions.append(Write(stream, data, fin))

    def prioritise(self, stream: int, priority: int) -> None:
        """Have the transport move a stream in its order of sending."""
        self.actions.append(Prioritise(stream, priority))

    def reset(self, stream: int, code: int) -> None:
        """Have the transport abandon our side."""
        self.actions.append(Reset(stream, to_wire(code) if self._map_codes else code))

    def stop(self, stream: int, code: int) -> None:
        """Have the transport ask the peer to stop."""
        self.actions.append(Stop(stream, to_wire(code) if self._map_codes else code))

    def add(self, stream: "Stream") -> None:
        """Route what arrives for a stream."""
        self._live[stream.name] = stream

    def admit(self, stream: "Stream", *, bidirectional: bool) -> None:
        """Take in a stream that the peer opened, or refuse it when there are too many."""
        peers = self._requests if bidirectional else self._data
        limit = self.limits.max_requests * (1 if bidirectional else _DATA_STREAMS_PER_REQUEST)
        if len(peers) >= limit:
            stream.abandon(StreamCode.EXCESSIVE_LOAD)
        else:
            peers.add(stream.name)
            self.add(stream)

    def get(self, stream: int) -> "Stream | None":
        """Find a stream that still takes part."""
        return self._live.get(stream)

    def drop(self, stream: int) -> None:
        """Forget a stream; what still arrives for it is ignored."""
        self._live.pop(stream, None)
        self._requests.discard(stream)
        self._data.discard(stream)
        self.half_received.stop(stream)

    def clear(self) -> None:
        """Forget all streams."""
        for stream in self._live.values():
            stream.let_go()
        self._live.clear()
        self._requests.clear()
        self._data.clear()
        self.half_received.clear()

    def __iter__(self) -> "Iterator[Stream]":
        return iter(self._live.values())

    def __len__(self) -> int:
        return len(self._live)

    def reserve(self, change: int) -> bool:
        """Count bytes of unfinished frames; False when a session holds too many."""
        self.unfinished_bytes += change
        return self.unfinished_bytes <= _FRAMES_IN_PART * self.limits.max_frame_bytes


class Stream:
    """One stream as the session sees it."""

    __slots__ = ("name", "streams")

    def __init__(self, streams: Streams, name: int) -> None:
        self.streams = streams
        self.name = name

    @property
    def buffered(self) -> int:
        """How many received bytes wait."""
        return 0

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take bytes, and the end of the peer's side."""
        raise NotImplementedError

    def receive_reset(self, code: int) -> None:
        """Take the peer's abandoning of its side."""
        raise NotImplementedError

    def receive_stop(self, code: int) -> None:
        """Take the peer's refusal of our bytes."""
        self.receive_reset(code)

    def time_out(self) -> None:
        """Give up on the rest of a message."""
        self.abandon(StreamCode.DELIVERY_TIMEOUT)

    def let_go(self) -> None:
        """Refer to nothing that refers back: the session is over."""

    def abandon(self, code: int) -> None:
        """End both directions and forget the stream."""
        self.streams.reset(self.name, code)
        self.streams.stop(self.name, code)
        self.streams.drop(self.name)


class ControlStream(Stream):
    """A stream that carries messages from the peer."""

    __slots__ = ("framer",)

    def __init__(self, streams: Streams, name: int, framer: Framer | None = None) -> None:
        super().__init__(streams, name)
        self.framer = framer or Framer(streams.limits.max_message_bytes)

    @property
    def buffered(self) -> int:
        """How many received bytes wait."""
        return self.framer.buffered

    @property
    def live(self) -> bool:
        """Whether the stream still takes part."""
        return self.streams.get(self.name) is self

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take whole messages from what has arrived."""
        self.framer.feed(data)
        try:
            while self.live and self.take():
                self.streams.half_received.stop(self.name)
        except Oversized as exc:
            self.break_off(exc.code, exc.reason)
        if not self.live:
            return
        self.await_more(fin=fin)

    @property
    def expectant(self) -> bool:
        """Whether the peer owes a message, even if none of it has come."""
        return False

    def await_more(self, *, fin: bool) -> None:
        """Act on the end of the peer's side, or let a message that is due be waited for."""
        if fin:
            self.end()
        elif self.framer.buffered or self.expectant:
            self.streams.half_received.start(self.name)

    def end(self) -> None:
        """Take the end of the peer's side."""
        self.streams.half_received.stop(self.name)
        if self.framer.buffered:
            self.break_off(StreamCode.MALFORMED_TRACK, "a stream that ended inside a message")
        else:
            self.receive_fin()

    def take(self) -> bool:
        """Act on one whole message; False when there is none."""
        raise NotImplementedError

    def receive_fin(self) -> None:
        """Take the end of the peer's side, after whole messages."""
        raise NotImplementedError

    def break_off(self, code: int, reason: str) -> None:
        """Give the stream up for what the peer sent."""
        raise NotImplementedError

    def time_out(self) -> None:
        """Give up on the rest of a message."""
        self.break_off(StreamCode.DELIVERY_TIMEOUT, "half a message for too long")
