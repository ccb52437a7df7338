"""Sparsities that make a model so many times as fast: chosen by a table of times, and tried before anything is trained.

A table adds layers up. What lies between them, and what two that are alike gain side by side, only a whole model shows.
So the choice is timed with its zeros in place, and made again with more or less to spend, until it is fast enough.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.allocation.choice import COSTS, facts
from optkit.allocation.curves import bound_curve, measure_curves, reference
from optkit.allocation.layer_times import check_runtime, layer_calls, measure_table, read_table
from optkit.allocation.trials import Trials
from optkit.errors import PruningError
from optkit.ir.precision import default_precision
from optkit.pruning.allocation.knapsack import by_cost, grid

if TYPE_CHECKING:
    from optkit.allocation.layer_times import LayerCalls
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pruning.allocation.costs import CostTable
    from optkit.pruning.config import Rule
    from optkit.recipe.allocate import AllocateSpec

#: Choices that are timed, at most.
ATTEMPTS = 8
#: How many times what was asked for is near enough, and how many times it the next choice is aimed at.
NEAR, AIM = 1.04, 1.02


@dataclass(frozen=True)
class Choice:
    """How many groups of each site to prune.

    Attributes:
        microseconds: of the layers, by the table.
        loss: of all layers, in the unit of their curves.
        speedup: over the dense model as it was measured; None where nothing was.
        attempts: choices that were timed to find this one.
    """

    counts: list[int]
    microseconds: float
    loss: float
    speedup: float | None = None
    attempts: int = 0


def choose(
    context: RunContext, output: StageOutput, spec: AllocateSpec, rule: Rule, others: Sequence[Rule]
) -> dict[str, Any]:
    """What was chosen for ``rule``, as the allocation keeps it; the table is written into the stage's folder.

    Args:
        others: the recipe's other rules, which have layers of their own.

    Raises:
        PruningError: if the speedup cannot be reached, or takes no pruning.
    """
    if spec.costs is None:
        check_runtime()
    points, model = grid(rule.structure, None, spec.grid), reference(context)
    sites = layer_calls(context, model, rule)
    with tempfile.TemporaryDirectory(dir=output.folder) as temporary:
        trials = None if spec.costs else Trials(context, model, rule, others, Path(temporary))
        table = (
            read_table(context, spec.costs, rule) if spec.costs else measure_table(context, rule, sites, trials, points)
        )
        if spec.speedup <= table.dense / table.unpruned:
            raise PruningError(
                f"a speedup of {spec.speedup:g} takes no pruning: the runtime reaches "
                f"{table.dense / table.unpruned:.2f} without: ask for more"
            )
        curves = [bound_curve(curve, rule) for curve in measure_curves(context, spec, rule, others, points)]
        costs = [
            _times(table, site, [count / curve.groups * rule.structure.max_sparsity for count in curve.counts])
            for curve, site in zip(curves, sites, strict=True)
        ]

        def within(budget: float) -> Choice:
            counts = by_cost(curves, costs, budget)
            taken = [own[c.counts.index(count)] for own, c, count in zip(costs, curves, counts, strict=True)]
            return Choice(counts, sum(taken), sum(c.loss(count) for c, count in zip(curves, counts, strict=True)))

        # Not the very least, which rounding could miss, and which is 0 in a table of what pruning saves.
        ends = sum(map(min, costs)) + 1e-6 * table.dense, sum(map(max, costs))
        if trials is None:
            found = _by_table(spec.speedup, table, within, ends)
        else:

            def time_counts(counts: Sequence[int]) -> float:
                one = trials.models([counts])
                return one.reference / one.models[0]

            with context.reporter.task(f"{rule.name}: timing choices on this machine") as bar:
                found = fast_enough(spec.speedup, table, within, time_counts, ends, lambda n: bar.advance(n, ATTEMPTS))
    (output.folder / COSTS).write_text(table.to_json(), encoding="utf-8")
    return facts(spec, rule, curves, found.counts) | {
        "speedup": spec.speedup,
        "predicted": table.speedup(found.microseconds),
        "measured": found.speedup,
        "attempts": found.attempts,
        "dense_milliseconds": table.dense / 1000,
        "milliseconds": (table.rest + found.microseconds) / 1000,
        "batch": table.batch,
        "seq": table.seq,
        "threads": table.threads,
        "cpu": table.cpu,
        # A table from a file is of another time, and says no precision.
        "precision": None if trials is None else default_precision(),
    }


def fast_enough(
    speedup: float,
    table: CostTable,
    within: Callable[[float], Choice],
    time_counts: Callable[[Sequence[int]], float],
    ends: tuple[float, float],
    tell: Callable[[int], None] = lambda attempts: None,
) -> Choice:
    """The choice of least loss among those that were tried and found to be at least ``speedup`` times as fast.

    The table errs by about the same factor for choices that are near each other. So the next one is asked of it with
    the median of the factors found so far: one measurement that something disturbed then counts for little.

    Args:
        within: the best choice for a budget of microseconds that the layers may take.
        timed: how many times as fast as the dense model a choice is.
        ends: budgets of the fastest choice and of the slowest.
        tell: hears how many choices were timed.

    Raises:
        PruningError: if the fastest choice is too slow.
    """
    best, factors, most, failed = None, [], 0.0, 0
    budget = table.budget(speedup)
    for attempt in range(1, ATTEMPTS + 1):
        budget = ends[0] if attempt == ATTEMPTS and best is None else min(max(budget, ends[0]), ends[1])
        choice = within(budget)
        found = time_counts(choice.counts)
        tell(attempt)
        most = max(most, found)
        if found >= speedup and (best is None or choice.loss < best.loss):
            best = replace(choice, speedup=found)
        failed += budget == ends[0] and found < speedup
        # Where the fastest choice failed twice, the first time was no accident.
        if speedup <= found <= NEAR * speedup or (failed > 1 and best is None):
            break
        factors.append(table.speedup(choice.microseconds) / found)
        budget = table.budget(AIM * speedup * statistics.median(factors))
    if best is None:
        raise PruningError(_out_of_reach(speedup, f"{most:.2f} was measured at most"))
    return replace(best, attempts=attempt)


def _by_table(speedup: float, table: CostTable, within: Callable[[float], Choice], ends: tuple[float, float]) -> Choice:
    """The choice of least loss that the table says is fast enough."""
    if speedup > table.speedup(ends[0]):
        raise PruningError(_out_of_reach(speedup, f"{table.speedup(ends[0]):.2f} is the most by the table"))
    return within(table.budget(speedup))


def _out_of_reach(speedup: float, most: str) -> str:
    return (
        f"a speedup of {speedup:g} cannot be reached: {most}, with every layer at its highest sparsity: ask for less, "
        "prune more layers, or raise ceiling and grid"
    )


def _times(table: CostTable, site: LayerCalls, sparsities: Sequence[float]) -> list[float]:
    """Microseconds of all calls of a layer."""
    return [time * site.calls for time in table.of(site.shapes, sparsities)]
