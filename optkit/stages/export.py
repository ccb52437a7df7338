"""From the pruned checkpoint, compacted where it can be, to a tagged OpenVINO IR, int8 where the recipe asks for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from optkit.adapters import passes, tokenizers
from optkit.allocation import choice
from optkit.data.splits import shuffled
from optkit.export import trial
from optkit.export.openvino import export_openvino
from optkit.interop.structure import sentence
from optkit.pipeline import serving
from optkit.pipeline.stage import Stage
from optkit.pruning.targets import matches
from optkit.quantization.operations import hint
from optkit.stages import qat, train

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.export.openvino import ExportResult
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "export", serving.FOLDER
#: How many texts both tokenizers are run on.
_COMPARED = 100


def key(context: RunContext) -> str:
    # Not the hash that the tags carry: a recipe that only measures otherwise needs no new IR.
    quantize = context.recipe.quantize
    chosen = {"metric": context.recipe.task.metric[0]} if quantize and quantize.max_drop is not None else {}
    export = {name: value for name, value in context.identity["export"].items() if name != "formats"}
    return context.key("quantize", export=export, pruned=train.key(context), **chosen)


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """What of ``quantize`` and ``export`` cannot work with the model, a line each."""
    model = resolved.model
    found = _format_problems(context) + _architecture_problems(context, model)
    names = [name for name, _ in model.named_modules() if name]
    patterns = context.recipe.quantize.ignored if context.recipe.quantize else ()
    return found + [
        f"quantize.ignored: '{pattern}' matches no module of the model{hint(pattern, names)}"
        for pattern in patterns
        if not any(matches(pattern, name) for name in names)
    ]


def _architecture_problems(context: RunContext, model: Any) -> list[str]:
    """Why no model of this architecture can be exported, found on a small one where no table says."""
    # The runtime is timed on an IR even if the run stops before the export.
    if not context.exports and choice.by_latency(context) is None:
        return []
    recipe, head = context.recipe, context.data.head
    trained_here = recipe.model.tokenizer is not None and not isinstance(recipe.model.tokenizer, str)
    options = {
        "tokenizer": None if trained_here else context.data.tokenizer,
        "quantization": recipe.quantize.build() if recipe.quantize else None,
    }
    problem = trial.openvino_problem(model.config, head.auto_class, context.task.export_task, **options)
    return [] if problem is None else [problem]


def _format_problems(context: RunContext) -> list[str]:
    recipe, found = context.recipe, []
    if recipe.export.tokenizer and (why := tokenizers.missing()):
        found.append(f"export.tokenizer: {why}")
    fixed = serving.exported_shape(context)
    if fixed is None:
        return found
    if not context.data.head.reads_images and fixed[1] < recipe.task.max_length:
        found.append(
            f"export.shapes.seq: {fixed[1]} tokens, and an input may have task.max_length, {recipe.task.max_length}: "
            "set them alike"
        )
    if context.data.longest is not None and fixed[1] > context.data.longest:
        found.append(f"export.shapes.seq: {fixed[1]} is more than the {context.data.longest} tokens the model takes")
    spec = recipe.benchmark
    if spec is not None and (spec.batch, spec.seq or (fixed[1],)) != ((fixed[0],), (fixed[1],)):
        found.append(
            f"benchmark: the exported model takes {fixed[0]} x {fixed[1]} tokens alone: set benchmark.batch and "
            "benchmark.seq to that, or leave export.shapes out"
        )
    return found


def run(context: RunContext, output: StageOutput) -> None:
    quantize = context.recipe.quantize
    context.reporter.say("  converting" + (", quantizing to int8" if quantize else "") + ", tagging, verifying")
    result = export_openvino(
        qat.folder(context),
        output.folder,
        export_task=context.task.export_task,
        rules=context.recipe.build_rules(),
        calibration=context.data.calibration(quantize.calibration.samples) if quantize else (),
        quantization=quantize.build() if quantize else None,
        evaluate=_evaluator(context) if quantize and quantize.max_drop is not None else None,
        shape=serving.exported_shape(context),
        recipe_hash=context.recipe.hash(),
        seed=context.recipe.seed,
        reporter=context.reporter,
    )
    if not context.recipe.prune:  # somebody else pruned it, or nobody
        context.reporter.say(f"  {sentence({tag.parameter: tag for tag in result.layers}, {})}")
    if context.recipe.export.tokenizer:
        _write_tokenizer(context, output.folder)
    output.facts |= {
        "seconds": {name: round(value, 2) for name, value in result.seconds.items()},
        "decompression_rate": result.decompression_rate,
        "layers": len(result.layers),
    }
    if quantize:
        output.facts["quantization"] = _quantization(context, result)
        if quantize.sensitivity:
            context.reporter.say(result.sensitivity.render())


def _write_tokenizer(context: RunContext, folder: Path) -> None:
    rows, fixed = context.data.splits["train"][:_COMPARED], serving.exported_shape(context)
    texts = context.task.columns_of_texts(rows)
    longest = context.task.longest(context.data.tokenizer)
    tokenizers.convert_tokenizer(context.data.tokenizer, folder, texts, max_length=longest, seq=fixed and fixed[1])


def _quantization(context: RunContext, result: ExportResult) -> dict[str, Any]:
    """Facts: ``fp32`` layers, the ``smoothing`` that was found, what accuracy ``control`` did and by which metric on
    how many examples, and the table of ``sensitivity``.
    """
    facts: dict[str, Any] = {"method": context.recipe.quantize.method, "fp32": result.fp32}
    if result.control is not None:
        facts["control"] = asdict(result.control) | {
            "metric": context.recipe.task.metric[0],
            "examples": len(_control_rows(context)),
            "held_out": context.data.hold_out_rows is not None,
        }
    if result.smoothing is not None:
        facts["smoothing"] = asdict(result.smoothing)
    if result.sensitivity is not None:
        facts["sensitivity"] = asdict(result.sensitivity)
    return facts


def _control_rows(context: RunContext) -> Any:
    """The examples that accuracy is held on: the hold-out, else some of the training split. No split that is reported.

    They are drawn from the other end of the order in which calibration draws, so that the two are apart where the split
    is large enough.
    """
    if context.data.hold_out_rows is not None:
        return context.data.hold_out_rows
    rows = context.data.splits["train"]
    order = shuffled(len(rows), context.recipe.seed, context.task.groups(rows))
    return rows.select(order[-context.recipe.quantize.control.samples :])


def _evaluator(context: RunContext) -> Callable[[Path], float]:
    """Scores the model in a folder by the recipe's first metric, on the runtime that it is judged on."""
    task, rows = context.task, _control_rows(context)
    encoded, references = (
        task.encode(rows, context.data.tokenizer, context.data.head),
        task.references(rows, context.data.head),
    )

    def evaluate(folder: Path) -> float:
        # Not the plan that will be timed: each model that is tried would have to be measured for one.
        plan = "static" if serving.is_judged_on_runtime(context) else None
        model = serving.load(folder, task.ov_class, plan=plan)
        outputs = passes.predict(model, encoded, task, context.data.tokenizer)
        found = task.decode(outputs, encoded, context.data.head)
        return task.score(found, references, context.data.head)[context.recipe.task.metric[0]]

    return evaluate


STAGE = Stage(NAME, key, run, folder=FOLDER, problems=problems)
