"""Bar charts of times: a bar for each engine, as long as the median, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from optkit.report.render.charts.style import SMALL_CHAR, WIDE, elide, line, picture, rect, text, ticks

_ROW, _TOP, _HEAD, _FOOT, _GAP = 24, 36, 22, 34, 8


class Bar(NamedTuple):
    """One engine.

    Attributes:
        name: that stands before the bar.
        value: its length, 0 or more.
        interval: the ends of the whisker; None for none.
        says: what stands behind the bar, such as ``3.14 ms, 5.2x``.
        faint: drawn grey: what the others are compared with, or too noisy to tell.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    says: str
    faint: bool = False


def bars_chart(
    groups: Sequence[tuple[str, Sequence[Bar]]],
    *,
    title: str,
    axis: str,
    width: float = WIDE,
    inline: bool = False,
) -> str:
    """Bars in groups, each with a heading (none where it is empty), and an axis of its own from 0.

    Args:
        title: of a line.
        axis: what the lengths are, with the unit; written below.
        width: pixels, ``style.WIDE`` or ``style.NARROW``.
    """
    edge = 0 if inline else 12
    every = [bar for _, bars in groups for bar in bars]
    named = min(max((len(bar.name) for bar in every), default=0) * SMALL_CHAR, 0.36 * width)
    said = min(max((len(bar.says) for bar in every), default=0) * SMALL_CHAR, 0.34 * width)
    start, end = edge + named + _GAP, width - edge - said - _GAP
    body: list[str] = []
    top = float(_TOP)
    for heading, bars in groups:
        if heading:
            body.append(text(edge, top + 12, elide(heading, width - 2 * edge, SMALL_CHAR), kind="small strong"))
            top += _HEAD
        body += _group(bars, start, end, top, named, said)
        top += _ROW * len(bars) + _FOOT
    body.append(text(end, top, axis, anchor="end", kind="small faint"))
    return picture(width, top + 10, title, _in_words(groups), body, inline=inline)


def _group(bars: Sequence[Bar], start: float, end: float, top: float, named: float, said: float) -> list[str]:
    longest = max((end for bar in bars for end in (bar.value, *(bar.interval or ()))), default=0.0)
    marks = ticks(0.0, longest, 5 if end - start > 200 else 3)

    def across(value: float) -> float:
        return start + (end - start) * value / marks[-1]

    foot = top + _ROW * len(bars)
    body = []
    for mark in marks:
        body += [
            line(across(mark), top, across(mark), foot + 3),
            text(across(mark), foot + 15, f"{mark:g}", anchor="middle", kind="small faint"),
        ]
    for index, bar in enumerate(bars):
        y = top + _ROW * index
        body += [
            text(start - _GAP, y + 16, elide(bar.name, named, SMALL_CHAR), anchor="end", kind="small"),
            rect(start, y + 4, across(bar.value) - start, _ROW - 8, "bar beaten" if bar.faint else "bar"),
            text(end + _GAP, y + 16, elide(bar.says, said, SMALL_CHAR), kind="small faint"),
        ]
        if bar.interval is not None:
            low, high = (across(value) for value in bar.interval)
            body.append(line(low, y + _ROW / 2, high, y + _ROW / 2, "whisker"))
            body += [line(x, y + 8, x, y + _ROW - 8, "whisker") for x in (low, high)]
    return body


def _in_words(groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    said = []
    for heading, bars in groups:
        each = "; ".join(f"{bar.name}: {bar.says}" for bar in bars)
        said.append(f"{heading}: {each}." if heading else f"{each}.")
    return " ".join(said)
