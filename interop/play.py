"""Play one row and say how it went."""

import asyncio
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from interop.cases import CASES
from interop.environment import EnvironmentUnavailable
from interop.failure import Failure, Skipped
from interop.matrix import Row
from interop.program import Program
from interop.scene import Scene
from interop.sides import Side
from interop.stage import Stage, open_stage

__all__ = ["Outcome", "play"]

EXPECTED: Final = (Failure, Skipped, EnvironmentUnavailable)


class Outcome(msgspec.Struct, frozen=True):
    """How a row went.

    Attributes:
        verdict: why it failed or was skipped; empty when it passed.
        programs: what is known of each program, when it failed.
    """

    name: str
    passed: bool
    skipped: bool
    seconds: float
    verdict: str = ""
    programs: Sequence[dict[str, object]] = ()


async def play(row: Row, side: Side) -> Outcome:
    """Run a row's case in a folder of its own, within its limit."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    programs: list[Program] = []
    reason = side.can_play(row)
    error: Exception | None = Skipped(reason) if reason else None
    if error is None:
        try:
            await _play(row, side, programs)
        except EXPECTED as exc:
            error = exc
        except ExceptionGroup as exc:
            error = _cause(exc)
    seconds = round(loop.time() - started, 3)
    if error is None:
        return Outcome(row.name, True, False, seconds)
    if isinstance(error, Skipped):
        return Outcome(row.name, True, True, seconds, str(error))
    described = [program.describe() for program in programs]
    return Outcome(row.name, False, False, seconds, str(error), described)


async def _play(row: Row, side: Side, programs: list[Program]) -> None:
    with tempfile.TemporaryDirectory(prefix="interop-") as folder:
        async with open_stage(Path(folder)) as stage:
            stage.programs = programs
            await _within_limit(row, side, stage)
    for program in programs:
        if program.has_traceback:
            raise Failure(f"{program.name} shows a traceback on its stderr")


async def _within_limit(row: Row, side: Side, stage: Stage) -> None:
    try:
        async with asyncio.timeout(row.limit):
            scene = Scene(row, stage, side)
            await CASES[row.case].play(scene)
            scene.check_versions()
    except TimeoutError:
        awaited = " and ".join(filter(None, (program.awaited for program in stage.programs)))
        raise Failure(f"no {awaited or 'end'} within {row.limit:g} s") from None


def _cause(group: ExceptionGroup) -> Exception:
    """Take from a group what explains the rest of it.

    Raises:
        ExceptionGroup: there is something in it that no case raises: a bug of the harness.
    """
    errors = list(_leaves(group))
    if not all(isinstance(error, EXPECTED) for error in errors):
        raise group
    return next((error for error in errors if isinstance(error, Failure)), errors[0])


def _leaves(group: ExceptionGroup) -> Iterator[Exception]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
