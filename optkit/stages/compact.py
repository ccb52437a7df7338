"""What pruning emptied, taken out of the pruned checkpoint: ``compact/``, which computes the same and is smaller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.adapters import passes, quiet
from optkit.adapters.companions import copy_companions
from optkit.errors import PruningError
from optkit.models import load_model
from optkit.pipeline.stage import Stage
from optkit.pruning.compaction.checkpoint import save_compact
from optkit.pruning.compaction.compaction import compact
from optkit.pruning.layouts import layouts
from optkit.stages import train

if TYPE_CHECKING:
    from pathlib import Path

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME, FOLDER = "compact", "compact"
#: Sentences that both models are run on, and how far their outputs may lie apart, as a share of the largest.
EXAMPLES, TOLERANCE = 8, 1e-4


def is_needed(context: RunContext) -> bool:
    return bool(context.recipe.prune) and context.recipe.export.compact is not False


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the model cannot be compacted though the recipe insists on it, a line at most."""
    if not context.recipe.prune or context.recipe.export.compact is not True:
        return []
    try:
        layouts(resolved.model)
    except PruningError as error:
        return [f"export.compact: {error}"]
    return []


def outputs(context: RunContext) -> list[str]:
    return [FOLDER] if context.run.facts(NAME).get("compacted") else []


def key(context: RunContext) -> str:
    return context.key(pruned=train.key(context), compact=context.recipe.export.compact)


def folder(context: RunContext) -> Path:
    """The checkpoint to export: compacted where there is such a one."""
    return context.path(FOLDER if is_needed(context) and outputs(context) else train.FOLDER)


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``compacted`` to the stage's facts, and either why not (``reason``), or ``kept``, whether the checkpoint is
    ``plain``, and by how much the outputs ``differ``.

    Raises:
        PruningError: if the recipe insists and there is nothing to remove, or the outputs differ.
    """
    source = context.path(train.FOLDER)
    model = load_model(source, context.data.head, seed=0)
    before = _outputs(context, model)
    try:
        result = compact(model, context.recipe.build_rules())
        reason = "pruning left no head, neuron or layer empty"
    except PruningError as error:
        result, reason = None, str(error)
    if result is None or not result.changed:
        if context.recipe.export.compact is True:
            raise PruningError(f"export.compact: {reason}: prune heads or neurons, or set it to auto")
        context.reporter.say(f"  nothing to remove: {reason}")
        output.facts |= {"compacted": False, "reason": reason}
        return
    differ = float(abs(_outputs(context, model) - before).max())
    if differ > TOLERANCE * max(1.0, float(abs(before).max())):
        raise PruningError(
            f"{source}: its outputs changed by {differ:.2g} when it was compacted: set export.compact=false"
        )
    with quiet():
        plain = save_compact(model, result, output.folder)
    copy_companions(source, output.folder, but=["config.json"])
    kept = result.counts()
    summary = ", ".join(f"{left:,} of {all_:,} {name}" for name, (left, all_) in kept.items())
    context.reporter.say(f"  kept {summary}")
    output.facts |= {"compacted": True, "kept": kept, "plain": plain, "differ": differ}


def _outputs(context: RunContext, model: Any) -> Any:
    encoded = context.data.encode("train")
    few = encoded.select(range(min(EXAMPLES, len(encoded))))
    return passes.predict(model, few, context.task, context.data.tokenizer)


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed, outputs=outputs, problems=problems)
