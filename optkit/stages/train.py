"""Fine-tuning with pruning: the Trainer's loop, resumed from the last whole checkpoint, folded to a plain model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.rundir import write_atomic
from optkit.stages import teacher

if TYPE_CHECKING:
    from optkit.pruning.config import Rule
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "train", "pruned"
_KEY = "key.json"


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    return job.key("seed", "model", "train", "distill", "prune", data=job.data_identity)


def run(job: Job, stage: Stage) -> None:
    if not job.trains:
        _save(job, job.start_model(), stage)
        stage.facts |= {"steps": 0, "rules": [], "history": []}
        return
    logits = teacher.load(job) if teacher.needed(job) else None
    fine_tune(job, stage, key(job), "checkpoints", job.rules, logits)


def fine_tune(
    job: Job, stage: Stage, key: str, checkpoints: str, rules: Sequence[Rule] = (), teacher_logits: Any = None
) -> None:
    """Trains the recipe's start model, with or without pruning, into ``stage.folder``.

    Args:
        key: of what is trained; checkpoints of another key are set aside, those of this one resumed.
        checkpoints: name of the folder in the run that holds them.
        rules: what to prune, if anything.
        teacher_logits: float32 (examples, classes) for each row of the training split, None without a teacher.
    """
    from optkit.adapters import trainer
    from optkit.pruning.callback import PruningCallback

    recipe, folder = job.recipe, job.path(checkpoints)
    if folder.exists() and not _belongs(folder / _KEY, key):
        job.run.retire(folder)
    folder.mkdir(exist_ok=True)
    write_atomic(folder / _KEY, json.dumps({"key": key}))

    encoded = job.encoded("train")
    args = trainer.training_arguments(recipe.train, folder, seed=recipe.seed, examples=len(encoded))
    trainer.seed_everything(recipe.seed)
    model = job.start_model()
    if teacher_logits is not None:
        encoded = encoded.add_column("teacher_logits", list(teacher_logits))
    pruning = PruningCallback(rules) if rules else None
    with job.reporter.task("training" if rules else "training dense") as bar:
        watch = trainer.Watch(lambda step, total, logs: bar.advance(step, total, _worth_showing(logs)))
        built = trainer.build(
            model,
            args,
            train_dataset=encoded,
            eval_dataset=job.encoded(recipe.evaluate.splits[0]) if args.eval_strategy != "no" else None,
            collator=job.task.collator(job.tokenizer),
            callbacks=[*([pruning] if pruning else []), trainer.WholeCheckpoints(), watch],
            temperature=recipe.distill.temperature if recipe.distill else 1.0,
            distillation_weight=recipe.distill.weight if recipe.distill else 0.0,
        )
        begun_at = trainer.train(built, folder)
    rules_reached = pruning.fold() if pruning else []
    _save(job, model, stage)
    stage.facts |= {
        "steps": built.state.global_step,
        "resumed_at": begun_at,
        "rules": [
            {"name": r.name, "structure": str(r.structure), "groups": r.groups, "pruned": r.pruned, "target": r.target}
            for r in rules_reached
        ],
        "history": [entry for entry in built.state.log_history if "loss" in entry],
    }


def _save(job: Job, model: Any, stage: Stage) -> None:
    from optkit.adapters import quiet
    from optkit.pruning.callback import save_under_own_names

    save_under_own_names(model)
    with quiet():
        model.save_pretrained(stage.folder)
        job.tokenizer.save_pretrained(stage.folder)


def _belongs(file: Any, key: str) -> bool:
    try:
        return json.loads(file.read_text(encoding="utf-8"))["key"] == key
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _worth_showing(logs: Mapping[str, float]) -> dict[str, float]:
    names = {"loss": "loss", "sparsity": "sparsity", "target_sparsity": "target", "learning_rate": "lr"}
    names |= {"eval_loss": "eval_loss"}
    return {short: logs[name] for name, short in names.items() if name in logs}
