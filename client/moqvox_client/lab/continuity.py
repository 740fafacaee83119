"""Everything that `docs/continuity.md` shows, from one command that may be interrupted."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from moqvox_client.lab import batch, plot
from moqvox_client.lab.bounds import counted
from moqvox_client.lab.network import Network
from moqvox_client.lab.plan import (
    expected_s,
    lacking,
    most_seeds,
    scenarios_of,
    soundness,
    substitutes,
)
from moqvox_client.lab.report import Facts, write
from moqvox_client.lab.scenario import Scenario
from moqvox_client.lab.sections import Part, Section
from moqvox_client.lab.systems import SYSTEMS
from moqvox_client.lab.verdict import Run

__all__ = ["Campaign", "Outlook", "Told", "carry_out", "outlook", "publish", "within"]

PREFIX: Final = "continuity-"

SUBSTITUTIONS: Final = 5
"""Rounds of further seeds: for those that stayed void, then for what is void of these, and on."""


class Told(Protocol):
    """Who hears how it goes on."""

    def note(self, line: str, /) -> None:
        """Say something that should be seen."""

    def progress(self, line: str, /) -> None:
        """Say how far it is."""


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """What to run, on what, and where what came of it goes.

    Attributes:
        networks: for a scenario; one may not do for all.
        again: times that a void run is repeated, with half as many at a time, once all others
            are made. What is void even then is made up for by another seed.
        seconds: after which no more is made; None for as long as it takes.
        report, plots: a file and a folder, written anew after each part; None for none.
    """

    sections: tuple[Section, ...]
    network: Callable[[Scenario], Network]
    facts: Facts
    again: int = 2
    seconds: float | None = None
    report: Path | None = None
    plots: Path | None = None


class Outlook(msgspec.Struct, frozen=True):
    """What a section still needs: runs, and about how many seconds on two idle cores."""

    section: str
    runs: int
    seconds: float


def outlook(campaign: Campaign, runs: Sequence[Run]) -> list[Outlook]:
    """Tell what is to be made, section by section; the repetition of void runs comes on top."""
    found = []
    for section in campaign.sections:
        count, seconds = 0, 0.0
        for part in section.parts:
            for _, planned in _by_network(campaign, lacking(part, runs, 1)):
                count += len(planned)
                seconds += expected_s(planned, part)
        found.append(Outlook(section.name, count, seconds))
    return found


async def carry_out(
    campaign: Campaign, runs: list[Run], keep: Callable[[Run], None], told: Told
) -> int:
    """Make what `runs` lacks, and add it there.

    Args:
        campaign: the plan.
        runs: what there is from before; gets each new run.
        keep: takes each new run, for a file.
        told: who is at the screen.

    Returns:
        How many runs could not be made.
    """
    failures: list[str] = []

    def failed(why: str) -> None:
        failures.append(why)
        told.note(why)

    def made(run: Run) -> None:
        runs.append(run)
        keep(run)

    await _prepare(campaign, told)
    try:
        async with asyncio.timeout(campaign.seconds):
            for attempt in range(1 + campaign.again + SUBSTITUTIONS):
                for section, part in _turns(campaign, attempt, runs):
                    await _carry_out(campaign, section, part, attempt, runs, made, failed, told)
                    publish(campaign, runs)
    except TimeoutError:
        parts = [part for section in campaign.sections for part in section.parts]
        left = sum(len(lacking(part, runs, 1)) for part in parts)
        told.note(f"time is up; {left} runs were not made")
    finally:
        publish(campaign, runs)
    return len(failures)


def _turns(campaign: Campaign, attempt: int, runs: Sequence[Run]) -> list[tuple[Section, Part]]:
    """Put parts in order: as the plan has them; once that is done, what has most void runs first.

    So that time that is up leaves no row with a few sound runs while others have theirs again.
    """
    turns = [(section, part) for section in campaign.sections for part in section.parts]
    return sorted(turns, key=lambda turn: soundness(turn[1], runs)) if attempt else turns


async def _carry_out(
    campaign: Campaign,
    section: Section,
    part: Part,
    attempt: int,
    runs: list[Run],
    made: Callable[[Run], None],
    failed: Callable[[str], None],
    told: Told,
) -> None:
    """Make what a part lacks; its void runs again in more peace; at last, with other seeds."""
    if attempt <= campaign.again:
        left, how = lacking(part, runs, attempt + 1), "void runs once more"
    else:
        left, how = substitutes(part, runs), "further seeds for those that stayed void"
    if attempt and left:
        told.note(f"{section.name}: {len(left)} {how}")
    jobs = max(1, part.jobs >> attempt)
    for network, planned in _by_network(campaign, left):
        await _make(section, part, planned, jobs, network, made, failed, told)


async def _make(
    section: Section,
    part: Part,
    planned: Sequence[batch.Planned],
    jobs: int,
    network: Network,
    made: Callable[[Run], None],
    failed: Callable[[str], None],
    told: Told,
) -> None:
    done = 0

    def on_run(run: Run) -> None:
        nonlocal done
        done += 1
        made(run)
        told.progress(f"{section.name}: {done} of {len(planned)}; {run.scenario} {run.system}")

    await batch.make(planned, jobs, network, loading=part.loading, on_run=on_run, on_failure=failed)


def _by_network(
    campaign: Campaign, planned: Sequence[batch.Planned]
) -> list[tuple[Network, list[batch.Planned]]]:
    found: dict[str, tuple[Network, list[batch.Planned]]] = {}
    for one in planned:
        network = campaign.network(one.scenario)
        if network.carries_tcp or not one.system.tcp:
            found.setdefault(network.name, (network, []))[1].append(one)
    return list(found.values())


def publish(campaign: Campaign, runs: Sequence[Run]) -> None:
    """Write the report and draw the pictures."""
    pictures = {}
    if campaign.plots is not None:
        for section in campaign.sections:
            shown = within(section, runs)
            if section.picture and shown:
                file = campaign.plots / f"{PREFIX}{section.picture}.svg"
                file.write_text(plot.draw(shown), encoding="utf-8")
                pictures[section.name] = file.name
    if campaign.report is not None:
        tables = [(section, within(section, runs)) for section in campaign.sections]
        text = write(tables, campaign.facts, pictures)
        campaign.report.write_text(text, encoding="utf-8")


def within(section: Section, runs: Sequence[Run]) -> list[Run]:
    """Pick a section's runs, one of each seed, substitutes too, in the order of its rows."""
    rows = {
        (scenario.name, system): most_seeds(part)
        for part in section.parts
        for scenario in scenarios_of(part)
        for system in part.systems
    }
    order = {name: at for at, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    found = [
        run for run in counted(runs) if 1 <= run.seed <= rows.get((run.scenario, run.system), 0)
    ]
    return sorted(found, key=lambda run: (order[run.scenario], run.system, run.seed))


async def _prepare(campaign: Campaign, told: Told) -> None:
    """Make the environments that are missing, before anything is measured."""
    names = [name for one in campaign.sections for part in one.parts for name in part.systems]
    for system in map(SYSTEMS.__getitem__, dict.fromkeys(names)):
        if system.obstacle:
            told.note(f"left out: {system.obstacle}")
        elif system.needs is not None:
            told.progress(f"looking for {system.name}'s environment")
            await asyncio.to_thread(system.interpreter)
