"""Sparsity, loss and scores over the steps of training, in panels that share the axis of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optkit.report.render.charts.style import CHAR, WIDE, line, picture, text, ticks

_TOP, _FOOT, _LEFT, _BETWEEN, _HEAD = 36, 38, 44, 18, 22


class _Panel(NamedTuple):
    """A quantity over the steps, in the unit of the chart."""

    says: str
    label: str
    steps: list[float]
    values: list[float]
    kind: str
    height: float
    digits: int
    top: float | None


def history_chart(
    history: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]] = (),
    *,
    title: str,
    metric: str = "score",
    chosen: int | None = None,
    width: float = WIDE,
    inline: bool = False,
) -> str | None:
    """Sparsity, loss, and scores during training; None where fewer than two steps were logged.

    Args:
        history: what the Trainer logged: ``step``, ``loss`` and ``sparsity`` in [0, 1].
        scores: ``step`` and ``score`` in [0, 1], of examples that were held out.
        metric: what is scored.
        chosen: the step of the model that was kept, where that is not the last.
    """
    sparsity, loss, scored = (_series(*each) for each in ((history, "sparsity"), (history, "loss"), (scores, "score")))
    wanted = [
        ("Zeros among the pruned weights, %", "zeros", sparsity, "one", 110, 1, 100, 100.0),
        ("Training loss", "loss", loss, "two", 130, 3, 1, None),
        (f"{metric} on held-out examples, points of 100", metric, scored, "three", 90, 2, 100, None),
    ]
    panels = [
        _Panel(says, label, [s for s, _ in points], [factor * v for _, v in points], kind, height, digits, top)
        for says, label, points, kind, height, digits, factor, top in wanted
        if len(points) > 1 and (label != "zeros" or any(value for _, value in points))
    ]
    if not panels:
        return None
    edge = 0 if inline else 12
    ends = [f"{panel.label} {panel.values[-1]:.{panel.digits}f}" for panel in panels]
    left, right = edge + _LEFT, width - edge - max(map(len, ends)) * CHAR - 10
    last = max(panel.steps[-1] for panel in panels)
    steps = [step for step in ticks(0, last, 6 if width >= WIDE else 3) if step <= last]

    def across(step: float) -> float:
        return left + (right - left) * step / last

    body, top = [], float(_TOP)
    for panel, end in zip(panels, ends, strict=True):
        body += _drawn(panel, end, top + _HEAD, across, left, right)
        top += _HEAD + panel.height + _BETWEEN
    foot = top - _BETWEEN
    if chosen is not None:
        body.append(line(across(chosen), _TOP + _HEAD, across(chosen), foot, "base"))
    body += [text(across(step), foot + 15, f"{step:,.0f}", anchor="middle", kind="small faint") for step in steps]
    axis = "optimizer steps" + (f"; the model of step {chosen:,} was kept" if chosen is not None else "")
    body.append(text(right, foot + 31, axis, anchor="end", kind="small faint"))
    return picture(width, foot + _FOOT, title, _in_words(panels), body, inline=inline)


def _drawn(panel: _Panel, end: str, top: float, across, left: float, right: float) -> list[str]:
    low, high = min(panel.values), max(panel.values)
    # A loss is seen against nothing, a score against how much it changed.
    marks = ticks(low if panel.kind == "three" else min(0.0, low), panel.top or high, 4)

    def up(value: float) -> float:
        return top + panel.height * (marks[-1] - value) / (marks[-1] - marks[0])

    body = [text(left, top - 9, panel.says, kind="small strong")]
    for mark in marks:
        body.append(line(left, up(mark), right, up(mark)))
        body.append(text(left - 6, up(mark) + 4, f"{mark:g}", anchor="end", kind="small faint"))
    points = [(across(step), up(value)) for step, value in zip(panel.steps, panel.values, strict=True)]
    kind = f"line {panel.kind}" if panel.kind != "one" else "line"
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    body.append(f'<polyline class="{kind}" points="{joined}"/>')
    if panel.kind == "three":
        body += [f'<circle class="dot three" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>' for x, y in points]
    body.append(text(points[-1][0] + 8, points[-1][1] + 4, end, kind=f"{panel.kind} strong"))
    return body


def _in_words(panels: Sequence[_Panel]) -> str:
    said = [
        f"{panel.says}: {panel.values[0]:.{panel.digits}f} at step {panel.steps[0]:,.0f}, "
        f"{panel.values[-1]:.{panel.digits}f} at step {panel.steps[-1]:,.0f}"
        for panel in panels
    ]
    return ". ".join(said) + "."


def _series(entries: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(step, value) of the entries that have a finite one, by step."""
    found = {}
    for entry in entries:
        step, value = entry.get("step"), entry.get(key)
        if all(isinstance(number, (int, float)) and math.isfinite(number) for number in (step, value)):
            found[float(step)] = float(value)
    return sorted(found.items())
