"""From the pruned checkpoint, compacted where it can be, to a tagged OpenVINO IR, int8 where the recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.recipe.export import DYNAMIC
from optkit.stages import qat, train

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.export.openvino import ExportResult
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "export", "openvino"
#: How many texts both tokenizers are run on.
_COMPARED = 100


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    # Not the hash that the tags carry: a recipe that only measures otherwise needs no new IR.
    quantize = job.recipe.quantize
    chosen = {"metric": job.recipe.task.metric[0]} if quantize and quantize.max_drop is not None else {}
    export = {name: value for name, value in job.identity["export"].items() if name != "formats"}
    return job.key("quantize", export=export, pruned=train.key(job), **chosen)


def shape(job: Job) -> tuple[int, int] | None:
    """Batch and length that the exported model takes; None for any."""
    shapes = job.recipe.export.shapes
    return None if shapes == DYNAMIC else (shapes.batch, shapes.seq)


def one_shape(job: Job, model: Any) -> Any:
    """``model``, called with batches of any size and length even where it was exported for one."""
    from optkit.ir.shapes import OneShape

    fixed = shape(job)
    padding = {"input_ids": getattr(job.tokenizer, "pad_token_id", None) or 0}
    return model if fixed is None else OneShape(model, *fixed, padding)


def problems(job: Job, model: Any) -> list[str]:
    """What of ``quantize`` and ``export`` cannot work with ``model`` (the meta device suffices), a line each."""
    from optkit.pruning.targets import matches
    from optkit.quantization.operations import hint

    found = _format_problems(job, model) + _architecture_problems(job, model)
    names = [name for name, _ in model.named_modules() if name]
    patterns = job.recipe.quantize.ignored if job.recipe.quantize else ()
    return found + [
        f"quantize.ignored: '{pattern}' matches no module of the model{hint(pattern, names)}"
        for pattern in patterns
        if not any(matches(pattern, name) for name in names)
    ]


def _architecture_problems(job: Job, model: Any) -> list[str]:
    """Why no model of this architecture can be exported, found on a small one where no table says."""
    from optkit.adapters import onnx_package
    from optkit.export import trial
    from optkit.stages import allocate

    # The runtime is timed on an IR even if the run stops before the export.
    if not job.exports and allocate.by_latency(job) is None:
        return []
    recipe, head = job.recipe, job.head
    trained_here = recipe.model.tokenizer is not None and not isinstance(recipe.model.tokenizer, str)
    options = {
        "tokenizer": None if trained_here else job.tokenizer,
        "quantization": recipe.quantize.build() if recipe.quantize else None,
    }
    problem = trial.openvino_problem(model.config, head.auto_class, job.task.export_task, **options)
    found = [] if problem is None else [problem]
    if job.exports and "onnx" in recipe.export.formats and onnx_package.missing() is None:
        why = trial.onnx_problem(model.config, head.auto_class)
        found += [] if why is None else [f"export.formats: onnx: {model.config.model_type}: {why}"]
    return found


def _format_problems(job: Job, model: Any) -> list[str]:
    from optkit.adapters import onnx_package, tokenizers

    recipe, found = job.recipe, []
    if "onnx" in recipe.export.formats and (why := onnx_package.missing()):
        found.append(f"export.formats: onnx: {why}")
    if recipe.export.tokenizer and (why := tokenizers.missing()):
        found.append(f"export.tokenizer: {why}")
    fixed = shape(job)
    if fixed is None:
        return found
    if not job.head.reads_images and fixed[1] < recipe.task.max_length:
        found.append(
            f"export.shapes.seq: {fixed[1]} tokens, and an input may have task.max_length, {recipe.task.max_length}: "
            "set them alike"
        )
    if job.longest is not None and fixed[1] > job.longest:
        found.append(f"export.shapes.seq: {fixed[1]} is more than the {job.longest} tokens the model takes")
    spec = recipe.benchmark
    if spec is not None and (spec.batch, spec.seq or (fixed[1],)) != ((fixed[0],), (fixed[1],)):
        found.append(
            f"benchmark: the exported model takes {fixed[0]} x {fixed[1]} tokens alone: set benchmark.batch and "
            "benchmark.seq to that, or leave export.shapes out"
        )
    return found


def run(job: Job, stage: Stage) -> None:
    from optkit.export.openvino import export_openvino

    quantize = job.recipe.quantize
    job.reporter.say("  converting" + (", quantizing to int8" if quantize else "") + ", tagging, verifying")
    result = export_openvino(
        qat.folder(job),
        stage.folder,
        export_task=job.task.export_task,
        rules=job.rules,
        calibration=job.calibration(quantize.calibration.samples) if quantize else (),
        quantization=quantize.build() if quantize else None,
        evaluate=_evaluator(job) if quantize and quantize.max_drop is not None else None,
        shape=shape(job),
        recipe_hash=job.recipe.hash(),
        seed=job.recipe.seed,
        reporter=job.reporter,
    )
    if not job.rules:  # somebody else pruned it, or nobody
        from optkit.interop.structure import sentence

        job.reporter.say(f"  {sentence({tag.parameter: tag for tag in result.layers}, {})}")
    if job.recipe.export.tokenizer:
        _write_tokenizer(job, stage.folder)
    stage.facts |= {
        "seconds": {name: round(value, 2) for name, value in result.seconds.items()},
        "decompression_rate": result.decompression_rate,
        "layers": len(result.layers),
    }
    if quantize:
        stage.facts["quantization"] = _quantization(job, result)
        if quantize.sensitivity:
            job.reporter.say(result.sensitivity.render())


def _write_tokenizer(job: Job, folder: Path) -> None:
    from optkit.adapters.tokenizers import convert_tokenizer

    rows, fixed = job.splits["train"][:_COMPARED], shape(job)
    columns = job.task.text if job.task.type.joins_texts else job.task.text[:1]
    texts = [[" ".join(text) if isinstance(text, list) else str(text) for text in rows[name]] for name in columns]
    longest = job.task.longest(job.tokenizer)
    convert_tokenizer(job.tokenizer, folder, texts, max_length=longest, seq=fixed and fixed[1])


def _quantization(job: Job, result: ExportResult) -> dict[str, Any]:
    """Facts: ``fp32`` layers, what accuracy ``control`` did and by which metric on how many examples, and the table of
    ``sensitivity``.
    """
    facts: dict[str, Any] = {"method": job.recipe.quantize.method, "fp32": list(result.fp32)}
    if result.control is not None:
        facts["control"] = asdict(result.control) | {
            "metric": job.recipe.task.metric[0],
            "examples": len(_controlled_on(job)),
            "held_out": job.hold_out_rows is not None,
        }
    if result.sensitivity is not None:
        facts["sensitivity"] = asdict(result.sensitivity)
    return facts


def _controlled_on(job: Job) -> Any:
    """The examples that accuracy is held on: the hold-out, else some of the training split. No split that is reported.

    They are drawn from the other end of the order in which calibration draws, so that the two are apart where the split
    is large enough.
    """
    if job.hold_out_rows is not None:
        return job.hold_out_rows
    rows = job.splits["train"]
    order = np.random.default_rng(job.recipe.seed).permutation(len(rows))
    return rows.select(order[-job.recipe.quantize.control.samples :])


def _evaluator(job: Job) -> Callable[[Path], float]:
    """Scores the model in a folder by the recipe's first metric, on the runtime that it is judged on."""
    from optkit import runtime
    from optkit.adapters import optimum, passes
    from optkit.stages import served  # which asks this file for the shape

    task, rows = job.task, _controlled_on(job)
    encoded, references = task.encode(rows, job.tokenizer, job.head), task.references(rows, job.head)

    def evaluate(folder: Path) -> float:
        if served.judged_on_runtime(job):
            # Not the plan that will be timed: each model that is tried would have to be measured for one.
            model = runtime.load(folder, plan="static", ov_class=task.ov_class)
        else:
            model = optimum.load(folder, task.ov_class)
        outputs = passes.predict(model, encoded, task, job.tokenizer)
        found = task.decode(outputs, encoded, job.head)
        return task.score(found, references, job.head)[job.recipe.task.metric[0]]

    return evaluate
