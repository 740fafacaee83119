"""One track filled from two ways: each frame is taken once, from whoever has it first.

Both ways carry the same groups with the same numbers, as they come from one publisher; only
then may a braid be made.
"""

from collections.abc import Iterable

from moqvox.errors import LocalError
from moqvox.frame import Frame
from moqvox.model import group, track

__all__ = ["Braid", "Strand"]


class Braid:
    """The groups of a track that two ways fill together.

    Attributes:
        producer: the track.
        start: the first group that is wanted of the other way; None: the latest.

    Args:
        producer: the track.
        open_groups: those that are not whole.
        missing: ranges of groups on their way, both ends inclusive.
    """

    def __init__(
        self,
        producer: track.Producer,
        open_groups: Iterable[group.Producer],
        missing: Iterable[tuple[int, int]] = (),
    ) -> None:
        self.producer = producer
        self._open = {writer.sequence: writer for writer in open_groups}
        wanted = [*self._open, *(first for first, _ in missing)]
        if producer.latest is not None:
            wanted.append(producer.latest + 1)
        self.start = min(wanted, default=None)

    def strand(self, sequence: int, index: int) -> "Strand":
        """Take one way's part of a group, that begins with the frame of that index."""
        writer = self._open.get(sequence)
        if writer is None and sequence < (self.start or 0):
            return Strand(None, index, self)
        if writer is None:
            try:
                writer = self.producer.create_group(sequence, frame_start=index)
            except LocalError:
                return Strand(None, index, self)  # it is whole, or given up
            self._open[sequence] = writer
        return Strand(writer, index, self)

    def close_group(self, sequence: int) -> None:
        """Forget a group that is over: it may not be made anew."""
        self._open.pop(sequence, None)

    def lose(self, group_start: int, group_end: int, code: int) -> None:
        """Give up groups that come on neither way; both ends inclusive."""
        for sequence in [s for s in self._open if group_start <= s <= group_end]:
            self._open.pop(sequence).abort(code)

    def finish(self, group_end: int | None) -> None:
        """End the track; groups that are not whole are over as well."""
        self.producer.finish(group_end)

    def abort(self, code: int, reason: str = "") -> None:
        """End the track and all that is not whole."""
        self._open.clear()
        self.producer.abort(code, reason)


class Strand:
    """One way's part of one group; `index` is that of its next frame."""

    def __init__(self, writer: group.Producer | None, index: int, braid: Braid) -> None:
        self.index = index
        self._writer = writer
        self._braid = braid

    def write(self, frame: Frame) -> None:
        """Append the frame, unless the other way has brought it, or one before it is missing."""
        writer, index = self._writer, self.index
        self.index += 1
        if writer is not None and not writer.closed and index == writer.next_index:
            writer.write(frame)

    def finish(self) -> None:
        """Make the group whole, unless frames are missing."""
        writer = self._writer
        if writer is not None and not writer.closed and writer.next_index == self.index:
            writer.finish()
            self._braid.close_group(writer.sequence)
