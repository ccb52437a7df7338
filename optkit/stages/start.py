"""What the schedules of a training begin `from`, removed in one shot before the first step.

Reconstruction gives what stays the values that make up for it, which a training has to find step by step. The result is
kept, so that trainings that differ in what follows share it, and one that goes on begins where it began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from optkit.allocation import choice
from optkit.pipeline import oneshot
from optkit.pipeline.stage import Stage
from optkit.stages import permute

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput

NAME, FOLDER = "start", "start"
_WEIGHTS = "weights.safetensors"


def is_needed(context: RunContext) -> bool:
    return oneshot.before_training(context.recipe) is not None


def key(context: RunContext) -> str:
    chosen = {"oneshot": oneshot.before_training(context.recipe).model_dump()} | choice.identity(context)
    if permute.is_needed(context):
        chosen["order"] = permute.key(context)
    rules = [str(rule) for rule in oneshot.beginnings(context.recipe.build_rules())]
    return context.key("seed", "model", data=context.data_identity, rules=rules, **chosen)


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``rules`` to the stage's facts: how far each rule went."""
    model, states = oneshot.prune(context, oneshot.beginnings(choice.rules(context)))
    weights = {name: weight.detach().contiguous() for name, weight in model.named_parameters()}
    save_file(weights, output.folder / _WEIGHTS)
    output.facts |= {"rules": [state.facts() for state in states]}


def apply(context: RunContext, model: Any) -> None:
    """Gives the student the weights that the stage left."""
    weights = context.tensors(FOLDER, _WEIGHTS)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(weights[name])


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed)
