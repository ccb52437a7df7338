"""A benchmark's report as a chart: a bar for each engine, by shapes, with the interval of its median."""

from __future__ import annotations

from typing import Any

from optkit.benchmark.tables import headline, names, said, said_ratio, threads_in_words
from optkit.report.render.charts.bars import Bar, bars_chart


def chart(report: dict[str, Any]) -> str:
    """An SVG. Bars are milliseconds, the shorter the better; of throughput examples a second, the longer the better."""
    streamed = report["settings"]["mode"] == "throughput"
    groups = []
    for shape in report["shapes"]:
        bars = []
        for name, row in zip(names(report, shape), shape["rows"], strict=True):
            value, interval, unit = row["milliseconds"], tuple(row["interval"]), "ms"
            if streamed:
                scale = row["per_second"] * value
                value, interval, unit = row["per_second"], (scale / interval[1], scale / interval[0]), "/s"
            noisy = ", noisy" if row["noisy"] else ""
            ratio = ", reference" if row["ratio"] is None else f", {said_ratio(row).split()[0]}x"
            figure = f"{value:.1f}" if streamed else said(value)
            bars.append(Bar(name, value, interval, f"{figure} {unit}{ratio}{noisy}", row["ratio"] is None))
        groups.append((headline(report, shape), bars))
    machine = f"{report['machine']['cpu']}, {threads_in_words(report['settings']['threads'])}"
    axis = "examples a second" if streamed else "milliseconds, medians with their 95 % intervals"
    return bars_chart(groups, title=f"{'Throughput' if streamed else 'Latency'} on {machine}", axis=axis)
