"""Tables for people, JSON for everyone else."""

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec
from interop.environment import PEERS, ROOT, EnvironmentUnavailable, python_of

from bench.arithmetic import Spread, ratio, spread
from bench.plan import Plan, Sample
from bench.sweep import Measure, Outcome, sweep
from bench.systems import SYSTEMS, Work

__all__ = ["Row", "rows", "run", "show", "write_json"]

US: Final = "moqvox"
UNUSABLE: Final = 2
PACKAGES: Final = ("moqvox", "aioquic", "cryptography", "msgspec")


def run(
    bench: str,
    plan: Plan,
    work: Work,
    measure: Measure,
    words: Callable[[Outcome], Sequence[str]],
) -> int:
    """Carry out a plan, print the tables, write the JSON; returns the exit code.

    Args:
        words: what is to be said below the tables.
    """
    load_before = os.getloadavg()
    try:
        python_of("moq-rs")
    except EnvironmentUnavailable as exc:
        print(f"the load generator is moq-rs: {exc}", file=sys.stderr)
        return UNUSABLE
    outcome = asyncio.run(sweep(plan, work, measure))
    print(show(outcome, plan, words(outcome)))
    if plan.output is not None:
        write_json(plan.output, bench, plan, outcome, load_before)
    return 0 if any(not sample.failed for sample in outcome.samples) else 1


class Row(msgspec.Struct, frozen=True):
    """All repeats of one setting.

    Attributes:
        ours_to_it: deliveries per CPU second of moqvox, divided by this system's.
    """

    system: str
    frame_ms: int
    count: int
    repeats: int
    failed: int
    lost: int
    deliveries_per_s: Spread | None
    deliveries_per_cpu_s: Spread | None
    ours_to_it: Spread | None
    p50_ms: Spread | None
    p99_ms: Spread | None
    rss_per_session_kib: Spread | None
    server_share: Spread | None
    load_share: Spread | None

    def is_good(self, limit_ms: float) -> bool:
        """Whether every repeat delivered everything, and the median one in time."""
        in_time = self.p99_ms is not None and self.p99_ms.median <= limit_ms
        return in_time and not (self.failed or self.lost)


def rows(samples: Sequence[Sample]) -> list[Row]:
    """Summarise the repeats."""
    settings = [(s.setting.frame_ms, s.setting.count, s.setting.system) for s in samples]
    return [_row(samples, *setting) for setting in dict.fromkeys(sorted(settings))]


def _row(samples: Sequence[Sample], frame_ms: int, count: int, system: str) -> Row:
    same = [s for s in samples if (s.setting.frame_ms, s.setting.count) == (frame_ms, count)]
    all_of_it = [sample for sample in same if sample.setting.system == system]
    good = {s.setting.repeat: s for s in all_of_it if not s.failed}
    ours = {s.setting.repeat: s for s in same if s.setting.system == US and not s.failed}
    both = sorted(good.keys() & ours.keys())
    of = list(good.values())
    return Row(
        system=system,
        frame_ms=frame_ms,
        count=count,
        repeats=len(all_of_it),
        failed=len(all_of_it) - len(of),
        lost=sum(sample.lost for sample in of),
        deliveries_per_s=spread([s.deliveries_per_s for s in of]),
        deliveries_per_cpu_s=spread([s.deliveries_per_cpu_s for s in of]),
        ours_to_it=ratio(
            [ours[repeat].deliveries_per_cpu_s for repeat in both],
            [good[repeat].deliveries_per_cpu_s for repeat in both],
        ),
        p50_ms=spread([s.p50_ms for s in of]),
        p99_ms=spread([s.p99_ms for s in of]),
        rss_per_session_kib=spread([s.rss_per_session_bytes / 1024 for s in of]),
        server_share=spread([100 * s.server_share for s in of]),
        load_share=spread([100 * s.load_share for s in of]),
    )


COLUMNS: Final = (
    ("system", 9),
    ("N", 5),
    ("deliv/s", 8),
    ("deliv/CPU s", 22),
    ("us : it", 17),
    ("p50 ms", 7),
    ("p99 ms", 18),
    ("KiB/session", 12),
    ("server %", 9),
    ("load %", 7),
    ("lost", 5),
)


def show(outcome: Outcome, plan: Plan, words: Iterable[str] = ()) -> str:
    """Write the tables, one for each frame length, and then what else there is to say."""
    lines: list[str] = []
    table = rows(outcome.samples)
    for frame_ms in plan.frames_ms:
        lines += ["", f"{frame_ms} ms frames"]
        lines.append(" ".join(f"{name:>{width}}" for name, width in COLUMNS))
        lines += [_line(row) for row in table if row.frame_ms == frame_ms]
    lines += ["", *words]
    lines += [f"not measured: {reason}" for reason in outcome.unavailable.values()]
    if outcome.skipped:
        lines.append(f"{outcome.skipped} runs left out: the time was over")
    return "\n".join(lines).strip("\n")


def _line(row: Row) -> str:
    cells = (
        row.system,
        str(row.count),
        _cell(row.deliveries_per_s, median=True),
        _cell(row.deliveries_per_cpu_s),
        _cell(row.ours_to_it, 2),
        _cell(row.p50_ms, 1, median=True),
        _cell(row.p99_ms, 1),
        _cell(row.rss_per_session_kib, median=True),
        _cell(row.server_share, median=True),
        _cell(row.load_share, median=True),
        f"{row.failed} failed" if row.failed else str(row.lost),
    )
    return " ".join(f"{cell:>{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True))


def _cell(value: Spread | None, digits: int = 0, *, median: bool = False) -> str:
    if value is None:
        return "-"
    return f"{value.median:.{digits}f}" if median else value.show(digits)


def write_json(
    file: Path, bench: str, plan: Plan, outcome: Outcome, load_before: tuple[float, ...]
) -> None:
    """Write everything: where, with what, every sample, and the summary."""
    samples = [
        msgspec.to_builtins(sample)
        | {
            "deliveries_per_s": round(sample.deliveries_per_s, 1),
            "deliveries_per_cpu_s": round(sample.deliveries_per_cpu_s, 1),
        }
        for sample in outcome.samples
    ]
    document = {
        "bench": bench,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "commit": _commit(),
        "machine": _machine(load_before),
        "versions": _versions(),
        "systems": {name: SYSTEMS[name].note for name in plan.systems},
        "plan": {
            name: value for name, value in msgspec.structs.asdict(plan).items() if name != "output"
        },
        "cores": msgspec.to_builtins(outcome.cores),
        "unavailable": outcome.unavailable,
        "skipped": outcome.skipped,
        "samples": samples,
        "summary": msgspec.to_builtins(rows(outcome.samples)),
    }
    file.write_text(json.dumps(document, indent=1) + "\n")


def _commit() -> str:
    git = ["git", "-C", str(ROOT)]
    try:
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.stdout.decode().strip() + ("+changes" if dirty.stdout.strip() else "")


def _machine(load_before: tuple[float, ...]) -> dict[str, object]:
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    for peer in PEERS.values():
        for requirement in peer.requirements:  # name==version from PyPI, name@version from npm
            name, _, version = requirement.replace("==", "@").rpartition("@")
            found[name] = version
    return found
