"""The teacher's logits on the training split, computed once: training then costs what it costs without a teacher.

A teacher may have a tokenizer of its own, since it reads the texts and not the student's token ids.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optkit.errors import OptkitError

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "teacher", "teacher"
_FILE = "logits.safetensors"


def needed(job: Job) -> bool:
    return job.recipe.distill is not None and job.trains


def key(job: Job) -> str:
    distill = job.identity["distill"]
    return job.key(data=job.data_identity, teacher=[distill["teacher"], distill["revision"]], labels=job.labels)


def run(job: Job, stage: Stage) -> None:
    from safetensors.numpy import save_file

    from optkit.adapters import trainer
    from optkit.models import load_teacher

    model, tokenizer, order = load_teacher(job.recipe.distill, job.task.auto_class, job.labels)
    encoded = job.task.encode(job.splits["train"], tokenizer, job.labels)
    with job.reporter.task("teacher") as bar:
        logits = trainer.predict(model, encoded, job.task.collator(tokenizer), tell=bar.advance)[:, order]
    if not np.isfinite(logits).all():
        raise OptkitError(f"distill.teacher: {job.recipe.distill.teacher} gives NaN or infinite logits: use another")
    save_file({"logits": np.ascontiguousarray(logits)}, stage.folder / _FILE)
    agreement = job.task.score(job.task.predictions(logits), np.asarray(encoded["labels"]), classes=len(job.labels))
    stage.facts |= {"train": agreement}


def load(job: Job) -> np.ndarray:
    """The teacher's logits, float32 (examples of the training split, classes in the order of our labels)."""
    from safetensors.numpy import load_file

    return load_file(job.path(FOLDER) / _FILE)["logits"]
