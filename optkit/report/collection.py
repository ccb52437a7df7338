"""Collects the facts of a report from the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optkit.adapters.tokenizers import TOKENIZER_FILE
from optkit.counting.sparsity import sparsity
from optkit.recipe.export import DYNAMIC
from optkit.report.conclusions import conclude
from optkit.report.lineage import dataset, origin
from optkit.report.migrations import FORMAT
from optkit.report.prices import load_prices
from optkit.report.provenance import provenance
from optkit.report.reading import parse_facts
from optkit.report.schema import Report

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext


def collect(context: RunContext, stages: Sequence[str], dense: Path | None) -> Report:
    """The report of a run. Stages that an earlier release did have their facts in its format: they are migrated.

    Args:
        stages: those that the recipe asks for; all have finished.
        dense: folder of the baseline's checkpoint, if there is one.

    Raises:
        OptkitError: if a stage's facts are not what the report's schema says.
    """
    run, recipe, shapes = context.run, context.recipe, context.recipe.export.shapes
    evaluated = run.facts("evaluate")
    drop, limit = evaluated["drop"], recipe.evaluate.max_drop
    compaction = run.facts("compact") if "compact" in stages else {}
    others = [name for name in ("onnx", "sparse", "tvm") if name in stages]
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
        | {"max_drop": limit, "within_max_drop": drop is None or limit is None or drop <= limit + 1e-9},
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
        **provenance(run, stages),
    }
    prices = recipe.benchmark and recipe.benchmark.prices
    return conclude(parse_facts(report, str(run.path)), load_prices(Path(prices)) if prices else None)


def weight_bytes(folder: Path) -> int:
    """Bytes of the files in ``folder`` that hold weights or the graph: what a deployment would carry."""
    files = list(folder.iterdir())
    # A checkpoint may hold its weights a second time, in the format from before safetensors.
    whole = any(file.suffix == ".safetensors" for file in files)
    endings = (".safetensors", ".so") if whole else (".bin", ".xml", ".onnx", ".data")
    return sum(
        file.stat().st_size for file in files if file.suffix in endings and file.stem != Path(TOKENIZER_FILE).stem
    )
