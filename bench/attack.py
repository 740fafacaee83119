"""Attacks on our server and on a naive aioquic server, side by side; loopback only.

`python -m bench.attack [--json FILE] [--quick] [--row T8] [--repeat 5]`. Each row starts a fresh
server on one core, and on another an honest caller (100 bytes there and back each 5 ms) and the
attacker, whom the caller precedes. Where the system permits it (root), server and caller are
real-time processes and the attacker runs when the core is idle, so that nothing else of the
machine's delays the two; `kB/s` is what the server was really sent in the time of the attack. The
memory is the peak of the server's resident bytes over what it had before, the CPU is without what
the caller's echoes cost in calm; the turn is the longest that the server's loop took between two
looks at its sockets, in CPU time.

`--row T16 --count 1000000`: so many mutated datagrams through a listener of ours, without the
network between. `--row T20 --count 1500`: so many connections, closed in one go. The whole table,
and `--row T20` without a count, has T20 with the gate's 300 and with 5,000, whose handshakes take
some minutes; the latter for ours alone, as the naive server did not get through so many handshakes.

`--repeat 5`: each attack so often, a fresh server each time. A line's figures are medians then,
and behind it stand median, least and greatest of the calm p99, of the p99 under attack, and of how
many times the one is in the other. An attack of a quarter of a second sees fifty echoes, of
which the second worst is the p99: one hiccup of the machine is enough to make it anything.
"""

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.attack.measure import MIB, Outcome, measure
from tests.attack.processes import Victim
from tests.attack.rows import ATTACKS, CROWD
from tests.attack.storm import Storm, storm

from bench.arithmetic import ratio, spread

QUICK = 0.25
CALM_S = 2.0
SEED = 16
MASS_CLOSE = "T20 mass close"
MANY = 5000
"""Connections that close at once in the table's last row."""
VICTIMS = ("ours", "naive")
HEADER = (
    f"{'attack':24}{'server':8}{'sent kB':>9}{'kB/s':>8}{'back/B':>8}"
    f"{'grown MiB':>11}{'mem B/B':>9}{'CPU ms':>8}{'CPU ns/B':>10}"
    f"{'calm p99':>10}{'p99 ms':>9}{'turn ms':>9}{'joins ms':>10}  closed"
)


class Case(NamedTuple):
    """An attack under the name that it has in the table."""

    name: str
    row: str
    scale: float
    victims: Sequence[str] = VICTIMS


def cases(row: str | None, count: int | None, *, is_quick: bool) -> list[Case]:
    """Choose what is run; `count` is of connections that close at once."""
    if count:
        return [Case(MASS_CLOSE, MASS_CLOSE, count / CROWD)]
    chosen = [one for one in ATTACKS if row in (None, one.split()[0])]
    found = [Case(one, one, QUICK if is_quick else 1.0) for one in chosen]
    if MASS_CLOSE in chosen and not is_quick:
        found.append(Case(f"T20 close of {MANY}", MASS_CLOSE, MANY / CROWD, VICTIMS[:1]))
    return found


def line(outcome: Outcome) -> str:
    shot = outcome.shot
    closed = "-" if shot.closed_with is None else f"{shot.closed_with:#x}"
    if not outcome.survives:
        closed += " CALLER LOST"
    if outcome.complaints:
        closed += f" {len(outcome.complaints)} errors uncaught"
    return (
        f"{outcome.row:24}{outcome.victim:8}{shot.sent_bytes / 1e3:9.1f}"
        f"{outcome.sent_per_second / 1e3:8.0f}{outcome.answered_per_byte:8.2f}"
        f"{outcome.grown_bytes / MIB:11.1f}{outcome.bytes_per_byte:9.1f}"
        f"{outcome.cpu_s * 1e3:8.0f}{outcome.cpu_ns_per_byte:10.0f}"
        f"{outcome.calm_p99_s * 1e3:10.1f}{outcome.attack_p99_s * 1e3:9.1f}"
        f"{outcome.turn_s * 1e3:9.1f}{outcome.newcomer_s * 1e3:10.1f}  {closed}"
    )


def as_json(outcome: Outcome) -> dict[str, object]:
    """Give all figures by name, the ratios as well."""
    figures = dataclasses.asdict(outcome)
    for name in ("bytes_per_byte", "cpu_ns_per_byte", "answered_per_byte", "sent_per_second"):
        figures[name] = getattr(outcome, name)
    return {name: None if value == float("inf") else value for name, value in figures.items()}


def middle(runs: Sequence[Outcome]) -> Outcome:
    """Take the median of each figure; of what is not one, the worst that was seen."""
    survives = all(run.survives for run in runs)
    complaints = tuple(complaint for run in runs for complaint in run.complaints)
    figures: dict[str, float] = {}
    for field in dataclasses.fields(Outcome):
        values = [getattr(run, field.name) for run in runs]
        if field.type in (int, float):
            figures[field.name] = statistics.median_low(values)
    shots = [run.shot for run in runs]
    shot = dataclasses.replace(
        min(shots, key=lambda shot: shot.closed_with is not None),
        sent_bytes=statistics.median_low([shot.sent_bytes for shot in shots]),
        received_bytes=statistics.median_low([shot.received_bytes for shot in shots]),
    )
    return dataclasses.replace(
        runs[0], **figures, shot=shot, survives=survives, complaints=complaints
    )


def apart(runs: Sequence[Outcome]) -> str:
    """Tell how far the runs were apart in what the honest caller notices."""
    calm = [run.calm_p99_s * 1e3 for run in runs]
    attacked = [run.attack_p99_s * 1e3 for run in runs]
    found = {"calm p99": spread(calm), "p99": spread(attacked), "times": ratio(attacked, calm)}
    told = [f"{name} {one.show(2)}" for name, one in found.items() if one is not None]
    return f"{'':24}{len(runs)} runs: {', '.join(told)}"


def attack(case: Case, what: str, repeat: int) -> list[Outcome]:
    """Attack a fresh server each time; none: the attacker did not get so far as to begin."""
    runs = []
    for _ in range(repeat):
        try:
            with Victim(what, is_apart=True) as victim:
                outcome = measure(victim, case.row, case.scale, CALM_S)
        except RuntimeError as exc:
            why = str(exc).strip().splitlines()[-1]
            print(f"{case.name:24}{what:8} not measured: {why}", flush=True)
            return []
        runs.append(dataclasses.replace(outcome, row=case.name))
    return runs


def run(chosen: Sequence[Case], repeat: int, victims: Sequence[str]) -> list[Outcome]:
    outcomes = []
    print(HEADER, flush=True)
    for case in chosen:
        for what in victims:
            runs = attack(case, what, repeat) if what in case.victims else []
            if not runs:
                continue
            outcomes += runs
            print(line(middle(runs)), flush=True)
            if repeat > 1:
                print(apart(runs), flush=True)
    return outcomes


def tell(found: Storm) -> str:
    """Say what came of a storm."""
    return (
        f"{found.datagrams} mutated datagrams in {found.seconds:.0f} s of CPU: {found.opened} began"
        f" a handshake, {found.answers} answers, {len(found.uncaught)} errors uncaught,"
        f" {len(found.broken)} connections that the engine could not go on with"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--quick", action="store_true", help="a quarter of each attack")
    parser.add_argument("--row", metavar="T8", help="only the attacks of this row")
    parser.add_argument("--repeat", type=int, default=1, help="each attack so often; medians")
    parser.add_argument("--only", choices=VICTIMS, help="this server alone")
    parser.add_argument("--count", type=int, help="of datagrams (T16), of connections (T20)")
    args = parser.parse_args()
    if args.count and args.row == "T16":
        found = storm(args.count, SEED)
        print(tell(found))
        sys.exit(1 if found.uncaught or found.broken else None)
    if args.count and args.row != "T20":
        sys.exit("--count goes with --row T16 or --row T20")
    chosen = cases(args.row, args.count, is_quick=args.quick)
    if not chosen:
        sys.exit(f"no attack of row {args.row!r}; there are: {', '.join(ATTACKS)}")
    victims = VICTIMS if args.only is None else (args.only,)
    outcomes = run(chosen, max(1, args.repeat), victims)
    if args.json is not None:
        args.json.write_text(json.dumps([as_json(outcome) for outcome in outcomes], indent=1))


if __name__ == "__main__":
    main()
