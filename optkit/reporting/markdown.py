"""The report as Markdown, and its headline table for the terminal: the same rows in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from optkit.progress import duration, size
from optkit.reporting.quantization import quantization

LABELS = {
    "int8": "int8 IR",
    "int8 optkit": "int8 IR, optkit",
    "int8 onnx": "int8 ONNX",
    "openvino": "fp32 IR",
    "optkit": "fp32 IR, optkit",
    "onnx": "fp32 ONNX",
}
HEADER = ("model", "metric", "sparsity", "on disk", "latency")


def headline(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Rows of (model, metric on each split, encoder sparsity, bytes, latency) for dense, pruned and exported.

    The exported model has two rows where it was also run on the sparse runtime.
    """
    evaluated = report["evaluate"]
    rows = []
    for name, folder, engine in (
        ("dense", "dense", "dense torch"),
        ("pruned", "pruned", "pruned torch"),
        ("int8", "openvino", "int8 openvino"),
        ("int8 optkit", "openvino", "int8 optkit"),
        ("int8 onnx", "onnx", "int8 onnx"),
        ("openvino", "openvino", "openvino"),
        ("optkit", "openvino", "optkit"),
        ("onnx", "onnx", "onnx"),
    ):
        scores = {split: found[name] for split, found in evaluated["splits"].items() if name in found}
        if not scores:
            continue
        metric = ", ".join(f"{100 * score[evaluated['metric']]:.2f} {split}" for split, score in scores.items())
        found = report["sparsity"].get(folder)
        share = _percent(found["denominators"]["encoder_linear"]) if found else "-"
        held = report["bytes"].get(folder)
        rows.append(
            (called(report, name), metric, share, size(held) if held else "-", _latency(report["benchmark"], engine))
        )
    return rows


def called(report: dict[str, Any], name: str) -> str:
    """What a report's reader knows a model by. Where nothing was pruned here, nothing is said to be dense or pruned:
    the model may have come with its zeros.
    """
    if not report["training"]["rules"] and name in ("dense", "pruned"):
        return {"dense": "baseline", "pruned": "checkpoint"}[name]
    return LABELS.get(name, name)


def _percent(denominator: dict[str, Any] | None) -> str:
    return "-" if denominator is None else f"{denominator['sparsity']:.2%}"


def _latency(benchmark: dict[str, Any] | None, engine: str) -> str:
    rows = [row for row in (benchmark or {}).get("rows", []) if engine in row["milliseconds"]]
    return f"{rows[0]['milliseconds'][engine]:.2f} ms" if rows else "-"


def verdict(report: dict[str, Any]) -> str:
    """One sentence: what was lost against the baseline, and whether that is allowed."""
    evaluated = report["evaluate"]
    if evaluated["drop"] is None:
        return "No baseline to compare with."
    side = "below" if evaluated["drop"] >= 0 else "above"
    said = f"{abs(evaluated['drop']):.2f} points {side} the {baseline(report)}"
    limit = evaluated["max_drop"]
    if limit is None:
        return f"{said}."
    return f"{said}; max_drop allows {limit:g}" + ("." if evaluated["within_max_drop"] else ": TOO MUCH.")


def baseline(report: dict[str, Any]) -> str:
    """What a model is compared with, in words."""
    return "dense baseline" if report["training"]["rules"] else "baseline"


def table(report: dict[str, Any]) -> Any:
    """The headline as a rich table."""
    from rich.table import Table

    shown = Table(title=f"{report['name']} ({report['evaluate']['metric']})", title_justify="left")
    for column in HEADER:
        # On a narrow terminal scores of several splits go below each other, and nothing is cut off.
        shown.add_column(column, justify="left" if column == "model" else "right", no_wrap=column != "metric")
    for row in headline(report):
        shown.add_row(*row)
    return shown


def render(report: dict[str, Any]) -> str:
    """report.md."""
    evaluated = report["evaluate"]
    parts = [f"# {report['name']}", report["description"], verdict(report)]
    parts.append(grid((*HEADER[:1], evaluated["metric"], *HEADER[2:]), headline(report)))
    if report["benchmark"]:
        parts += ["## Latency", latency(report["benchmark"])]
    agreement = ", ".join(f"{found['agreement']:.2%} on {split}" for split, found in evaluated["splits"].items())
    parts += ["## Agreement", f"Checkpoint and exported IR {evaluated['agrees']} {agreement}."]
    if chosen := report.get("training", {}).get("chosen"):
        score = f"{chosen['metric']} {100 * chosen['score']:.2f}"
        said = f"The model of step {chosen['step']:,} is the best of those at the target sparsity: {score} on"
        parts += ["## Choice", f"{said} {chosen['examples']:,} training examples that were held out for this alone."]
    if (said := quantization(report.get("export") or {})) is not None:
        parts += ["## Quantization", *said]
    if (report.get("compact") or {}).get("compacted"):
        parts += ["## Compaction", _compaction(report)]
    if report.get("sparse"):
        parts += ["## Sparse folder", _sparse_folder(report["sparse"])]
    if report.get("allocation"):
        parts += ["## Allocation", *(_allocation(report, name) for name in report["allocation"])]
    parts += ["## Sparsity", totals(report["sparsity"]["pruned"]), _layers(report["sparsity"]["pruned"])]
    seconds = [(name, duration(value)) for name, value in report["seconds"].items()]
    parts += ["## Time", grid(("stage", "time"), seconds)]
    machine = report["machine"]
    parts += [
        "## Made with",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}. Seed {report['seed']}. "
        + ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        + ".",
        f"Recipe `{report['recipe_hash'][:16]}`, written out in recipe.resolved.yaml.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def latency(benchmark: dict[str, Any]) -> str:
    """Every measured latency in a table, and how it was measured."""
    engines = list(dict.fromkeys(engine for row in benchmark["rows"] for engine in row["milliseconds"]))
    inputs = "pixels" if any("pixels" in row for row in benchmark["rows"]) else "seq"
    rows = [
        (str(row["batch"]), str(row[inputs]), *(f"{row['milliseconds'].get(e, float('nan')):.2f}" for e in engines))
        for row in benchmark["rows"]
    ]
    notes = [f"Median milliseconds of {benchmark['rounds']} rounds by turns, {benchmark['threads']} threads."]
    if "runtime" in benchmark:
        notes.append(f"optkit's plan: {benchmark['runtime']}.")
    notes += [f"`{name}` was left out: {why}." for name, why in benchmark["skipped"].items()]
    return grid(("batch", "pixels" if inputs == "pixels" else "tokens", *engines), rows) + "\n\n" + " ".join(notes)


def _compaction(report: dict[str, Any]) -> str:
    found = report["compact"]
    rows = [(name, f"{left:,}", f"{before:,}") for name, (left, before) in found["kept"].items()]
    loads = "loads with plain `from_pretrained`" if found["plain"] else "loads with `optkit.load_compact`"
    said = (
        f"`compact/` ({size(report['bytes']['compact'])}) computes what `pruned/` does to within {found['differ']:.1g} "
        f"and {loads}; the IR is made of it. What it took out counts as zeros in every sparsity here."
    )
    return grid(("of", "left", "before"), rows) + "\n\n" + said


def _sparse_folder(found: dict[str, Any]) -> str:
    rows = [(name, size(file["size"]), size(file["stored"])) for name, file in found["files"].items()]
    said = "`sparse/` gives these files back byte for byte, with `optkit.unpack_sparse`."
    return grid(("file", "bytes", "in `sparse/`"), rows) + "\n\n" + said


def _allocation(report: dict[str, Any], name: str) -> str:
    """What was chosen for a rule, and the speedup that was measured beside the one that was predicted."""
    found = report["allocation"][name]
    said = f"{name}: {allocated(found)}."
    rows = (report["benchmark"] or {}).get("rows", [])
    shape = (found.get("batch"), found.get("seq"))
    times = next((row["milliseconds"] for row in rows if (row["batch"], row["seq"] or 1) == shape), {})
    ours = times.get("int8 optkit", times.get("optkit"))
    if ours is not None and "dense openvino" in times:
        said += f" Measured: {times['dense openvino'] / ours:.2f}x."
    return said


def allocated(found: dict[str, Any]) -> str:
    """One sentence on what was chosen for a rule, see ``optkit.stages.allocate``."""
    shares = [layer["sparsity"] for layer in found["layers"]]
    said = f"{len(shares)} layers at {min(shares):.0%} to {max(shares):.0%} by {found['by']}"
    said += f", {found['sparsity']:.2%} in all"
    if found["by"] == "latency":
        inputs = f"{found['batch']} x {found['seq']} tokens" if found["seq"] > 1 else f"batches of {found['batch']}"
        said += (
            f"; asked for {found['speedup']:g}x, predicted {found['predicted']:.2f}x the dense model's "
            f"{found['dense_milliseconds']:.2f} ms in OpenVINO fp32 at {inputs} on "
            f"{found['threads']} threads"
        )
    return said


def totals(found: dict[str, Any]) -> str:
    """Zeros by each of the four denominators; ``found`` is one sparsity report."""
    names = {
        "encoder_linear": "Linear weights of the encoder",
        "linear": "all Linear weights",
        "matmul_conv": "all matrix-product and convolution weights",
        "all": "all parameters",
    }
    rows = [
        (names[name], f"{d['zeros']:,}", f"{d['size']:,}", f"{d['sparsity']:.2%}")
        for name, d in found["denominators"].items()
        if d is not None
    ]
    return grid(("of", "zeros", "weights", "sparsity"), rows)


def _layers(found: dict[str, Any]) -> str:
    rows = [
        (layer["name"], "x".join(map(str, layer["shape"])), layer["structure"], f"{layer['sparsity']:.2%}")
        for layer in found["layers"]
    ]
    return grid(("layer", "shape", "structure", "sparsity"), rows)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])
