"""The dense baseline, trained only where neither the start model nor a teacher can serve as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.stages.train import chosen_by, fine_tune

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage
    from optkit.recipe import DistillSpec

NAME, FOLDER = "dense", "dense"
#: The folder in the run that holds the training's checkpoints.
CHECKPOINTS = "checkpoints-dense"


def needed(job: Job) -> bool:
    return job.baseline == "trained" and bool(job.recipe.prune)


def key(job: Job) -> str:
    rewound = {"rules": job.identity["prune"]} if job.recipe.train.get("lr_rewind") == "jumps" else {}
    return job.key("seed", "model", "train", data=job.data_identity, **chosen_by(job), **rewound)


def run(job: Job, stage: Stage) -> None:
    fine_tune(job, stage, key(job), CHECKPOINTS)


def load(job: Job) -> tuple[Any, Any, list[int] | None] | None:
    """The baseline: its model, its tokenizer, and its output for each of our labels where it may have them in another
    order; None where there is no baseline.

    Raises:
        PlanError: if it has no trained head for these labels.
    """
    from optkit.models import load_model, load_teacher

    if job.baseline is None:
        return None
    if job.baseline == "trained":
        trained = folder(job)
        model = load_model(trained, job.head, seed=job.recipe.seed)
        return model, job.task.load_processor(trained), None
    if job.baseline == "start":
        return job.start_model(), job.tokenizer, None
    return load_teacher(_as_teacher(job), job.head, key=_key(job))


def problems(job: Job, student: Any) -> list[str]:
    """Why the checkpoint that the recipe names as the baseline cannot be compared with ``student`` (a config), a line
    each.

    Raises:
        OptkitError: if it cannot be loaded.
    """
    if job.compared_with is None:
        return []
    from optkit.stages.heads import pixel_problems

    model, processor, _ = load(job)
    found = pixel_problems(job, _as_teacher(job), processor, _key(job))
    if job.task.references(job.splits["train"].select(range(1)), job.head) is None:
        ours, theirs = student.hidden_size, model.config.hidden_size
        if ours != theirs:
            found.append(
                f"{_key(job)}: its embeddings have {theirs} numbers and the model's {ours}: without labels they have "
                "to compare: name another baseline"
            )
    return found


def folder(job: Job) -> Path | None:
    """Where the baseline's checkpoint lies; None where there is none, or only its config."""
    from optkit.adapters.hub import model_folder

    model = job.recipe.model
    if job.baseline is None:
        return None
    if job.baseline == "trained":
        return job.path(FOLDER if job.recipe.prune else "pruned")
    if job.baseline == "start":
        return model_folder(model.name, model.revision, key="model.name") if model.name else None
    teacher = _as_teacher(job)
    return model_folder(teacher.teacher, teacher.revision, key=_key(job))


def _key(job: Job) -> str:
    return "distill.teacher" if job.baseline == "teacher" else "evaluate.baseline"


def _as_teacher(job: Job) -> DistillSpec:
    from optkit.recipe import DistillSpec

    return job.recipe.distill if job.baseline == "teacher" else DistillSpec(teacher=job.baseline)
