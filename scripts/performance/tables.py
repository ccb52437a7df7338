"""The tables and charts of docs/performance.md, out of what bench_runtime.py measured."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from runtime_bench.result import CaseRow, RuntimeResult

from optkit.report.prices import Prices, costs_of
from optkit.report.render.blocks import Table
from optkit.report.render.charts.bars import Bar, bars_chart
from optkit.report.render.charts.lines import Line, lines_chart

#: Instruction sets by the CPU's flag, the best first.
FLAGS = {"amx_int8": "AMX", "avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "avx2": "AVX2"}
#: What stands for which engine in the columns of a benchmark.
SERVED = {"openvino-fp32": "OpenVINO fp32 IR", "openvino-int8": "OpenVINO int8", "optkit": "optkit"}
CURVES, SHAPES = "performance-sparsity.svg", "performance-shapes.svg"
#: The model that is measured at several shapes.
CASE = "90% 1x4"


class Measured(NamedTuple):
    """A result of bench_runtime.py, and the arguments that gave it."""

    result: RuntimeResult
    arguments: Sequence[str]

    @property
    def isa(self) -> str:
        machine, isa = self.result.machine, self.result.settings.isa
        if isa:
            return next(said for flag, said in FLAGS.items() if flag.replace("_", "") == isa)
        return next((said for flag, said in FLAGS.items() if flag in machine.instruction_sets), machine.cpu)

    @property
    def threads(self) -> int:
        return self.result.threads

    def rows(self, *, engine: str | None = None, case: str | None = None) -> list[CaseRow]:
        """Rows of all shapes, of one engine and of one case where these are given."""
        return [row for row in self.result.case_rows if engine in (None, row.engine) and case in (None, row.case)]

    def row(self, engine: str, case: str) -> CaseRow | None:
        return next(iter(self.rows(engine=engine, case=case)), None)

    @property
    def command(self) -> str:
        return shlex.join(["python", "scripts/bench_runtime.py", *self.arguments])


def render(measured: Mapping[str, Measured], prices: Prices | None) -> tuple[str, dict[str, str]]:
    """The text between the page's marks, and charts by file name; nothing but what was measured, and dollars only with
    ``prices``.
    """
    if not measured:
        return "Nothing is measured yet.", {}
    parts, charts = [_machine(next(iter(measured.values())))], {}
    whole = [measured[name] for name in ("native", "avx2") if name in measured]
    if whole:
        charts[CURVES] = _curves(whole[0])
        parts += [
            "### Time against sparsity and structure",
            f"![speed against sparsity]({CURVES})",
            *_sparsities(whole),
        ]
    if any(name.partition("-")[2] for name in measured):
        charts[SHAPES] = _bars(measured)
        parts += ["### Length, batch, threads and streams", f"![speed at several shapes]({SHAPES})", *_shapes(measured)]
    if prices is not None and "native-streams" in measured:
        parts += ["### Cost of a million inferences", *_costs(measured["native-streams"], prices)]
    for one in whole:
        if any(found.programs for found in one.result.operators):
            parts += [f"### Where the time goes, {one.isa}", *_shares(one)]
    if any(one.result.peak for one in whole):
        parts += ["### Kernels against the peak", *_kernels(whole)]
    if whole and whole[0].result.models:
        parts += ["### Loading, and size on disk", *_loads(whole[0])]
    return "\n\n".join(parts), charts


def _machine(one: Measured) -> str:
    machine = one.result.machine
    versions = ", ".join(f"{name} {version}" for name, version in one.result.versions.items() if name != "optkit")
    return (
        f"{machine.cpu} ({', '.join(machine.instruction_sets)}), {machine.cores} cores, {one.threads} threads "
        f"unless said otherwise; {versions}. Ratios are to OpenVINO on the dense model's fp32 IR, {_precision(one)}, "
        "in the same run: the median over rounds, quartiles in brackets."
    )


def _precision(one: Measured) -> str:
    """At which precision OpenVINO computed."""
    return f"at its default precision ({one.result.precision})"


def _sparsities(whole: Sequence[Measured]) -> Iterator[str]:
    heads = ["model"]
    for one in whole:
        heads += [f"ms, {one.isa}", "optkit", "OpenVINO int8", "optkit over it"]
    rows = []
    cases = dict.fromkeys(row.case for one in whole for row in one.rows(engine="optkit"))
    for case in cases:
        cells = [case]
        for one in whole:
            ours, theirs = one.row("optkit", case), one.row("openvino-int8", case)
            cells += [""] * 4 if ours is None or theirs is None else _beside(ours, theirs)
        rows.append(cells)
    yield f"BERT-base, batch 1 x {whole[0].result.shapes[0].seq} tokens, int8 but where fp32 is said."
    yield Table(heads, rows).markdown()
    for one in whole:
        rest = [row for row in one.rows(case="dense") if row.engine not in ("optkit", "openvino-int8")]
        others = ", ".join(f"{row.engine} {row.row.milliseconds:.0f} ms ({row.ratio:.2f})" for row in rest)
        yield f"{one.isa}, on the dense model, OpenVINO {_precision(one)}: {others}. `{one.command}`"


def _beside(ours: CaseRow, theirs: CaseRow) -> list[str]:
    return [
        f"{ours.row.milliseconds:.1f}",
        _ratio(ours, strong=True),
        _ratio(theirs, spread=False),
        f"{ours.ratio / theirs.ratio:.1f}",
    ]


def _ratio(row: CaseRow, *, strong: bool = False, spread: bool = True) -> str:
    said = f"**{row.ratio:.1f}**" if strong else f"{row.ratio:.1f}"
    low, high = row.ratio_quartiles
    said += f" ({low:.1f} to {high:.1f})" if spread else ""
    return said + (" noisy" if row.row.noisy else "")


def _curves(one: Measured) -> str:
    lines = []
    for structure, kind in (("1x4", "one"), ("element", "two")):
        points = []
        for row in one.rows(engine="optkit"):
            percent, _, of = row.case.partition("% ")
            if row.case == "dense" or of == structure:
                points.append((0.0 if row.case == "dense" else float(percent), row.ratio))
        if len(points) > 1:
            lines.append(Line(f"optkit, {'unstructured' if structure == 'element' else structure}", points, kind))
    xs = sorted({x for each in lines for x, _ in each.points})
    dense = one.row("openvino-int8", "dense")
    if dense is not None and xs:
        lines.append(Line("OpenVINO int8, dense", [(xs[0], dense.ratio), (xs[-1], dense.ratio)], "base"))
    return lines_chart(
        lines,
        title=f"BERT-base on {one.result.machine.cpu}, {one.isa}, {one.threads} threads",
        across="weights of the encoder that are zero, %",
        up=f"times as fast as OpenVINO on the dense model, {_precision(one)}",
    )


def _at_shapes(measured: Mapping[str, Measured]) -> dict[str, dict[str, CaseRow]]:
    """Rows of ``CASE`` by shape and by engine, in words; with threads and streams where they are not the usual ones."""
    found: dict[str, dict[str, CaseRow]] = {}
    for name, one in measured.items():
        threads, streams = one.threads, one.result.streams
        for engine in ("optkit", "openvino-int8"):
            for row in one.rows(engine=engine, case=CASE):
                shape = f"{row.shape.batch} x {row.shape.seq}"
                shape += f", {threads} thread{'s' * (threads > 1)}" if "-thread" in name else ""
                shape += f", {streams} streams" if streams > 1 else ""
                found.setdefault(shape, {})[f"{SERVED[engine]}, {one.isa}"] = row
    return found


def _shapes(measured: Mapping[str, Measured]) -> Iterator[str]:
    found = _at_shapes(measured)
    names = list(dict.fromkeys(name for each in found.values() for name in each))

    def said(shape: str, row: CaseRow | None) -> str:
        if row is None:
            return ""
        return _ratio(row, spread=False) + (f", {row.row.per_second:.0f}/s" if "streams" in shape else "")

    against = f"OpenVINO on the dense model, {_precision(next(iter(measured.values())))}"
    yield f"The model at {CASE}. Each column against {against}, at the same shape, threads and streams."
    yield Table(
        ["", *found], [[name, *(said(shape, each.get(name)) for shape, each in found.items())] for name in names]
    ).markdown()
    commands = [one.command for name, one in measured.items() if name.partition("-")[2]]
    yield "\n".join(["```", *commands, "```"])


def _bars(measured: Mapping[str, Measured]) -> str:
    groups = [
        (
            shape,
            [
                Bar(
                    name,
                    row.ratio,
                    row.ratio_quartiles,
                    f"{row.ratio:.1f}",
                    not name.startswith("optkit"),
                )
                for name, row in each.items()
            ],
        )
        for shape, each in _at_shapes(measured).items()
    ]
    one = next(iter(measured.values()))
    title = f"BERT-base, {CASE}, on {one.result.machine.cpu}: batch x tokens"
    axis = f"times as fast as OpenVINO on the dense model, {_precision(one)}; whiskers: quartiles"
    return bars_chart(groups, title=title, axis=axis)


def _costs(one: Measured, prices: Prices) -> Iterator[str]:
    """Of throughput: as many requests in flight as keep all threads busy."""
    rows = [row for row in one.rows() if (row.engine, row.case) != ("optkit", "dense")]
    speeds = {f"{SERVED[row.engine]}, {row.case}": row.row.per_second for row in rows}
    dense = next(name for name in speeds if name.startswith("OpenVINO fp32"))
    found = costs_of(speeds, dense, one.threads, prices)
    cells = [
        [name, f"{speed:.1f}"]
        + [f"{cost.dollars:.2f}" for cost in found if cost.engine == name]
        + [f"{1 - speeds[dense] / speed:.0%}" if name != dense else ""]
        for name, speed in speeds.items()
    ]
    machines = [f"{i.name}, ${i.hourly:g} an hour" for i in prices.instances]
    yield (
        f"Dollars for a million texts of {rows[0].shape.seq} tokens, from the throughput of {one.result.streams} "
        f"streams on {one.threads} threads. Prices of {prices.date}, {prices.source}. "
        "Machines with more cores are taken to run as many copies side by side as fit: an estimate, which ignores that "
        "copies share caches and memory."
    )
    yield Table(["", "a second", *machines, "saved"], cells).markdown()


def _shares(one: Measured) -> Iterator[str]:
    rows = []
    for found in one.result.operators:
        parts = found.programs
        if not parts:
            continue
        own = found.milliseconds - sum(parts.values())
        small = sum(parts[name] for name in ("load", "quantize", "elementwise", "layer_norm", "store"))
        times = (parts["products"], parts["epilogue"], parts["attention"], small, parts["waiting"], own)
        rows.append([found.case, *(f"{time:.1f}" for time in times)])
    yield "Milliseconds of one inference while OpenVINO's counters are on, which takes time itself."
    heads = ["", "products", "epilogue", "attention", "quantize, LayerNorm", "waiting", "OpenVINO's own"]
    yield Table(heads, rows).markdown()


def _kernels(whole: Sequence[Measured]) -> Iterator[str]:
    heads, cases = [""], {}
    for one in whole:
        if one.result.peak is None:
            continue
        peak = one.result.peak.multiply_adds_per_second
        heads.append(f"{one.isa}, of {peak / 1e9:.0f} billion")
        for found in one.result.operators:
            if (rate := found.multiply_adds_per_second) is not None and found.engine == "optkit":
                cases.setdefault(found.case, {})[one.isa] = f"{rate / 1e9:.0f} ({rate / peak:.0%})"
    yield (
        "Billions of multiply-adds on non-zero weights in a second, one thread; the peak is the instruction sequence "
        "of one dot product on registers."
    )
    rows = [[case, *(by.get(one.isa, "left to OpenVINO") for one in whole)] for case, by in cases.items()]
    yield Table(heads, rows).markdown()


def _loads(one: Measured) -> Iterator[str]:
    rows = [
        [f"{model.name}, {model.path}", f"{model.load.seconds:.1f}" if model.load else "-"]
        + [f"{size / 1e6:.1f}" for size in (model.encoder_bytes, model.bytes or 0)]
        for model in one.result.models
    ]
    yield Table(["", "loads in, s", "encoder, MB", "all, MB"], rows).markdown()
