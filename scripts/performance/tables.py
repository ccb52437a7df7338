"""The tables of docs/performance.md, out of what bench_runtime.py measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from performance.charts import shapes_chart, sparsity_chart
from performance.measured import FP32, SERVED, SHAPED, Measured, by_shape, name_of, times
from runtime_bench.result import CaseRow

from optkit.report.prices import Prices, costs_of
from optkit.report.render.blocks import Table
from optkit.timing import ratios


def render(measured: Mapping[str, Measured], prices: Prices | None, page: str) -> tuple[str, dict[str, str]]:
    """The text between the marks of the page of this name, and charts by file name; nothing but what was measured, and
    dollars only with ``prices``.
    """
    curves, shapes = f"{page}-sparsity.svg", f"{page}-shapes.svg"
    if not measured:
        return "Nothing is measured yet.", {}
    parts, charts = [_machine(next(iter(measured.values())))], {}
    whole = [measured[name] for name in ("native", "avxvnni", "avx2") if name in measured]
    if whole:
        charts[curves] = sparsity_chart(whole[0])
        parts += ["### Structures", f"![speed against sparsity]({curves})", *_structures(whole)]
    if any(f"native-{name}" in measured for name in SHAPED):
        charts[shapes] = shapes_chart(measured)
        parts += ["### Length, batch and threads", f"![speed at several shapes]({shapes})", *_shapes(measured)]
    if "native-minilm" in measured:
        parts += ["### A small model", *_small(measured["native-minilm"])]
    if prices is not None and "native-streams" in measured:
        parts += ["### Cost of a million inferences", *_costs(measured["native-streams"], prices)]
    for one in whole:
        if any(found.programs for found in one.result.operators):
            parts += [f"### Where the time goes, {one.isa}", *_shares(one)]
    if any(one.result.peak for one in whole):
        parts += ["### Kernels against the peak", *_kernels(whole)]
    if "native-simulation" in measured:
        parts += ["### Latency against threads: a simulation", *_simulation(measured["native-simulation"])]
    if "native-loads" in measured:
        parts += ["### Loading, and size on disk", *_loads(measured["native-loads"])]
    return "\n\n".join(parts), charts


def _machine(one: Measured) -> str:
    machine = one.result.machine
    versions = ", ".join(f"{name} {version}" for name, version in one.result.versions.items() if name != "optkit")
    return (
        f"{machine.cpu} ({', '.join(machine.instruction_sets)}), {machine.cores} cores, {one.threads} threads "
        f"unless said otherwise; {versions}. Ratios are to {_against(one)}, in the same run: the median over rounds, "
        "quartiles in brackets."
    )


def _against(one: Measured) -> str:
    return f"{SERVED[one.reference]} on the dense model, {one.precision}"


def _structures(whole: Sequence[Measured]) -> Iterator[str]:
    """A column group for each instruction set."""
    heads = [""]
    for one in whole:
        heads += [f"{one.isa}: ms", f"over {SERVED[one.reference]}, dense"]
        heads += [f"over {SERVED[FP32]}, dense"] if one.reference != FP32 else []
    names = dict.fromkeys((row.engine, row.case) for one in whole for row in one.rows())
    rows = []
    for engine, case in sorted(names, key=lambda name: name[0] == "optkit"):
        cells = []
        for one in whole:
            row = one.row(engine, case)
            cells += [""] * (3 if one.reference != FP32 else 2) if row is None else _compared(row, one)
        rows.append([f"{SERVED.get(engine, engine)}, {case}", *cells])
    yield f"{whole[0].model}, batch 1 x {whole[0].result.shapes[0].seq} tokens."
    yield Table(heads, rows).markdown()
    yield "\n".join(["```", *(one.command for one in whole), "```"])


def _compared(row: CaseRow, one: Measured) -> list[str]:
    cells = [f"{row.row.milliseconds:.1f}", _ratio(row)]
    return cells + ([times(row.over_fp32)] if one.reference != FP32 else [])


def _ratio(row: CaseRow) -> str:
    """The ratio with its quartiles; of the reference 1."""
    if row.row.reference:
        return "1"
    low, high = row.ratio_quartiles
    said = f"**{times(row.ratio)}**" if row.engine == "optkit" else times(row.ratio)
    return f"{said} ({times(low)} to {times(high)})" + " noisy" * row.row.noisy


def _shapes(measured: Mapping[str, Measured]) -> Iterator[str]:
    found = by_shape(measured)
    names = list(dict.fromkeys(name for each in found.values() for name in each))

    def said(shape: str, row: CaseRow | None) -> str:
        if row is None:
            return ""
        speed = f"{row.row.per_second:.0f}/s" if "streams" in shape else f"{row.row.milliseconds:.1f} ms"
        return f"{times(row.ratio)} ({speed})" + " noisy" * row.row.noisy

    one = next(iter(measured.values()))
    yield f"{one.model}. Each column against {_against(one)}, at the same shape, threads and streams."
    yield Table(
        ["", *found], [[name, *(said(shape, each.get(name)) for shape, each in found.items())] for name in names]
    ).markdown()
    commands = [measured[f"native-{name}"].command for name in SHAPED if f"native-{name}" in measured]
    yield "\n".join(["```", *commands, "```"])


def _small(one: Measured) -> Iterator[str]:
    shape = one.result.shapes[0]
    ours = one.rows(engine="optkit")
    rows = []
    for row in one.rows():
        over = "" if row.engine != "optkit" else f"{ratios(ours[0].row.rounds, row.row.rounds).median:.2f}"
        rows.append([name_of(row), f"{row.row.milliseconds:.2f}", _ratio(row), times(row.over_fp32), over])
    yield f"{one.model}, batch {shape.batch} x {shape.seq} tokens."
    heads = ["", "ms", f"over {SERVED[one.reference]}, dense", f"over {SERVED[FP32]}, dense", f"over {ours[0].case}"]
    yield Table(heads, rows).markdown()
    yield f"`{one.command}`"


def _costs(one: Measured, prices: Prices) -> Iterator[str]:
    """Of throughput: as many requests in flight as keep all threads busy."""
    rows = [row for row in one.rows() if (row.engine, row.case) != ("optkit", "dense")]
    speeds = {name_of(row): row.row.per_second for row in rows}
    dense = next(name_of(row) for row in rows if row.row.reference)
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
    for number, one in enumerate(whole):
        if one.result.peak is None:
            continue
        peak = one.result.peak.multiply_adds_per_second
        heads += [f"{one.isa}, of {peak / 1e9:.0f} billion", "kernels"]
        for row in one.rows(engine="optkit"):
            rates = [found for found in one.result.operators if (found.engine, found.case) == ("optkit", row.case)]
            rate = rates[0].multiply_adds_per_second if rates else None
            said = "left to OpenVINO" if rate is None else f"{rate / 1e9:.0f} ({rate / peak:.0%})"
            kernels = ", ".join(f"{count} {kernel}" for kernel, count in (row.row.kernels or {}).items())
            cells = cases.setdefault(row.case, [])
            cells += [""] * (2 * number - len(cells)) + [said, kernels]
    yield (
        "Billions of multiply-adds on non-zero weights in a second, one thread; the peak is what the fastest products "
        "of the instruction set do on data in the first-level cache. A kernel that is coarser than the zeros also "
        "multiplies some zeros, which do not count. *kernels* are those of the plan, each with its number of layers: "
        "`block4x8` has blocks of four inputs by eight outputs."
    )
    yield Table(
        heads, [[case, *cells, *[""] * (len(heads) - 1 - len(cells))] for case, cells in cases.items()]
    ).markdown()


def _simulation(one: Measured) -> Iterator[str]:
    schedules = one.result.schedules
    threads = sorted({each.threads for each in schedules})
    rows = []
    for case, batch, seq in dict.fromkeys((each.case, each.batch, each.seq) for each in schedules):
        found = {each.threads: each for each in schedules if (each.case, each.batch, each.seq) == (case, batch, seq)}
        speeds = {count: found[threads[0]].milliseconds / each.milliseconds for count, each in found.items()}
        cells = [f"{speeds[count]:.1f}" + f" ({each.used})" * (each.used < count) for count, each in found.items()]
        rows.append([f"{case}, {batch} x {seq}", *cells])
    yield (
        "**Nothing in this table was measured.** It is what the cost model expects by which the engine cuts an "
        f"inference into tasks: how many times as fast linear layers and attention of {one.model} are as with one "
        f"thread, on machines of more cores than the {one.result.machine.cores} here. In brackets: how many threads "
        "take part, where more would only wait. The model takes all kernels as equally fast, and does not know that "
        "cores share memory bandwidth, caches and power: the table shows how far the tasks let latency fall, not what "
        "a server will reach."
    )
    yield Table(["", *(f"{count} thread{'s' * (count > 1)}" for count in threads)], rows).markdown()
    yield f"`{one.command}`"


def _loads(one: Measured) -> Iterator[str]:
    rows = [
        [f"{model.name}, {model.path}", f"{model.load.seconds:.2f}" if model.load else "-"]
        + [f"{size / 1e6:.1f}" for size in (model.encoder_bytes, model.bytes or 0)]
        for model in one.result.models
    ]
    yield Table(["", "loads in, s", "encoder, MB", "all, MB"], rows).markdown()
    yield f"`{one.command}`"
