"""The report as tables: aligned text for a terminal, or Markdown for a page. Both from the JSON alone."""

from __future__ import annotations

from collections.abc import Iterator

from runtime_bench.engines import ENGINES

_SMALL = 0.01  # kinds of operator below this share of the time are put together


def render(report: dict, markdown: bool) -> str:
    """Everything that the report holds, notes last."""
    blocks = [_heading(report)]
    for title, header, rows in _tables(report):
        table = _markdown(header, rows) if markdown else _text(header, rows)
        blocks.append(f"### {title}\n\n{table}" if markdown else f"{title}\n{table}")
    if report["notes"]:
        blocks.append("\n".join(f"- {note}" for note in report["notes"]))
    return "\n\n".join(blocks)


def _heading(report: dict) -> str:
    machine, settings = report["machine"], report["settings"]
    isa = f", held to {machine['isa']}" if machine["isa"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    flags = " ".join(machine["flags"]) or "flags unknown"
    set_ = " ".join(f"{name}={value}" for name, value in machine["environment"].items())
    return "\n".join(
        [
            f"`{report['command']}`",
            "",
            f"{machine['cpu']} ({flags}), {machine['cores']} cores{isa}; {settings['threads']} threads.",
            f"{versions}.",
            f"OpenVINO computes in {machine['precision']} by default."
            if "precision" in machine
            else "OpenVINO computed with the f32 hint.",
            *([f"Environment: {set_}."] if set_ else []),
        ]
    )


def _tables(report: dict) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    several = len(report["shapes"]) > 1
    if several:
        yield _summary(report)
    for shape in report["shapes"]:
        yield _shape(shape)
    for found in report["shares"]:
        yield _shares(found)
    kernels = [_kernel(found, report["peak"]) for found in report["shares"] if "multiply_adds" in found]
    if kernels:
        peak = report["peak"]
        title = "Linear layers' kernels alone, a thread"
        if peak:
            title += f"; 8-bit peak of {peak['isa']} {peak['multiply_adds_per_second'] / 1e9:.0f} billion a second"
        yield title, ["engine", "model", "tokens", "multiply-adds on non-zeros", "billion a second", "of peak"], kernels
    if report["loads"]:
        yield _loads(report["loads"])


def _title(shape: dict) -> str:
    streams = f", {shape['streams']} streams" if shape["streams"] > 1 else ""
    return f"batch {shape['batch']} x {shape['seq']} tokens{streams}"


def _pair(values: list[float], digits: int) -> str:
    return f"{values[0]:.{digits}f} to {values[1]:.{digits}f}"


def _shape(shape: dict) -> tuple[str, list[str], list[list[str]]]:
    streamed = shape["streams"] > 1
    rows = []
    for row in shape["rows"]:
        speed = f"{row['samples_per_second']:.1f}" if streamed else f"{row['milliseconds']:.2f}"
        difference = shape["differences"].get(row["case"]) if row["engine"] == "optkit" else None
        rows.append(
            [
                ENGINES[row["engine"]],
                row["case"],
                speed,
                f"{row['ratio']:.2f}",
                _pair(row["ratio_quartiles"], 2) + (" noisy" if row["noisy"] else ""),
                ", ".join(f"{count} {kernel}" for kernel, count in (row["layers"] or {}).items()),
                "" if difference is None else f"{100 * difference:.1f} %",
            ]
        )
    unit = "samples/s" if streamed else "ms"
    return _title(shape), ["engine", "model", unit, "ratio", "quartiles", "linear layers", "logits off"], rows


def _summary(report: dict) -> tuple[str, list[str], list[list[str]]]:
    ratios: dict[tuple[str, str], dict[int, str]] = {}
    for index, shape in enumerate(report["shapes"]):
        for row in shape["rows"]:
            mark = " noisy" if row["noisy"] else ""
            ratios.setdefault((row["engine"], row["case"]), {})[index] = f"{row['ratio']:.2f}{mark}"
    shapes = range(len(report["shapes"]))
    rows = [[ENGINES[e], case, *(found.get(i, "") for i in shapes)] for (e, case), found in ratios.items()]
    header = ["engine", "model", *(_title(shape).removeprefix("batch ") for shape in report["shapes"])]
    return "Ratios to OpenVINO, dense, at its default precision", header, rows


def _shares(found: dict) -> tuple[str, list[str], list[list[str]]]:
    total = found["milliseconds"]
    rows, rest = [], 0.0
    for kind, milliseconds in found["operators"].items():
        parts = found.get("programs", {}) if kind == "Reference" else {}
        if milliseconds < _SMALL * total and not parts:
            rest += milliseconds
            continue
        rows.append([kind if not parts else "optkit's programs", *_share(milliseconds, total)])
        rows += [[f"- {part.replace('_', ' ')}", *_share(value, total)] for part, value in parts.items() if value]
    rows.append(["other", *_share(rest, total)])
    title = f"Inside {ENGINES[found['engine']]}, {found['case']}, batch {found['batch']} x {found['seq']} tokens"
    return title, ["kind", "ms", "share"], rows


def _share(milliseconds: float, total: float) -> list[str]:
    return [f"{milliseconds:.3f}", f"{100 * milliseconds / total:.1f} %"]


def _kernel(found: dict, peak: dict | None) -> list[str]:
    rate = found["multiply_adds_per_second"]
    share = f"{100 * rate / peak['multiply_adds_per_second']:.0f} %" if peak else "unknown"
    tokens = f"{found['batch']} x {found['seq']}"
    count = f"{found['multiply_adds'] / 1e6:.1f} M"
    return [ENGINES[found["engine"]], found["case"], tokens, count, f"{rate / 1e9:.1f}", share]


def _loads(loads: list[dict]) -> tuple[str, list[str], list[list[str]]]:
    header = ["IR", "model", "loads in, s", "encoder, MB", "embeddings, MB", "files, MB"]
    names = ("encoder_bytes", "embedding_bytes", "file_bytes")
    rows = [
        [row["engine"], row["case"], f"{row['seconds']:.2f}", *(f"{row[name] / 1e6:.1f}" for name in names)]
        for row in loads
    ]
    return "Loading, and size on disk", header, rows


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
