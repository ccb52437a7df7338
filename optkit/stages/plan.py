"""What a recipe will do with its model and data, and everything that cannot work, found before any training."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.errors import PlanError, PruningError, RecipeError
from optkit.stages.job import Job

if TYPE_CHECKING:
    from optkit.recipe import Recipe
    from optkit.rundir import Stage

NAME, FOLDER = "plan", None


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    return job.key(recipe=job.recipe.hash(), processes=job.team.size)


def run(job: Job, stage: Stage) -> None:
    """Shows the plan; adds it, measured, to the stage's facts.

    Raises:
        PlanError: every reason why the recipe cannot work.
    """
    plan = _plan(job)
    plan.estimate = _measure(job, plan)
    job.reporter.say(plan.render())
    stage.facts |= plan.to_dict()
    free, wanted = shutil.disk_usage(job.run.path).free, plan.estimate.disk
    if wanted > free:
        from optkit.progress import size

        raise PlanError(
            f"{job.run.path}: the run needs about {size(wanted)} of disk and {size(free)} are free: free some, or "
            "choose another --output"
        )


@dataclass(frozen=True)
class RulePlan:
    """What one rule matches. ``share`` is of all linear weights of the model; ``changes`` are (step, target) pairs."""

    name: str
    criterion: str
    structure: str
    scope: str
    layers: list[str]
    weights: int
    groups: int
    share: float
    changes: list[tuple[int, float]]


@dataclass(frozen=True)
class Estimate:
    """Measured on a few steps: seconds of one optimizer step and of the whole training, bytes of memory and disk."""

    step: float
    seconds: float
    memory: int
    disk: int


@dataclass
class Plan:
    """The plan of one recipe; ``estimate`` is None until something was measured."""

    name: str
    examples: dict[str, int]
    labels: list[str]
    steps: int
    per_epoch: int
    baseline: str | None
    rules: list[RulePlan]
    estimate: Estimate | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def render(self) -> Any:
        """The plan as something rich prints."""
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table

        from optkit.progress import duration, size

        table = Table(title=f"plan of {self.name}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for column in ("rule", "criterion", "structure", "scope"):
            table.add_column(column, overflow="fold")
        for column in ("layers", "weights", "of linear", "to"):
            table.add_column(column, justify="right", no_wrap=True)
        lines = []
        for rule in self.rules:
            to = f"{rule.changes[-1][1]:.0%}" if rule.changes else "kept"
            table.add_row(
                *(rule.name, rule.criterion, rule.structure, rule.scope, str(len(rule.layers))),
                *(f"{rule.weights:,}", f"{rule.share:.0%}", to),
            )
            if rule.changes:
                (first, low), (last, high) = rule.changes[0], rule.changes[-1]
                lines.append(
                    f"masks of {rule.name}: {len(rule.changes)} changes, {low:.1%} at step {first:,} to {high:.1%} at "
                    f"step {last:,}"
                )
        counts = ", ".join(f"{name} {count:,}" for name, count in self.examples.items())
        lines.append(f"examples: {counts}; classes: {', '.join(self.labels)}; baseline: {self.baseline or 'none'}")
        if self.steps:
            lines.append(f"training: {self.steps:,} optimizer steps, {self.per_epoch:,} an epoch")
        if self.estimate:
            e = self.estimate
            lines.append(
                f"estimate: {e.step:.2f} s a step, {duration(e.seconds)} of training, {size(e.memory)} of memory, "
                f"{size(e.disk)} of disk"
            )
        return Group(*([table] if self.rules else []), *lines)


def make_plan(recipe: Recipe) -> Plan:
    """The plan of ``recipe``, from the model's config and the data; nothing is trained or written.

    Raises:
        PlanError: every reason why the recipe cannot work, a line each.
    """
    from optkit.progress import Reporter

    return _plan(Job(recipe, None, Reporter(quiet=True)))


def _plan(job: Job) -> Plan:
    from optkit.adapters.trainer import steps_of, training_arguments
    from optkit.models import load_teacher, load_tokenizer, longest_input, meta_model
    from optkit.pruning.pruner import place
    from optkit.pruning.targets import linear_layers, resolve_rules

    recipe, problems = job.recipe, _not_yet(job.recipe)

    def attempt(work: Any) -> Any:
        try:
            return work()
        except RecipeError as error:
            problems.extend(error.problems)
        return None

    splits = attempt(lambda: job.splits)
    if splits is None:
        raise PlanError(problems)
    labels, examples = job.labels, len(splits["train"])
    # A tokenizer trained on the spot is not needed to see whether the recipe works.
    if isinstance(recipe.model.tokenizer, str) or recipe.model.tokenizer is None:
        attempt(lambda: load_tokenizer(recipe.model))
    total, per_epoch = steps_of(recipe.train, examples)
    if job.trains:
        attempt(lambda: training_arguments(recipe.train, Path("checkpoints"), seed=recipe.seed, examples=examples))
    if recipe.distill is not None:
        attempt(lambda: load_teacher(recipe.distill, job.task.auto_class, labels))
    baseline = attempt(lambda: job.baseline)
    model = attempt(lambda: meta_model(recipe.model, job.task.auto_class, labels))
    if model is None:
        raise PlanError(problems)
    longest = longest_input(model.config)
    if longest is not None and recipe.task.max_length > longest:
        problems.append(f"task.max_length: {recipe.task.max_length} is more than the {longest} tokens the model takes")
    matched, faults = resolve_rules(model, job.rules)
    problems += [f"prune.{index}: {text}" for index, text in faults]
    all_linear = sum(layer.weight.numel() for layer in linear_layers(model).values())
    rules = []
    for index, (rule, sites) in enumerate(zip(job.rules, matched)):
        changes: list[tuple[int, float]] = []
        try:
            steps = place(rule, total, per_epoch)
            changes = steps.table() if steps else []
        except PruningError as error:
            problems.append(f"prune.{index}.schedule: {error}")
        layers = {name: layer for site in sites for name, layer in site.layers.items()}
        weights, groups = sum(layer.weight.numel() for layer in layers.values()), sum(s.grid.count for s in sites)
        rules.append(
            RulePlan(
                *(rule.name, rule.criterion.name, str(rule.structure), rule.scope, list(layers), weights),
                *(groups, weights / max(all_linear, 1), changes),
            )
        )
    if problems:
        raise PlanError(problems)
    counts = {name: len(split) for name, split in splits.items()}
    return Plan(recipe.name, counts, labels, total if job.trains else 0, per_epoch, baseline, rules)


def _not_yet(recipe: Recipe) -> list[str]:
    """Keys that are well-formed and that nothing acts on: better refused than passed over."""
    problems = []
    if recipe.quantize is not None and recipe.quantize.max_drop is not None:
        problems.append(
            "quantize.max_drop: accuracy control is not available yet: use evaluate.max_drop, which fails the run"
        )
    if recipe.distill is not None and not (recipe.prune or recipe.train):
        problems.append("distill: nothing is trained, so there is nothing to distill into: add `train` or `prune`")
    if recipe.publish.repo_id is not None:
        problems.append("publish.repo_id: publishing is not available yet: leave it out, and push the folder yourself")
    return problems


def _measure(job: Job, plan: Plan) -> Estimate:
    """Times a few optimizer steps of plain fine-tuning, and adds up what will be written."""
    import resource
    import sys

    from optkit.adapters.trainer import KEPT, time_steps, training_arguments

    recipe = job.recipe
    model = job.start_model()
    parameters = 4 * sum(p.numel() for p in model.parameters())
    masked = sum(rule.weights for rule in plan.rules)
    runs = 1 + (plan.baseline == "trained" and bool(plan.rules))
    # Weights, two moments of Adam, masks and scores in each kept checkpoint and the one being written; then results.
    checkpoint = 3 * parameters + 5 * masked
    disk = 2 * parameters + parameters // 2 + runs * ((KEPT + 1) * checkpoint if plan.steps else 0)
    if not plan.steps:
        return Estimate(0.0, 0.0, 2 * parameters, disk)
    args = training_arguments(recipe.train, job.path("checkpoints"), seed=recipe.seed, examples=plan.examples["train"])
    step = time_steps(model, args, job.encoded("train"), job.task.collator(job.tokenizer))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Estimate(round(step, 4), round(step * plan.steps * runs, 1), peak + 5 * masked, disk)
