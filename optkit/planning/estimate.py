"""What a planned run will take: time, memory and disk, from a few steps of it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from optkit.adapters import passes
from optkit.adapters.arguments import training_arguments
from optkit.adapters.checkpointing import KEPT
from optkit.models import freezing, load_teacher
from optkit.planning.teachers import runs_beside
from optkit.pruning.criteria import build
from optkit.pruning.criteria.base import GroupCriterion

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.planning.summary import Plan


@dataclass(frozen=True)
class Estimate:
    """Measured on a few steps: seconds of one optimizer step and of the whole training, bytes of memory and disk."""

    step: float
    seconds: float
    memory: int
    disk: int


def measure(context: RunContext, plan: Plan) -> Estimate:
    """Times a few optimizer steps of plain fine-tuning, with the teacher's pass where it runs beside, and adds up what
    will be written.
    """
    recipe = context.recipe
    model = context.start_model()
    parameters = 4 * sum(p.numel() for p in model.parameters())
    kept = _state_bytes(context, plan, model)
    runs = 1 + (plan.baseline == "trained" and bool(plan.rules))
    # Weights, two moments of Adam, a mean of weights, masks and criteria's states in each kept checkpoint and the one
    # being written; then results.
    checkpoint = (4 if "average_last" in recipe.train else 3) * parameters + kept
    formats = (len(recipe.export.formats) - 1) * (parameters + parameters // 4)
    disk = 2 * parameters + parameters // 2 + formats + runs * ((KEPT + 1) * checkpoint if plan.steps else 0)
    disk += parameters if plan.steps and plan.calibration else 0
    if not plan.steps:
        # In one shot: a dense copy, masks, and matrices of the largest layer beside what is there by now.
        return Estimate(0.0, 0.0, _peak() + 2 * parameters if plan.calibration else 2 * parameters, disk)
    args = training_arguments(
        recipe.train, context.path("checkpoints"), seed=recipe.seed, examples=plan.examples["train"]
    )
    beside = None
    if recipe.distill is not None and runs_beside(context):
        key, spec = recipe.distill.first
        beside = load_teacher(spec, context.data.head, key=key)[0].to(args.device)
    freezing.freeze(model, recipe.train.get("freeze", ()))
    collator = context.task.collator(context.data.tokenizer)
    how = {"teacher": beside, "objective": context.task.objective}
    step = passes.time_steps(model, args, context.data.encode("train"), collator, **how)
    return Estimate(round(step, 4), round(step * plan.steps * runs, 1), _peak() + kept, disk)


def _peak() -> int:
    """Bytes of memory that this process has needed so far."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        memory = psutil.Process().memory_info()
        return getattr(memory, "peak_wset", memory.rss)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _state_bytes(context: RunContext, plan: Plan, model: Any) -> int:
    """Bytes of the masks on ``model`` and of what criteria accumulate."""
    sizes: dict[tuple[str, str], int] = {}
    for rule, matched in zip(context.recipe.build_rules(), plan.rules, strict=True):
        criterion = build(rule.criterion)
        for name in matched.layers:
            weight = model.get_submodule(name).weight.detach().to("meta")
            sizes[name, "mask"] = weight.numel()
            sizes[name, rule.criterion.name] = sum(tensor.nbytes for tensor in criterion.state(weight).values())
            if rule.regrow or criterion.revives:
                sizes[name, "raw"] = weight.nbytes
        if isinstance(criterion, GroupCriterion):
            groups = criterion.group_state(torch.empty(matched.groups, device="meta"))
            sizes[rule.name, "groups"] = sum(tensor.nbytes for tensor in groups.values())
    return sum(sizes.values())
