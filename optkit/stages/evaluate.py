"""The same metric on the same examples for the dense baseline, the pruned checkpoint and the exported IR.

Where the recipe measures the sparse runtime and it is there, the IR is also scored on it, by the plan that is the same
each time. Every model's outputs on every split are kept in ``predictions/``, one file a split, so that runs can be
compared example by example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.stages import benchmark, dense, export, onnx, train

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "evaluate", "predictions"


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    parts = {"exported": export.key(job), "dense": dense.key(job), "runtime": benchmark.uses_runtime(job)}
    if onnx.needed(job):
        parts["onnx"] = onnx.key(job)
    return job.key("evaluate", **parts, metric=job.identity["task"]["metric"])


def run(job: Job, stage: Stage) -> None:
    """Adds ``baseline``, ``splits`` (scores and agreement by split) and ``drop`` to the stage's facts.

    ``drop`` is what the IR lost against the baseline on the first split, in points of 100, None without a baseline.
    """
    from safetensors.numpy import save_file

    from optkit import runtime
    from optkit.adapters import optimum
    from optkit.models import load_model

    folder, task, head = job.path(train.FOLDER), job.task, job.head
    pruned = (load_model(folder, head, seed=0), task.reader(folder), None)
    exported = export.one_shape(job, optimum.load(job.path(export.FOLDER), task.ov_class))
    models = {"dense": dense.load(job), "pruned": pruned, _exported_name(job): (exported, pruned[1], None)}
    if benchmark.uses_runtime(job):
        options = {"shape": fixed} if (fixed := export.shape(job)) else {}
        sparse = runtime.load(job.path(export.FOLDER), plan="static", ov_class=task.ov_class, **options)
        sparse = export.one_shape(job, sparse)
        models["int8 optkit" if job.recipe.quantize else "optkit"] = (sparse, pruned[1], None)
    if onnx.needed(job):
        models[onnx.label(job)] = (onnx.load(job), pruned[1], None)
    splits = {}
    for split in dict.fromkeys(job.recipe.evaluate.splits):
        rows, outputs, predictions = job.splits[split], {}, {}
        references, encoded = task.references(rows, head), {}
        for name, loaded in models.items():
            if loaded is None:
                continue
            model, reader, order = loaded
            if id(reader) not in encoded:  # all but the dense model share one
                with job.reporter.task(f"encoding {split}"):
                    encoded[id(reader)] = task.encode(rows, reader, head)
            found = encoded[id(reader)]
            outputs[name] = _outputs(job, f"{name} on {split}", model, found, reader, order)
            predictions[name] = task.decode(outputs[name], found, head)
        labels = {"labels": references} if isinstance(references, np.ndarray) else {}
        references = predictions["dense"] if references is None else references
        save_file(outputs | labels, stage.folder / f"{split}.safetensors")
        splits[split] = {
            "examples": len(rows),
            **{name: task.score(found, references, head) for name, found in predictions.items()},
            "agreement": task.agreement(predictions["pruned"], predictions[_exported_name(job)]),
        }
    first = splits[job.recipe.evaluate.splits[0]]
    headline = job.recipe.task.metric[0]
    drop = 100 * (first["dense"][headline] - first[_exported_name(job)][headline]) if "dense" in first else None
    stage.facts |= {"baseline": job.baseline, "metric": headline, "splits": splits, "drop": drop}
    stage.facts |= {"agrees": task.agrees}


def _exported_name(job: Job) -> str:
    return "int8" if job.recipe.quantize else "openvino"


def _outputs(job: Job, title: str, model: Any, encoded: Any, reader: Any, order: list[int] | None) -> np.ndarray:
    """The outputs of a model on every example, its classes in our order."""
    from optkit.adapters import passes

    with job.reporter.task(title) as bar:
        outputs = passes.predict(model, encoded, job.task, reader, tell=bar.advance)
    return np.ascontiguousarray(outputs if order is None else outputs[..., order], np.float32)
