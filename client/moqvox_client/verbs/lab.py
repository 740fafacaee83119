"""`moqvox lab`: a caller and a server on a bad network, ours and others', side by side."""

import asyncio
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from moqvox_client.errors import Failed, UsageError, did_you_mean
from moqvox_client.lab import batch, continuity, plot, table
from moqvox_client.lab.bounds import faultless
from moqvox_client.lab.netlab import Netlab, load_netlab
from moqvox_client.lab.network import Namespaces, Network, Userspace
from moqvox_client.lab.options import Link, Options
from moqvox_client.lab.records import append, read
from moqvox_client.lab.report import Facts
from moqvox_client.lab.scenario import Path as NetworkPath
from moqvox_client.lab.scenario import (
    Scenario,
    named,
    parse_burst,
    parse_event,
    parse_path,
)
from moqvox_client.lab.sections import SECTIONS
from moqvox_client.lab.systems import OURS, SYSTEMS, System
from moqvox_client.lab.verdict import Run
from moqvox_client.output import Color, Output

__all__ = ["EXAMPLES", "Options", "run"]

EXAMPLES: Final = """
moqvox lab --rtt 100 --loss 5                              # ours alone
moqvox lab --rtt 30 --event 3:outage=1500                  # 1.5 s of nothing in mid-prompt
moqvox lab matrix --seeds 5 --against websocket,grpc --plot matrix.svg   # TCP needs root
moqvox lab continuity --out runs.jsonl --report figures.md   # everything; goes on where it was
"""

CONTINUITY: Final = "continuity"


async def run(options: Options, output: Output) -> int:
    """Run everything and print the table."""
    unknown = [name for name in options.columns if name not in table.NAMES]
    if unknown:
        raise UsageError(f"no figure {unknown[0]!r}{did_you_mean(unknown[0], table.NAMES)}")
    failures = 0
    if options.scenario == (CONTINUITY,):
        return await _continuity(options, output)
    if options.section or options.report or options.plots:
        raise UsageError("--section, --report and --plots go with: moqvox lab continuity")
    if options.runs:
        found = _kept(options)
    else:
        found, failures = await _measure(options, output)
    if options.doubtful:
        found = [msgspec.structs.replace(one, doubts=[]) for one in found]
    _show(options, output, found)
    if options.plot is not None:
        _write(options.plot, plot.draw(found))
        output.note(f"drawn into {options.plot}")
    return (
        0
        if not failures and all(_is_whole(one) for one in found if one.system.startswith(OURS))
        else 1
    )


async def _continuity(options: Options, output: Output) -> int:
    """Run what the documentation shows, or what is left of it, and write it down."""
    unknown = [name for name in options.section if name not in SECTIONS]
    if unknown:
        known = ", ".join(SECTIONS)
        raise UsageError(f"no section {unknown[0]!r}, of {known}")
    sections = tuple(SECTIONS[name] for name in options.section or SECTIONS)
    files = [*options.runs]
    if options.out is not None and options.out.exists():
        files.append(options.out)
    runs = [one for file in files for one in read(file)]
    campaign = continuity.Campaign(
        sections=sections,
        network=_networks(options, output),
        facts=Facts.here(_command(options)),
        again=options.again,
        seconds=None if options.minutes is None else 60 * options.minutes,
        report=options.report,
        plots=options.plots,
    )
    failures = 0
    if options.runs:
        continuity.publish(campaign, runs)
    elif _foretell(campaign, runs, output) and options.plan:
        return 0
    else:
        failures = await continuity.carry_out(
            campaign, runs, functools.partial(_keep, options), output
        )
    shown = [one for section in sections for one in continuity.within(section, runs)]
    _show(options, output, shown)
    good, ours = faultless(shown)
    return 0 if good == ours and not failures else 1


def _foretell(campaign: continuity.Campaign, runs: Sequence[Run], output: Output) -> bool:
    """Say how much is to be made, and how long that takes where nothing else runs."""
    sections = continuity.outlook(campaign, runs)
    count, minutes = sum(one.runs for one in sections), sum(one.seconds for one in sections) / 60
    for one in sections:
        output.event("outlook", **msgspec.to_builtins(one))
    lines = [[one.section, str(one.runs), f"{one.seconds / 60:.1f}"] for one in sections]
    output.table([*lines, ["all", str(count), f"{minutes:.1f}"]], header=["section", "runs", "min"])
    output.note("minutes on two idle cores; void runs, which are repeated, come on top")
    return True


def _keep(options: Options, one: Run) -> None:
    if options.out is not None:
        append(options.out, one)


def _networks(options: Options, output: Output) -> Callable[[Scenario], Network]:
    """Choose a network for each scenario: a netlab has one switch in it, our own has many."""
    usual = _network(options, output)
    own = Namespaces() if isinstance(usual, Netlab) else usual
    return lambda scenario: own if scenario.changes_often else usual


def _command(options: Options) -> str:
    words = ["moqvox lab continuity"]
    words += [f"--section {','.join(options.section)}"] if options.section else []
    words += [f"--netlab {options.netlab.name}"] if options.netlab is not None else []
    for flag, path in (("plots", options.plots), ("report", options.report)):
        if path is not None:
            words.append(f"--{flag} {path.name if path.is_absolute() else path.as_posix()}")
    return " ".join(words)


def _kept(options: Options) -> list[Run]:
    """Read runs from files: all, or those of the scenarios that were named."""
    found = [one for file in options.runs for one in read(file)]
    if options.scenario:
        wanted = {scenario.name for scenario in _scenarios(options)}
        found = [one for one in found if one.scenario in wanted]
    if not found:
        raise Failed("these files hold no such run")
    return found


def _is_whole(one: Run) -> bool:
    return one.up.arrived == one.up.frames and not one.error


async def _measure(options: Options, output: Output) -> tuple[list[Run], int]:
    scenarios = _scenarios(options)
    systems = _systems(options)
    network = _network(options, output)
    systems = _carried(systems, network, output)
    for system in systems:
        if system.needs is not None:
            output.note(f"looking for {system.name}'s environment")
            await asyncio.to_thread(system.interpreter)
    plan = [
        batch.Planned(system, scenario, options.seed + n)
        for scenario in scenarios
        for n in range(options.seeds)
        for system in systems
    ]
    seconds = sum(one.scenario.seconds for one in plan) / options.jobs
    output.note(
        f"runs on {network.name}: {len(plan)}, {options.jobs} at a time, "
        f"at most {math.ceil(seconds / 60)} min"
    )
    return await _run_all(options, output, plan, network)


async def _run_all(
    options: Options,
    output: Output,
    plan: list[batch.Planned],
    network: Network,
) -> tuple[list[Run], int]:
    """Make the planned runs; those that could not be made are named and counted."""
    failures: list[str] = []

    def failed(why: str) -> None:
        failures.append(why)
        output.note(why, Color.BAD)

    def made(one: Run) -> None:
        if options.out is not None:
            append(options.out, one)
        output.event("run", **_flat(one))
        output.progress(_line(one))

    found = await batch.make(plan, options.jobs, network, on_run=made, on_failure=failed)
    if not found:
        raise Failed(failures[0])
    return found, len(failures)


def _network(options: Options, output: Output) -> Network:
    obstacle = Namespaces.obstacle()
    if options.link is Link.NETLAB or (options.link is Link.AUTO and options.netlab is not None):
        if options.netlab is None:
            raise UsageError("--link netlab needs --netlab FILE")
        return Netlab(load_netlab(options.netlab))
    if options.link is Link.NAMESPACES and obstacle:
        raise Failed(obstacle)
    if options.link is Link.LOOPBACK or obstacle:
        if obstacle and options.link is Link.AUTO:
            output.note(f"on loopback, UDP only: {obstacle}", Color.WARNING)
        return Userspace()
    return Namespaces()


def _scenarios(options: Options) -> list[Scenario]:
    try:
        if options.scenario:
            return [_adapted(one, options) for one in named(options.scenario)]
        path = NetworkPath(
            rtt_ms=options.rtt,
            loss=options.loss,
            burst=None if options.burst is None else parse_burst(options.burst),
        )
        events = tuple(parse_event(text) for text in options.event)
        cell = parse_path(options.cell)
    except ValueError as exc:
        raise UsageError(str(exc)) from None
    words = [f"rtt{options.rtt:g}", f"loss{options.loss:g}" if options.loss else ""]
    words += ["bursts" if options.burst else "", *map(str, events)]
    name = "-".join(filter(None, words))
    return [_adapted(Scenario(name=name, path=path, cell=cell, events=events), options)]


def _adapted(scenario: Scenario, options: Options) -> Scenario:
    """Speak and answer for as long as was asked."""
    asked = {
        "frames": options.frames,
        "answer_frames": options.answer_frames,
        "pace": options.pace,
    }
    return msgspec.structs.replace(
        scenario, **{name: value for name, value in asked.items() if value is not None}
    )


def _systems(options: Options) -> list[System]:
    names = dict.fromkeys((*options.system, *options.against))
    for name in names:
        if name not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise UsageError(f"no system {name!r}, of {known}{did_you_mean(name, SYSTEMS)}")
    return [SYSTEMS[name] for name in names]


def _carried(systems: list[System], network: Network, output: Output) -> list[System]:
    """Leave out, and say so, what the network can't carry."""
    if network.carries_tcp:
        return systems
    for system in systems:
        if system.tcp:
            output.note(
                f"left out: {system.name} goes over TCP, which the built-in link can't impair; "
                "it needs root on Linux",
                Color.WARNING,
            )
    carried = [system for system in systems if not system.tcp]
    if not carried:
        raise UsageError("nothing is left to run; as root on Linux, TCP too")
    return carried


def _show(options: Options, output: Output, found: Sequence[Run]) -> None:
    summed = table.cells(found)
    header, lines = table.rows(summed, options.columns)
    if options.markdown:
        for line in table.markdown(header, lines).splitlines():
            output.text(line)
    else:
        output.table(lines, header=header)
        output.text("times in ms, median [least-most] over the runs; docs/continuity.md explains")
    for cell in summed:
        output.event("cell", **msgspec.to_builtins(cell))
        for error in cell.errors:
            output.note(f"{cell.scenario}, {cell.system}: {error}", Color.WARNING)
    ours = [one for one in found if one.system.startswith(OURS)]
    output.done(
        ok=all(map(_is_whole, ours)),
        runs=len(found),
        whole=sum(map(_is_whole, ours)),
        ours=len(ours),
        void=sum(bool(one.doubts) for one in found),
    )


def _line(one: Run) -> str:
    return f"{one.scenario} {one.system} seed {one.seed}: {one.up.complete_pct:.1f} %"


def _flat(one: Run) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(one)
    return fields


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise Failed(f"{file}: {(exc.strerror or str(exc)).lower()}") from exc
