"""Exact counts, ties, nesting and NaN, on tensors whose order is known."""

from __future__ import annotations

import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning.selection import lowest, normalize, select_each, select_together, target_count


def select(scores, living, sparsity: float, scope: str) -> list[torch.Tensor]:
    if scope == "global":
        return select_together(scores, living, sparsity)
    return select_each(scores, living, [sparsity] * len(scores))


def everything(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [torch.ones_like(t, dtype=torch.bool) for t in tensors]


@pytest.mark.parametrize(
    ("sparsity", "groups", "count"), [(0.0, 7, 0), (0.8, 10, 8), (0.5, 5, 2), (0.5, 7, 4), (0.333, 9, 3)]
)
def test_the_count_is_the_nearest_whole_number_and_halves_go_to_the_even_one(sparsity, groups, count):
    assert target_count(sparsity, groups) == count


@pytest.mark.parametrize("count", range(9))
def test_of_equal_scores_the_lowest_index_goes_first(count):
    scores = torch.tensor([2.0, 1.0, 1.0, 3.0, 1.0, 0.0, 1.0, 2.0])
    order = [5, 1, 2, 4, 6, 0, 7, 3]
    assert torch.nonzero(lowest(scores, count)).flatten().tolist() == sorted(order[:count])


def test_minus_zero_ties_with_zero():
    assert lowest(torch.tensor([0.0, -0.0, 1.0]), 1).tolist() == [True, False, False]


def test_global_ties_go_to_the_first_weight():
    keep = select([torch.ones(2, 2), torch.ones(2, 2)], everything(torch.ones(2, 2), torch.ones(2, 2)), 3 / 8, "global")
    assert [k.tolist() for k in keep] == [[[False, False], [False, True]], [[True, True], [True, True]]]


@pytest.mark.parametrize(("scope", "counts"), [("global", [12, 0]), ("local", [8, 6])])
def test_scope_counts_in_all_or_in_each_weight(scope, counts):
    scores = [torch.linspace(0, 1, 16).view(4, 4), torch.linspace(2, 3, 12).view(3, 4)]
    sparsity = {"global": 12 / 28, "local": 0.5}[scope]
    assert [int((~k).sum()) for k in select(scores, everything(*scores), sparsity, scope)] == counts


@pytest.mark.parametrize("scope", ["global", "local"])
def test_exact_counts_at_every_sparsity_with_many_ties(scope):
    generator = torch.Generator().manual_seed(0)
    scores = [torch.randint(0, 4, shape, generator=generator).float() for shape in [(5, 7), (3, 11), (1, 1)]]
    for percent in range(100):
        pruned = [int((~k).sum()) for k in select(scores, everything(*scores), percent / 100, scope)]
        if scope == "local":
            assert pruned == [round(percent / 100 * n) for n in (35, 33, 1)]
        else:
            assert sum(pruned) == round(percent / 100 * 69)


@pytest.mark.parametrize("scope", ["global", "local"])
def test_dead_groups_stay_dead_and_count(scope):
    scores = torch.tensor([[9.0, 8.0, 1.0, 2.0, -torch.inf, 3.0]])
    living = torch.tensor([[False, True, True, True, True, True]])
    assert select([scores], [living], 0.5, scope)[0].tolist() == [[False, True, False, True, False, True]]
    assert select([scores], [living], 0.0, scope)[0].tolist() == living.tolist()


def test_infinite_scores_rank_at_the_ends():
    scores = torch.tensor([torch.inf, 0.0, -torch.inf, 1.0])
    assert select([scores], everything(scores), 0.5, "local")[0].tolist() == [True, False, False, True]
    assert select([scores], everything(scores), 0.75, "local")[0].tolist() == [True, False, False, False]


@pytest.mark.parametrize("scope", ["global", "local"])
def test_nan_in_a_living_group_is_an_error_and_in_a_dead_one_is_not(scope):
    scores = [torch.tensor([1.0, torch.nan, 3.0, 4.0])]
    with pytest.raises(PruningError, match="scores hold NaN: training has diverged"):
        select(scores, everything(*scores), 0.25, scope)
    living = [torch.tensor([True, False, True, True])]
    assert select(scores, living, 0.5, scope)[0].tolist() == [False, False, True, True]


def test_floor_and_ceiling_bound_each_tensor_and_keep_the_total():
    low, high = torch.linspace(0, 1, 40), torch.linspace(10, 11, 60)
    for sparsity in (0.2, 0.35, 0.5, 0.7, 0.8):
        keep = select_together([low, high], everything(low, high), sparsity, floor=0.2, ceiling=0.8)
        pruned = [int((~k).sum()) for k in keep]
        first = min(round(sparsity * 100) - 12, 32)  # all that the first may give once the second has its floor
        assert pruned == [first, round(sparsity * 100) - first]
        assert all(torch.equal(k, torch.arange(len(k)) >= count) for k, count in zip(keep, pruned))


def test_bounds_leave_the_dead_dead_and_every_total_within_reach():
    generator = torch.Generator().manual_seed(1)
    scores = [torch.randint(0, 3, (n,), generator=generator).float() for n in (7, 11, 2)]
    living = everything(*scores)
    living[0][:6] = False
    for percent in range(40, 91):
        keep = select_together(scores, living, percent / 100, floor=0.4, ceiling=0.9)
        assert sum(int((~k).sum()) for k in keep) == max(round(percent / 100 * 20), 6)
        assert not bool(keep[0][:6].any())
        # 0.4 of 11, rounded down, as soon as the dead leave room for it.
        assert int((~keep[1]).sum()) >= min(4, round(percent / 100 * 20) - 6)


def test_normalized_scores_have_mean_one_in_each_tensor():
    scores = [torch.tensor([1.0, 3.0, 99.0]), torch.tensor([-100.0, 300.0]), torch.zeros(2)]
    living = everything(*scores)
    living[0][2] = False
    first, second, third = normalize(scores, living)
    assert first[:2].tolist() == [0.5, 1.5] and second.tolist() == [-0.5, 1.5] and third.tolist() == [0.0, 0.0]
