"""Many runs in few lines: medians and spreads over the seeds, as text and as Markdown."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from moqvox_client.lab.metrics import percentile
from moqvox_client.lab.systems import SYSTEMS
from moqvox_client.lab.verdict import Run

__all__ = ["COLUMNS", "NAMES", "Cell", "Column", "cells", "markdown", "order", "rows"]

TWENTY: Final = 20
FRAME_S: Final = 0.02


class Column(msgspec.Struct, frozen=True):
    """One figure: its name in JSON, its heading, how it is taken from a run, its digits.

    A rung of the set-up is shown where nothing was answered, the 19th best of 20 where there
    are as many runs, and some only when asked for.
    """

    name: str
    heading: str
    take: Callable[[Run], float | None]
    digits: int = 0
    rung: bool = False
    asked: bool = False
    of_twenty: bool = False


class Cell(msgspec.Struct, frozen=True):
    """One system in one scenario: each figure as (median, least, most), over `runs` runs."""

    system: str
    scenario: str
    runs: int
    doubtful: int
    figures: dict[str, tuple[float, float, float]]
    errors: list[str]


def _ear_error(run: Run) -> float | None:
    """Tell how far the longest silence is from what was due."""
    if run.heard is None or run.heard.expected_ms is None:
        return None
    return abs(run.heard.longest_ms - run.heard.expected_ms)


def _returned(run: Run) -> float | None:
    if run.back is None or run.back.detected_ms is None or run.back.resumed_ms is None:
        return None
    return run.back.detected_ms + run.back.resumed_ms


def _undelivered(run: Run) -> float:
    return (run.up.frames - run.up.arrived) * FRAME_S


COLUMNS: Final = (
    Column("complete_pct", "prompt %", lambda run: run.up.complete_pct, 1),
    *(
        Column(f"{name}_ms", name, lambda run, name=name: run.marks_ms.get(name), rung=True)  # type: ignore[misc]
        for name in ("connected", "session", "subscribed")
    ),
    Column("ttfa_ms", "first audio", lambda run: run.up.ttfa_ms),
    Column("ttfa_p95_ms", "19 of 20", lambda run: run.up.ttfa_ms, of_twenty=True),
    Column("late_p50_ms", "late p50", lambda run: run.up.late_p50_ms),
    Column("late_p99_ms", "late p99", lambda run: run.up.late_p99_ms),
    Column("stall_ms", "stalls", lambda run: run.up.stall_ms),
    Column("gap_ms", "gap up", lambda run: run.up.gap_ms),
    Column("change_ms", "at the change", lambda run: run.up.change_ms, asked=True),
    Column("away_ms", "away", lambda run: run.back.away_ms if run.back else None),
    Column("detected_ms", "noticed", lambda run: run.back.detected_ms if run.back else None),
    Column("resumed_ms", "back", lambda run: run.back.resumed_ms if run.back else None),
    Column("returned_ms", "noticed and back", _returned, asked=True),
    Column("lost", "lost", lambda run: run.back.lost if run.back else None),
    Column("twice", "twice", lambda run: run.back.twice if run.back else None),
    Column("delivered_s", "delivered, s", lambda run: run.up.arrived * FRAME_S, 2, asked=True),
    Column(
        "undelivered_s",
        "undelivered",
        lambda run: FRAME_S * (run.up.frames - run.up.arrived),
        2,
        asked=True,
    ),
    Column("answer_pct", "answer %", lambda run: run.down.complete_pct if run.down else None, 1),
    Column("answer_gap_ms", "gap down", lambda run: run.down.gap_ms if run.down else None),
    Column("silence_ms", "silence", lambda run: run.down.silence_ms if run.down else None),
    Column("ear_silence_ms", "at the ear", lambda run: run.heard.silence_ms if run.heard else None),
    Column("ear_longest_ms", "longest", lambda run: run.heard.longest_ms if run.heard else None),
    Column("ear_expected_ms", "due", lambda run: run.heard.expected_ms if run.heard else None),
    Column("ear_error_ms", "off by", _ear_error, asked=True),
    Column("ear_missing_ms", "not heard", lambda run: run.heard.missing_ms if run.heard else None),
    Column("ear_strange_ms", "not said", lambda run: run.heard.strange_ms if run.heard else None),
)
"""Times in ms. `docs/continuity.md` explains each figure."""

NAMES: Final = tuple(column.name for column in COLUMNS)


def cells(runs: Sequence[Run]) -> list[Cell]:
    """Sum runs up, one cell for each system in each scenario, ours first."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        grouped.setdefault((run.scenario, run.system), []).append(run)
    scenarios, systems = list(dict.fromkeys(run.scenario for run in runs)), order(runs)
    grouped = {
        (scenario, system): grouped[scenario, system]
        for scenario in scenarios
        for system in systems
        if (scenario, system) in grouped
    }
    return [_cell(scenario, system, group) for (scenario, system), group in grouped.items()]


def order(runs: Sequence[Run]) -> list[str]:
    """List the systems of some runs, ours first, then as `systems` has them."""
    known = list(SYSTEMS)
    found = dict.fromkeys(run.system for run in runs)
    return sorted(found, key=lambda name: known.index(name) if name in known else len(known))


def _cell(scenario: str, system: str, group: list[Run]) -> Cell:
    sound = [run for run in group if not run.doubts] or group
    figures = {}
    for column in COLUMNS:
        values = [value for run in sound if (value := column.take(run)) is not None]
        if column.of_twenty:
            if len(values) >= TWENTY:
                figures[column.name] = (percentile(values, 95),) * 3
        elif values:
            figures[column.name] = (statistics.median(values), min(values), max(values))
    return Cell(
        system=system,
        scenario=scenario,
        runs=len(sound),
        doubtful=sum(bool(run.doubts) for run in group),
        figures=figures,
        errors=sorted({run.error for run in group if run.error}),
    )


def rows(summed: Sequence[Cell], names: Sequence[str] = ()) -> tuple[list[str], list[list[str]]]:
    """Lay cells out as a heading and lines: what was asked for, or else what any cell has."""
    answered = any("answer_pct" in cell.figures for cell in summed)
    used = [
        column
        for column in COLUMNS
        if any(column.name in cell.figures for cell in summed)
        and (column.name in names if names else not column.asked)
        and (bool(names) or not (column.rung and answered))
    ]
    header = ["scenario", "system", *(column.heading for column in used), "runs"]
    lines = []
    for cell in summed:
        line = [cell.scenario, cell.system]
        line += [show(cell.figures.get(column.name), column.digits) for column in used]
        line.append(str(cell.runs) + (f" (+{cell.doubtful} void)" if cell.doubtful else ""))
        lines.append(line)
    return header, lines


def show(figure: tuple[float, float, float] | None, digits: int) -> str:
    """Write `median [least-most]`, or the one number when all are the same."""
    if figure is None:
        return "-"
    middle, least, most = (f"{value:.{digits}f}" for value in figure)
    return middle if least == most else f"{middle} [{least}-{most}]"


def markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write the same table as Markdown."""
    rule = ["---"] * len(header)
    return "".join(f"| {' | '.join(line)} |\n" for line in (header, rule, *lines))
