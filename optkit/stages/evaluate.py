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
from safetensors.numpy import save_file

from optkit import runtime
from optkit.adapters import passes
from optkit.ir import precision
from optkit.metrics.paired import paired_error
from optkit.models import load_model
from optkit.pipeline import baseline, serving
from optkit.pipeline.stage import Stage
from optkit.report.figures import Precision
from optkit.report.precision import advice
from optkit.stages import dense, export, onnx, train
from optkit.variant import DENSE, PRUNED, Variant

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "evaluate", "predictions"
#: Standard errors beyond which two scores differ by more than noise.
SURE = 2.0


def outputs(context: RunContext) -> list[str]:
    return [FOLDER] if serving.plan_identity(context) is None else [FOLDER, f"{FOLDER}/{serving.PLAN}"]


def key(context: RunContext) -> str:
    parts = {"exported": export.key(context), "dense": dense.key(context), "runtime": serving.plan_identity(context)}
    if onnx.is_needed(context):
        parts["onnx"] = onnx.key(context)
    return context.key("evaluate", **parts, metric=context.identity["task"]["metric"])


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``baseline``, ``splits`` (scores and agreement by split), ``precision``, ``judged`` and ``drop`` to the
    stage's facts.

    ``drop`` is what the model ``judged`` lost against the baseline on the first split, in points of 100, None without a
    baseline: the IR in plain OpenVINO at its default precision, or on the sparse runtime where it was made for that.
    ``precision`` is OpenVINO's ``default`` on this CPU and which one to ``serve`` with, ``default`` or ``f32``; where
    the two are not the same, also the points by which the score with f32 is the higher one, ``difference``, with its
    standard ``error``, and whether it ``differs`` by more than noise.
    """
    folder, task, head = context.path(train.FOLDER), context.task, context.data.head
    pruned = (load_model(folder, head, seed=0), task.load_processor(folder), None)
    ir, default = serving.exported_variant(context), precision.default_precision()
    models: dict[Variant, Any] = {DENSE: baseline.load(context), PRUNED: pruned}
    models[ir] = (_openvino(context), pruned[1], None)
    if default != precision.F32[precision.HINT]:
        models[ir.hinted()] = (_openvino(context, precision.F32), pruned[1], None)
    if serving.plan_identity(context) is not None:
        models[ir.on("optkit")] = (_on_runtime(context, output), pruned[1], None)
    if onnx.is_needed(context):
        models[ir.on("onnxruntime")] = (onnx.load(context), pruned[1], None)
    splits, found_precision = {}, None
    for split in dict.fromkeys(context.recipe.evaluate.splits):
        rows, outputs, predictions = context.data.splits[split], {}, {}
        references, encoded = task.references(rows, head), {}
        for variant, loaded in models.items():
            if loaded is None:
                continue
            model, processor, order = loaded
            if id(processor) not in encoded:  # all but the dense model share one
                with context.reporter.task(f"encoding {split}"):
                    encoded[id(processor)] = task.encode(rows, processor, head)
            found = encoded[id(processor)]
            outputs[variant.id] = _outputs(context, f"{variant.label}, {split}", model, found, processor, order)
            predictions[variant] = task.decode(outputs[variant.id], found, head)
        labels = {"labels": references} if isinstance(references, np.ndarray) else {}
        references = predictions[DENSE] if references is None else references
        save_file(outputs | labels, output.folder / f"{split}.safetensors")
        splits[split] = {
            "examples": len(rows),
            "scores": {own.id: task.score(found, references, head) for own, found in predictions.items()},
            "agreement": task.agreement(predictions[PRUNED], predictions[ir]),
        }
        found_precision = found_precision or _precision(context, default, predictions, references)
    first, judged = splits[context.recipe.evaluate.splits[0]]["scores"], serving.judged_variant(context).id
    headline = context.recipe.task.metric[0]
    drop = 100 * (first[DENSE.id][headline] - first[judged][headline]) if DENSE.id in first else None
    output.facts |= {"baseline": baseline.kind(context), "metric": headline, "splits": splits}
    output.facts |= {"judged": judged, "drop": drop, "agrees": task.agrees, "precision": found_precision}
    context.reporter.say(f"  {advice(Precision.model_validate(found_precision), headline)}")


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the accuracy of int8 weights of full range cannot be judged on this CPU, a line at most."""
    if not serving.cannot_be_judged(context):
        return []
    return [
        "quantize.weight_range: full: such weights overflow OpenVINO's int8 sums on this CPU, which has no VNNI, and "
        f"optkit's runtime, which is exact, is missing: {runtime.missing_reason()}: write half"
    ]


def _openvino(context: RunContext, config: Mapping[str, Any] | None = None) -> Any:
    loaded = serving.load(context.path(export.FOLDER), context.task.ov_class, config=config)
    return serving.one_shape(context, loaded)


def _on_runtime(context: RunContext, output: StageOutput) -> Any:
    """The IR by the plan that is timed, which is written into the stage's folder."""
    plan = serving.plan(context)
    (output.folder / serving.PLAN).write_text(plan.to_json(), encoding="utf-8")
    output.facts |= {"plan_of": serving.plan_of(context), "runtime": plan.reason}
    folder, config = context.path(export.FOLDER), serving.config()
    return serving.one_shape(context, serving.load(folder, context.task.ov_class, plan=plan, config=config))


def _precision(
    context: RunContext, default: str, predictions: Mapping[Variant, Any], references: Any
) -> dict[str, Any]:
    ir, headline = serving.exported_variant(context), context.recipe.task.metric[0]
    hinted = predictions.get(ir.hinted())
    if hinted is None:
        return {"default": default, "serve": "default", "differs": False, "difference": None, "error": None}

    def score(found: Any, references: Any) -> float:
        return context.task.score(found, references, context.data.head)[headline]

    difference = score(hinted, references) - score(predictions[ir], references)
    error = paired_error(score, hinted, predictions[ir], references)
    differs = abs(difference) > SURE * error
    found = {"default": default, "serve": "f32" if differs and difference > 0 else "default", "differs": differs}
    return found | {"difference": 100 * difference, "error": 100 * error if np.isfinite(error) else None}


def _outputs(
    context: RunContext, title: str, model: Any, encoded: Any, processor: Any, order: list[int] | None
) -> np.ndarray:
    """The outputs of a model on every example, its classes in our order."""
    with context.reporter.task(title) as bar:
        outputs = passes.predict(model, encoded, context.task, processor, tell=bar.advance)
    return np.ascontiguousarray(outputs if order is None else outputs[..., order], np.float32)


STAGE = Stage(NAME, key, run, folder=FOLDER, outputs=outputs, problems=problems)
