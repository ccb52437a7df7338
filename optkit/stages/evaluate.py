"""The same metric on the same examples for the dense baseline, the pruned checkpoint and the exported IR, as it is
served: in plain OpenVINO at its default precision, with the f32 hint where that is another one, and on the sparse
runtime where the recipe measures it, by the plan that is timed.

Every model's outputs on every split are kept in ``predictions/``, one file a split, so that runs can be compared
example by example, and the plan beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.stages import dense, export, onnx, served, train

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "evaluate", "predictions"
#: Standard errors beyond which two scores differ by more than noise.
SURE = 2.0


def needed(job: Job) -> bool:
    return True


def made(job: Job) -> list[str]:
    return [FOLDER] if served.plan_identity(job) is None else [FOLDER, f"{FOLDER}/{served.PLAN}"]


def key(job: Job) -> str:
    parts = {"exported": export.key(job), "dense": dense.key(job), "runtime": served.plan_identity(job)}
    if onnx.needed(job):
        parts["onnx"] = onnx.key(job)
    return job.key("evaluate", **parts, metric=job.identity["task"]["metric"])


def run(job: Job, stage: Stage) -> None:
    """Adds ``baseline``, ``splits`` (scores and agreement by split), ``precision``, ``judged`` and ``drop`` to the
    stage's facts.

    ``drop`` is what the model ``judged`` lost against the baseline on the first split, in points of 100, None without a
    baseline: the IR in plain OpenVINO at its default precision, or on the sparse runtime where it was made for that.
    ``precision`` is OpenVINO's ``default`` on this CPU and which one to ``serve`` with, ``default`` or ``f32``; where
    the two are not the same, also the points by which the score with f32 is the higher one, ``difference``, with its
    standard ``error``, and whether it ``differs`` by more than noise.
    """
    from safetensors.numpy import save_file

    from optkit.ir.precision import F32, HINT, default_precision
    from optkit.models import load_model
    from optkit.report.precision import advice

    folder, task, head = job.path(train.FOLDER), job.task, job.head
    pruned = (load_model(folder, head, seed=0), task.load_processor(folder), None)
    name, default = exported_name(job), default_precision()
    models = {"dense": dense.load(job), "pruned": pruned, name: (_openvino(job), pruned[1], None)}
    if default != F32[HINT]:
        models[f"{name} f32"] = (_openvino(job, F32), pruned[1], None)
    if served.plan_identity(job) is not None:
        models[runtime_name(job)] = (_on_runtime(job, stage), pruned[1], None)
    if onnx.needed(job):
        models[onnx.label(job)] = (onnx.load(job), pruned[1], None)
    splits, precision = {}, None
    for split in dict.fromkeys(job.recipe.evaluate.splits):
        rows, outputs, predictions = job.splits[split], {}, {}
        references, encoded = task.references(rows, head), {}
        for model_name, loaded in models.items():
            if loaded is None:
                continue
            model, processor, order = loaded
            if id(processor) not in encoded:  # all but the dense model share one
                with job.reporter.task(f"encoding {split}"):
                    encoded[id(processor)] = task.encode(rows, processor, head)
            found = encoded[id(processor)]
            outputs[model_name] = _outputs(job, f"{model_name} on {split}", model, found, processor, order)
            predictions[model_name] = task.decode(outputs[model_name], found, head)
        labels = {"labels": references} if isinstance(references, np.ndarray) else {}
        references = predictions["dense"] if references is None else references
        save_file(outputs | labels, stage.folder / f"{split}.safetensors")
        splits[split] = {
            "examples": len(rows),
            **{own: task.score(found, references, head) for own, found in predictions.items()},
            "agreement": task.agreement(predictions["pruned"], predictions[name]),
        }
        precision = precision or _precision(job, default, predictions, references)
    first, judged = splits[job.recipe.evaluate.splits[0]], judged_name(job)
    headline = job.recipe.task.metric[0]
    drop = 100 * (first["dense"][headline] - first[judged][headline]) if "dense" in first else None
    stage.facts |= {"baseline": job.baseline, "metric": headline, "splits": splits, "judged": judged, "drop": drop}
    stage.facts |= {"agrees": task.agrees, "precision": precision}
    job.reporter.say(f"  {advice(stage.facts)}")


def exported_name(job: Job) -> str:
    """What the exported IR in plain OpenVINO is called here."""
    return "int8" if job.recipe.quantize else "openvino"


def runtime_name(job: Job) -> str:
    """What it is called on the sparse runtime."""
    return "int8 optkit" if job.recipe.quantize else "optkit"


def judged_name(job: Job) -> str:
    """Which of them ``drop`` is of."""
    return runtime_name(job) if served.judged_on_runtime(job) else exported_name(job)


def _openvino(job: Job, config: Mapping[str, Any] | None = None) -> Any:
    from optkit.adapters import optimum

    options = {"ov_config": dict(config)} if config else {}
    return export.one_shape(job, optimum.load(job.path(export.FOLDER), job.task.ov_class, **options))


def _on_runtime(job: Job, stage: Stage) -> Any:
    """The IR by the plan that is timed, which is written into the stage's folder."""
    from optkit import runtime

    plan = served.plan(job)
    (stage.folder / served.PLAN).write_text(plan.to_json(), encoding="utf-8")
    stage.facts |= {"plan_of": served.plan_of(job), "runtime": plan.reason}
    options = {"plan": plan, "ov_class": job.task.ov_class, "ov_config": served.config()}
    return export.one_shape(job, runtime.load(job.path(export.FOLDER), **options))


def _precision(job: Job, default: str, predictions: Mapping[str, Any], references: Any) -> dict[str, Any]:
    from optkit.metrics.paired import paired_error

    name, headline = exported_name(job), job.recipe.task.metric[0]
    hinted = predictions.get(f"{name} f32")
    if hinted is None:
        return {"default": default, "serve": "default", "differs": False, "difference": None, "error": None}

    def score(found: Any, references: Any) -> float:
        return job.task.score(found, references, job.head)[headline]

    difference = score(hinted, references) - score(predictions[name], references)
    error = paired_error(score, hinted, predictions[name], references)
    differs = abs(difference) > SURE * error
    found = {"default": default, "serve": "f32" if differs and difference > 0 else "default", "differs": differs}
    return found | {"difference": 100 * difference, "error": 100 * error if np.isfinite(error) else None}


def _outputs(job: Job, title: str, model: Any, encoded: Any, processor: Any, order: list[int] | None) -> np.ndarray:
    """The outputs of a model on every example, its classes in our order."""
    from optkit.adapters import passes

    with job.reporter.task(title) as bar:
        outputs = passes.predict(model, encoded, job.task, processor, tell=bar.advance)
    return np.ascontiguousarray(outputs if order is None else outputs[..., order], np.float32)
