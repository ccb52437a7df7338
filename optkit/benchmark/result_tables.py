"""A benchmark's result as tables for the terminal, and the lines below them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from optkit.benchmark.result import BenchmarkResult, ModelFacts, Row, Shape
from optkit.progress import size, thread_count


def row_names(rows: Sequence[Row] | Sequence[ModelFacts]) -> list[str]:
    """The name of each row, where there are several paths with the end of its own that tells it from the others."""
    paths = {row.path: row.path.rstrip("/").split("/") for row in rows if row.path is not None}
    if len({row.path for row in rows}) < 2:
        return [row.name for row in rows]
    most = max(map(len, paths.values()))
    count = next(
        (n for n in range(1, most) if len({tuple(parts[-n:]) for parts in paths.values()}) == len(paths)), most
    )
    ends = {path: "/".join(parts[-count:]) for path, parts in paths.items()}
    return [row.name if row.path is None else f"{row.name} ({ends[row.path]})" for row in rows]


def shape_table(result: BenchmarkResult, shape: Shape) -> Table:
    """The variants at one shape."""
    streamed, texts = result.settings.mode == "throughput", shape.texts
    percentiles = texts is not None and not streamed
    table = Table(title=f"{result.settings.mode}, {shape.inputs}", title_justify="left", box=None, header_style="bold")
    over = any(row.over_plain for row in shape.rows)
    columns = ["ms", *(("p90", "p99") if percentiles else ("quartiles",)), "a second", "times as fast"]
    columns += ["as OpenVINO int8"] if over else []
    table.add_column("", overflow="fold")
    for column in (*columns, *(("streams",) if streamed else ()), ""):
        table.add_column(column, justify="right", no_wrap=column != "times as fast")
    for name, row in zip(row_names(shape.rows), shape.rows, strict=True):
        ends = (row.p90 or 0, row.p99 or 0)
        middle = [format_milliseconds(value) for value in ends] if percentiles else [_pair(row.quartiles)]
        cells = [name, format_milliseconds(row.milliseconds), *middle, f"{row.per_second:.1f}", format_ratio(row)]
        if over:
            cells.append(f"{row.over_plain[0]:.2f}" if row.over_plain else "1")
        if streamed:
            cells.append(str(row.streams))
        table.add_row(*cells, "noisy" if row.noisy else "")
    return table


def format_ratio(row: Row) -> str:
    """``5.20 (5.11 to 5.28)``: the ratio with its 95 % interval; ``reference`` for the reference."""
    if row.ratio is None:
        return "reference"
    ratio, *ends = row.ratio
    return f"{ratio:.2f}" + (f" ({ends[0]:.2f} to {ends[1]:.2f})" if ends else "")


def _pair(values: list[float] | None) -> str:
    return "-" if values is None else f"{format_milliseconds(values[0])} to {format_milliseconds(values[1])}"


def format_milliseconds(milliseconds: float) -> str:
    """Milliseconds with three digits or more."""
    return f"{milliseconds:.3f}" if milliseconds < 1 else f"{milliseconds:.2f}"


def load_table(result: BenchmarkResult) -> Table:
    """Load time, memory and size on disk of each model."""
    table = Table(title="loading", title_justify="left", box=None, header_style="bold")
    table.add_column("", overflow="fold")
    for column in ("loads in", "memory", "without imports", "on disk"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, model in zip(row_names(result.models), result.models, strict=True):
        load = model.load
        peak, imports = (load.peak, load.imports) if load else (None, None)
        table.add_row(
            name,
            f"{load.seconds:.2f} s" if load else "-",
            size(peak) if peak else "-",
            size(peak - imports) if peak and imports else "-",
            "-" if model.bytes is None else size(model.bytes),
        )
    return table


def lines(result: BenchmarkResult) -> list[str]:
    """How it was measured, what was left out, and warnings."""
    settings = result.settings
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    rounds = [len(row.rounds) for shape in result.shapes for row in shape.rows]
    counted = f"{min(rounds)} to {max(rounds)}" if min(rounds) < max(rounds) else f"{rounds[0]}"
    below = [
        f"{result.machine.cpu}, {thread_count(settings.threads)}; {versions}.",
        f"Medians of {counted} rounds by turns; times as fast: against the reference in the same round, with the 95 % "
        "interval of the median.",
    ]
    if settings.precision is not None:
        below.append(
            f"OpenVINO computes at its default precision on this CPU, {settings.precision}, unless a row says f32."
        )
    for texts in (shape.texts for shape in result.shapes if shape.texts is not None):
        below.append(
            f"{texts.timed} of {texts.texts} texts, {texts.median} tokens in the median, "
            f"{texts.padding:.0%} of the tokens padding."
        )
    # One line for backends that a path has nothing for, for the same reason.
    reasons: dict[str, list[str]] = {}
    for each in result.left_out:
        reasons.setdefault(each.why, []).append(each.backend or (each.variant.label if each.variant else "?"))
    below += [f"left out: {', '.join(dict.fromkeys(names))}: {why}" for why, names in reasons.items()]
    plans = dict.fromkeys(row.plan for shape in result.shapes for row in shape.rows if row.plan is not None)
    below += [f"optkit's plan: {plan}" for plan in plans]
    return below + [f"warning: {warning}" for warning in result.warnings]
