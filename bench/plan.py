"""What is measured, in which order, and when enough is enough."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.systems import SYSTEMS

__all__ = ["Plan", "Sample", "Setting", "parse", "settings"]

BUSY: Final = 0.85
"""Share of its core from which on a late server is called saturated, not just disturbed."""

GENERATOR_BUSY: Final = 0.95


class Setting(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        count: subscribers, or callers.
        group_per_frame: each frame on a stream of its own.
    """

    system: str
    count: int
    frame_ms: int
    repeat: int
    group_per_frame: bool = False


class Sample(msgspec.Struct, frozen=True):
    """What one run measured. Times of CPU are of the window, in which nobody comes or goes.

    Attributes:
        deliveries: frames written in the window that arrived, at all receivers together.
        lost: those that did not.
        server_cpu_s: user and system time of the server's process.
        server_share, load_share: of one core; the load's is publisher and receivers together.
        p50_ms, p99_ms, max_ms: from just before a frame's write to its being read, or for
            callers to its echo's; of `timed` frames.
        late_p99_ms: how late the publisher itself wrote.
        rss_per_session_bytes: resident memory at the window's end beyond that without
            clients, for each session.
        failed: why there are no figures; "" when there are.
    """

    setting: Setting
    failed: str = ""
    window_s: float = 0.0
    deliveries: int = 0
    lost: int = 0
    server_cpu_s: float = 0.0
    server_share: float = 0.0
    load_share: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    timed: int = 0
    late_p99_ms: float = 0.0
    rss_bytes: int = 0
    rss_per_session_bytes: int = 0

    @property
    def deliveries_per_s(self) -> float:
        """Frames that arrived each second."""
        return self.deliveries / self.window_s if self.window_s else 0.0

    @property
    def deliveries_per_cpu_s(self) -> float:
        """Frames that arrived for each second of the server's CPU time."""
        return self.deliveries / self.server_cpu_s if self.server_cpu_s else 0.0

    def is_good(self, limit_ms: float) -> bool:
        """Whether everything arrived, in time."""
        return not self.failed and not self.lost and self.p99_ms <= limit_ms

    def is_saturated(self, limit_ms: float) -> bool:
        """Whether more of the same can only be worse: of the server, or of the generator."""
        if self.failed or self.load_share >= GENERATOR_BUSY:
            return True
        return self.server_share >= BUSY and not self.is_good(limit_ms)


class Plan(msgspec.Struct, frozen=True):
    """All runs of a bench, and how long they may take."""

    systems: tuple[str, ...]
    counts: tuple[int, ...]
    frames_ms: tuple[int, ...]
    repeats: int
    limit_ms: float
    window_s: float
    settle_s: float
    budget_s: float
    seed: int
    group_per_frame: bool
    output: Path | None


def settings(plan: Plan) -> Iterator[Setting]:
    """List the runs. Systems stand side by side, so that all meet the same machine.

    Who is first changes with every repeat.
    """
    for repeat in range(plan.repeats):
        turn = repeat % len(plan.systems)
        systems = plan.systems[turn:] + plan.systems[:turn]
        for frame_ms in plan.frames_ms:
            for count in plan.counts:
                for system in systems:
                    yield Setting(system, count, frame_ms, repeat, plan.group_per_frame)


def parse(
    arguments: Sequence[str] | None,
    *,
    summary: str,
    counts: Sequence[int],
    quick_counts: Sequence[int],
    limit_ms: float,
    groups: bool = False,
) -> Plan:
    """Read a bench's command line; `groups`: whether it can put each frame on its own stream."""
    made = argparse.ArgumentParser(description=summary)
    made.add_argument("--quick", action="store_true", help="one short round, under a minute")
    made.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    made.add_argument("-n", "--count", type=int, action="append", help="repeatable")
    made.add_argument("--frame-ms", type=int, action="append", choices=(20, 60))
    made.add_argument("--system", action="append", choices=tuple(SYSTEMS))
    made.add_argument("--repeats", type=int)
    made.add_argument("--window", type=float, metavar="S", help="seconds that are measured")
    made.add_argument("--limit-ms", type=float, default=limit_ms, help="p99 that is still good")
    made.add_argument("--budget", type=float, metavar="S", help="start no run after so long")
    made.add_argument("--seed", type=int, default=1)
    if groups:
        made.add_argument("--group-per-frame", action="store_true", help="a stream a frame")
    given = made.parse_args(arguments)
    quick = given.quick
    return Plan(
        systems=tuple(given.system or SYSTEMS),
        counts=tuple(sorted(given.count or (quick_counts if quick else counts))),
        frames_ms=tuple(given.frame_ms or ((20,) if quick else (20, 60))),
        repeats=given.repeats or (1 if quick else 3),
        limit_ms=given.limit_ms,
        window_s=given.window or (2.0 if quick else 5.0),
        settle_s=1.0 if quick else 2.5,
        budget_s=given.budget or (40.0 if quick else 3600.0),
        seed=given.seed,
        group_per_frame=groups and given.group_per_frame,
        output=given.json,
    )
