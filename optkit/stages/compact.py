"""What pruning emptied, taken out of the pruned checkpoint: ``compact/``, which computes the same and is smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.stages import train

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "compact", "compact"
#: Sentences that both models are run on, and how far their outputs may lie apart, as a share of the largest.
EXAMPLES, TOLERANCE = 8, 1e-4


def needed(job: Job) -> bool:
    return bool(job.recipe.prune) and job.recipe.export.compact is not False


def made(job: Job) -> list[str]:
    return [FOLDER] if job.run.facts(NAME).get("compacted") else []


def key(job: Job) -> str:
    return job.key(pruned=train.key(job), compact=job.recipe.export.compact)


def folder(job: Job) -> Path:
    """The checkpoint to export: compacted where there is such a one."""
    return job.path(FOLDER if needed(job) and made(job) else train.FOLDER)


def run(job: Job, stage: Stage) -> None:
    """Adds ``compacted`` to the stage's facts, and either why not (``reason``), or ``kept``, whether the checkpoint is
    ``plain``, and by how much the outputs ``differ``.

    Raises:
        PruningError: if the recipe insists and there is nothing to remove, or the outputs differ.
    """
    from optkit.adapters import optimum, quiet
    from optkit.errors import PruningError
    from optkit.models import load_model
    from optkit.pruning.compaction.checkpoint import save_compact
    from optkit.pruning.compaction.compacting import compact

    source = job.path(train.FOLDER)
    model = load_model(source, job.head, seed=0)
    before = _outputs(job, model)
    try:
        done = compact(model, job.rules)
        reason = "pruning left no head, neuron or layer empty"
    except PruningError as error:
        done, reason = None, str(error)
    if done is None or not done.changed:
        if job.recipe.export.compact is True:
            raise PruningError(f"export.compact: {reason}: prune heads or neurons, or set it to auto")
        job.reporter.say(f"  nothing to remove: {reason}")
        stage.facts |= {"compacted": False, "reason": reason}
        return
    differ = float(abs(_outputs(job, model) - before).max())
    if differ > TOLERANCE * max(1.0, float(abs(before).max())):
        raise PruningError(
            f"{source}: its outputs changed by {differ:.2g} when it was compacted: set export.compact=false"
        )
    with quiet():
        plain = save_compact(model, done, stage.folder)
    optimum.copy_companions(source, stage.folder, but=["config.json"])
    kept = done.counts()
    said = ", ".join(f"{left:,} of {all_:,} {name}" for name, (left, all_) in kept.items())
    job.reporter.say(f"  kept {said}")
    stage.facts |= {"compacted": True, "kept": kept, "plain": plain, "differ": differ}


def _outputs(job: Job, model: Any) -> Any:
    from optkit.adapters import passes

    encoded = job.encoded("train")
    few = encoded.select(range(min(EXAMPLES, len(encoded))))
    return passes.predict(model, few, job.task, job.tokenizer)
