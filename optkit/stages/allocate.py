"""A sparsity for each layer, where a rule leaves the choice to what the layers lose and cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optkit.allocation import choice, latency
from optkit.allocation.curves import bound_curves, measure_curves
from optkit.allocation.layer_times import check_runtime, read_table
from optkit.errors import PlanError, PruningError
from optkit.pipeline.stage import Stage
from optkit.pruning.allocation.knapsack import by_sensitivity, grid
from optkit.pruning.selection import target_count
from optkit.report.optional_steps import allocated
from optkit.report.stage_facts import Allocation
from optkit.stages import dense, permute

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel
    from optkit.pruning.config import Rule
    from optkit.recipe.allocate import AllocateSpec

NAME = "allocate"


def is_needed(context: RunContext) -> bool:
    return choice.is_asked_for(context)


def key(context: RunContext) -> str:
    measured = {"benchmark": choice.shape(context)} if choice.by_latency(context) is not None else {}
    before = {stage.NAME: stage.key(context) for stage in (dense, permute) if stage.is_needed(context)}
    return context.key("seed", "model", "prune", "quantize", data=context.data_identity, **measured, **before)


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why an allocation by latency cannot work, a line each."""
    matched = resolved.sites
    index = choice.by_latency(context)
    if index is None:
        return []
    spec, where = context.recipe.prune[index].allocate, f"prune.{index}.allocate: by latency"
    found = [
        f"prune.{i}.allocate: there is one speedup, and prune.{index} asks for it already: give it to one rule"
        for i, rule in enumerate(context.recipe.prune)
        if i != index and rule.allocate and rule.allocate.by == "latency"
    ]
    if spec.seq is not None and context.data.longest is not None and spec.seq > context.data.longest:
        found.append(
            f"prune.{index}.allocate.seq: {spec.seq} is more than the {context.data.longest} tokens the model takes"
        )
    own = {name for site in matched[index] for name in site.layers}
    for i, sites in enumerate(matched):
        shared = next((name for site in sites for name in site.layers if i != index and name in own), None)
        if shared is not None:
            found.append(f"{where} needs layers of its own, and prune.{i} has {shared} as well: separate their targets")
    try:
        if spec.costs is None:
            check_runtime()
        else:
            table = read_table(context, spec.costs, context.recipe.prune[index].build())
            for shapes in {tuple(tuple(x.weight.shape) for x in site.layers.values()) for site in matched[index]}:
                table.of(shapes, [0.0])
    except PruningError as error:
        found.append(f"prune.{index}.allocate: {error}")
    return found


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``rules`` to the stage's facts: by name, what was chosen.

    Raises:
        PlanError: if a speedup or a sparsity cannot be reached.
    """
    last, rules, choices = choice.by_latency(context), context.recipe.build_rules(), {}
    order = [i for i, rule in enumerate(context.recipe.prune) if rule.allocate and i != last]
    for index in [*order, *([] if last is None else [last])]:
        spec = context.recipe.prune[index].allocate
        # By sensitivity a rule sees what those before it leave; one by latency has layers of its own.
        reach = range(index) if index != last else range(len(rules))
        others = [rules[i] for i in reach if i not in (index, last)]
        try:
            choose = latency.choose if index == last else _by_sensitivity
            found = choose(context, output, spec, rules[index], others)
        except PruningError as error:
            raise PlanError(f"prune.{index}.allocate: {error}") from None
        rules[index] = choice.with_shares(rules[index], found)
        choices[rules[index].name] = found
        context.reporter.say(f"  {rules[index].name}: {allocated(Allocation.model_validate(found))}")
    (output.folder / choice.CHOICE).write_text(
        json.dumps({"format": choice.FORMAT, "rules": choices}, indent=2) + "\n", encoding="utf-8"
    )
    output.facts["rules"] = choices


def _by_sensitivity(
    context: RunContext, output: StageOutput, spec: AllocateSpec, rule: Rule, others: Sequence[Rule]
) -> dict[str, Any]:
    curves = measure_curves(context, spec, rule, others, grid(rule.structure, rule.schedule.to, spec.grid))
    count = target_count(rule.schedule.to / rule.structure.max_sparsity, sum(curve.groups for curve in curves))
    counts = by_sensitivity(bound_curves(curves, rule, count), count)
    return choice.facts(spec, rule, curves, counts)


STAGE = Stage(NAME, key, run, folder=choice.FOLDER, is_needed=is_needed, problems=problems)
