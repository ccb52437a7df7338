"""A benchmark's result as a chart: a bar for each variant, by shapes, with the interval of its median."""

from __future__ import annotations

from optkit.benchmark.result import BenchmarkResult
from optkit.benchmark.result_tables import format_milliseconds, format_ratio, row_names
from optkit.progress import thread_count
from optkit.report.render.charts.bars import Bar, bars_chart


def benchmark_chart(result: BenchmarkResult) -> str:
    """An SVG. Bars are milliseconds, the shorter the better; of throughput examples a second, the longer the better."""
    streamed = result.settings.mode == "throughput"
    groups = []
    for shape in result.shapes:
        bars = []
        for name, row in zip(row_names(shape.rows), shape.rows, strict=True):
            value, (low, high), unit = row.milliseconds, row.interval or (row.milliseconds, row.milliseconds), "ms"
            if streamed:
                scale = row.per_second * value
                value, low, high, unit = row.per_second, scale / high, scale / low, "/s"
            noisy = ", noisy" if row.noisy else ""
            ratio = ", reference" if row.ratio is None else f", {format_ratio(row).split()[0]}x"
            figure = f"{value:.1f}" if streamed else format_milliseconds(value)
            bars.append(Bar(name, value, (low, high), f"{figure} {unit}{ratio}{noisy}", row.ratio is None))
        groups.append((shape.inputs, bars))
    machine = f"{result.machine.cpu}, {thread_count(result.threads)}"
    axis = "examples a second" if streamed else "milliseconds, medians with their 95 % intervals"
    return bars_chart(groups, title=f"{'Throughput' if streamed else 'Latency'} on {machine}", axis=axis)
