"""What `moqvox lab` can be told."""

import enum
from pathlib import Path
from typing import Annotated, Final

from moqvox_client.kinds import Kind, Percent
from moqvox_client.lab.systems import OURS
from moqvox_client.options import Argument, Flag, Shared

__all__ = ["Link", "Options"]

MAX_JOBS: Final = 16
MAX_SEEDS: Final = 100
MAX_FRAMES: Final = 15_000


def _ms(text: str) -> float:
    try:
        value = float(text.strip().removesuffix("ms"))
    except ValueError:
        raise ValueError(f"{text!r} is not a number of milliseconds") from None
    if not 0 <= value <= 60_000:
        raise ValueError(f"{text!r} is not between 0 and 60000 ms")
    return value


Milliseconds = Annotated[float, Kind("MS", _ms, lambda value: f"{float(str(value)):g}")]


class Link(enum.Enum):
    """What joins caller and server."""

    AUTO = "auto"
    NETLAB = "netlab"
    NAMESPACES = "namespaces"
    LOOPBACK = "loopback"


class Options(Shared, frozen=True, kw_only=True):
    """Which scenario, which systems, how often, and what to keep."""

    scenario: Annotated[
        tuple[str, ...],
        Argument(
            "matrix, switch, changes, outage, setup, restart or one of their members, instead of "
            "--rtt and what follows; continuity is all tables of the documentation"
        ),
    ] = ()
    rtt: Annotated[Milliseconds, Flag("round trip in milliseconds, half in each direction")] = 50.0
    loss: Annotated[Percent, Flag("packets lost, each way")] = 0.0
    burst: Annotated[
        str | None,
        Flag(
            "lose in spells: mean ms good, mean ms bad, share lost when bad",
            metavar="GOOD,BAD[,LOSS]",
        ),
    ] = None
    event: Annotated[
        tuple[str, ...],
        Flag(
            "T seconds into the prompt: switch[=GAP_MS[,keep]], outage=MS, nat[=ADDR] or kill",
            metavar="T:WHAT",
        ),
    ] = ()
    cell: Annotated[str, Flag("the network that a switch goes to", metavar="'K=V ...'")] = "rtt=80"
    frames: Annotated[
        int | None, Flag("frames of 20 ms spoken (400)", at_least=1, at_most=MAX_FRAMES)
    ] = None
    answer_frames: Annotated[
        int | None, Flag("frames answered (400)", at_least=0, at_most=MAX_FRAMES)
    ] = None
    pace: Annotated[
        float | None,
        Flag("the answer's multiple of real time; 0: all at once", at_least=0, at_most=100),
    ] = None
    system: Annotated[
        tuple[str, ...], Flag("of ours: moqvox, moqvox-webtransport, moqvox-resumed", split=True)
    ] = (OURS,)
    against: Annotated[
        tuple[str, ...],
        Flag(
            "others in the same run, such as websocket,grpc,aiortc (these over TCP: root on Linux)",
            split=True,
        ),
    ] = ()
    seeds: Annotated[int, Flag("runs of each", at_least=1, at_most=MAX_SEEDS)] = 1
    seed: Annotated[int, Flag("the first one's seed", at_least=0)] = 1
    jobs: Annotated[int, Flag("runs at a time", at_least=1, at_most=MAX_JOBS)] = 1
    link: Annotated[Link, Flag("what joins the two; auto takes the best that works here")] = (
        Link.AUTO
    )
    netlab: Annotated[
        Path | None, Flag("a netlab.py whose link is used instead of our own (root)")
    ] = None
    out: Annotated[Path | None, Flag("add each run to this file, a JSON line each")] = None
    runs: Annotated[
        tuple[Path, ...],
        Flag("show the runs of such files (of the scenarios named), and make none"),
    ] = ()
    doubtful: Annotated[bool, Flag("count void runs too, made while the machine was busy")] = False
    plot: Annotated[Path | None, Flag("draw the runs into this SVG file")] = None
    columns: Annotated[
        tuple[str, ...],
        Flag("figures to print, by their names in JSON", metavar="NAME", split=True),
    ] = ()
    markdown: Annotated[bool, Flag("print the table as Markdown")] = False
    section: Annotated[
        tuple[str, ...], Flag("of continuity, only these tables", metavar="NAME", split=True)
    ] = ()
    again: Annotated[
        int, Flag("of continuity, times that a void run is repeated", at_least=0, at_most=9)
    ] = 2
    minutes: Annotated[
        float | None, Flag("of continuity, end after so long, with what there is", at_least=0)
    ] = None
    plan: Annotated[bool, Flag("of continuity, say what is left and how long it takes")] = False
    report: Annotated[Path | None, Flag("of continuity, write all tables as Markdown")] = None
    plots: Annotated[Path | None, Flag("of continuity, draw its pictures into this folder")] = None
