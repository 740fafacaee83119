"""What the model's tests share."""

from moqvox.errors import StreamEnded
from moqvox.frame import Frame, Subscription, TrackInfo
from moqvox.model import broadcast, cache, group, track

HISTORY = Subscription(max_age_ms=3_600_000, ordered=True)


def track_of(
    limits: cache.Limits | None = None,
    info: TrackInfo | None = None,
    budget: cache.Budget | None = None,
) -> track.Producer:
    made = broadcast.Producer(limits=limits or cache.Limits(), budget=budget)
    return made.create_track("audio", info or TrackInfo())


def frame(text: str | int) -> Frame:
    return Frame(str(text).encode(), 0)


def publish(to: track.Producer, *texts: str | int, sequence: int | None = None) -> group.Producer:
    """Write a whole group."""
    made = to.append_group() if sequence is None else to.create_group(sequence)
    for text in texts:
        made.write(frame(text))
    made.finish()
    return made


def drain(reader: group.Consumer) -> list[str]:
    """Poll until there is nothing."""
    got = []
    while (taken := reader.poll()) is not None:
        got.append(taken.payload.decode())
    return got


def sequences(reader: track.Consumer) -> list[int]:
    """Take all groups that are there."""
    got = []
    while (taken := reader.poll_group()) is not None:
        got.append(taken.sequence)
        taken.close()
    return got


def kept(track_: track.Producer) -> list[int]:
    """List the groups that a late joiner would get."""
    reader = track_.consume(HISTORY)
    got = sequences(reader)
    reader.close()
    return got


def ended_with(reader: group.Consumer) -> int:
    """Return the code a reader ends with at its next poll."""
    try:
        reader.poll()
    except StreamEnded as ended:
        return ended.code
    raise AssertionError("the reader goes on")


class Wake:
    """Counts calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
