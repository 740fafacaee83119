"""The tables of `docs/continuity-figures.md`, as Markdown: the same runs make the same text."""

import datetime
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from moqvox_client.lab.bounds import Check, check, faultless
from moqvox_client.lab.scenario import named
from moqvox_client.lab.sections import Section
from moqvox_client.lab.table import cells, markdown, rows
from moqvox_client.lab.verdict import Run

__all__ = ["Facts", "write"]

WORDS: Final = {True: "yes", False: "**no**", None: "too few runs"}


class Facts(msgspec.Struct, frozen=True):
    """What a reader must know to believe the figures.

    Attributes:
        command: what made them.
        made: the day, and the machine.
    """

    command: str
    made: str

    @staticmethod
    def here(command: str) -> "Facts":
        """Describe what a command makes on this machine today."""
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        python = f"{platform.python_implementation()} {platform.python_version()}"
        return Facts(command, f"{day}, {os.cpu_count()} cores, {python}")


def write(
    sections: Sequence[tuple[Section, Sequence[Run]]], facts: Facts, pictures: Mapping[str, str]
) -> str:
    """Write all tables, each followed by what is promised of it."""
    runs = [run for _, shown in sections for run in shown]
    parts = [
        "# Continuity, in figures\n\n"
        "Written by the command below; [continuity.md](continuity.md) explains each figure.\n\n"
        f"    {facts.command}\n\n"
        f"{facts.made}. Times in ms, medians [least-most] over the seeds. Void runs (the machine "
        "was busy) were repeated, and a seed that stayed void made up for by another; what is void "
        "is left out, unless a cell has no others.\n\n"
        f"{_whole(runs)}\n"
    ]
    parts += [_section(section, shown, pictures) for section, shown in sections if shown]
    return "\n".join(parts)


def _whole(runs: Sequence[Run]) -> str:
    good, all_of_ours = faultless(runs)
    void = sum(bool(run.doubts) for run in runs)
    return (
        f"**Of ours, {good} of {all_of_ours} runs lost no frame, repeated none and changed none,** "
        f"up or down, void ones included. Of all {len(runs)} runs {void} stayed void.{_calm(runs)}"
    )


def _calm(runs: Sequence[Run]) -> str:
    """Say how punctual the machine was in the runs that count."""
    late = [run.machine_late_ms for run in runs if not run.doubts]
    if not late:
        return ""
    usual = statistics.median(p99 for p99, _ in late)
    worst = max(most for _, most in late)
    return (
        f" In the others a process that only sleeps woke {usual:.1f} ms late "
        f"(99th percentile, median over the runs), {worst:.0f} at worst."
    )


def _section(section: Section, runs: Sequence[Run], pictures: Mapping[str, str]) -> str:
    header, lines = rows(cells(runs), section.columns)
    parts = [f"## {section.title}\n"]
    if section.name in pictures:
        parts.append(f"![]({pictures[section.name]})\n")
    parts.append(markdown(header, lines))
    checks = _checks(section, runs)
    if checks:
        header = ["promised", "scenario", "system", "allowed", "measured", "runs within", "holds"]
        parts.append(markdown(header, [_line(one) for one in checks]))
    good, all_of_ours = faultless(runs)
    parts.append(f"0 frames lost, twice or wrong: {good} of {all_of_ours} runs of ours.\n")
    return "\n".join(parts)


def _checks(section: Section, runs: Sequence[Run]) -> list[Check]:
    scenarios = {one.name: one for part in section.parts for one in named(part.scenarios)}
    return [
        one
        for bound in section.bounds
        for scenario in scenarios.values()
        for one in check(bound, scenario, runs)
    ]


def _line(one: Check) -> list[str]:
    return [
        one.what,
        one.scenario,
        one.system,
        f"{one.allowed:.{one.digits}f}",
        f"{one.measured:.{one.digits}f}",
        f"{one.within} of {one.runs}",
        WORDS[one.holds],
    ]
