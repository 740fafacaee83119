"""What copies win: ours with copies, ours without, and plain aioquic, under the same losses.

`python -m tests.unit.transport.aioquic.compared [FIRST COUNT]`, on a clock of its own.
"""

import statistics
import sys
from collections.abc import Callable
from functools import partial

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from tests.unit.transport.aioquic.speech import SEEDS, Talk, bursty, lossy

from moqvox.transport.address import Address
from moqvox.transport.aioquic import Limits

__all__ = ["PlainTalk"]


class Table:
    """What a talk asks of our streams, of those of upstream."""

    def __init__(self, end: "PlainEnd") -> None:
        self._end = end

    def feed(self, stream: int, data: bytes, *, fin: bool) -> None:
        self._end.send_stream_data(stream, data, fin)

    def hand_over(self, stream: int, size: int) -> None:
        """Upstream takes for read what it hands out."""


class PlainEnd(QuicConnection):
    """Upstream's connection as it is, under the names of ours."""

    def __init__(self, settings: QuicConfiguration, original_id: bytes | None) -> None:
        super().__init__(configuration=settings, original_destination_connection_id=original_id)
        self.table = Table(self)

    @property
    def peer(self) -> tuple[Address | None, bool]:
        return (self._network_paths[0].addr if self._network_paths else None), True

    def open_stream(self, *, bidirectional: bool, priority: int) -> int:
        return self.get_next_available_stream_id(is_unidirectional=not bidirectional)

    def follow_path(self, now: float) -> None:
        """Upstream stays on its path."""


class PlainTalk(Talk):
    """Speech from plain aioquic to plain aioquic."""

    def _end(self, settings: QuicConfiguration, limits: Limits, **options: object) -> PlainEnd:
        return PlainEnd(settings, options.get("original_destination_connection_id"))


def main() -> None:
    """Print what copies win on seeds from the first argument on, as many as the second says.

    A third argument leaves only the profiles in whose name it is.
    """
    first, count = (int(word) for word in sys.argv[1:3] or (0, SEEDS))
    seeds = range(first, first + count)
    profiles: dict[str, Callable[..., Talk]] = {}
    for loss in (0.0, 0.01, 0.05, 0.1):
        for ack_delay in (None, 0.025):
            name = f"RTT 100 ms, {loss:3.0%} loss{', browser' if ack_delay else ''}"
            profiles[name] = partial(lossy, loss=loss, ack_delay=ack_delay)
    for delay in (0.025, 0.05):
        for ack_delay in (None, 0.025):
            name = f"RTT {delay * 2000:3.0f} ms, bursts{', browser' if ack_delay else ''}"
            profiles[name] = partial(bursty, delay=delay, ack_delay=ack_delay)
    for name, talk in profiles.items():
        if all(word in name for word in sys.argv[3:]):
            _print(name, talk, seeds)


def _print(name: str, talk: Callable[..., Talk], seeds: range) -> None:
    """Print lateness in order (p99, ms), medians; then the median of ratios, and bytes."""
    kinds = ({}, {"redundancy": 0.0}, {"redundancy": 0.0, "kind": PlainTalk})
    talks = [
        [talk(n, **{"redundancy": Limits().redundancy, **kind}) for n in seeds] for kind in kinds
    ]
    late = [[one.lateness_p99() * 1000 for one in each] for each in talks]
    size = [[one.sent_bytes + 28 * one.sent_datagrams for one in each] for each in talks]
    medians = ", ".join(f"{statistics.median(each):.0f}" for each in late)
    parts = [
        statistics.median(a / max(b, 1e-6) for a, b in zip(late[0], each, strict=True))
        for each in late[1:]
    ]
    costs = [
        statistics.median(a / b for a, b in zip(size[0], each, strict=True)) for each in size[1:]
    ]
    sys.stdout.write(
        f"{name}: with copies, without, plain aioquic: {medians} ms;"
        f" {parts[0]:.2f}x of without, {parts[1]:.2f}x of plain;"
        f" bytes {costs[0]:.2f}x and {costs[1]:.2f}x\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    main()
