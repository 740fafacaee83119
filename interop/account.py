"""Account for what was sent: nothing lost, nothing doubled, nothing altered."""

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from interop.failure import Failure
from interop.program import Event, number, text

__all__ = ["Frame", "check_frames", "check_packets", "frames_of", "packets_of"]

SHOWN = 5


class Frame(msgspec.Struct, frozen=True):
    """One frame at its place in the track."""

    group: int
    index: int
    size: int
    sha256: str
    timestamp_us: int

    @property
    def place(self) -> tuple[int, int]:
        """Name the frame by group and index."""
        return self.group, self.index


def frames_of(events: Iterable[Event]) -> list[Frame]:
    """Read the `frame` events of a publisher or subscriber."""
    return [
        Frame(
            number(event, "group"),
            number(event, "index"),
            number(event, "size"),
            text(event, "sha256"),
            number(event, "timestamp_us"),
        )
        for event in events
        if event.name == "frame"
    ]


def packets_of(events: Iterable[Event]) -> list[str]:
    """Read the digests of the `packet` events; empty ones are markers, not audio."""
    return [
        text(event, "sha256")
        for event in events
        if event.name == "packet" and number(event, "size")
    ]


def check_frames(sent: Sequence[Frame], got: Sequence[Frame], *, timestamps: bool) -> None:
    """Compare two ends of a track, frame by frame.

    Args:
        sent: what the publisher wrote.
        got: what the subscriber read, in any order of groups.
        timestamps: whether the protocol version carries them.

    Raises:
        Failure: the first kind of difference, with a few examples.
    """
    if not sent:
        raise Failure("the publisher sent nothing, so nothing was shown")
    counted = Counter(frame.place for frame in got)
    _none("frames arrived twice", [place for place, count in counted.items() if count > 1])
    wanted = {frame.place: frame for frame in sent}
    _none("frames were lost", sorted(wanted.keys() - counted.keys()))
    _none("frames arrived that nobody sent", sorted(counted.keys() - wanted.keys()))
    altered = [frame.place for frame in got if frame.sha256 != wanted[frame.place].sha256]
    _none("frames arrived altered", altered)
    _none("frames arrived out of order in their group", _disordered(got))
    if timestamps:
        moved = [
            (*frame.place, frame.timestamp_us - wanted[frame.place].timestamp_us)
            for frame in got
            if frame.timestamp_us != wanted[frame.place].timestamp_us
        ]
        _none("timestamps changed (group, frame, microseconds)", moved)


def check_packets(sent: Sequence[str], got: Sequence[str]) -> None:
    """Compare two sequences of digests.

    Raises:
        Failure: where they differ first, and how.
    """
    if not sent:
        raise Failure("the publisher sent no packets, so nothing was shown")
    for at, (left, right) in enumerate(zip(sent, got, strict=False)):
        if left != right:
            guess = "a doubled one" if right in got[:at] else "an unknown one"
            if right in sent[at:]:
                guess = f"packet {sent.index(right, at)}, so those between are lost"
            raise Failure(f"instead of packet {at} of {len(sent)} came {guess}")
    if len(sent) != len(got):
        raise Failure(f"{len(got)} packets arrived of {len(sent)}, equal as far as they go")


def _none(what: str, places: Sequence[tuple[int, ...]]) -> None:
    if places:
        shown = ", ".join(map(str, places[:SHOWN]))
        more = " and more" if len(places) > SHOWN else ""
        raise Failure(f"{len(places)} {what}: {shown}{more}")


def _disordered(frames: Iterable[Frame]) -> list[tuple[int, int]]:
    last: dict[int, int] = {}
    found = []
    for frame in frames:
        if frame.index < last.get(frame.group, -1):
            found.append(frame.place)
        last[frame.group] = frame.index
    return found
