"""The solver of one layer against solutions found another way."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch

from optkit.pruning.config import Structure
from optkit.pruning.oneshot.reconstruction import best_dense, choose, damp, refit, saliency
from optkit.pruning.selection import select_each
from optkit.pruning.structures import grid_of


def problem(rows: int, cols: int, seed: int = 0):
    """A weight (rows, cols), and 400 correlated inputs (400, cols)."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(400, cols, generator=generator) @ torch.randn(cols, cols, generator=generator)
    return torch.randn(rows, cols, generator=generator), inputs


def hessian_of(inputs: torch.Tensor) -> torch.Tensor:
    return damp(inputs.t() @ inputs / len(inputs), 0.01)[0]


def loss(weight: torch.Tensor, values: torch.Tensor, hessian: torch.Tensor) -> float:
    change = (weight - values).double()
    return float(((change @ hessian.double()) * change).sum())


def exact(weight: torch.Tensor, hessian: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    """The best values within ``keep``, row by row from the normal equations."""
    values = torch.zeros_like(weight, dtype=torch.float64)
    wanted, double = weight.double() @ hessian.double(), hessian.double()
    for row, mask in enumerate(keep):
        on = torch.nonzero(mask).flatten()
        values[row, on] = torch.linalg.solve(double[on][:, on], wanted[row, on])
    return values


def nearest(structure: str, shape: tuple[int, int], share: float):
    grid = grid_of(Structure.parse(structure), shape)
    living = torch.ones(shape, dtype=torch.bool)

    def mask(squares: torch.Tensor) -> torch.Tensor:
        keep = select_each([grid.pool([squares], [living])], [grid.alive([living])], [share])[0]
        return grid.masks(keep, [squares], [living])[0]

    return mask


def test_a_ridge_is_a_share_of_the_mean_variance():
    damped_, ridge = damp(torch.diag(torch.tensor([1.0, 3.0])), 0.1)
    assert float(ridge) == pytest.approx(0.2)
    assert torch.allclose(damped_, torch.diag(torch.tensor([1.2, 3.2])))
    assert float(damp(torch.zeros(2, 2), 0.1)[1]) > 0


def test_best_dense_weights_are_a_ridge_regression_onto_the_dense_outputs():
    weight, inputs = problem(5, 8)
    dense = inputs + torch.randn(inputs.shape, generator=torch.Generator().manual_seed(1))
    hessian, ridge = damp(inputs.t() @ inputs / 400, 0.01)
    found = best_dense(weight, hessian, inputs.t() @ dense / 400, ridge)
    # The ridge as 8 more examples, on which the weights are asked to be what they were.
    more = torch.eye(8) * (400 * ridge).sqrt()
    examples, wanted = torch.cat([inputs, more]), torch.cat([dense @ weight.t(), more @ weight.t()])
    assert torch.allclose(found, torch.linalg.lstsq(examples, wanted).solution.t(), atol=1e-4)


def test_a_refit_solves_the_normal_equations_of_every_row():
    weight, inputs = problem(6, 24)
    hessian = hessian_of(inputs)
    keep = torch.rand(6, 24, generator=torch.Generator().manual_seed(2)) < 0.5
    keep[0] = False
    values = refit(weight, hessian, keep, weight)
    assert torch.equal(values[~keep], torch.zeros(int((~keep).sum())))
    wanted = exact(weight, hessian, keep)
    assert loss(weight, values, hessian) == pytest.approx(loss(weight, wanted, hessian), rel=1e-3)


@pytest.mark.parametrize("structure", ["element", "1x4", "4x1", "2x2", "row", "column", "2:4"])
def test_with_independent_inputs_the_smallest_go_and_the_rest_stays_as_it_is(structure):
    weight = torch.randn(8, 16, generator=torch.Generator().manual_seed(3))
    hessian = torch.diag(torch.rand(16, generator=torch.Generator().manual_seed(4)) + 0.5)
    mask = nearest(structure, (8, 16), 0.5)
    keep, values = choose(weight, hessian, mask)
    smallest = mask(weight.square() @ hessian)
    assert keep.sum() == smallest.sum() and torch.equal(keep, mask(keep.float()))
    # Groups that are nearly alike may stand for each other.
    assert loss(weight, weight * keep, hessian) <= 1.03 * loss(weight, weight * smallest, hessian)
    assert torch.allclose(refit(weight, hessian, keep, values), weight.where(keep, 0.0), atol=1e-5)


def test_the_choice_is_nearly_the_best_of_all():
    totals = dict.fromkeys(("best", "found", "magnitude"), 0.0)  # each with the weights that stay refitted
    for seed in range(10):
        weight, inputs = problem(1, 8, seed)
        hessian = hessian_of(inputs)
        keep, start = choose(weight, hessian, nearest("element", (1, 8), 0.5))
        assert int(keep.sum()) == 4
        totals["found"] += loss(weight, refit(weight, hessian, keep, start), hessian)
        tried = []
        for chosen in combinations(range(8), 4):
            mask = torch.zeros(1, 8, dtype=torch.bool)
            mask[0, list(chosen)] = True
            tried.append((loss(weight, exact(weight, hessian, mask), hessian), mask))
        totals["best"] += min(value for value, _ in tried)
        largest = weight.abs() >= weight.abs().flatten().sort().values[4]
        totals["magnitude"] += next(value for value, mask in tried if torch.equal(mask, largest))
    assert totals["found"] < 1.3 * totals["best"]
    assert totals["found"] < 0.7 * totals["magnitude"]


@pytest.mark.parametrize("run", [1, 4, 16])
def test_a_blocks_saliency_is_the_loss_of_removing_it_and_refitting_the_rest(run):
    weight, inputs = problem(3, 16)
    hessian = hessian_of(inputs)
    summed = saliency(weight, hessian, run).unflatten(1, (16 // run, run)).sum(-1)
    for row in range(3):
        for block in range(16 // run):
            keep = torch.ones(1, 16, dtype=torch.bool)
            keep[0, block * run : (block + 1) * run] = False
            lost = loss(weight[row : row + 1], exact(weight[row : row + 1], hessian, keep), hessian)
            assert float(summed[row, block]) == pytest.approx(lost, rel=1e-3)
