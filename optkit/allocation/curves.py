"""What each layer loses at each sparsity, measured on the dense model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters.arguments import training_arguments
from optkit.models import load_model
from optkit.pipeline import baseline
from optkit.pruning.allocation import sensitivity

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pruning.allocation.knapsack import Curve
    from optkit.pruning.config import Rule
    from optkit.recipe.allocate import AllocateSpec


def measure_curves(
    context: RunContext, spec: AllocateSpec, rule: Rule, others: Sequence[Rule], points: Sequence[float]
) -> list[Curve]:
    """What each layer that ``rule`` matches loses at each of ``points``, with ``others`` applied to the model."""
    device = _device(context)
    model = reference(context)
    sensitivity.prune_now(model, others)
    model.to(device)
    moved = [
        {name: tensor.to(device) for name, tensor in batch.items()} for batch in context.data.batches(spec.samples)
    ]
    with context.reporter.task(f"sensitivity of {rule.name}") as bar:
        return sensitivity.measure(
            model, rule, moved, points, lambda done, total: bar.advance(done, total, {"measured": done})
        )


def reference(context: RunContext) -> Any:
    """The dense model that layers are measured on: the trained baseline where there is one, else the start model; its
    features in the order in which they are pruned.
    """
    if not baseline.is_trained_apart(context):
        return context.student()
    model = load_model(context.path(baseline.FOLDER), context.data.head, seed=context.recipe.seed)
    if (permutation := context.permutation()) is not None:
        permutation.apply(model)
    return model


def _device(context: RunContext) -> Any:
    encoded = context.data.encode("train")
    args = training_arguments(
        context.recipe.train, context.path("checkpoints"), seed=context.recipe.seed, examples=len(encoded)
    )
    return args.device


def bound_curves(curves: Sequence[Curve], rule: Rule, count: int) -> list[Curve]:
    """``curves`` within the rule's floor and ceiling, with as many choices as there shall be. Where whole groups within
    them leave no room for ``count``, as of layers of few heads, they are rounded outwards, as in training.
    """
    strict = [bound_curve(curve, rule) for curve in curves]
    if sum(curve.counts[0] for curve in strict) <= count <= sum(curve.counts[-1] for curve in strict):
        return strict
    return [bound_curve(curve, rule, outwards=True) for curve in curves]


def bound_curve(curve: Curve, rule: Rule, *, outwards: bool = False) -> Curve:
    """``curve`` within the rule's floor and ceiling, or the next groups ``outwards``."""
    most = rule.structure.max_sparsity
    floor, ceiling = rule.floor / most * curve.groups, min(rule.ceiling / most, 1.0) * curve.groups
    if outwards:
        least, highest = int(np.floor(floor + 1e-9)), int(np.ceil(ceiling - 1e-9))
    else:
        least, highest = int(np.ceil(floor - 1e-9)), int(np.floor(ceiling + 1e-9))
    least = max(least, curve.counts[0])
    return curve.between(least, max(min(highest, curve.counts[-1]), least)).refine()
