"""Everything that a report says, gathered once from the run folder as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.tokenizers import TOKENIZER_FILE
from optkit.counting.sparsity import sparsity
from optkit.json_files import read_json
from optkit.machine import describe
from optkit.recipe.export import DYNAMIC
from optkit.report.conclusions import conclusions
from optkit.report.origin import dataset, origin
from optkit.report.prices import load_prices

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext

#: 2: OpenVINO is scored and timed at its default precision, where 1 had the f32 hint.
FORMAT = 2
#: Stages whose figures depend on the machine, in their order.
MEASURING = ("train", "evaluate", "benchmark")


def gather(context: RunContext, stages: Sequence[str], dense: Path | None) -> dict[str, Any]:
    """The report of a run, as plain data for report.json.

    Args:
        stages: those that the recipe asks for; all have finished.
        dense: folder of the baseline's checkpoint, if there is one.
    """
    run, recipe, shapes = context.run, context.recipe, context.recipe.export.shapes
    evaluated = run.facts("evaluate")
    drop, most = evaluated["drop"], recipe.evaluate.max_drop
    compaction = run.facts("compact") if "compact" in stages else {}
    others = [name for name in ("onnx", "sparse") if name in stages]
    made = ("pruned", *(["compact"] if compaction.get("compacted") else []), "openvino", *others)
    folders = ({"dense": dense} if dense else {}) | {name: run.path / name for name in made}
    report = {
        "format": FORMAT,
        "name": recipe.name,
        "description": recipe.description,
        "recipe_hash": recipe.hash(),
        "resolved_recipe": recipe.resolved_yaml(),
        "seed": recipe.seed,
        "origin": origin(recipe),
        "task": {
            "type": recipe.task.type,
            "ov_class": context.task.ov_class,
            "pair": len(recipe.task.text) == 2,
            "shape": None if shapes == DYNAMIC else [shapes.batch, shapes.seq],
            "dataset": dataset(recipe),
        },
        "models": run.facts("plan").get("models", []),
        "quantized": recipe.quantize is not None,
        "evaluate": evaluated
        | {"max_drop": most, "within_max_drop": drop is None or most is None or drop <= most + 1e-9},
        "sparsity": {
            name: sparsity(folders[name]).to_dict() for name in made if name in ("pruned", "openvino", "onnx")
        },
        "bytes": {name: weight_bytes(folder) for name, folder in folders.items()},
        "folders": {name: str(folder) for name, folder in folders.items()},
        "benchmark": run.facts("benchmark") if "benchmark" in stages else None,
        "compact": compaction or None,
        "allocation": run.facts("allocate").get("rules") if "allocate" in stages else None,
        "export": run.facts("export"),
        "sparse": run.facts("sparse") if "sparse" in stages else None,
        "training": {k: v for k, v in run.facts("train").items() if k != "history"},
        "history": run.facts("train").get("history", []),
        "seconds": {name: run.entry(name)["seconds"] for name in stages},
        **_measured(context, stages),
    }
    prices = recipe.benchmark and recipe.benchmark.prices
    return report | conclusions(report, load_prices(Path(prices)) if prices else None)


def _measured(context: RunContext, stages: Sequence[str]) -> dict[str, Any]:
    """``versions`` and ``machine`` of the times, or of the scores where there are no times, and by stage in
    ``measured``, as those stages recorded them: the report may be written elsewhere. Of a run that recorded no machine,
    that of its earlier report.
    """
    entries = {name: context.run.entry(name) or {} for name in MEASURING if name in stages}
    last = next((entry for name, entry in reversed(entries.items()) if name != "train"), {})
    return {
        "versions": last.get("versions") or context.versions,
        "machine": last.get("machine") or _earlier(context.run.path) or describe(),
        "measured": {
            name: {part: entry.get(part) for part in ("machine", "versions")} for name, entry in entries.items()
        },
    }


def _earlier(run: Path) -> dict[str, Any] | None:
    try:
        found = read_json(run / "report.json")["machine"]
        return dict(found) if "cpu" in found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def weight_bytes(folder: Path) -> int:
    """Bytes of the files in ``folder`` that hold weights or the graph: what a deployment would carry."""
    files = list(folder.iterdir())
    # A checkpoint may hold its weights a second time, in the format from before safetensors.
    whole = any(file.suffix == ".safetensors" for file in files)
    endings = (".safetensors",) if whole else (".bin", ".xml", ".onnx", ".data")
    return sum(
        file.stat().st_size for file in files if file.suffix in endings and file.stem != Path(TOKENIZER_FILE).stem
    )
