"""Blocks against plain loops over rows and columns."""

from __future__ import annotations

import pytest
import torch

from optkit.pruning.config import Structure
from optkit.pruning.structures import alive, expand, groups_shape, pool

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
    weights = expand(keep, structure)
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
