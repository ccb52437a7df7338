"""Accuracy lost against speed gained: speed to the right, accuracy upwards, a line joins the Pareto frontier."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import NamedTuple

from optkit.report.render.charts.style import CHAR, NARROW, SMALL_CHAR, WIDE, elide, line, picture, text, ticks

_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 54, 62


class Mark(NamedTuple):
    """A run, or a model of one.

    Attributes:
        name: that stands beside it.
        drop: points of 100 below the baseline.
        ratio: how many times as fast as the reference.
        dominated: whether another is better in one and no worse in the other.
    """

    name: str
    drop: float
    ratio: float
    dominated: bool = False

    def beats(self, other: Mark) -> bool:
        """Whether this is better in one and no worse in the other."""
        return (
            (self.drop, self.ratio) != (other.drop, other.ratio)
            and self.drop <= other.drop
            and self.ratio >= other.ratio
        )


def mark_dominated(marks: Sequence[Mark]) -> list[Mark]:
    """``marks`` with ``dominated`` set, the fastest first."""
    found = [mark._replace(dominated=any(other.beats(mark) for other in marks)) for mark in marks]
    return sorted(found, key=lambda mark: (-mark.ratio, mark.drop))


def frontier_chart(
    marks: Sequence[Mark],
    *,
    title: str,
    axis: str,
    lost: str,
    limit: float | None = None,
    width: float = WIDE,
    inline: bool = False,
) -> str:
    """A point for each of ``marks``; dominated ones are grey.

    Args:
        title: of a line.
        axis: what speed is against, written below.
        lost: what points are of, and against what, written above.
        limit: points that may be lost, drawn as a line.
    """
    edge, height = 0 if inline else 12, 400.0 if width > NARROW else 330.0
    left, right, foot = edge + _LEFT, width - edge - _RIGHT, height - _BOTTOM
    drops = [0.0, *(mark.drop for mark in marks), *([] if limit is None else [limit])]
    across = ticks(0.0, max([1.0, *(mark.ratio for mark in marks)]) * 1.02, 6 if width > NARROW else 4)
    down = ticks(min(drops), max(max(drops), min(drops) + 0.5), 6)

    def at(ratio: float, drop: float) -> tuple[float, float]:
        x = left + (right - left) * (ratio - across[0]) / (across[-1] - across[0])
        return round(x, 1), round(_TOP + (foot - _TOP) * (drop - down[0]) / (down[-1] - down[0]), 1)

    body = []
    for tick in across:
        x, _ = at(tick, 0.0)
        body += [line(x, _TOP, x, foot, "grid"), text(x, foot + 16, f"{tick:g}", anchor="middle", kind="faint")]
    for tick in down:
        _, y = at(0.0, tick)
        body += [
            line(left, y, right, y),
            text(left - 8, y + 4, f"{-tick + 0.0:g}".replace("-", "\u2212"), anchor="end", kind="faint"),
        ]
    for (x1, y1), (x2, y2) in ((at(1, down[0]), at(1, down[-1])), (at(across[0], 0), at(across[-1], 0))):
        body.append(line(x1, y1, x2, y2, "base"))
    if limit is not None:
        _, y = at(0.0, limit)
        body.append(line(left, y, right, y, "base"))
        body.append(text(right - 2, y - 5, f"max_drop {limit:g}", anchor="end", kind="small faint"))
    body.append(text(edge, 40, elide(lost, right - edge, SMALL_CHAR), kind="small faint"))
    for number, part in enumerate(wrap(axis, int((right - left) / SMALL_CHAR))[:2]):
        body.append(text(right, foot + 36 + 15 * number, part, anchor="end", kind="small faint"))
    best = sorted((mark for mark in marks if not mark.dominated), key=lambda mark: -mark.ratio)
    joined = " ".join(f"{x},{y}" for x, y in (at(mark.ratio, mark.drop) for mark in best))
    body.append(f'<polyline class="line" points="{joined}"/>')
    body += _placed(marks, at, left + 2, right + _RIGHT, foot)
    return picture(width, height, title, _in_words(marks, best), body, inline=inline)


def _placed(marks: Sequence[Mark], at, start: float, end: float, foot: float) -> list[str]:
    """A dot and a name for each; names keep clear of each other and of the dots."""
    dots = [at(mark.ratio, mark.drop) for mark in marks]
    taken = [(x - 6, x + 6, y) for x, y in dots]
    body: list[str] = []
    for mark, (x, y) in sorted(zip(marks, dots, strict=True), key=lambda pair: pair[0].dominated):
        name = elide(mark.name, (end - start) * 0.6)
        width = CHAR * len(name)
        # Where a name starts, or ends if it is anchored there. The line goes down to the right: what is on it has its
        # name above, what is below it to the left.
        beside = [(x + 10, y + 4, ""), (x - 10, y + 4, "end")]
        around = [
            (x + shift, y + drop, anchor)
            for drop in (-10, 17, 30, -22, 43, -35, 56)
            for shift, anchor in ((4, ""), (-4, "end"))
        ]
        places = beside[::-1] + around if mark.dominated else [around[0], *beside, *around[1:]]

        def room(place: tuple[float, float, str], width: float = width) -> tuple[float, float, float]:
            left = place[0] - width if place[2] else place[0]
            return left, left + width, place[1] - 4

        def fits(place: tuple[float, float, str]) -> bool:
            left, right, middle = room(place)
            inside = start <= left and right <= end and _TOP - 6 < place[1] < foot
            return inside and not any(
                left < over and begun < right and abs(middle - m) < 12 for begun, over, m in taken
            )

        place = next(filter(fits, places), places[0])
        taken.append(room(place))
        body.append(f'<circle class="dot{" beaten" if mark.dominated else ""}" cx="{x}" cy="{y}" r="5.5"/>')
        kind = f"halo {'faint' if mark.dominated else 'strong'}"
        body.append(text(place[0], place[1], name, anchor=place[2], kind=kind))
    return body


def _in_words(marks: Sequence[Mark], best: Sequence[Mark]) -> str:
    said = ", ".join(f"{mark.name} loses {mark.drop:.2f} points at {mark.ratio:.2f} times the speed" for mark in best)
    beaten = ", ".join(mark.name for mark in marks if mark.dominated)
    return f"What no other beats: {said}." + (f" Beaten: {beaten}." if beaten else "")
