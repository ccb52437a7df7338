"""The dense baseline, trained only where neither the start model nor a teacher can serve as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.stages.train import fine_tune

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "dense", "dense"


def needed(job: Job) -> bool:
    return job.baseline == "trained" and bool(job.recipe.prune)


def key(job: Job) -> str:
    return job.key("seed", "model", "train", data=job.data_identity)


def run(job: Job, stage: Stage) -> None:
    fine_tune(job, stage, key(job), "checkpoints-dense")


def load(job: Job) -> tuple[Any, Any, list[int]] | None:
    """The baseline: its model, its tokenizer and its output for each of our labels; None where there is none.

    Raises:
        PlanError: if it has no trained head for these labels.
    """
    from optkit.models import load_model, load_teacher, load_tokenizer
    from optkit.recipe import DistillSpec

    recipe, same = job.recipe, list(range(len(job.labels)))
    if job.baseline is None:
        return None
    if job.baseline == "trained":
        folder = job.path(FOLDER if recipe.prune else "pruned")
        model = load_model(folder, job.task.auto_class, job.labels, seed=recipe.seed)
        return model, load_tokenizer(folder), same
    if job.baseline == "start":
        model = load_model(recipe.model, job.task.auto_class, job.labels, seed=recipe.seed, tokenizer=job.tokenizer)
        return model, job.tokenizer, same
    distill = recipe.distill if job.baseline == "teacher" else DistillSpec(teacher=job.baseline)
    return load_teacher(distill, job.task.auto_class, job.labels)
