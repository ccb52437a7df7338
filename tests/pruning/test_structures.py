"""Blocks against plain loops over rows and columns."""

from __future__ import annotations

import pytest
import torch

from optkit.pruning.config import Structure
from optkit.pruning.structures import GroupedAcrossLayers, Slices, alive, expand, grid_of, groups_shape, pool

STRUCTURES = ["element", "1x4", "3x1", "2x3", "6x1", "6x12"]


@pytest.mark.parametrize("text", STRUCTURES)
def test_pooling_sums_each_block(text):
    structure = Structure.parse(text)
    scores = torch.arange(72.0).view(6, 12)
    rows, cols = structure.rows, structure.cols
    expected = [[scores[r : r + rows, c : c + cols].sum() for c in range(0, 12, cols)] for r in range(0, 6, rows)]
    assert torch.equal(pool(scores, structure), torch.tensor(expected))


@pytest.mark.parametrize("text", STRUCTURES)
def test_expanding_repeats_each_block_over_its_weights(text):
    structure = Structure.parse(text)
    shape = groups_shape(structure, (6, 12))
    keep = (torch.arange(shape[0] * shape[1]) % 3 == 0).view(shape)
    weights = expand(keep, structure, (6, 12))
    expected = [[keep[r // structure.rows, c // structure.cols] for c in range(12)] for r in range(6)]
    assert torch.equal(weights, torch.tensor(expected))
    assert torch.equal(alive(weights, structure), keep)


def test_a_block_lives_while_one_weight_of_it_does():
    mask = torch.zeros(4, 8, dtype=torch.bool)
    mask[1, 6] = True
    assert alive(mask, Structure(2, 4)).tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("shape", [(6, 13), (7, 12)])
def test_blocks_that_do_not_tile_are_refused(shape):
    with pytest.raises(ValueError, match=f"blocks of 2x3 do not divide a weight of {shape[0]}x{shape[1]}"):
        groups_shape(Structure(2, 3), shape)


SHAPES = {"row": (1, 12), "column": (6, 1), "2x3": (2, 3)}


@pytest.mark.parametrize("text", SHAPES)
def test_rows_and_columns_are_blocks_as_long_as_the_weight(text):
    grid, (rows, cols) = grid_of(Structure.parse(text), (6, 12)), SHAPES[text]
    scores, living = torch.arange(72.0).view(6, 12), torch.ones(6, 12, dtype=torch.bool)
    living[0, :6] = False
    expected = torch.stack(
        [(scores * living)[r : r + rows, c : c + cols].sum() for r in range(0, 6, rows) for c in range(0, 12, cols)]
    )
    assert torch.equal(grid.pool([scores], [living]), expected)
    assert (grid.count, grid.size) == (72 // (rows * cols), rows * cols)


def test_n_of_m_keeps_the_best_n_and_leaves_groups_that_stay_alone():
    grid = grid_of(Structure.parse("2:4"), (2, 8))
    scores = torch.tensor([[1.0, 4, 3, 2, 5, 5, 5, 5], [-1.0, -2, -3, -4, 9, 0, 0, 9]])
    living = [torch.ones(2, 8, dtype=torch.bool)]
    assert grid.pool([scores], living).tolist() == [3.0, 10.0, -7.0, 0.0]
    assert grid.alive(living).tolist() == [True] * 4
    masks = grid.masks(torch.tensor([False, False, True, False]), [scores], living)
    assert masks[0].int().tolist() == [[0, 1, 1, 0, 0, 0, 1, 1], [1, 1, 1, 1, 1, 0, 0, 1]]
    assert grid.alive(masks).tolist() == [False, False, True, False]


def test_the_dead_of_an_n_of_m_group_go_first_and_cost_nothing():
    grid = grid_of(Structure.parse("2:4"), (1, 4))
    scores, living = torch.tensor([[9.0, -torch.inf, 8.0, 7.0]]), torch.tensor([[False, True, True, True]])
    assert grid.pool([scores.clamp(min=-5.0)], [living]).tolist() == [-5.0]
    assert grid.masks(torch.tensor([False]), [scores], [living])[0].tolist() == [[False, False, True, True]]


def test_slices_of_several_weights_are_one_group():
    # Three heads of two rows: a fused weight with query from row 0 and key from row 6, and columns of the output.
    slices = [Slices(0, 0, 0, 2), Slices(0, 0, 6, 2), Slices(1, 1, 0, 2)]
    grid = GroupedAcrossLayers([(14, 5), (4, 6)], slices, 3)
    scores = [torch.arange(70.0).view(14, 5), torch.arange(24.0).view(4, 6)]
    living = [torch.ones(14, 5, dtype=torch.bool), torch.ones(4, 6, dtype=torch.bool)]
    living[1][0, 4] = False
    heads = [
        scores[0][2 * h : 2 * h + 2].sum()
        + scores[0][6 + 2 * h : 8 + 2 * h].sum()
        + scores[1][:, 2 * h : 2 * h + 2].sum()
        for h in range(3)
    ]
    heads[2] -= 4.0
    assert torch.equal(grid.pool(scores, living), torch.stack(heads)) and grid.size == 2 * 2 * 5 + 2 * 4
    first, second = grid.masks(torch.tensor([True, False, True]), scores, living)
    assert torch.nonzero(~first.all(dim=1)).flatten().tolist() == [2, 3, 8, 9] and not bool(first[[2, 3, 8, 9]].any())
    assert torch.nonzero(~second.all(dim=0)).flatten().tolist() == [2, 3] and not bool(second[:, [2, 3]].any())
    assert grid.alive([first, second]).tolist() == [True, False, True]
    second[:, 4:] = False
    assert grid.alive([first, second]).tolist() == [True, False, True]  # rows of query and key live on


@pytest.mark.parametrize(
    ("structure", "tile"),
    [("element", (1, 1)), ("4x2", (4, 2)), ("row", (1, 8)), ("column", (4, 1)), ("2:4", (1, 1))],
)
def test_tiles_are_the_adjacent_weights_that_go_together(structure, tile):
    assert grid_of(Structure.parse(structure), (4, 8)).tiles == [tile]


def test_tiles_across_weights_are_the_rows_or_the_columns_of_a_group():
    slices = [Slices(0, 0, 0, 2), Slices(0, 0, 6, 2), Slices(1, 1, 0, 2)]
    assert GroupedAcrossLayers([(14, 5), (4, 6)], slices, 3).tiles == [(2, 5), (4, 2)]
