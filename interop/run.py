"""Run cases between moqvox and its peers: `python -m interop.run [--case NAME]`.

Speaks the client interface of the public moq-interop-runner: --relay, --test, --list, their
variables, TAP 14 on stdout; exit 0 when all passed, 1 when one failed, 127 for an unknown case.
"""

import argparse
import asyncio
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from interop.cases import CASES
from interop.control import Control
from interop.external import External
from interop.matrix import MatrixError, Row, read_matrix
from interop.moqvox import COMMAND, Moqvox
from interop.play import play
from interop.report import JsonReport, Report, TapReport
from interop.sides import Side

__all__ = ["main"]

PASSED: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNKNOWN_CASE: Final = 127

MAX_JOBS: Final = 64


class UnknownCase(Exception):
    """There is no case or row of that name."""


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Run what is asked for and return the exit code."""
    args = _parser(environment).parse_args(argv)
    try:
        rows = select(read_matrix(), args.case)
        side = _side(args)
    except UnknownCase as exc:
        print(exc, file=sys.stderr)
        return UNKNOWN_CASE
    except (MatrixError, ValueError) as exc:
        print(exc, file=sys.stderr)
        return USAGE
    if args.list:
        _list(rows)
        return PASSED
    report: Report = JsonReport() if args.json else TapReport()
    return FAILED if asyncio.run(_run(rows, side, report, args.jobs))["failed"] else PASSED


def select(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Find the rows of the cases, or the single rows, that are named; all when none is.

    Raises:
        UnknownCase: a name that is neither.
    """
    known = {name for row in rows for name in (row.case, row.name)}
    unknown = [row.case for row in rows if row.case not in CASES]
    unknown += [name for name in wanted if name not in known]
    if unknown:
        raise UnknownCase(f"no case {unknown[0]!r}; --list shows what there is")
    return [row for row in rows if not wanted or row.case in wanted or row.name in wanted]


async def _run(rows: Sequence[Row], side: Side, report: Report, jobs: int) -> dict[str, int]:
    totals = {"passed": 0, "failed": 0, "skipped": 0}
    waiting = iter(rows)

    async def work() -> None:
        for row in waiting:
            outcome = await play(row, side)
            key = "skipped" if outcome.skipped else "passed" if outcome.passed else "failed"
            totals[key] += 1
            report.add(outcome)

    report.begin(len(rows))
    async with asyncio.TaskGroup() as group:
        for _ in range(jobs):
            group.create_task(work())
    report.end(totals)
    return totals


def _side(args: argparse.Namespace) -> Side:
    if args.relay:
        return External(args.relay, verify=not args.tls_disable_verify, root=args.tls_root)
    if args.control:
        return Control()
    return Moqvox(shlex.split(args.moqvox) if args.moqvox else COMMAND)


def _list(rows: Sequence[Row]) -> None:
    width = max(len(row.name) for row in rows)
    for row in rows:
        case = CASES[row.case]
        print(f"{row.name:{width}}  {case.direction.value:22}  {case.summary}")


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_JOBS:
        raise ValueError(text)
    return number


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m interop.run", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    case = environment.get("TESTCASE")
    parser.add_argument(
        *("-t", "--case", "--test"),
        dest="case",
        metavar="NAME",
        action="append",
        default=[case] if case else [],
        help="a case, or one row of --list; repeatable (TESTCASE)",
    )
    parser.add_argument("-l", "--list", action="store_true", help="show the rows and stop")
    parser.add_argument(
        *("-r", "--relay"),
        metavar="URL",
        default=environment.get("RELAY_URL"),
        help="try a relay that runs already, with the peer on both sides of it (RELAY_URL)",
    )
    parser.add_argument(
        "--tls-disable-verify",
        action="store_true",
        default=environment.get("TLS_DISABLE_VERIFY", "") in ("1", "true"),
        help="take any certificate of --relay (TLS_DISABLE_VERIFY)",
    )
    parser.add_argument("--tls-root", type=Path, metavar="FILE", help="CA of --relay")
    parser.add_argument(
        "--control", action="store_true", help="put moq-rs in moqvox's place, to test the cases"
    )
    parser.add_argument("--moqvox", metavar="COMMAND", help="what to run instead of this checkout")
    parser.add_argument(
        *("-j", "--jobs"), type=_count, default=1, metavar="N", help="cases played at a time"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON lines instead of TAP")
    form.add_argument("--tap", action="store_true", help="TAP version 14, the default")
    return parser


if __name__ == "__main__":
    sys.exit(main())
