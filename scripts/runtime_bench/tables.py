"""A result as tables: aligned text for a terminal, or Markdown for a page."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_bench.engines import ENGINES
from runtime_bench.inside import PROGRAM
from runtime_bench.result import CaseRow, OperatorTimes, Peak, RuntimeResult, ScheduledTime, StoredModel

from optkit.benchmark.result import Shape

_SMALL = 0.01  # kinds of operator below this share of the time are put together
_Table = tuple[str, list[str], list[list[str]]]


def render(result: RuntimeResult, markdown: bool) -> str:
    """All tables, then what was left out, and warnings."""
    blocks = [_heading(result)]
    for title, header, rows in _tables(result):
        table = _markdown(header, rows) if markdown else _text(header, rows)
        blocks.append(f"### {title}\n\n{table}" if markdown else f"{title}\n{table}")
    notes = [f"{ENGINES[each.backend or '']} was left out: {each.why}." for each in result.left_out]
    if notes := [*notes, *result.warnings]:
        blocks.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(blocks)


def _heading(result: RuntimeResult) -> str:
    machine, settings = result.machine, result.settings
    isa = f", held to {settings.isa}" if settings.isa else ""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    flags = " ".join(machine.instruction_sets) or "flags unknown"
    variables = " ".join(f"{name}={value}" for name, value in settings.environment.items())
    return "\n".join(
        [
            f"`{result.command}`",
            "",
            f"{machine.cpu} ({flags}), {machine.cores} cores{isa}; {settings.threads} threads.",
            f"{versions}.",
            f"OpenVINO computes in {settings.precision} by default.",
            *([f"Environment: {variables}."] if variables else []),
        ]
    )


def _tables(result: RuntimeResult) -> Iterator[_Table]:
    if len(result.shapes) > 1:
        yield _summary(result)
    for shape in result.shapes:
        yield _shape(result, shape)
    for found in result.operators:
        yield _operators(found)
    kernels = [_kernel(found, result.peak) for found in result.operators if found.multiply_adds is not None]
    if kernels:
        title, peak = "Linear layers' kernels alone, a thread", result.peak
        if peak:
            title += f"; 8-bit peak of {peak.isa} {peak.multiply_adds_per_second / 1e9:.0f} billion a second"
        yield title, ["engine", "model", "tokens", "multiply-adds on non-zeros", "billion a second", "of peak"], kernels
    if result.models:
        yield _models(result.models)
    if result.schedules:
        yield _schedules(result.schedules)


def _title(result: RuntimeResult, shape: Shape) -> str:
    streams = f", {result.streams} streams" if result.streams > 1 else ""
    return f"batch {shape.batch} x {shape.seq} tokens{streams}"


def _pair(values: tuple[float, float], digits: int) -> str:
    return f"{values[0]:.{digits}f} to {values[1]:.{digits}f}"


def _shape(result: RuntimeResult, shape: Shape) -> _Table:
    streamed, rows = result.streams > 1, []
    for row in shape.rows:
        case = CaseRow(shape, row)
        rows.append(
            [
                ENGINES[case.engine],
                case.case,
                f"{row.per_second:.1f}" if streamed else f"{row.milliseconds:.2f}",
                f"{case.ratio:.2f}",
                _pair(case.ratio_quartiles, 2) + (" noisy" if row.noisy else ""),
                "" if case.over_fp32 is None else f"{case.over_fp32:.2f}",
                ", ".join(f"{count} {kernel}" for kernel, count in (row.kernels or {}).items()),
                "" if row.difference is None else f"{100 * row.difference:.1f} %",
            ]
        )
    unit = "samples/s" if streamed else "ms"
    header = ["engine", "model", unit, "ratio", "quartiles", "over fp32", "linear layers", "logits off"]
    return f"{_title(result, shape)}; ratios to {_reference(shape)}, dense", header, rows


def _reference(shape: Shape) -> str:
    """The name of the engine that ratios are against."""
    return next(row.name for row in shape.rows if row.reference)


def _summary(result: RuntimeResult) -> _Table:
    ratios: dict[tuple[str, str], dict[int, str]] = {}
    for index, shape in enumerate(result.shapes):
        for row in (CaseRow(shape, row) for row in shape.rows):
            mark = " noisy" if row.row.noisy else ""
            ratios.setdefault((row.engine, row.case), {})[index] = f"{row.ratio:.2f}{mark}"
    shapes = range(len(result.shapes))
    rows = [[ENGINES[e], case, *(found.get(i, "") for i in shapes)] for (e, case), found in ratios.items()]
    header = ["engine", "model", *(_title(result, shape).removeprefix("batch ") for shape in result.shapes)]
    return f"Ratios to {_reference(result.shapes[0])}, dense", header, rows


def _operators(found: OperatorTimes) -> _Table:
    total = found.milliseconds
    rows, rest = [], 0.0
    for kind, milliseconds in found.operators.items():
        parts = found.programs if kind == PROGRAM else {}
        if milliseconds < _SMALL * total and not parts:
            rest += milliseconds
            continue
        rows.append([kind if not parts else "optkit's programs", *_share(milliseconds, total)])
        rows += [[f"- {part.replace('_', ' ')}", *_share(value, total)] for part, value in parts.items() if value]
    rows.append(["other", *_share(rest, total)])
    title = f"Inside {ENGINES[found.engine]}, {found.case}, batch {found.batch} x {found.seq} tokens"
    return title, ["kind", "ms", "share"], rows


def _share(milliseconds: float, total: float) -> list[str]:
    return [f"{milliseconds:.3f}", f"{100 * milliseconds / total:.1f} %"]


def _kernel(found: OperatorTimes, peak: Peak | None) -> list[str]:
    rate = found.multiply_adds_per_second or 0.0
    share = f"{100 * rate / peak.multiply_adds_per_second:.0f} %" if peak else "unknown"
    tokens = f"{found.batch} x {found.seq}"
    count = f"{(found.multiply_adds or 0) / 1e6:.1f} M"
    return [ENGINES[found.engine], found.case, tokens, count, f"{rate / 1e9:.1f}", share]


def _models(models: list[StoredModel]) -> _Table:
    header = ["IR", "model", "loads in, s", "encoder, MB", "embeddings, MB", "files, MB"]
    rows = [
        [model.name, model.path or "", f"{model.load.seconds:.2f}" if model.load else "-"]
        + [f"{size / 1e6:.1f}" for size in (model.encoder_bytes, model.embedding_bytes, model.bytes or 0)]
        for model in models
    ]
    return "Loading, and size on disk", header, rows


def _schedules(schedules: list[ScheduledTime]) -> _Table:
    found: dict[tuple[str, str], dict[int, ScheduledTime]] = {}
    for each in schedules:
        found.setdefault((each.case, f"{each.batch} x {each.seq}"), {})[each.threads] = each
    threads = sorted({each.threads for each in schedules})
    rows = [[*names, *(f"{by[count].milliseconds:.2f}" for count in threads)] for names, by in found.items()]
    header = ["model", "tokens", *(f"{count} thread{'s' * (count > 1)}" for count in threads)]
    return "Simulation: ms of the programs by the engine's cost model", header, rows


def _right(column: int, rows: list[list[str]]) -> bool:
    """Whether a column holds numbers."""
    return all(not row[column] or row[column][0].isdigit() for row in rows)


def _text(header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    right = [i > 0 and _right(i, rows) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [cell.rjust(width) if r else cell.ljust(width) for cell, width, r in zip(row, widths, right)]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    rule = ["---:" if i > 0 and _right(i, rows) else "---" for i in range(len(header))]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])
