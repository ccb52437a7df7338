"""Fine-tuning with pruning: the Trainer's loop, resumed from the last whole checkpoint, folded to a plain model.

Without `train` in the recipe the model is pruned in one shot, or stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.adapters import arguments, checkpointing, quiet, trainer
from optkit.adapters.best import BestAtTarget
from optkit.allocation import choice
from optkit.errors import PruningError
from optkit.json_files import read_json
from optkit.models import freezing
from optkit.pipeline import oneshot
from optkit.pipeline.run_folder import write_atomic
from optkit.pipeline.stage import Stage
from optkit.planning import dry_run, heads
from optkit.pruning.averaging import WeightAverage, average_begin
from optkit.pruning.binding import place
from optkit.pruning.callback import PruningCallback, save_under_own_names
from optkit.pruning.learning_rate import check_warmup, rewind_steps
from optkit.stages import start, teacher

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel
    from optkit.pruning.config import Rule

NAME, FOLDER = "train", "pruned"
#: The folder in the run that holds the training's checkpoints.
CHECKPOINTS = "checkpoints"
_KEY = "key.json"


def key(context: RunContext) -> str:
    chosen = model_selection(context) | choice.identity(context)
    one_shot = oneshot.examples(context.recipe)
    if one_shot is not None:
        chosen |= {"oneshot": one_shot.model_dump()}
    return context.key("seed", "model", "train", "distill", "prune", data=context.data_identity, **chosen)


def model_selection(context: RunContext) -> dict[str, str]:
    """What decides which model of a training is its result, as parts of a key; nothing where it is the last."""
    return {"chosen_by": context.recipe.task.metric[0]} if "hold_out" in context.recipe.train else {}


def rewinds(context: RunContext, total: int, per_epoch: float) -> list[int] | None:
    """The steps at which train.lr_rewind returns the learning rate to its peak; None without it.

    A dense baseline has them where the pruned model has, so that both are trained alike.

    Raises:
        PruningError: if the rules have no jumps to go by, or the warm-up is longer than the first cycle.
    """
    train = context.recipe.train
    if "lr_rewind" not in train:
        return None
    steps = rewind_steps(train["lr_rewind"], context.recipe.build_rules(), total, per_epoch)
    warmup = train.get("warmup_steps")
    check_warmup(warmup.steps(total, per_epoch) if warmup else 0, [step for step in steps if step > 0])
    return steps


def run(context: RunContext, output: StageOutput) -> None:
    if not context.recipe.trains:
        rules = choice.rules(context)
        model, states = oneshot.prune(context, rules) if rules else (context.start_model(), [])
        _save(context, model, output)
        output.facts |= {"steps": 0, "rules": [state.facts() for state in states], "history": []}
        return
    fine_tune(
        context, output, key(context), CHECKPOINTS, choice.rules(context), taught=context.recipe.distill is not None
    )


def fine_tune(
    context: RunContext,
    output: StageOutput,
    key: str,
    checkpoints: str,
    rules: Sequence[Rule] = (),
    *,
    taught: bool = False,
) -> None:
    """Trains the recipe's start model, with or without pruning, into ``output.folder``.

    Args:
        key: of what is trained; checkpoints of another key are set aside, those of this one resumed.
        checkpoints: name of the folder in the run that holds them.
        rules: what to prune, if anything.
        taught: whether by the recipe's teacher.
    """
    folder, resume = context.path(checkpoints), None
    if context.team.leads:
        _make_room(context, folder, {"key": key, "processes": context.team.size})
        resume = checkpointing.resumable(folder)
    with context.team.together(output.name, resume=resume and resume.name) as message:
        _train(context, output, folder, message["resume"], rules, taught)


def _train(
    context: RunContext, output: StageOutput, folder: Path, resume: str | None, rules: Sequence[Rule], taught: bool
) -> None:
    recipe = context.recipe
    examples, how = teacher.teacher_logits(context) if taught else (context.data.encode("train"), {})
    args = arguments.training_arguments(recipe.train, folder, seed=recipe.seed, examples=len(examples))
    steps = rewinds(context, *arguments.steps_of(recipe.train, len(examples)))
    trainer.seed_everything(recipe.seed)
    model = context.student() if rules else context.start_model()
    if rules and start.is_needed(context):
        start.apply(context, model)
    if how.get("teacher") is not None:
        how["permutation"] = context.permutation()
    freezing.freeze(model, recipe.train.get("freeze", ()))
    pruning = PruningCallback(rules) if rules else None
    average = WeightAverage(recipe.train["average_last"]) if "average_last" in recipe.train else None
    best = None
    if context.data.hold_out is not None:
        best = BestAtTarget(recipe.task.metric[0], lambda step: pruning is None or pruning.pruner.at_target(step))
    with context.reporter.task("training" if rules else "training dense") as bar:
        watch = trainer.Watch(lambda step, total, logs: bar.advance(step, total, _worth_showing(logs)))
        built = trainer.build(
            model,
            args,
            train_dataset=examples,
            eval_dataset=_evaluation_rows(context) if args.eval_strategy != "no" else None,
            collator=context.task.collator(context.data.tokenizer),
            eval_collator=context.task.collator(context.data.tokenizer, training=False),
            callbacks=[
                *([pruning] if pruning else []),
                *([average] if average else []),
                checkpointing.WholeCheckpoints(),
                *([best] if best else []),
                watch,
            ],
            compute_metrics=_scores(context) if best else None,
            objective=context.task.objective,
            rewinds=steps,
            lr_floor=recipe.train.get("lr_floor", 0.0),
            **how,
        )
        begun_at = trainer.train(built, folder / resume if resume else None)
    states = pruning.fold() if pruning else []
    if context.team.leads:
        _save(context, model, output)
    output.facts |= {
        "steps": built.state.global_step,
        "resumed_at": begun_at,
        "processes": context.team.size,
        "rules": [state.facts() for state in states],
        "history": [entry for entry in built.state.log_history if "loss" in entry],
    }
    if average is not None:
        output.facts["averaged"] = average.steps
    if best is not None:
        scored, logs = f"eval_{recipe.task.metric[0]}", built.state.log_history
        output.facts["scores"] = [{"step": log["step"], "score": log[scored]} for log in logs if scored in log]
    if best is not None and best.best is not None:
        metric, kept = recipe.task.metric[0], best.best
        output.facts["chosen"] = {"step": kept.step, "metric": metric, "score": kept.score, "loss": kept.loss}
        output.facts["chosen"] |= {"examples": len(context.data.hold_out)}


def _evaluation_rows(context: RunContext) -> Any:
    """What is evaluated while training: the hold-out where there is one, and nothing that is reported."""
    return (
        context.data.encode(context.recipe.evaluate.splits[0])
        if context.data.hold_out is None
        else context.data.hold_out
    )


def _scores(context: RunContext) -> Callable[[Any], dict[str, float]]:
    def scores(prediction: Any) -> dict[str, float]:
        outputs = context.task.postprocess(prediction.predictions)
        found = context.task.decode(outputs, context.data.hold_out, context.data.head)
        return context.task.score(
            found, context.task.references(context.data.hold_out_rows, context.data.head), context.data.head
        )

    return scores


def _save(context: RunContext, model: Any, output: StageOutput) -> None:
    save_under_own_names(model)
    with quiet():
        model.save_pretrained(output.folder)
        context.data.tokenizer.save_pretrained(output.folder)
    context.task.save_extra_files(output.folder, model, context.data.tokenizer)


def _make_room(context: RunContext, folder: Path, identity: dict[str, Any]) -> None:
    """Sets aside checkpoints of another training, or of another number of processes, whose steps are others."""
    if folder.exists() and _identity(folder / _KEY) != identity:
        context.run.archive(folder)
    folder.mkdir(exist_ok=True)
    write_atomic(folder / _KEY, json.dumps(identity))


def _identity(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError):
        return None


def _worth_showing(logs: Mapping[str, float]) -> dict[str, float]:
    names = {"loss": "loss", "sparsity": "sparsity", "target_sparsity": "target", "learning_rate": "lr"}
    names |= {"eval_loss": "eval_loss"}
    return {short: logs[name] for name, short in names.items() if name in logs}


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the recipe's training, or its pruning in one shot, cannot work, a line each."""
    layers = [name for sites in resolved.sites for site in sites for name in site.layers]
    frozen = freezing.problems(resolved.model, context.recipe.train.get("freeze", ()), layers)
    return [
        *heads.problems(context),
        *dry_run.unused_arguments(context, resolved.examples),
        *oneshot.problems(context),
        *(f"train.freeze: {text}" for text in frozen),
    ]


def trial_problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the training would not start, a line each."""
    found = []
    try:
        rewinds(context, resolved.steps, resolved.per_epoch)
    except PruningError as error:
        found.append(f"train.lr_rewind: {error}")
    found += _early_mean(context, resolved)
    return [*found, *dry_run.problems(context, resolved.model, resolved.examples)]


def _early_mean(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """The rules whose masks would still change while weights are averaged, a line each."""
    last, found = context.recipe.train.get("average_last"), []
    if last is None:
        return []
    begin = average_begin(last, resolved.steps, resolved.per_epoch)
    for rule in context.recipe.build_rules():
        placed = place(rule, resolved.steps, resolved.per_epoch)
        if placed is not None and placed.end > begin:
            found.append(
                f"train.average_last: the mean begins after step {begin}, and the schedule of rule '{rule.name}' ends "
                f"at step {placed.end}: average less, or end it sooner"
            )
    return found


def plan(context: RunContext, resolved: ResolvedModel) -> dict[str, Any]:
    """The steps of the training and those at which its learning rate is rewound, or the examples that pruning in one
    shot goes by.
    """
    spec = oneshot.examples(context.recipe)
    return {
        "steps": resolved.steps if context.recipe.trains else 0,
        "per_epoch": resolved.per_epoch,
        "rewinds": rewinds(context, resolved.steps, resolved.per_epoch) or [],
        "calibration": min(spec.samples, resolved.examples) if spec else 0,
    }


STAGE = Stage(
    NAME,
    key,
    run,
    folder=FOLDER,
    checkpoints=CHECKPOINTS,
    problems=problems,
    trial_problems=trial_problems,
    plan=plan,
)
