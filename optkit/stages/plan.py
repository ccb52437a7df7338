"""What a recipe will do with its model and data, and everything that cannot work, found before any training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.arguments import steps_of, training_arguments
from optkit.errors import PlanError, PruningError, UsageError
from optkit.models import freezing, load_model, load_teacher, meta_model
from optkit.pipeline import baseline, oneshot
from optkit.pipeline.stage import ResolvedModel, Stage
from optkit.planning import heads, label_order
from optkit.planning.estimate import measure
from optkit.planning.summary import Plan, RulePlan
from optkit.progress import size
from optkit.pruning import former_zeros
from optkit.pruning.binding import BoundRule, place
from optkit.pruning.config import ONE_SHOT
from optkit.pruning.permutation.permute import permutation_problems
from optkit.pruning.targets import ENCODER_LINEAR, coverage, linear_layers, resolve_rules
from optkit.runtime.structures import suited_structure

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pruning.config import Rule
    from optkit.recipe import Recipe

NAME = "plan"
#: Of a training that somebody waits for; the plan lists every change of a mask, and there may be one a step.
_MOST_STEPS = 10_000_000


def key(context: RunContext) -> str:
    parts = {"recipe": context.recipe.hash(), "processes": context.team.size}
    whole = context.key(**parts)
    entry = context.run.entry(NAME) if context.run is not None else None
    if context.exports or (entry is not None and entry["key"] == whole):
        return whole
    # What stops before the export is not held against what can be exported, and is when it goes on.
    return context.key(**parts, exports=False)


def run(context: RunContext, output: StageOutput) -> None:
    """Shows the plan; adds it, measured, to the stage's facts.

    Raises:
        PlanError: every reason why the recipe cannot work.
    """
    plan = resolve_plan(context)
    label_order.check_order(context)
    plan.estimate = measure(context, plan)
    context.reporter.say(plan.render())
    output.facts |= plan.to_dict()
    free, wanted = shutil.disk_usage(context.run.path).free, plan.estimate.disk
    if wanted > free:
        raise PlanError(
            f"{context.run.path}: the run needs about {size(wanted)} of disk and {size(free)} are free: free some, or "
            "choose another --output"
        )


def resolve_plan(context: RunContext) -> Plan:
    """The plan of the recipe, from the model's config and the data; nothing is trained or written.

    Raises:
        PlanError: every reason why the recipe cannot work, a line each.
    """
    recipe, data = context.recipe, context.data
    problems = [text for stage in context.stages for text in stage.recipe_problems(context)]

    def attempt(work: Any) -> Any:
        try:
            return work()
        except UsageError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
        return None

    splits = attempt(lambda: data.splits)
    head = attempt(lambda: data.head) if splits is not None else None
    if head is None:
        raise PlanError(problems)
    problems += attempt(lambda: context.task.problems(recipe)) or []
    texts = sum(attempt(lambda asked=stage: asked.count_unlabelled(context)) or 0 for stage in context.stages)
    examples = len(splits["train"]) + texts
    problems += context.task.label_mismatches(head)
    # A tokenizer trained on the spot is not needed to see whether the recipe works.
    if context.task.windows:
        examples = attempt(lambda: len(data.encode("train"))) or examples
    elif isinstance(recipe.model.tokenizer, str) or recipe.model.tokenizer is None:
        attempt(lambda: data.tokenizer)
    total, per_epoch = steps_of(recipe.train, examples)
    if total > _MOST_STEPS:
        problems.append(f"train: {total:,} optimizer steps never end: lower num_train_epochs or max_steps")
        raise PlanError(problems)
    if recipe.trains:
        attempt(lambda: training_arguments(recipe.train, Path("checkpoints"), seed=recipe.seed, examples=examples))
    compared_with = attempt(lambda: baseline.kind(context))
    model = attempt(lambda: meta_model(recipe.model, head))
    if model is None:
        for key, spec in recipe.distill.teachers.items() if recipe.distill else ():
            attempt(lambda key=key, spec=spec: load_teacher(spec, head, key=key))
        raise PlanError(problems)
    longest = attempt(lambda: data.longest)
    if longest is not None and recipe.task.max_length > longest:
        problems.append(f"task.max_length: {recipe.task.max_length} is more than the {longest} tokens the model takes")
    problems += attempt(lambda: context.task.model_problems(model, data.tokenizer)) or []
    rules = recipe.build_rules()
    matched, faults = resolve_rules(model, rules)
    problems += [f"prune.{index}: {text}" for index, text in faults]
    resolved = ResolvedModel(model, matched, examples, total, per_epoch)
    for stage in context.stages:
        problems += attempt(lambda asked=stage: asked.problems(context, resolved)) or []
    all_linear = sum(layer.weight.numel() for layer in linear_layers(model).values())
    rule_plans = _rule_plans(context, resolved, rules, all_linear, problems)
    if not problems:  # a fault of the model or the data would be met again
        for stage in context.stages:
            problems += attempt(lambda asked=stage: asked.trial_problems(context, resolved)) or []
    if problems:
        raise PlanError(problems)
    notes = coverage(model) if any(ENCODER_LINEAR in rule.targets for rule in rules) else []
    notes += attempt(lambda: _former_zeros(context, problems)) or []
    if problems:
        raise PlanError(problems)
    notes += permutation_problems(model, rules)[1]
    notes += _suited_structure(context.recipe)
    counts = {name: len(split) for name, split in splits.items()}
    more = {"held out": data.held_out, "unlabelled": texts, "windows": examples if context.task.windows else 0}
    counts |= {name: count for name, count in more.items() if count}
    own = [stage.plan(context, resolved) for stage in context.stages]
    return Plan(
        name=recipe.name,
        examples=counts,
        labels=list(head.labels or ()),
        answers=context.task.describe(splits, head),
        baseline=compared_with,
        rules=rule_plans,
        notes=notes,
        models=heads.notes(context),
        **{name: value for each in own for name, value in each.items()},
    )


def _suited_structure(recipe: Recipe) -> list[str]:
    """What suits the sparse runtime here, if the recipe measures it and prunes in blocks or single weights."""
    measured = recipe.benchmark is not None and "optkit" in recipe.benchmark.backends
    suited = suited_structure() if measured else None
    if suited is None or not any(rule.structure.kind in ("block", "n:m") for rule in recipe.build_rules()):
        return []
    return [f"structure: {suited}"]


def _rule_plans(
    context: RunContext, resolved: ResolvedModel, rules: Sequence[Rule], linear: int, problems: list[str]
) -> list[RulePlan]:
    """What each rule does when; schedules that cannot be placed are added to ``problems``.

    Args:
        resolved: with the sites of each rule.
        rules: the recipe's.
        linear: weights of all linear layers.
    """
    plans, in_one_shot = [], oneshot.settings(context.recipe) is not None
    for index, (rule, sites) in enumerate(zip(rules, resolved.sites)):
        changes: list[tuple[int, float]] = []
        if in_one_shot:
            changes = [(0, rule.schedule.to)] if rule.schedule else []
        elif not isinstance(rule.criterion, ONE_SHOT):
            try:
                placed = place(rule, resolved.steps, resolved.per_epoch)
                changes = placed.table() if placed else []
            except PruningError as error:
                problems.append(f"prune.{index}.schedule: {error}")
        layers = {name: layer for site in sites for name, layer in site.layers.items()}
        weights, groups = sum(layer.weight.numel() for layer in layers.values()), sum(s.grid.count for s in sites)
        shares = context.recipe.prune[index].allocate
        if shares and shares.by == "latency":
            changes = [(step, target / rule.schedule.to) for step, target in changes]
        plans.append(
            RulePlan(
                *(rule.name, rule.criterion.name, str(rule.structure), rule.scope, list(layers), weights),
                *(groups, weights / max(linear, 1), changes),
                *((shares.by, shares.speedup) if shares else ()),
            )
        )
    return plans


def _former_zeros(context: RunContext, problems: list[str]) -> list[str]:
    """What is to be said of zeros in the weights that training starts from; targets below them go to ``problems``."""
    recipe, notes = context.recipe, []
    if recipe.model.name is None or not (recipe.prune or recipe.trains):
        return []
    rules = recipe.build_rules()
    model = load_model(recipe.model, context.data.head, seed=recipe.seed)
    freezing.freeze(model, recipe.train.get("freeze", ()))
    bound_rules = [BoundRule(rule, sites) for rule, sites in zip(rules, resolve_rules(model, rules)[0], strict=True)]
    for index, (rule, bound) in enumerate(zip(rules, bound_rules, strict=True)):
        found = former_zeros.former_zeros(bound.layers)
        notes += former_zeros.notes(rule, found)
        by_latency = recipe.prune[index].allocate and recipe.prune[index].allocate.by == "latency"
        if (text := former_zeros.problem(bound, found, bound_rules)) and not by_latency:
            problems.append(f"prune.{index}.schedule.to: {text}")
    return notes + (former_zeros.loose_zeros(model, bound_rules) if recipe.trains else [])


STAGE = Stage(NAME, key, run)
