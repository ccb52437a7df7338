"""Accuracy lost against speed gained, drawn: an SVG that any browser shows, in light and in dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optkit.experiments.pareto import Frontier, Point

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 44, 56
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.title { font-size: 14px; font-weight: 600; }
.axis, .grid { stroke: #d0d7de; stroke-width: 1; }
.line { fill: none; stroke: #2a6fb0; stroke-width: 2; }
.best { fill: #2a6fb0; }
.beaten { fill: #afb8c1; }
.beaten-name { fill: #6e7781; }
.ground { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .axis, .grid { stroke: #30363d; }
  .line { stroke: #58a6ff; }
  .best { fill: #58a6ff; }
  .beaten { fill: #6e7681; }
  .beaten-name { fill: #8b949e; }
  .ground { fill: #0d1117; }
}
"""


def frontier_chart(found: Frontier) -> str:
    """Every run as a point, those that nothing beats joined by a line; speed to the right, accuracy upwards."""
    points = found.points
    speeds, drops = [p.speedup.ratio for p in points], [p.drop for p in points]
    right, ticks_x = _axis(0.0, max(speeds))
    low, high = min(0.0, *drops), max(0.0, *drops)
    lowest, ticks_y = _axis(low, high)
    first = points[0].speedup

    def at(speed: float, drop: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * speed / right
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (drop - ticks_y[0]) / max(lowest - ticks_y[0], 1e-9)
        return round(x, 1), round(y, 1)

    says = ", ".join(
        f"{p.run.name} loses {p.drop:.2f} points at {p.speedup.ratio:.2f} times the speed" for p in found.best
    )
    title = f"Points of {points[0].run.metric} lost against speed gained"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(f'Runs that no other beats: {says}.')}</desc>",
        f"<style>{_STYLE}</style>",
        f'<rect class="ground" width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="24">{escape(title)}</text>',
    ]
    for tick in ticks_x:
        x, _ = at(tick, 0.0)
        lines.append(f'<line class="grid" x1="{x}" y1="{_TOP}" x2="{x}" y2="{_HEIGHT - _BOTTOM}"/>')
        lines.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    for tick in ticks_y:
        _, y = at(0.0, tick)
        lines.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
    tokens = "" if first.seq is None else f" x {first.seq} tokens"
    axis = f"times as fast as {first.against}, {first.batch}{tokens}"
    lines.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 14}" text-anchor="end">{escape(axis)}</text>')
    joined = " ".join(f"{x},{y}" for x, y in (at(p.speedup.ratio, p.drop) for p in found.best))
    lines.append(f'<polyline class="line" points="{joined}"/>')
    lines += _marks(points, at)
    return "\n".join((*lines, "</svg>")) + "\n"


def _marks(points: Sequence[Point], at) -> list[str]:
    """A dot and a name for each run; names keep clear of each other by moving down."""
    lines: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda p: p.dominated):
        x, y = at(point.speedup.ratio, point.drop)
        kind, name = ("beaten", "beaten-name") if point.dominated else ("best", "")
        width = 6.6 * len(point.run.name)
        left = x + 8 if x + 8 + width <= _WIDTH else x - 8 - width
        line = y - 6
        while any(abs(line - other) < 13 and left < end and start < left + width for start, end, other in taken):
            line += 13
        taken.append((left, left + width, line))
        lines.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="5"/>')
        lines.append(f'<text class="{name}" x="{left:.1f}" y="{line:.1f}">{escape(point.run.name)}</text>')
    return lines


def _axis(low: float, high: float) -> tuple[float, list[float]]:
    """The far end of an axis from ``low`` to ``high`` and its ticks, at round numbers."""
    span = max(high - low, 1e-3)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if span / (step * factor) <= 6)
    first, last = math.floor(low / step), math.ceil(high / step + 1e-9)
    ticks = [round(step * i, 10) for i in range(first, last + 1)]
    return ticks[-1], ticks
