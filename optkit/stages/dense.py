"""The dense baseline, trained only where neither the start model nor a teacher can serve as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.pipeline import baseline
from optkit.pipeline.stage import Stage
from optkit.planning.heads import pixel_problems
from optkit.stages.train import fine_tune, model_selection

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME = "dense"
#: The folder in the run that holds the training's checkpoints.
CHECKPOINTS = "checkpoints-dense"


def is_needed(context: RunContext) -> bool:
    return baseline.is_trained_apart(context)


def key(context: RunContext) -> str:
    rewound = {"rules": context.identity["prune"]} if context.recipe.train.get("lr_rewind") == "jumps" else {}
    return context.key("seed", "model", "train", data=context.data_identity, **model_selection(context), **rewound)


def run(context: RunContext, output: StageOutput) -> None:
    fine_tune(context, output, key(context), CHECKPOINTS)


def recipe_problems(context: RunContext) -> list[str]:
    """Why the recipe's baseline contradicts the rest of it, a line each."""
    if context.recipe.evaluate.baseline == "trained" and not context.recipe.trains:
        return ["evaluate.baseline: trained is this recipe's training without `prune`: write `train`, or auto"]
    return []


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the checkpoint that the recipe names as the baseline cannot be compared with the student, a line each.

    Raises:
        OptkitError: if it cannot be loaded.
    """
    if baseline.named_checkpoint(context.recipe) is None:
        return []
    model, processor, _ = baseline.load(context)
    key = baseline.recipe_key(context)
    found = pixel_problems(context, baseline.as_teacher(context), processor, key)
    if context.task.references(context.data.splits["train"].select(range(1)), context.data.head) is None:
        ours, theirs = resolved.model.config.hidden_size, model.config.hidden_size
        if ours != theirs:
            found.append(
                f"{key}: its embeddings have {theirs} numbers and the model's {ours}: without labels they have to "
                "compare: name another baseline"
            )
    return found


STAGE = Stage(
    NAME,
    key,
    run,
    folder=baseline.FOLDER,
    checkpoints=CHECKPOINTS,
    is_needed=is_needed,
    recipe_problems=recipe_problems,
    problems=problems,
)
