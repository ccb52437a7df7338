"""The charts of docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping

from performance.measured import REFERENCES, SERVED, Measured, by_shape, name_of, times

from optkit.report.render.charts.bars import Bar, bars_chart
from optkit.report.render.charts.lines import Line, lines_chart

#: Structures with a line each, and its colour.
_KINDS = {"16x4": "three", "4x4": "two", "1x4": "one"}


def sparsity_chart(one: Measured) -> str:
    """How many times as fast as the reference each structure is, by sparsity."""
    lines = []
    for structure, kind in _KINDS.items():
        points = [
            (float(row.case.partition("% ")[0]), row.ratio)
            for row in one.rows(engine="optkit")
            if row.case.endswith(f"% {structure}")
        ]
        if points:
            lines.append(Line(f"optkit, {structure}", sorted(points), kind))
    xs = sorted({x for each in lines for x, _ in each.points}) or [0.0]
    for engine in ("optkit", *REFERENCES):
        if (row := one.row(engine, "dense")) is not None:
            lines.append(Line(name_of(row), [(xs[0], row.ratio), (xs[-1], row.ratio)], "base"))
    return lines_chart(
        lines,
        title=f"{one.model} on {one.result.machine.cpu}, {one.isa}, {one.threads} threads",
        across="weights of the encoder that are zero, %",
        up=f"times as fast as {SERVED[one.reference]} on the dense model, {one.precision}",
    )


def shapes_chart(measured: Mapping[str, Measured]) -> str:
    """Bars of ratios by shape."""
    one = next(iter(measured.values()))
    groups = [
        (
            shape,
            [
                Bar(name, row.ratio, row.ratio_quartiles, times(row.ratio), row.engine != "optkit")
                for name, row in rows.items()
            ],
        )
        for shape, rows in by_shape(measured).items()
    ]
    title = f"{one.model} on {one.result.machine.cpu}, {one.isa}: batch x tokens"
    axis = f"times as fast as {SERVED[one.reference]} on the dense model, {one.precision}; whiskers: quartiles"
    return bars_chart(groups, title=title, axis=axis)
