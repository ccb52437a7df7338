"""Allocation: the choice against all choices that there are, exact totals, and what cannot be reached."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from optkit.errors import PruningError
from optkit.pruning.allocation import knapsack
from optkit.pruning.allocation.knapsack import Curve, by_cost, by_sensitivity, cheapest, grid
from optkit.pruning.config import Structure


def best_of_all(losses, usage, budget):
    """The least loss of every combination within the budget, by trying them all."""
    fits = [
        sum(losses[layer][option] for layer, option in enumerate(options))
        for options in product(*(range(len(each)) for each in losses))
        if sum(usage[layer][option] for layer, option in enumerate(options)) <= budget
    ]
    return min(fits)


def random_curves(rng, layers, options=4, largest=30):
    curves = []
    for number in range(layers):
        groups = int(rng.integers(options, largest))
        counts = (0, *sorted(rng.choice(np.arange(1, groups + 1), options - 1, replace=False).tolist()))
        curves.append(Curve(str(number), groups, counts, (0.0, *np.sort(rng.random(options - 1)).tolist())))
    return curves


@pytest.mark.parametrize("seed", range(25))
def test_no_other_choice_loses_less(seed):
    rng = np.random.default_rng(seed)
    losses = rng.random((5, 4)).tolist()
    usage = rng.integers(0, 40, (5, 4)).tolist()
    least = sum(min(each) for each in usage)
    budget = least + int(rng.integers(0, 60))
    chosen = cheapest(losses, usage, budget)
    assert sum(usage[layer][option] for layer, option in enumerate(chosen)) <= budget
    found = sum(losses[layer][option] for layer, option in enumerate(chosen))
    assert found == pytest.approx(best_of_all(losses, usage, budget), abs=1e-12)


def test_a_budget_of_many_units_is_divided_into_steps_and_kept(monkeypatch):
    monkeypatch.setattr(knapsack, "STEPS", 1000)
    rng = np.random.default_rng(0)
    losses, usage = -np.sort(-rng.random((4, 5))), np.sort(rng.integers(0, 10**9, (4, 5)))
    budget = int(usage.mean() * 4)
    chosen = cheapest(losses.tolist(), usage.tolist(), budget)
    assert sum(usage[layer][option] for layer, option in enumerate(chosen)) <= budget
    found = sum(losses[layer][option] for layer, option in enumerate(chosen))
    # Each of 4 layers is rounded up to a thousandth of the room.
    assert found <= best_of_all(losses.tolist(), usage.tolist(), budget * 0.996) + 1e-12


def test_of_equal_choices_the_first_wins():
    assert cheapest([[1.0, 1.0], [2.0, 2.0]], [[3, 3], [3, 3]], 6) == [0, 0]


@pytest.mark.parametrize("seed", range(15))
def test_the_total_is_exact_and_no_choice_on_the_grid_that_reaches_it_loses_less(seed):
    rng = np.random.default_rng(seed)
    curves = random_curves(rng, 4)
    total = sum(curve.groups for curve in curves)
    count = int(rng.integers(0, sum(curve.counts[-1] for curve in curves) + 1))
    counts = by_sensitivity(curves, count)
    assert sum(counts) == count and all(0 <= c <= curve.counts[-1] for c, curve in zip(counts, curves))
    found = sum(curve.loss(c) for c, curve in zip(counts, curves))
    kept = [[curve.groups - c for c in curve.counts] for curve in curves]
    assert found <= best_of_all([curve.losses for curve in curves], kept, total - count) + 1e-12


def test_equal_layers_of_convex_loss_share_alike_and_a_flat_one_takes_more():
    counts = tuple(range(0, 101, 10))
    steep = [Curve(name, 100, counts, tuple((c / 100) ** 2 for c in counts)) for name in "ab"]
    assert by_sensitivity(steep, 120) == [60, 60]
    flat = Curve("c", 100, counts, tuple((c / 100) ** 2 / 10 for c in counts))
    assert by_sensitivity([steep[0], flat], 110) == [10, 100]


def test_what_is_beyond_the_total_is_given_back_where_the_loss_falls_fastest():
    a, b = Curve("a", 10, (0, 5, 10), (0.0, 1.0, 2.0)), Curve("b", 10, (0, 5, 10), (0.0, 0.1, 5.0))
    # On the grid 8 of 20 take 10, and a's 5 cost 0.2 each.
    assert by_sensitivity([a, b], 8) == [3, 5]


def test_floor_and_ceiling_are_kept():
    curve = Curve("a", 100, (0, 50, 90), (0.0, 0.1, 0.5))
    bounded = curve.between(20, 70)
    assert bounded.counts == (20, 50, 70) and bounded.losses == pytest.approx((0.04, 0.1, 0.3))
    with pytest.raises(PruningError, match="80.0% of the groups shall be pruned, .* leave 20.0% to 70.0%: widen them"):
        by_sensitivity([bounded], 80)


def test_between_two_that_were_measured_there_are_more():
    curve = Curve("a", 100, (0, 40, 42), (0.0, 0.4, 1.0)).refine()
    assert curve.counts == (0, 10, 20, 30, 40, 41, 42)
    assert curve.losses == pytest.approx((0.0, 0.1, 0.2, 0.3, 0.4, 0.7, 1.0))


def test_a_loss_that_falls_counts_as_the_one_before():
    assert Curve("a", 10, (0, 2, 4, 6), (0.0, 0.3, 0.1, 0.4)).losses == (0.0, 0.3, 0.3, 0.4)


@pytest.mark.parametrize("seed", range(15))
def test_by_cost_stays_within_the_budget_and_loses_least(seed):
    rng = np.random.default_rng(seed)
    curves = random_curves(rng, 4)
    costs = [np.sort(rng.random(4) * 1000)[::-1].tolist() for _ in curves]
    budget = rng.uniform(sum(each[-1] for each in costs), sum(each[0] for each in costs))
    counts = by_cost(curves, costs, budget)
    chosen = [curve.counts.index(count) for curve, count in zip(curves, counts)]
    assert sum(each[option] for each, option in zip(costs, chosen)) <= budget * (1 + 1e-6)
    found = sum(curve.losses[option] for curve, option in zip(curves, chosen))
    # Times are rounded up to a hundred-thousandth of the room.
    assert found <= best_of_all([curve.losses for curve in curves], costs, budget * (1 - 1e-4)) + 1e-12


def test_a_budget_below_the_least_costs_is_refused():
    with pytest.raises(PruningError, match="no choice of sparsities stays within the budget"):
        by_cost([Curve("a", 4, (0, 4), (0.0, 1.0))], [[5.0, 3.0]], 2.0)
    with pytest.raises(PruningError, match="no choice of sparsities stays within the budget"):
        by_cost([Curve("a", 4, (0, 4), (0.0, 1.0))], [[5.0, 3.0]], -1.0)


def test_the_grid_holds_the_target_and_ends_where_the_structure_does():
    element = grid(Structure(), 0.83)
    assert element == tuple(sorted(element)) and 0.83 in element and element[-1] == 0.99
    assert grid(Structure.parse("2:4"))[-1] == pytest.approx(0.495) and grid(Structure.parse("head"))[-1] == 1.0
    assert grid(Structure.parse("2:4"), 0.4, (0.1, 0.3, 0.9)) == (0.1, 0.3, 0.4)
