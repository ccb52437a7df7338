"""Everything that a report says, gathered once from the run folder as plain data."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.cpu import cpu_name
from optkit.sparsity import sparsity

if TYPE_CHECKING:
    from optkit.stages.job import Job

FORMAT = 1


def gather(job: Job, stages: Sequence[str], dense: Path | None) -> dict[str, Any]:
    """The report of a run, as plain data for report.json.

    Args:
        stages: those that the recipe asks for; all have finished.
        dense: folder of the baseline's checkpoint, if there is one.
    """
    run, recipe = job.run, job.recipe
    evaluated = run.facts("evaluate")
    drop, most = evaluated["drop"], recipe.evaluate.max_drop
    compaction = run.facts("compact") if "compact" in stages else {}
    made = ("pruned", *(["compact"] if compaction.get("compacted") else []), "openvino")
    folders = ({"dense": dense} if dense else {}) | {name: run.path / name for name in made}
    return {
        "format": FORMAT,
        "name": recipe.name,
        "description": recipe.description,
        "recipe_hash": recipe.hash(),
        "seed": recipe.seed,
        "evaluate": evaluated
        | {"max_drop": most, "within_max_drop": drop is None or most is None or drop <= most + 1e-9},
        "sparsity": {name: sparsity(folders[name]).to_dict() for name in ("pruned", "openvino")},
        "bytes": {name: weight_bytes(folder) for name, folder in folders.items()},
        "folders": {name: str(folder) for name, folder in folders.items()},
        "benchmark": run.facts("benchmark") if "benchmark" in stages else None,
        "compact": compaction or None,
        "allocation": run.facts("allocate").get("rules") if "allocate" in stages else None,
        "export": run.facts("export"),
        "training": {k: v for k, v in run.facts("train").items() if k != "history"},
        "history": run.facts("train").get("history", []),
        "seconds": {name: run.entry(name)["seconds"] for name in stages},
        "versions": job.versions,
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
    }


def weight_bytes(folder: Path) -> int:
    """Bytes of the files in ``folder`` that hold weights or the graph: what a deployment would carry."""
    files = list(folder.iterdir())
    # A checkpoint may hold its weights a second time, in the format from before safetensors.
    endings = (".safetensors",) if any(file.suffix == ".safetensors" for file in files) else (".bin", ".xml")
    return sum(file.stat().st_size for file in files if file.suffix in endings)
