"""Attacks on our server and on a naive aioquic server, side by side; loopback only.

`python -m bench.attack [--json FILE] [--quick] [--row T8]`. Each row starts a fresh server, an
honest caller (100 bytes there and back each 20 ms), and the attacker; the memory is the peak
of the server's resident bytes over what it had before, its CPU includes the caller's echoes.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from tests.attack.measure import MIB, Outcome, measure
from tests.attack.processes import Victim
from tests.attack.rows import ATTACKS

QUICK = 0.25
VICTIMS = ("ours", "naive")
HEADER = (
    f"{'attack':24}{'server':8}{'sent kB':>9}{'back/B':>8}{'grown MiB':>11}{'mem B/B':>9}"
    f"{'CPU ms':>8}{'CPU ns/B':>10}{'calm p99':>10}{'p99 ms':>9}{'joins ms':>10}  closed"
)


def line(outcome: Outcome) -> str:
    shot = outcome.shot
    closed = "-" if shot.closed_with is None else f"{shot.closed_with:#x}"
    if not outcome.survives:
        closed += " CALLER LOST"
    if outcome.complaints:
        closed += f" {len(outcome.complaints)} errors uncaught"
    return (
        f"{outcome.row:24}{outcome.victim:8}{shot.sent_bytes / 1e3:9.1f}"
        f"{outcome.answered_per_byte:8.2f}{outcome.grown_bytes / MIB:11.1f}"
        f"{outcome.bytes_per_byte:9.1f}{outcome.cpu_s * 1e3:8.0f}{outcome.cpu_ns_per_byte:10.0f}"
        f"{outcome.calm_p99_s * 1e3:10.1f}{outcome.attack_p99_s * 1e3:9.1f}"
        f"{outcome.newcomer_s * 1e3:10.1f}  {closed}"
    )


def as_json(outcome: Outcome) -> dict[str, object]:
    """Give all figures by name, the ratios as well."""
    figures = dataclasses.asdict(outcome)
    for name in ("bytes_per_byte", "cpu_ns_per_byte", "answered_per_byte"):
        figures[name] = getattr(outcome, name)
    return {name: None if value == float("inf") else value for name, value in figures.items()}


def run(rows: list[str], scale: float) -> list[Outcome]:
    outcomes = []
    print(HEADER, flush=True)
    for row in rows:
        for what in VICTIMS:
            with Victim(what) as victim:
                outcome = measure(victim, row, scale)
            outcomes.append(outcome)
            print(line(outcome), flush=True)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--quick", action="store_true", help="a quarter of each attack")
    parser.add_argument("--row", metavar="T8", help="only the attacks of this row")
    args = parser.parse_args()
    rows = [row for row in ATTACKS if args.row in (None, row.split()[0])]
    if not rows:
        sys.exit(f"no attack of row {args.row!r}; there are: {', '.join(ATTACKS)}")
    outcomes = run(rows, QUICK if args.quick else 1.0)
    if args.json is not None:
        args.json.write_text(json.dumps([as_json(outcome) for outcome in outcomes], indent=1))


if __name__ == "__main__":
    main()
