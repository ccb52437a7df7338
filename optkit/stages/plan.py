"""What a recipe will do with its model and data, and everything that cannot work, found before any training."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.errors import PlanError, PruningError, UsageError
from optkit.pipeline.context import Job
from optkit.pipeline.estimate import measure
from optkit.pipeline.plan_summary import Plan, RulePlan
from optkit.stages import (
    allocate,
    benchmark,
    dense,
    dry_run,
    export,
    heads,
    oneshot,
    publish,
    qat,
    served,
    teacher,
    train,
)

if TYPE_CHECKING:
    from optkit.pipeline.run_folder import Stage
    from optkit.pruning.targets import Site
    from optkit.recipe import Recipe

NAME, FOLDER = "plan", None
#: Of a training that somebody waits for; the plan lists every change of a mask, and there may be one a step.
_MOST_STEPS = 10_000_000


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    parts = {"recipe": job.recipe.hash(), "processes": job.team.size}
    whole = job.key(**parts)
    entry = job.run.entry(NAME) if job.run is not None else None
    if job.exports or (entry is not None and entry["key"] == whole):
        return whole
    # What stops before the export is not held against what can be exported, and is when it goes on.
    return job.key(**parts, exports=False)


def run(job: Job, stage: Stage) -> None:
    """Shows the plan; adds it, measured, to the stage's facts.

    Raises:
        PlanError: every reason why the recipe cannot work.
    """
    plan = _plan(job)
    heads.check_order(job)
    plan.estimate = measure(job, plan)
    job.reporter.say(plan.render())
    stage.facts |= plan.to_dict()
    free, wanted = shutil.disk_usage(job.run.path).free, plan.estimate.disk
    if wanted > free:
        from optkit.progress import size

        raise PlanError(
            f"{job.run.path}: the run needs about {size(wanted)} of disk and {size(free)} are free: free some, or "
            "choose another --output"
        )


def make_plan(recipe: Recipe) -> Plan:
    """The plan of ``recipe``, from the model's config and the data; nothing is trained or written.

    Raises:
        PlanError: every reason why the recipe cannot work, a line each.
    """
    from optkit.progress import Reporter

    return _plan(Job(recipe, None, Reporter(quiet=True)))


def _plan(job: Job) -> Plan:
    from optkit.adapters.arguments import steps_of, training_arguments
    from optkit.models import freezing, load_teacher, meta_model
    from optkit.pruning.layouts import layouts
    from optkit.pruning.targets import ENCODER_LINEAR, coverage, linear_layers, resolve_rules
    from optkit.report.prices import load_prices

    recipe, problems = job.recipe, _not_yet(job.recipe) + publish.problems(job)

    def attempt(work: Any) -> Any:
        try:
            return work()
        except UsageError as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
        return None

    splits = attempt(lambda: job.splits)
    head = attempt(lambda: job.head) if splits is not None else None
    if head is None:
        raise PlanError(problems)
    problems += attempt(lambda: job.task.problems(recipe)) or []
    texts = attempt(lambda: teacher.count(job)) or 0
    examples = len(splits["train"]) + texts
    problems += job.task.label_mismatches(head)
    # A tokenizer trained on the spot is not needed to see whether the recipe works.
    if job.task.windows:
        examples = attempt(lambda: len(job.encoded("train"))) or examples
    elif isinstance(recipe.model.tokenizer, str) or recipe.model.tokenizer is None:
        attempt(lambda: job.tokenizer)
    total, per_epoch = steps_of(recipe.train, examples)
    if total > _MOST_STEPS:
        problems.append(f"train: {total:,} optimizer steps never end: lower num_train_epochs or max_steps")
        raise PlanError(problems)
    if job.trains:
        attempt(lambda: training_arguments(recipe.train, Path("checkpoints"), seed=recipe.seed, examples=examples))
    taught = recipe.distill and attempt(lambda: load_teacher(recipe.distill, head))
    baseline = attempt(lambda: job.baseline)
    model = attempt(lambda: meta_model(recipe.model, head))
    if model is None:
        raise PlanError(problems)
    longest = attempt(lambda: job.longest)
    if longest is not None and recipe.task.max_length > longest:
        problems.append(f"task.max_length: {recipe.task.max_length} is more than the {longest} tokens the model takes")
    if taught is not None:
        problems += attempt(lambda: teacher.problems(job, *taught[:2], model.config)) or []
    for check in (
        lambda: dense.problems(job, model.config),
        lambda: heads.problems(job),
        lambda: export.problems(job, model),
        lambda: qat.problems(job),
        lambda: served.problems(job),
        lambda: benchmark.problems(job),
        lambda: dry_run.unused(job, examples),
        lambda: job.task.model_problems(model, job.tokenizer),
        lambda: oneshot.problems(job),
    ):
        problems += attempt(check) or []
    matched, faults = resolve_rules(model, job.rules)
    problems += [f"prune.{index}: {text}" for index, text in faults]
    if recipe.prune and recipe.export.compact is True:
        try:
            layouts(model)
        except PruningError as error:
            problems.append(f"export.compact: {error}")
    all_linear = sum(layer.weight.numel() for layer in linear_layers(model).values())
    if recipe.benchmark is not None and recipe.benchmark.prices:
        attempt(lambda: load_prices(Path(recipe.benchmark.prices)))
    problems += attempt(lambda: allocate.problems(job, matched)) or []
    layers = [name for sites in matched for site in sites for name in site.layers]
    problems += [f"train.freeze: {text}" for text in freezing.problems(model, recipe.train.get("freeze", ()), layers)]
    rules = _rule_plans(job, matched, (total, per_epoch), all_linear, problems)
    if not problems:  # a fault of the model or the data would be met again
        problems += attempt(lambda: dry_run.problems(job, model, examples)) or []
    if problems:
        raise PlanError(problems)
    try:
        rewinds = train.rewinds(job, total, per_epoch) or []
    except PruningError as error:
        raise PlanError(f"train.lr_rewind: {error}") from None
    notes = coverage(model) if any(ENCODER_LINEAR in rule.targets for rule in job.rules) else []
    notes += attempt(lambda: _former_zeros(job, problems)) or []
    if problems:
        raise PlanError(problems)
    counts = {name: len(split) for name, split in splits.items()}
    more = {"held out": job.held_out, "unlabelled": texts, "windows": examples if job.task.windows else 0}
    counts |= {name: count for name, count in more.items() if count}
    steps, seen = (total, 0) if job.trains else (0, min(job.one_shot.samples, examples) if job.one_shot else 0)
    labels = (list(head.labels or ()), job.task.describe(splits, head))
    more = (rewinds, seen, notes, heads.notes(job))
    return Plan(recipe.name, counts, *labels, steps, per_epoch, baseline, rules, *more)


def _rule_plans(
    job: Job, matched: Sequence[Sequence[Site]], steps: tuple[int, int], linear: int, problems: list[str]
) -> list[RulePlan]:
    """What each rule does when; schedules that cannot be placed are added to ``problems``.

    Args:
        matched: the sites of each rule.
        steps: optimizer steps of the training and of an epoch.
        linear: weights of all linear layers.
    """
    from optkit.pruning.binding import place
    from optkit.pruning.config import ONE_SHOT

    rules = []
    for index, (rule, sites) in enumerate(zip(job.rules, matched)):
        changes: list[tuple[int, float]] = []
        if job.one_shot is not None:
            changes = [(0, rule.schedule.to)] if rule.schedule else []
        elif not isinstance(rule.criterion, ONE_SHOT):
            try:
                placed = place(rule, *steps)
                changes = placed.table() if placed else []
            except PruningError as error:
                problems.append(f"prune.{index}.schedule: {error}")
        layers = {name: layer for site in sites for name, layer in site.layers.items()}
        weights, groups = sum(layer.weight.numel() for layer in layers.values()), sum(s.grid.count for s in sites)
        shares = job.recipe.prune[index].allocate
        if shares and shares.by == "latency":
            changes = [(step, target / rule.schedule.to) for step, target in changes]
        rules.append(
            RulePlan(
                *(rule.name, rule.criterion.name, str(rule.structure), rule.scope, list(layers), weights),
                *(groups, weights / max(linear, 1), changes),
                *((shares.by, shares.speedup) if shares else ()),
            )
        )
    return rules


def _former_zeros(job: Job, problems: list[str]) -> list[str]:
    """What is to be said of zeros in the weights that training starts from; targets below them go to ``problems``."""
    from optkit.models import freezing, load_model
    from optkit.pruning.binding import BoundRule
    from optkit.pruning.former_zeros import former_zeros, loose_zeros, notes, problem
    from optkit.pruning.targets import resolve_rules

    recipe, said = job.recipe, []
    if recipe.model.name is None or not (job.rules or job.trains):
        return []
    model, rules = load_model(recipe.model, job.head, seed=recipe.seed), []
    freezing.freeze(model, recipe.train.get("freeze", ()))
    for index, (rule, sites) in enumerate(zip(job.rules, resolve_rules(model, job.rules)[0], strict=True)):
        bound = BoundRule(rule, sites)
        rules.append(bound)
        found = former_zeros(bound.layers)
        said += notes(rule, found)
        by_latency = recipe.prune[index].allocate and recipe.prune[index].allocate.by == "latency"
        if (text := problem(bound, found)) and not by_latency:
            problems.append(f"prune.{index}.schedule.to: {text}")
    return said + (loose_zeros(model, rules) if job.trains else [])


def _not_yet(recipe: Recipe) -> list[str]:
    """Keys that are well-formed and that nothing acts on: better refused than passed over."""
    problems = []
    if recipe.distill is not None and not recipe.train:
        problems.append("distill: nothing is trained, so there is nothing to distill into: write `train`")
    if recipe.evaluate.baseline == "trained" and not recipe.train:
        problems.append("evaluate.baseline: trained is this recipe's training without `prune`: write `train`, or auto")
    return problems
