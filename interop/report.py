"""Write outcomes for whoever reads them: TAP 14 for tools and people, JSON lines for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import Protocol, TextIO

import msgspec

from interop.play import Outcome

__all__ = ["JsonReport", "Report", "TapReport"]


class Report(Protocol):
    """Hears how each row went, in the order they are played."""

    def begin(self, planned: int) -> None:
        """Take note of how many there will be."""

    def add(self, outcome: Outcome) -> None:
        """Take note of one."""

    def end(self, totals: Mapping[str, int]) -> None:
        """Take note that it is over."""


class TapReport:
    """TAP version 14, with a YAML block under what failed."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._number = 0

    def begin(self, planned: int) -> None:
        """Write the version and the plan."""
        self._lines("TAP version 14", f"1..{planned}")

    def add(self, outcome: Outcome) -> None:
        """Write a test point."""
        self._number += 1
        status = "ok" if outcome.passed else "not ok"
        directive = f" # SKIP {outcome.verdict}" if outcome.skipped else ""
        self._lines(f"{status} {self._number} - {outcome.name}{directive}")
        block: dict[str, object] = {"duration_ms": round(1000 * outcome.seconds)}
        if not outcome.passed:
            block |= {"message": outcome.verdict, "programs": outcome.programs}
        if not outcome.skipped:
            self._lines("  ---", *_yaml(block, "  "), "  ...")

    def end(self, totals: Mapping[str, int]) -> None:
        """Write the totals as a comment."""
        self._lines("# " + ", ".join(f"{count} {name}" for name, count in totals.items()))

    def _lines(self, *lines: str) -> None:
        self._stream.write("".join(f"{line}\n" for line in lines))
        self._stream.flush()


class JsonReport:
    """One object a line, the last with `"event": "done"`."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream

    def begin(self, planned: int) -> None:
        """Write the plan."""
        self._write({"event": "plan", "cases": planned})

    def add(self, outcome: Outcome) -> None:
        """Write an outcome."""
        self._write({"event": "case", **msgspec.structs.asdict(outcome)})

    def end(self, totals: Mapping[str, int]) -> None:
        """Write the totals."""
        self._write({"event": "done", "ok": not totals["failed"], **totals})

    def _write(self, fields: Mapping[str, object]) -> None:
        self._stream.write(msgspec.json.encode(fields).decode() + "\n")
        self._stream.flush()


def _yaml(value: object, indent: str) -> list[str]:
    """Write mappings and lists as YAML blocks; scalars in JSON's spelling, which YAML reads."""
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            lines += _entry(f"{indent}{key}:", inner, indent)
    elif isinstance(value, Sequence):
        for inner in value:
            lines += _entry(f"{indent}-", inner, indent)
    return lines


def _entry(head: str, inner: object, indent: str) -> list[str]:
    is_block = isinstance(inner, Mapping | Sequence) and not isinstance(inner, str)
    if is_block and inner:
        return [head, *_yaml(inner, indent + "  ")]
    return [f"{head} {msgspec.json.encode(inner).decode()}"]
