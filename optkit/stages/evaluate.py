"""The same metric on the same examples for the dense baseline, the pruned checkpoint and the exported IR.

Where the recipe measures the sparse runtime and it is there, the IR is also scored on it, by the plan that is the same
each time. Every model's outputs on every split are kept in ``predictions/``, one file a split, so that runs can be
compared example by example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.stages import benchmark, dense, export, train

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "evaluate", "predictions"


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    parts = {"exported": export.key(job), "dense": dense.key(job), "runtime": benchmark.uses_runtime(job)}
    return job.key("evaluate", **parts, metric=job.identity["task"]["metric"])


def run(job: Job, stage: Stage) -> None:
    """Adds ``baseline``, ``splits`` (scores and agreement by split) and ``drop`` to the stage's facts.

    ``drop`` is what the IR lost against the baseline on the first split, in points of 100, None without a baseline.
    """
    from safetensors.numpy import save_file

    from optkit import runtime
    from optkit.adapters import optimum
    from optkit.models import load_model, load_tokenizer

    folder = job.path(train.FOLDER)
    pruned = (load_model(folder, job.task.auto_class, job.labels, seed=0), load_tokenizer(folder), None)
    exported = optimum.load(job.path(export.FOLDER), job.task.ov_class)
    models = {"dense": dense.load(job), "pruned": pruned, _exported_name(job): (exported, pruned[1], None)}
    if benchmark.uses_runtime(job):
        sparse = runtime.load(job.path(export.FOLDER), plan="static", ov_class=job.task.ov_class)
        models["int8 optkit" if job.recipe.quantize else "optkit"] = (sparse, pruned[1], None)
    splits = {}
    for split in dict.fromkeys(job.recipe.evaluate.splits):
        logits = {name: _logits(job, split, name, *model) for name, model in models.items() if model is not None}
        references = np.asarray(job.encoded(split)["labels"])
        outputs = {name: np.ascontiguousarray(found, np.float32) for name, found in logits.items()}
        save_file(outputs | {"labels": references}, stage.folder / f"{split}.safetensors")
        predictions = {name: job.task.predictions(found) for name, found in logits.items()}
        ir = predictions[_exported_name(job)]
        splits[split] = {
            "examples": len(references),
            **{name: job.task.score(found, references, classes=len(job.labels)) for name, found in predictions.items()},
            "agreement": float((predictions["pruned"] == ir).mean()),
        }
    first = splits[job.recipe.evaluate.splits[0]]
    headline = job.recipe.task.metric[0]
    drop = 100 * (first["dense"][headline] - first[_exported_name(job)][headline]) if "dense" in first else None
    stage.facts |= {"baseline": job.baseline, "metric": headline, "splits": splits, "drop": drop}


def _exported_name(job: Job) -> str:
    return "int8" if job.recipe.quantize else "openvino"


def _logits(job: Job, split: str, name: str, model: Any, tokenizer: Any, order: list[int] | None) -> np.ndarray:
    from optkit.adapters import trainer

    encoded = job.task.encode(job.splits[split], tokenizer, job.labels)
    with job.reporter.task(f"{name} on {split}") as bar:
        logits = trainer.predict(model, encoded, job.task.collator(tokenizer), tell=bar.advance)
    return logits if order is None else logits[:, order]
