"""Order restored: a link may let packets overtake each other."""

from moqvox.transport.streams.frames import ResetStream, Segment
from moqvox.transport.streams.receiving import Receiving

__all__ = ["InOrder"]


class InOrder:
    """Segments on their way to the receiving halves, which take them in order only.

    What waits is bounded by the windows: the peer never sends beyond them.
    """

    def __init__(self, receiving: Receiving) -> None:
        self._receiving = receiving
        self._early: dict[int, dict[int | None, Segment]] = {}

    def receive(self, segment: Segment) -> None:
        """Take bytes, in whatever order they come."""
        stream = segment.stream
        half = self._receiving.meet(stream)
        if half is None or half.is_over:
            return
        if segment.offset != half.received:
            self._early.setdefault(stream, {})[segment.offset] = segment
            return
        self._receiving.receive(segment)
        early = self._early.get(stream)
        if early is None:
            return
        while (found := early.pop(half.received, None)) is not None:
            self._receiving.receive(found)
        if not early or half.is_over:
            del self._early[stream]

    def reset(self, frame: ResetStream) -> None:
        """Take the peer's reset: what waits for bytes before it is of no use."""
        self._early.pop(frame.stream, None)
        self._receiving.reset(frame)
