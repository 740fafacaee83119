"""What was sent of each stream and is not acknowledged, on a link that may lose it."""

from moqvox.transport.memory.packet import Frame
from moqvox.transport.streams.frames import ResetStream, Segment

__all__ = ["Unheard"]


class _Stream:
    """One sending half, until all of it is acknowledged.

    Attributes:
        sent_bytes: of its data, each byte once.
        flying: frames of its own that are under way.
        is_over: its end, or its reset, was sent.
        is_given_up: it is reset; what was lost of it needs no repetition.
    """

    __slots__ = ("flying", "is_given_up", "is_over", "sent_bytes")

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.flying = 0
        self.is_over = False
        self.is_given_up = False


class Unheard:
    """The sending halves of one side, as acknowledgements know them."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}

    def open(self, stream: int) -> None:
        """Begin a half."""
        self._streams[stream] = _Stream()

    def sent(self, frames: list[Frame]) -> None:
        """Note what goes out for the first time."""
        for frame in frames:
            if isinstance(frame, (Segment, ResetStream)):
                stream = self._streams.get(frame.stream)
                if stream is None:
                    continue  # a reset that the last acknowledgement has overtaken
                stream.flying += 1
                if isinstance(frame, Segment):
                    stream.sent_bytes += len(frame.data)
                    stream.is_over = frame.fin
                else:
                    stream.is_over = True

    def give_up(self, stream: int) -> bool:
        """Repeat nothing of a half any more; False when that was said before, or it is heard."""
        found = self._streams.get(stream)
        if found is None or found.is_given_up:
            return False
        found.is_given_up = True
        return True

    def sent_bytes(self, stream: int) -> int:
        """Count the bytes that were sent of a half which is not heard in whole."""
        return self._streams[stream].sent_bytes

    def is_wanted(self, frame: Frame) -> bool:
        """Whether a lost frame is worth sending again; if not, it counts as heard."""
        if isinstance(frame, Segment):
            stream = self._streams.get(frame.stream)
            if stream is None or stream.is_given_up:
                self.heard(frame)
                return False
        return True

    def heard(self, frame: Frame) -> None:
        """Note an acknowledgement; a half that is over and heard in whole is forgotten."""
        if isinstance(frame, (Segment, ResetStream)):
            stream = self._streams.get(frame.stream)
            if stream is not None:
                stream.flying -= 1
                if stream.is_over and not stream.flying:
                    del self._streams[frame.stream]

    def is_heard(self, stream: int) -> bool:
        """Whether a half that is over is acknowledged in whole."""
        return stream not in self._streams
