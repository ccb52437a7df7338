"""Line charts of several quantities against one, such as speed against sparsity, each named at the end of its line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from optkit.report.render.charts.style import CHAR, WIDE, line, picture, text, ticks

_TOP, _FOOT, _LEFT, _HEIGHT, _LINE = 58, 42, 36, 300, 15
_KINDS = ("one", "two", "three")


class Line(NamedTuple):
    """One quantity.

    Attributes:
        name: drawn at the last point.
        points: (x, y), by x.
        kind: ``one``, ``two`` or ``three``, its colour; ``base`` is thin, dashed and grey, for what is compared with.
    """

    name: str
    points: Sequence[tuple[float, float]]
    kind: str = "one"


def lines_chart(lines: Sequence[Line], *, title: str, across: str, up: str, width: float = WIDE) -> str:
    """Lines over one axis; y begins at 0.

    Args:
        across, up: what the axes are, with their units.

    Raises:
        ValueError: if there is no point to draw.
    """
    xs = sorted({x for each in lines for x, _ in each.points})
    ys = [y for each in lines for _, y in each.points]
    if not ys:
        raise ValueError("a chart of lines needs a point")
    left, right = 12 + _LEFT, width - 24 - max(len(each.name) for each in lines) * CHAR
    marks = ticks(0.0, max(ys), 6)

    def at(x: float, y: float) -> tuple[float, float]:
        where = (x - xs[0]) / (xs[-1] - xs[0]) if len(xs) > 1 else 0.5
        return left + (right - left) * where, _TOP + _HEIGHT * (1 - y / marks[-1])

    body = [text(left, _TOP - 16, up, kind="small faint")]
    for mark in marks:
        y = at(xs[0], mark)[1]
        body += [line(left, y, right, y), text(left - 6, y + 4, f"{mark:g}", anchor="end", kind="small faint")]
    foot = _TOP + _HEIGHT
    body += [text(at(x, 0)[0], foot + 16, f"{x:g}", anchor="middle", kind="small faint") for x in xs]
    body.append(text((left + right) / 2, foot + 34, across, anchor="middle", kind="small faint"))
    ends = []
    for each in lines:
        points = [at(*point) for point in each.points]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        if each.kind == "base":
            body.append(f'<polyline class="base" fill="none" points="{joined}"/>')
        else:
            body.append(f'<polyline class="line {each.kind}" points="{joined}"/>')
            body += [f'<circle class="dot {each.kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in points]
        ends.append((points[-1], each))
    return picture(width, foot + _FOOT, title, _in_words(lines, across), [*body, *_names(ends)])


def _names(ends: Sequence[tuple[tuple[float, float], Line]]) -> list[str]:
    """Each line's name at its end, moved down where another stands."""
    body, below = [], float("-inf")
    for (x, y), each in sorted(ends, key=lambda end: end[0][1]):
        below = max(y, below + _LINE)
        kind = "small faint" if each.kind == "base" else f"{each.kind} strong"
        body.append(text(x + 8, below + 4, each.name, kind=kind))
    return body


def _in_words(lines: Sequence[Line], across: str) -> str:
    said = [f"{each.name}: " + ", ".join(f"{y:.3g} at {x:g}" for x, y in each.points) for each in lines]
    return f"By {across}. {'; '.join(said)}."
