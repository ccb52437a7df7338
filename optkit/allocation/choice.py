"""What an allocation chose, as the run keeps it, and what it is asked for.

The choice is kept in ``allocation/``: a run that goes on takes it from there and measures nothing again, so that a
training never changes its targets midway, however the machine's clock has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError
from optkit.json_files import read_json
from optkit.pipeline.run_folder import digest

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pruning.allocation.knapsack import Curve
    from optkit.pruning.config import Rule
    from optkit.recipe.allocate import AllocateSpec

FOLDER = "allocation"
#: What a run keeps: the choice, and the times it was made by, which serve as ``costs`` of other recipes.
CHOICE, COSTS = "allocation.json", "costs.json"
FORMAT = 1


def is_asked_for(context: RunContext) -> bool:
    """Whether a rule of the recipe leaves its layers' sparsities to be chosen."""
    return any(rule.allocate for rule in context.recipe.prune)


def by_latency(context: RunContext) -> int | None:
    """The number of the rule that is allocated by latency, None if there is none."""
    indices = [i for i, rule in enumerate(context.recipe.prune) if rule.allocate and rule.allocate.by == "latency"]
    return indices[0] if indices else None


def shape(context: RunContext) -> tuple[int, int]:
    """(batch, sequence length) to be fast at: what the rule says, else the first that is benchmarked, else 1 x 128."""
    spec, measured = context.recipe.prune[by_latency(context)].allocate, context.recipe.benchmark
    batch = spec.batch or (measured.batch[0] if measured else 1)
    return batch, context.task.sequence(context.data.tokenizer, spec.seq or context.data.lengths[0])


def rules(context: RunContext) -> list[Rule]:
    """The recipe's rules, with the shares that were chosen for them."""
    found = _read(context) if is_asked_for(context) else {}
    return [
        with_shares(spec.build(), found[spec.name]) if spec.allocate else spec.build() for spec in context.recipe.prune
    ]


def identity(context: RunContext) -> dict[str, str]:
    """What later stages' keys depend on: nothing where nothing is allocated."""
    return {"allocation": digest(_read(context))} if is_asked_for(context) else {}


def _read(context: RunContext) -> dict[str, Any]:
    path = context.path(FOLDER) / CHOICE
    try:
        data = read_json(path)
        right = data["format"] == FORMAT and {rule.name for rule in context.recipe.prune if rule.allocate} <= set(
            data["rules"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        right = False
    if not right:
        raise OptkitError(f"{path}: not what allocation writes: remove the folder and run the same command again")
    return data["rules"]


def with_shares(rule: Rule, found: dict[str, Any]) -> Rule:
    shares, schedule = tuple((layer["name"], layer["sparsity"]) for layer in found["layers"]), rule.schedule
    if found["by"] == "latency":
        # The schedule says only how far on the way to their shares the layers are, and it cannot end at 1.
        schedule = replace(schedule, to=min(found["sparsity"], 1 - 1e-9))
    return replace(rule, shares=shares, schedule=schedule, floor=0.0, ceiling=1.0)


def facts(spec: AllocateSpec, rule: Rule, curves: Sequence[Curve], counts: Sequence[int]) -> dict[str, Any]:
    """A choice of how many groups of each layer to prune, as the allocation keeps it."""
    most = rule.structure.max_sparsity
    layers = [
        {
            "name": curve.name,
            "groups": curve.groups,
            "pruned": count,
            "sparsity": count / curve.groups * most,
            "loss": curve.loss(count),
        }
        for curve, count in zip(curves, counts, strict=True)
    ]
    return {
        "by": spec.by,
        "sparsity": sum(counts) / sum(curve.groups for curve in curves) * most,
        "loss": sum(layer["loss"] for layer in layers),
        "layers": layers,
    }
