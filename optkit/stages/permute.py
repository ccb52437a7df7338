"""Orders of the model's features under which the blocks of the rules hold weights of like importance.

They are found once and kept: a training that goes on, on whatever machine, starts from the same order, and so do the
measurements of an allocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from optkit.pipeline import oneshot
from optkit.pipeline.context import PERMUTATION_FILE, PERMUTATION_FOLDER
from optkit.pipeline.stage import Stage
from optkit.pruning.permutation.permute import permutation_problems, permute

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME = "permute"


def is_needed(context: RunContext) -> bool:
    return any(rule.permute for rule in context.recipe.prune)


def key(context: RunContext) -> str:
    spec = oneshot.settings(context.recipe)
    by = {"oneshot": spec.model_dump()} if spec is not None else {}
    return context.key("seed", "model", "prune", data=context.data_identity, **by)


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``kept`` to the stage's facts: by rule, the share of the scores that would stay, before and after."""
    model = context.start_model().to("cuda" if torch.cuda.is_available() else "cpu")
    one_shot = oneshot.settings(context.recipe) is not None
    with context.reporter.task("permuting") as bar:
        found = permute(
            model,
            context.recipe.build_rules(),
            batches=oneshot.batches(context) if one_shot else None,
            loss=oneshot.own_loss(context) if one_shot else None,
            seed=context.recipe.seed,
            on_progress=lambda done, total: bar.advance(done, total, {}),
        )
    found.save(output.folder / PERMUTATION_FILE)
    for name, (before, after) in found.kept.items():
        context.reporter.say(f"  {name}: {after:.1%} of the scores stay, {before:.1%} in the order of before")
    output.facts |= {"kept": {name: list(shares) for name, shares in found.kept.items()}}


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why the model or another rule does not allow the orders that a rule names, a line each."""
    if not is_needed(context):
        return []
    found = permutation_problems(resolved.model, context.recipe.build_rules())[0]
    return [f"prune.{index}.permute: {text}" for index, text in found]


STAGE = Stage(NAME, key, run, folder=PERMUTATION_FOLDER, is_needed=is_needed, problems=problems)
