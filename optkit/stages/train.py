"""Fine-tuning with pruning: the Trainer's loop, resumed from the last whole checkpoint, folded to a plain model.

Without `train` in the recipe the model is pruned in one shot, or stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.json_files import read_json
from optkit.pipeline.run_folder import write_atomic
from optkit.stages import allocate, oneshot, teacher

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage
    from optkit.pruning.binding import RuleState
    from optkit.pruning.config import Rule

NAME, FOLDER = "train", "pruned"
#: The folder in the run that holds the training's checkpoints.
CHECKPOINTS = "checkpoints"
_KEY = "key.json"


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    chosen = chosen_by(job) | allocate.identity(job)
    if job.one_shot is not None:
        chosen |= {"oneshot": job.one_shot.model_dump()}
    return job.key("seed", "model", "train", "distill", "prune", data=job.data_identity, **chosen)


def chosen_by(job: Job) -> dict[str, str]:
    """What decides which model of a training is its result, as parts of a key; nothing where it is the last."""
    return {"chosen_by": job.recipe.task.metric[0]} if "hold_out" in job.recipe.train else {}


def rewinds(job: Job, total: int, per_epoch: float) -> list[int] | None:
    """The steps at which train.lr_rewind returns the learning rate to its peak; None without it.

    A dense baseline has them where the pruned model has, so that both are trained alike.

    Raises:
        PruningError: if the rules have no jumps to go by, or the warm-up is longer than the first cycle.
    """
    from optkit.pruning.learning_rate import check_warmup, rewind_steps

    train = job.recipe.train
    if "lr_rewind" not in train:
        return None
    steps, warmup = rewind_steps(train["lr_rewind"], job.rules, total, per_epoch), train.get("warmup_steps")
    check_warmup(warmup.steps(total, per_epoch) if warmup else 0, [step for step in steps if step > 0])
    return steps


def run(job: Job, stage: Stage) -> None:
    if not job.trains:
        rules = allocate.rules(job)
        model, states = oneshot.prune(job, rules) if rules else (job.start_model(), [])
        _save(job, model, stage)
        stage.facts |= {"steps": 0, "rules": _reached(states), "history": []}
        return
    fine_tune(job, stage, key(job), CHECKPOINTS, allocate.rules(job), taught=job.recipe.distill is not None)


def fine_tune(
    job: Job, stage: Stage, key: str, checkpoints: str, rules: Sequence[Rule] = (), *, taught: bool = False
) -> None:
    """Trains the recipe's start model, with or without pruning, into ``stage.folder``.

    Args:
        key: of what is trained; checkpoints of another key are set aside, those of this one resumed.
        checkpoints: name of the folder in the run that holds them.
        rules: what to prune, if anything.
        taught: whether by the recipe's teacher.
    """
    from optkit.adapters import checkpointing

    folder, resume = job.path(checkpoints), None
    if job.team.leads:
        _make_room(job, folder, {"key": key, "processes": job.team.size})
        resume = checkpointing.resumable(folder)
    with job.team.together(stage.name, resume=resume and resume.name) as told:
        _train(job, stage, folder, told["resume"], rules, taught)


def _train(job: Job, stage: Stage, folder: Path, resume: str | None, rules: Sequence[Rule], taught: bool) -> None:
    from optkit.adapters import arguments, checkpointing, trainer
    from optkit.adapters.best import BestAtTarget
    from optkit.models import freezing
    from optkit.pruning.callback import PruningCallback

    recipe = job.recipe
    examples, how = teacher.lessons(job) if taught else (job.encoded("train"), {})
    args = arguments.training_arguments(recipe.train, folder, seed=recipe.seed, examples=len(examples))
    steps = rewinds(job, *arguments.steps_of(recipe.train, len(examples)))
    trainer.seed_everything(recipe.seed)
    model = job.start_model()
    freezing.freeze(model, recipe.train.get("freeze", ()))
    pruning = PruningCallback(rules) if rules else None
    best = None
    if job.hold_out is not None:
        best = BestAtTarget(recipe.task.metric[0], lambda step: pruning is None or pruning.pruner.at_target(step))
    with job.reporter.task("training" if rules else "training dense") as bar:
        watch = trainer.Watch(lambda step, total, logs: bar.advance(step, total, _worth_showing(logs)))
        built = trainer.build(
            model,
            args,
            train_dataset=examples,
            eval_dataset=_evaluated(job) if args.eval_strategy != "no" else None,
            collator=job.task.collator(job.tokenizer),
            eval_collator=job.task.collator(job.tokenizer, training=False),
            callbacks=[
                *([pruning] if pruning else []),
                checkpointing.WholeCheckpoints(),
                *([best] if best else []),
                watch,
            ],
            compute_metrics=_scores(job) if best else None,
            objective=job.task.objective,
            rewinds=steps,
            lr_floor=recipe.train.get("lr_floor", 0.0),
            **how,
        )
        begun_at = trainer.train(built, folder / resume if resume else None)
    states = pruning.fold() if pruning else []
    if job.team.leads:
        _save(job, model, stage)
    stage.facts |= {
        "steps": built.state.global_step,
        "resumed_at": begun_at,
        "processes": job.team.size,
        "rules": _reached(states),
        "history": [entry for entry in built.state.log_history if "loss" in entry],
    }
    if best is not None:
        scored, logs = f"eval_{recipe.task.metric[0]}", built.state.log_history
        stage.facts["scores"] = [{"step": log["step"], "score": log[scored]} for log in logs if scored in log]
    if best is not None and best.best is not None:
        metric, kept = recipe.task.metric[0], best.best
        stage.facts["chosen"] = {"step": kept.step, "metric": metric, "score": kept.score, "loss": kept.loss}
        stage.facts["chosen"] |= {"examples": len(job.hold_out)}


def _reached(states: Sequence[RuleState]) -> list[dict[str, Any]]:
    return [
        {"name": s.name, "structure": str(s.structure), "groups": s.groups, "pruned": s.pruned, "target": s.target}
        for s in states
    ]


def _evaluated(job: Job) -> Any:
    """What is evaluated while training: the hold-out where there is one, and nothing that is reported."""
    return job.encoded(job.recipe.evaluate.splits[0]) if job.hold_out is None else job.hold_out


def _scores(job: Job) -> Callable[[Any], dict[str, float]]:
    def scores(prediction: Any) -> dict[str, float]:
        outputs = job.task.postprocess(prediction.predictions)
        found = job.task.decode(outputs, job.hold_out, job.head)
        return job.task.score(found, job.task.references(job.hold_out_rows, job.head), job.head)

    return scores


def _save(job: Job, model: Any, stage: Stage) -> None:
    from optkit.adapters import quiet
    from optkit.pruning.callback import save_under_own_names

    save_under_own_names(model)
    with quiet():
        model.save_pretrained(stage.folder)
        job.tokenizer.save_pretrained(stage.folder)
    job.task.save_extra_files(stage.folder, model, job.tokenizer)


def _make_room(job: Job, folder: Path, identity: dict[str, Any]) -> None:
    """Sets aside checkpoints of another training, or of another number of processes, whose steps are others."""
    if folder.exists() and _identity(folder / _KEY) != identity:
        job.run.retire(folder)
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
