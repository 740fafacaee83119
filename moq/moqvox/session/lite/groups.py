"""Groups on their streams, both ways: the hot path of a session.

draft-lcurley-moq-lite, sections "Group", "Expiration" and FRAME.
"""

from collections.abc import Callable
from typing import Final

from moqvox.errors import LocalError, StreamCode
from moqvox.frame import Frame
from moqvox.session.actions import Write
from moqvox.session.events import FrameReceived, GroupFinished, GroupReset, GroupStopped
from moqvox.session.lite.streams import Stream, Streams
from moqvox.session.priority import Places
from moqvox.wire.lite.streams import FrameParser, encode_frame_header

__all__ = ["ReceivedGroup", "Sending", "SentGroup"]

_PLAIN: Final = -1
"""Key of headers without timestamp in `Frame.headers`; those with one have the previous
frame's timestamp for a key. Other codecs use keys that are no integers."""

_JOIN_BYTES: Final = 4096
"""Up to this size a copy behind its header costs less than a second write."""


class SentGroup(Stream):
    """A group that we send.

    Attributes:
        previous: the former frame's timestamp, 0 before the first, -1 where the version
            carries none.
        place: its place in the session's order of opening.
    """

    __slots__ = ("place", "previous", "sending", "sequence")

    def __init__(self, sending: "Sending", name: int, sequence: int, place: int) -> None:
        super().__init__(sending.streams, name)
        self.sending = sending
        self.sequence = sequence
        self.place = place
        self.previous = 0 if self.streams.version.timestamps else _PLAIN

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Ignore what a peer can't send on this stream."""

    def receive_reset(self, code: int) -> None:
        """Ignore what a peer can't do on this stream."""

    def receive_stop(self, code: int) -> None:
        """Take the peer's loss of interest."""
        self.sending.reset(self, code)
        self.streams.events.append(GroupStopped(self.name, code))

    def ended(self) -> None:
        """Note that nothing more is written to it."""


class Sending:
    """The groups that one session sends now, by the name of their streams."""

    __slots__ = ("groups", "places", "streams")

    def __init__(self, streams: Streams) -> None:
        self.streams = streams
        self.places = Places()
        self.groups: dict[int, SentGroup] = {}

    def add(self, group: SentGroup) -> None:
        """Let a group be written to."""
        self.groups[group.name] = group

    def write_frame(self, name: int, frame: Frame) -> None:
        """Append a frame; nothing when the group has ended."""
        group = self.groups.get(name)
        if group is None:
            return
        previous = group.previous
        header = frame.headers.get(previous)
        if header is None:
            header = self._encode(frame, previous)
        if previous >= 0 and frame.timestamp is not None:
            group.previous = frame.timestamp
        payload = frame.payload
        actions = self.streams.actions
        if len(payload) <= _JOIN_BYTES:
            actions.append(Write(name, header + payload))
        else:
            actions.append(Write(name, header))
            actions.append(Write(name, payload))

    def finish(self, group: SentGroup) -> None:
        """End a group's stream."""
        actions = self.streams.actions
        last = actions[-1] if actions else None
        if isinstance(last, Write) and last.stream == group.name:
            actions[-1] = Write(group.name, last.data, fin=True)
        else:
            actions.append(Write(group.name, b"", fin=True))
        self._forget(group)

    def reset(self, group: SentGroup, code: int) -> None:
        """Give a group's stream up."""
        self.streams.reset(group.name, code)
        self._forget(group)

    def _forget(self, group: SentGroup) -> None:
        self.groups.pop(group.name, None)
        self.streams.drop(group.name)
        group.ended()

    def _encode(self, frame: Frame, previous: int) -> bytes:
        size, limit = len(frame.payload), self.streams.limits.max_frame_bytes
        if size > limit:
            raise LocalError(f"a frame of {size} bytes, {limit} are allowed")
        header = encode_frame_header(size, frame.timestamp, None if previous < 0 else previous)
        frame.headers[previous] = header
        return header


class ReceivedGroup(Stream):
    """A group that the peer sends; `on_lost` hears when it does not come whole."""

    __slots__ = ("_on_lost", "_parser", "groups")

    def __init__(
        self,
        streams: Streams,
        name: int,
        groups: dict[int, "ReceivedGroup"],
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(streams, name)
        self._on_lost = on_lost
        self._parser = FrameParser(streams.version, streams.limits.max_frame_bytes)
        self.groups = groups
        groups[name] = self

    @property
    def buffered(self) -> int:
        """How many received bytes wait."""
        return self._parser.buffered

    def receive(self, data: bytes, *, fin: bool) -> None:
        """Take frames."""
        parser, streams = self._parser, self.streams
        before = parser.buffered
        frames = parser.feed(data)
        for frame in frames:
            streams.events.append(FrameReceived(self.name, frame))
        after = parser.buffered
        in_bounds = before == after or streams.reserve(after - before)
        if parser.failed is not None:
            self.refuse(parser.failed)
        elif fin and not after:
            self.finish()
        elif fin:
            self.lose(StreamCode.MALFORMED_TRACK)
        elif not in_bounds:
            self.refuse(StreamCode.EXCESSIVE_LOAD)

    def receive_reset(self, code: int) -> None:
        """Take the peer's giving up."""
        self.lose(code)

    def receive_stop(self, code: int) -> None:
        """Ignore what a peer can't do on this stream."""

    def stop(self, code: int) -> None:
        """Want no more of it; nothing is reported."""
        self.forget()
        self.streams.stop(self.name, code)

    def refuse(self, code: int) -> None:
        """Want no more of it because of what the peer sent."""
        self.streams.stop(self.name, code)
        self.lose(code)

    def finish(self) -> None:
        """Report that it is whole."""
        self.forget()
        self.streams.events.append(GroupFinished(self.name))

    def lose(self, code: int) -> None:
        """Report that the rest will not come."""
        self.forget()
        if self._on_lost is not None:
            self._on_lost()
        self.streams.events.append(GroupReset(self.name, code))

    def forget(self) -> None:
        """Take no further part."""
        if self._parser.buffered:
            self.streams.reserve(-self._parser.buffered)
        self.groups.pop(self.name, None)
        self.streams.drop(self.name)
