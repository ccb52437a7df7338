"""The tables of a report: the same cells on the terminal, in report.md, in report.html and in the model card."""

from __future__ import annotations

from collections.abc import Callable

from optkit.benchmark.result import BenchmarkResult
from optkit.progress import duration, size
from optkit.report.figures import Scores, Sparsity, Split, Zeros
from optkit.report.labels import display_name, exported_variant, variant_label
from optkit.report.precision import is_shown
from optkit.report.render.blocks import Table
from optkit.report.schema import Report
from optkit.report.speed import ratio_with_interval, ratios
from optkit.variant import DENSE, Variant

HEADER = ("model", "metric", "sparsity", "on disk", "latency")
#: Models and their engines in the order of the tables.
_MODELS = ("dense", "pruned")
_ENGINES = ("torch", "openvino", "optkit", "onnxruntime")


def headline(report: Report) -> list[tuple[str, ...]]:
    """Rows of (model, metric on each split, encoder sparsity, bytes, latency) for dense, pruned and exported.

    The exported model has more than one where it was also run on the sparse runtime, and where OpenVINO's precision
    makes a difference.
    """
    evaluated, rows = report.evaluate, []
    for variant in scored_variants(report):
        found = {name: split.scores[variant] for name, split in evaluated.splits.items() if variant in split.scores}
        metric = ", ".join(f"{100 * scores[evaluated.metric]:.2f} {name}" for name, scores in found.items())
        folder = weights_folder(variant)
        zeros, held = report.sparsity.get(folder), report.bytes.get(folder)
        share = _percent(zeros.denominators.get("encoder_linear")) if zeros else "-"
        disk = size(held) if held else "-"
        rows.append((display_name(report, variant), metric, share, disk, _latency(report.benchmark, variant)))
    return rows


def scored_variants(report: Report) -> list[Variant]:
    """The scored variants that are shown, in the order of the tables."""
    found = dict.fromkeys(variant for split in report.evaluate.splits.values() for variant in split.scores)
    return sorted((variant for variant in found if is_shown(report.evaluate, variant)), key=_place)


def _place(variant: Variant) -> tuple[bool, int, int, bool]:
    model = _MODELS.index(variant.model) if variant.model in _MODELS else len(_MODELS)
    engine = _ENGINES.index(variant.engine) if variant.engine in _ENGINES else len(_ENGINES)
    return not variant.quantized and variant.exported, model, engine, variant.f32_hint


def weights_folder(variant: Variant) -> str:
    """The folder of a run that holds what ``variant`` runs."""
    if not variant.exported:
        return variant.model
    return "onnx" if variant.engine == "onnxruntime" else "openvino"


def _percent(zeros: Zeros | None) -> str:
    return "-" if zeros is None else f"{zeros.sparsity:.2%}"


def _latency(benchmark: BenchmarkResult | None, variant: Variant) -> str:
    shapes = [shape for shape in (benchmark.shapes if benchmark else ()) if variant in shape.milliseconds]
    return f"{shapes[0].milliseconds[variant]:.2f} ms" if shapes else "-"


def overview(report: Report) -> Table:
    """The headline as a table."""
    rows = headline(report)
    return Table((HEADER[0], report.evaluate.metric, *HEADER[2:]), rows, strong=range(len(rows))[-1:])


def scores(report: Report, name: Callable[[Variant], str] | None = None) -> Table:
    """Every score of every model in points of 100, with its 95 % interval where it has one, and the points lost.

    Args:
        name: gives the name of a model; ``display_name`` by default.
    """
    headed, exported = report.evaluate.metric, exported_variant(report.evaluate)
    name = name or (lambda variant: display_name(report, variant))
    header, rows = ["model"], [[name(variant)] for variant in scored_variants(report)]
    for split_name, split in report.evaluate.splits.items():
        for metric in split.scores.get(exported, ()):
            header.append(f"{metric}, {split_name} ({split.examples:,})")
            for row, variant in zip(rows, scored_variants(report), strict=True):
                row.append(_score(report, split_name, variant, metric))
            if metric == headed and DENSE in split.scores:
                header.append(f"lost, {split_name}")
                for row, variant in zip(rows, scored_variants(report), strict=True):
                    row.append(_lost(split, variant, headed))
    return Table(header, rows)


def _score(report: Report, split: str, variant: Variant, metric: str) -> str:
    found: Scores = report.evaluate.splits[split].scores.get(variant, {})
    if metric not in found:
        return "-"
    ends = report.intervals.get(split, {}).get(variant, {}).get(metric)
    return f"{100 * found[metric]:.2f}" + (f" ({100 * ends[0]:.2f} to {100 * ends[1]:.2f})" if ends else "")


def _lost(split: Split, variant: Variant, metric: str) -> str:
    if variant == DENSE or variant not in split.scores:
        return "-"
    return f"{100 * (split.scores[DENSE][metric] - split.scores[variant][metric]):.2f}"


def latency(report: Report, benchmark: BenchmarkResult) -> Table:
    """Every measured latency, and how many times as fast as the reference and as the IR in plain OpenVINO it is."""
    spread = any(shape.quartiles for shape in benchmark.shapes)
    against = any(shape.against for shape in benchmark.shapes)
    header = ["inputs", "engine", "milliseconds"]
    header += (["quartiles"] if spread else []) + (["times as fast"] if against else [])
    plain = next((shape.plain for shape in benchmark.shapes if shape.over_plain), None)
    header += [f"as {variant_label(report, plain)}"] if plain else []
    rows, strong = [], []
    for shape in benchmark.shapes:
        fast = ratios(shape)
        for place, (variant, milliseconds) in enumerate(shape.milliseconds.items()):
            cells = ["" if place else shape.inputs, variant_label(report, variant), f"{milliseconds:.2f}"]
            if spread:
                ends = shape.quartiles.get(variant)
                cells.append(f"{ends[0]:.2f} to {ends[1]:.2f}" if ends else "-")
            if against:
                noisy = ", noisy" if variant in shape.noisy else ""
                ratio = ratio_with_interval(fast[variant]) + noisy if variant in fast else "-"
                cells.append("1" if variant == shape.against else ratio)
            if plain:
                over = shape.over_plain.get(variant)
                cells.append("1" if variant == plain else (ratio_with_interval(tuple(over)) if over else "-"))
            if variant.engine == "optkit":
                strong.append(len(rows))
            rows.append(tuple(cells))
    return Table(header, rows, text_columns=2, strong=strong)


def frontier(report: Report) -> Table:
    """What each model lost and how fast it is, the fastest first."""
    rows = [
        (point.name, f"{point.drop:.2f}", ratio_with_interval((point.ratio,)), "yes" if point.dominated else "no")
        for point in (report.frontier.points if report.frontier else ())
    ]
    return Table(("model", "points lost", "times as fast", "beaten by another"), rows)


def costs(report: Report) -> Table:
    """Dollars for a million inferences on each machine of the price list."""
    rows, strong, before = [], [], None
    for cost in report.costs.costs if report.costs else ():
        instance = "" if cost.instance == before else cost.instance
        before = cost.instance
        saved = "-" if cost.saved is None else f"{cost.saved:.0%}"
        if cost.engine.engine == "optkit":
            strong.append(len(rows))
        speed = f"{cost.per_second:,.0f}"
        rows.append((instance, variant_label(report, cost.engine), speed, dollars(cost.dollars), saved))
    header = ("machine", "engine", "inferences a second", "dollars a million", "saved")
    return Table(header, rows, text_columns=2, strong=strong)


def dollars(amount: float) -> str:
    """An amount with digits enough to be told from another."""
    return f"{amount:.2f}" if amount >= 1 else f"{amount:#.3g}"


def totals(found: Sparsity) -> Table:
    """Zeros by each of the four denominators."""
    names = {
        "encoder_linear": "Linear weights of the encoder",
        "linear": "all Linear weights",
        "matmul_conv": "all matrix-product and convolution weights",
        "all": "all parameters",
    }
    rows = [
        (names.get(name, name), f"{zeros.zeros:,}", f"{zeros.size:,}", f"{zeros.sparsity:.2%}")
        for name, zeros in found.denominators.items()
        if zeros is not None
    ]
    return Table(("of", "zeros", "weights", "sparsity"), rows)


def layers(found: Sparsity) -> Table:
    """Zeros of every linear layer."""
    rows = [
        (layer.name, "x".join(map(str, layer.shape)), layer.structure, f"{layer.sparsity:.2%}")
        for layer in found.layers
    ]
    return Table(("layer", "shape", "structure", "sparsity"), rows, text_columns=3, folded=f"All {len(rows)} layers")


def seconds(report: Report) -> Table:
    """What each stage took."""
    return Table(("stage", "time"), [(name, duration(value)) for name, value in report.seconds.items()])
