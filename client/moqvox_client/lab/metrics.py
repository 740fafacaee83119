"""From what was captured and what arrived to the numbers of a table. Pure: no clock, no I/O.

Times are nanoseconds of one clock. A frame counts as *there in order* when it and all before
it are there: what a recogniser, a decoder or a recording has got. Lateness is arrival minus
capture minus the one-way delay of the path.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

__all__ = ["Downlink", "Uplink", "downlink", "in_order", "percentile", "uplink"]

FRAME_NS: Final = 20_000_000
MS: Final = 1_000_000
ON_TIME_MS: Final = 100
PLAYER_MS: Final = 100
"""What the reference player waits for before it begins."""

STALLED_NS: Final = 2 * FRAME_NS
"""From so much time between two frames in order on, the prompt counts as stalled."""


class Uplink(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a prompt.

    Attributes:
        frames: spoken, from the first moment on.
        arrived: of them, at the server.
        complete_pct: the same in percent.
        ttfa_ms: from the beginning of speech (and of the call) to the first frame's arrival.
        late_p50_ms, late_p99_ms, late_max_ms: lateness in order of the frames captured once
            the first one had arrived, so without the set-up's share.
        start_late_max_ms: lateness in order of the latest frame of all.
        on_time_pct: of all frames spoken, those in order at most 100 ms late.
        stall_ms: total of the pauses between frames in order, beyond a frame's length, of
            those pauses that are two frames or longer.
        gap_ms: the longest pause between two frames in order.
        change_ms: the longest of those that touch the time that was asked about.
        tail_ms: when the last frame was there in order, after its capture and the delay.
    """

    frames: int
    arrived: int
    complete_pct: float
    ttfa_ms: float | None = None
    late_p50_ms: float | None = None
    late_p99_ms: float | None = None
    late_max_ms: float | None = None
    start_late_max_ms: float | None = None
    on_time_pct: float = 0.0
    stall_ms: float = 0.0
    gap_ms: float = 0.0
    change_ms: float | None = None
    tail_ms: float | None = None


class Downlink(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an answer.

    Attributes:
        first_ms: from the answer's hand-over to its first frame's arrival.
        gap_ms: the longest pause between two frames in order.
        silence_ms: what a player inserts that begins 100 ms after the first frame, waits
            for frames that are late and conceals those that never come.
        stalls: in how many places.
    """

    frames: int
    arrived: int
    complete_pct: float
    first_ms: float | None = None
    gap_ms: float = 0.0
    silence_ms: float = 0.0
    stalls: int = 0


def percentile(values: Sequence[float], percent: float) -> float:
    """Take the value that `percent` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, math.ceil(len(ordered) * percent / 100))
    return ordered[rank - 1]


def in_order(arrived: Sequence[tuple[int, int]], frames: int) -> list[int | None]:
    """Tell for each frame when it and all before it were there; None for never.

    Frames that never came are passed over: the ones behind them count as in order without
    them, as for a receiver that gives up on what is lost.
    """
    found: dict[int, int] = {}
    for index, at_ns in arrived:
        if 0 <= index < frames:
            found[index] = min(at_ns, found.get(index, at_ns))
    there: list[int | None] = []
    latest = 0
    for index in range(frames):
        at = found.get(index)
        if at is not None:
            latest = max(latest, at)
        there.append(None if at is None else latest)
    return there


def uplink(
    began_ns: int,
    arrived: Sequence[tuple[int, int]],
    *,
    frames: int,
    one_way_ms: float,
    around_ms: tuple[float, float] | None = None,
) -> Uplink:
    """Judge a prompt whose frame `n` was captured (n + 1) frame lengths after `began_ns`.

    `around_ms` is when something happened, from the beginning on.
    """
    there = in_order(arrived, frames)
    came = [(index, at) for index, at in enumerate(there) if at is not None]
    complete_pct = 100 * len(came) / frames if frames else 100.0
    if not came:
        return Uplink(frames=frames, arrived=0, complete_pct=complete_pct)
    late = {index: _late_ms(began_ns, index, at, one_way_ms) for index, at in came}
    first_ns = min(at for _, at in arrived)
    steady = [ms for index, ms in late.items() if began_ns + (index + 1) * FRAME_NS >= first_ns]
    pauses = _pauses([at for _, at in came])
    return Uplink(
        frames=frames,
        arrived=len(came),
        complete_pct=complete_pct,
        ttfa_ms=(first_ns - began_ns) / MS,
        late_p50_ms=percentile(steady, 50) if steady else None,
        late_p99_ms=percentile(steady, 99) if steady else None,
        late_max_ms=max(steady) if steady else None,
        start_late_max_ms=max(late.values()),
        on_time_pct=100 * sum(ms <= ON_TIME_MS for ms in late.values()) / frames,
        stall_ms=sum(pause - FRAME_NS for pause in pauses if pause >= STALLED_NS) / MS,
        gap_ms=max(pauses, default=0) / MS,
        change_ms=_longest(began_ns, [at for _, at in came], around_ms),
        tail_ms=late[came[-1][0]],
    )


def downlink(handed_ns: int | None, arrived: Sequence[tuple[int, int]], *, frames: int) -> Downlink:
    """Judge an answer that was handed over at `handed_ns`."""
    there = in_order(arrived, frames)
    came = [at for at in there if at is not None]
    complete_pct = 100 * len(came) / frames if frames else 100.0
    if not came:
        return Downlink(frames=frames, arrived=0, complete_pct=complete_pct)
    silence_ns, stalls = _played(there, frames)
    return Downlink(
        frames=frames,
        arrived=len(came),
        complete_pct=complete_pct,
        first_ms=None if handed_ns is None else (min(came) - handed_ns) / MS,
        gap_ms=max(_pauses(came), default=0) / MS,
        silence_ms=silence_ns / MS,
        stalls=stalls,
    )


def _late_ms(began_ns: int, index: int, at_ns: int, one_way_ms: float) -> float:
    return (at_ns - began_ns - (index + 1) * FRAME_NS) / MS - one_way_ms


def _pauses(times: Sequence[int]) -> list[int]:
    return [after - before for before, after in pairwise(times)]


def _longest(
    began_ns: int, times: Sequence[int], around_ms: tuple[float, float] | None
) -> float | None:
    """Tell the longest pause of those that touch some time; None without one, or without time."""
    if around_ms is None:
        return None
    first_ns, last_ns = (began_ns + ms * MS for ms in around_ms)
    touching = [b - a for a, b in pairwise(times) if a <= last_ns and b >= first_ns]
    return max(touching) / MS if touching else None


def _played(there: Sequence[int | None], frames: int) -> tuple[int, int]:
    """Play frames as a simple player would: the silence it inserts, and how often."""
    first = next(at for at in there if at is not None)
    due = first + PLAYER_MS * MS
    silence = stalls = 0
    was_lost = False
    for index in range(frames):
        at = there[index]
        if at is None:
            silence += FRAME_NS
            stalls += not was_lost
        elif at > due:
            silence += at - due
            stalls += 1
            due = at
        was_lost = at is None
        due += FRAME_NS
    return silence, stalls
