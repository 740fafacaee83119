"""A picture of runs, as SVG of our own: people would rather look than read.

A few scenarios: how late each frame was in order, over the prompt, with a dot where nothing came
any more. Many: the worst one percent of each system, with its spread, on a logarithmic scale.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from moqvox_client.lab.table import Cell, cells, order
from moqvox_client.lab.verdict import Run

__all__ = ["draw"]

WIDTH: Final = 880
PANEL: Final = 190
LEFT: Final = 170
RIGHT: Final = 30
TOP: Final = 46
ROW: Final = 17
FEW: Final = 6
"""So many scenarios get a panel each; more get a line each."""

WHOLE: Final = 99.95
"""Percent from which on a prompt counts as whole in the picture."""

LETTER: Final = 7
"""Pixels that a letter takes at most, on average."""

FRAME_S: Final = 0.02
LEAST_MS: Final = 1.0
COLORS: Final = (
    "#0b6e4f", "#c8553d", "#3d5a98", "#b8860b", "#7b4b94", "#5f6b6d", "#d1495b", "#2e86ab"
)  # fmt: skip
STYLE: Final = (
    "text{font:12px system-ui,sans-serif;fill:#222}.t{font-weight:600}.a{fill:#666}"
    ".g{stroke:#ddd}.l{fill:none;stroke-width:1.4}"
)


def draw(runs: Sequence[Run]) -> str:
    """Draw runs: lines over time for a few scenarios, else dots with whiskers."""
    colors = {system: COLORS[n % len(COLORS)] for n, system in enumerate(order(runs))}
    scenarios = list(dict.fromkeys(run.scenario for run in runs))
    body = _panels(runs, scenarios, colors) if len(scenarios) <= FEW else _dots(runs, colors)
    height = TOP + body[1]
    legend = _legend(colors)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{legend}{body[0]}</svg>\n"
    )


def _legend(colors: dict[str, str]) -> str:
    at, parts = 12, []
    for system, color in colors.items():
        parts.append(f'<rect x="{at}" y="12" width="12" height="12" fill="{color}"/>')
        parts.append(_text(at + 17, 22, system))
        at += 34 + LETTER * len(system)
    return "".join(parts)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _panels(
    runs: Sequence[Run], scenarios: Sequence[str], colors: dict[str, str]
) -> tuple[str, int]:
    """Draw how late each frame was: the run of the first seed of each system."""
    parts = []
    for number, scenario in enumerate(scenarios):
        shown: dict[str, Run] = {}
        for run in runs:
            if run.scenario == scenario:
                shown.setdefault(run.system, run)
        parts.append(_panel(scenario, shown, colors, TOP + number * PANEL))
    return "".join(parts), PANEL * len(scenarios)


def _panel(scenario: str, shown: dict[str, Run], colors: dict[str, str], top: int) -> str:
    late = [ms for run in shown.values() for ms in run.late_ms if ms is not None]
    most = max(100.0, *late) if late else 100.0
    frames = max((len(run.late_ms) for run in shown.values()), default=1)
    height, width = PANEL - 60, WIDTH - 60 - RIGHT
    parts = [
        _text(
            12,
            top + 14,
            f"{scenario}: how late each frame was, in order (ms; a dot: nothing more came)",
            "t",
        )
    ]
    for share in (0.0, 0.5, 1.0):
        y = top + 24 + height * (1 - share)
        parts.append(f'<line class="g" x1="60" x2="{60 + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(54, y + 4, f"{most * share:.0f}", "a", "end"))
    for second in range(0, int(frames * FRAME_S) + 1, max(1, int(frames * FRAME_S) // 8)):
        x = 60 + width * second / FRAME_S / frames
        parts.append(_text(x, top + 40 + height, f"{second} s", "a", "middle"))
    for system, run in shown.items():
        points = _steps(run.late_ms, top + 24 + height, height / most, width / frames)
        parts += [f'<path class="l" stroke="{colors[system]}" d="{d}"/>' for d in points]
        came = [index for index, ms in enumerate(run.late_ms) if ms is not None]
        if came and came[-1] + 1 < len(run.late_ms):  # nothing came any more: say where it ends
            x, y = 60 + came[-1] * width / frames, top + 24 + height
            y -= max(0.0, run.late_ms[came[-1]] or 0.0) * height / most
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colors[system]}"/>')
    return "".join(parts)


def _steps(late: Sequence[float | None], base: float, scale: float, step: float) -> list[str]:
    """Join frames that arrived; those that never did leave holes."""
    paths: list[list[str]] = [[]]
    for index, ms in enumerate(late):
        if ms is None:
            if paths[-1]:
                paths.append([])
            continue
        verb = "L" if paths[-1] else "M"
        paths[-1].append(f"{verb}{60 + index * step:.1f} {base - max(0.0, ms) * scale:.1f}")
    return ["".join(path) + "h1" for path in paths if path]


def _dots(runs: Sequence[Run], colors: dict[str, str]) -> tuple[str, int]:
    """Draw the 99th percentile of each cell as a dot, its spread as a line."""
    summed = [cell for cell in cells(runs) if "late_p99_ms" in cell.figures]
    most = max((cell.figures["late_p99_ms"][2] for cell in summed), default=1000.0)
    decades = max(2.0, math.log10(max(most, LEAST_MS * 10)))
    width = WIDTH - LEFT - RIGHT
    parts = [_text(LEFT, TOP - 2, "lateness in order, 99th percentile, ms (median, spread)", "t")]
    y = TOP + 14
    last = ""
    for cell in summed:
        if cell.scenario != last:
            y += 8
            parts.append(_text(LEFT - 8, y + 4, cell.scenario, "", "end"))
            last = cell.scenario
        parts.append(_dot(cell, colors[cell.system], y, width / decades))
        y += ROW
    for decade in range(int(decades) + 1):
        x = LEFT + width * decade / decades
        line = f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP + 8}" y2="{y}"/>'
        parts.insert(0, line)
        parts.append(_text(x, y + 16, f"{10**decade}", "a", "middle"))
    return "".join(parts), y + 30 - TOP


def _dot(cell: Cell, color: str, y: float, scale: float) -> str:
    middle, least, most = (
        LEFT + scale * math.log10(max(value, LEAST_MS)) for value in cell.figures["late_p99_ms"]
    )
    label = f"{cell.figures['late_p99_ms'][0]:.0f}"
    arrived = cell.figures["complete_pct"][0]
    if arrived < WHOLE:
        label += f" (of the {arrived:.0f} % that arrived)"
    fits = most + 9 + LETTER * len(label) <= WIDTH
    at, anchor = (most + 9, "start") if fits else (least - 9, "end")
    return (
        f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{y}" y2="{y}" stroke="{color}" '
        f'stroke-width="2"/><circle cx="{middle:.1f}" cy="{y}" r="4.5" fill="{color}"/>'
        + _text(at, y + 4, label, "a", anchor)
    )
