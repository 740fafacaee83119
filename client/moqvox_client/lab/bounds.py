"""What is promised of a figure, and whether it holds: computed from the runs."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from moqvox_client.lab.metrics import percentile
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.systems import OURS
from moqvox_client.lab.table import COLUMNS
from moqvox_client.lab.verdict import Run

__all__ = ["Bound", "Check", "Limit", "check", "counted", "faultless"]

TWENTY: Final = 20
FIGURES: Final = {column.name: column for column in COLUMNS}

Medians = Mapping[str, float]
Limit = Callable[[Scenario, Medians], float | None]
"""From a scenario and the median of each system in it to what is allowed; None for no limit."""


class Bound(msgspec.Struct, frozen=True):
    """At most so much of a figure.

    Attributes:
        what: the rule in words.
        figure: the name of a column.
        limit: the rule.
        systems: whom it binds.
        of_twenty: it binds the 19th of 20 runs, not the median.
        beside: a scenario whose figure with the same seed is taken off each run's: what is left
            is bound. Seeds that one of the two lacks have no say.
        each: it binds every run, void ones too: what a busy machine is no excuse for.
    """

    what: str
    figure: str
    limit: Limit
    systems: tuple[str, ...] = (OURS,)
    of_twenty: bool = False
    each: bool = False
    beside: str = ""


class Check(msgspec.Struct, frozen=True):
    """A bound, applied to a system in a scenario.

    Attributes:
        within: of `runs`, how many kept it, each by itself.
        holds: the median (or the 19th of 20, or every run) keeps it; None when too few runs
            can tell.
    """

    what: str
    scenario: str
    system: str
    allowed: float
    measured: float
    within: int
    runs: int
    holds: bool | None
    digits: int = 0


def counted(runs: Sequence[Run]) -> list[Run]:
    """Leave one run of each seed: one that is not void if there is any, else the last."""
    best: dict[tuple[str, str, int], Run] = {}
    for run in runs:
        key = (run.scenario, run.system, run.seed)
        if key not in best or best[key].doubts:
            best[key] = run
    return list(best.values())


def check(bound: Bound, scenario: Scenario, runs: Sequence[Run]) -> list[Check]:
    """Apply a bound in one scenario; void runs have a say where it binds each, or all are."""
    by_seed = _values(bound, scenario.name, runs)
    if bound.beside:
        by_seed = _beyond(by_seed, _values(bound, bound.beside, runs))
    values = {system: list(taken.values()) for system, taken in by_seed.items()}
    medians = {system: statistics.median(taken) for system, taken in values.items()}
    allowed = bound.limit(scenario, medians)
    if allowed is None:
        return []
    return [
        _check(bound, scenario.name, system, allowed, values[system])
        for system in bound.systems
        if system in values
    ]


def _values(bound: Bound, scenario: str, runs: Sequence[Run]) -> dict[str, dict[int, float]]:
    """Take the figure from the runs that have a say in a scenario, by system and seed."""
    take = FIGURES[bound.figure].take
    values: dict[str, dict[int, float]] = {}
    for system in dict.fromkeys(run.system for run in runs):
        group = [run for run in runs if run.system == system and run.scenario == scenario]
        sound = [run for run in group if bound.each or not run.doubts] or group
        taken = {run.seed: value for run in sound if (value := take(run)) is not None}
        if taken:
            values[system] = taken
    return values


def _beyond(
    values: Mapping[str, Mapping[int, float]], usual: Mapping[str, Mapping[int, float]]
) -> dict[str, dict[int, float]]:
    """Take off each value what the same system had with the same seed."""
    found = {}
    for system, taken in values.items():
        others = usual.get(system, {})
        beyond = {seed: value - others[seed] for seed, value in taken.items() if seed in others}
        if beyond:
            found[system] = beyond
    return found


def _check(bound: Bound, scenario: str, system: str, allowed: float, taken: list[float]) -> Check:
    measured = max(taken) if bound.each else statistics.median(taken)
    if bound.of_twenty:
        measured = percentile(taken, 95)
    holds = measured <= allowed if not bound.of_twenty or len(taken) >= TWENTY else None
    within = sum(value <= allowed for value in taken)
    digits = FIGURES[bound.figure].digits
    return Check(bound.what, scenario, system, allowed, measured, within, len(taken), holds, digits)


def faultless(runs: Sequence[Run]) -> tuple[int, int]:
    """Count our runs that lost, repeated and changed no frame, and all of ours.

    Void runs count as well: a busy machine excuses lateness, not loss.
    """
    ours = [run for run in runs if run.system.startswith(OURS)]
    return sum(_is_faultless(run) for run in ours), len(ours)


def _is_faultless(run: Run) -> bool:
    return (
        run.up.arrived == run.up.frames
        and not run.wrong
        and not run.twice
        and not run.error
        and (run.back is None or not run.back.lost)
        and (run.down is None or run.down.arrived == run.down.frames)
        and (run.heard is None or not (run.heard.missing_ms or run.heard.strange_ms))
    )
