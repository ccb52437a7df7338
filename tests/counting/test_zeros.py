"""Counting against arrays whose zeros are known, and structures against what might be taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.counting.zeros import block_densities, block_shares, block_sparsity, count, detect_structure


def detected(weight):
    return detect_structure(weight, block_shares(weight))


def fixed(rng, shape, kept, size):
    """A float32 weight (out, in) of which exactly ``kept`` of ``size`` adjacent inputs are not zero."""
    order = rng.random((shape[0], shape[1] // size, size)).argsort(axis=2)
    return rng.uniform(1, 2, shape).astype(np.float32) * (order < kept).reshape(shape)


def test_count_takes_negative_zero_for_a_zero_and_refuses_nan():
    assert count(np.array([[0.0, -0.0], [1e-30, 2.0]], np.float32)) == (2, 4)
    assert count(np.array([0, -1, 0, 3, 0], np.int8)) == (3, 5)
    with pytest.raises(ValueError, match="2 of 3 weights are NaN"):
        count(np.array([np.nan, 0, np.nan], np.float16))


def test_block_sparsity_counts_blocks_that_are_wholly_zero():
    weight = np.ones((4, 8), np.float32)
    weight[0, :4] = 0  # one block of 1x4
    weight[2:, 4] = 0  # half of a 4x1, and of no 1x4
    assert block_sparsity(weight, 1, 4) == 1 / 8
    assert block_sparsity(weight, 2, 1) == 1 / 16
    assert block_sparsity(weight, 4, 1) == 0
    with pytest.raises(ValueError, match="blocks of 3x1 do not divide a weight of 4x8"):
        block_sparsity(weight, 3, 1)
    assert set(block_shares(weight, extra=["2x2", "3x1"])) == {
        "row",
        "column",
        "1x4",
        "2x4",
        "4x4",
        "4x1",
        "1x8",
        "2x2",
    }


@pytest.mark.parametrize("share", [0.05, 0.5, 0.8, 0.97])
@pytest.mark.parametrize(
    "block",
    [
        "1x4",
        "2x4",
        "4x4",
        "8x4",
        "16x4",
        "32x4",
        "4x1",
        "8x1",
        "16x1",
        "32x1",
        "1x8",
        "8x8",
        "row",
        "column",
        "element",
    ],
)
def test_the_structure_is_the_largest_group_that_explains_the_zeros(prune, block, share):
    whole = {"element": (1, 1), "row": (1, 256), "column": (256, 1)}
    shape = whole[block] if block in whole else tuple(map(int, block.split("x")))
    weight = prune(np.random.default_rng(0), (256, 256), shape, share)
    assert detect_structure(weight, block_shares(weight)) == block


@pytest.mark.parametrize(
    ("height", "offset", "found", "int8"),
    [(16, 8, 8, 8), (16, 4, 4, 4), (32, 16, 16, 16), (4, 1, 1, 1), (16, 2, 2, 4)],
)
def test_blocks_that_begin_at_another_output_are_those_that_fit_the_grid(prune, height, offset, found, int8):
    """As where a matrix is put together of several, or its first rows were removed. In int8 the zeros that a few larger
    blocks leave outside may be natural ones.
    """
    blocks = prune(np.random.default_rng(0), (256, 64), (height, 4), 0.75) * 20
    weight = np.concatenate([np.ones((offset, 64)), blocks, np.ones((height - offset, 64))])
    assert detected(weight.astype(np.float32)) == f"{found}x4"
    assert detected(weight.astype(np.int8)) == f"{int8}x4"


@pytest.mark.parametrize("shape", [(64, 64), (33, 20), (1, 4), (2, 7), (70, 1)])
@pytest.mark.parametrize("cols", [1, 4])
def test_block_densities_pad_the_last_blocks(shape, cols):
    heights, rng = (1, 2, 4, 8, 16, 32), np.random.default_rng(0)
    for share in (0.0, 0.1, 1.0):
        array = (rng.random(shape) < share).astype(np.int8)
        wanted = {}
        for height in heights:
            blocks = [
                array[row : row + height, col : col + cols].any()
                for row in range(0, shape[0], height)
                for col in range(0, shape[1], cols)
            ]
            wanted[height] = sum(blocks) / len(blocks)
        assert block_densities(array, cols, heights) == wanted
    assert block_densities(np.zeros((0, 4)), 4, (1, 8)) == {1: 1.0, 8: 1.0}


def test_zeros_of_rounding_do_not_hide_the_blocks_of_int8(prune):
    rng = np.random.default_rng(1)
    weight = np.round(prune(rng, (128, 128), (1, 4), 0.8) * 8).astype(np.int8)
    zeros, size = count(weight)
    assert 0.02 < (zeros / size - 0.8) / 0.2 < 0.1  # so many of the surviving weights are zero
    assert detect_structure(weight, block_shares(weight)) == "1x4"
    dense = np.round(rng.normal(size=(128, 128)) * 8).astype(np.int8)
    assert detect_structure(dense, block_shares(dense)) == "dense"
    assert detect_structure(np.ones((4, 4), np.float32), {}) == "dense"


@pytest.mark.parametrize("kept, size", [(1, 2), (1, 4), (2, 4), (3, 4), (1, 8), (4, 8), (2, 16)])
def test_n_of_m_is_told_by_the_smallest_m(kept, size):
    weight = fixed(np.random.default_rng(0), (64, 128), kept, size)
    assert detected(weight) == f"{kept}:{size}"
    assert detected(np.where(weight, weight, -0.0)) == f"{kept}:{size}"
    if 2 * kept <= size:
        # Some of what was kept rounds to zero in int8.
        integers = np.round(weight * 40).astype(np.int8)
        survivors = np.argwhere(integers)
        integers[tuple(survivors[::5].T)] = 0
        assert detected(integers) == f"{kept}:{size}"


def test_what_is_not_n_of_m_is_not_taken_for_it(prune):
    rng = np.random.default_rng(0)
    weight = fixed(rng, (64, 128), 2, 4)
    place = np.argwhere(weight == 0)[77]
    one_more = weight.copy()
    one_more[tuple(place)] = 1  # three in one group of four, and one of eight with five
    assert detected(one_more) == "element"
    one_group = weight.copy()
    one_group[:8, :4] = 0  # 16 of 4096 survivors
    assert detected(one_group) == "element"
    for share in (0.5, 0.75, 0.9, 0.99):  # as many zeros as 2:4, 1:4 ... have, where they fall
        assert detected(prune(rng, (64, 128), (1, 1), share)) == "element"
        assert detected(prune(rng, (64, 128), (1, 4), share)) == "1x4"
    assert (
        detected(prune(rng, (64, 128), (1, 2), 0.5)) == "element"
    )  # no standard block, nor 2:4: a group may keep both
    few = fixed(rng, (4, 8), 2, 4)  # eight groups may do so by chance
    assert detected(few) == "element"
    assert detected(fixed(rng, (64, 126), 1, 2)) == "1:2" and detected(fixed(rng, (64, 126), 1, 3)) == "element"
    for density in (0.7, 0.74, 0.5, 0.2):  # integers with natural zeros on top
        scattered = (rng.integers(1, 60, (64, 128)) * (rng.random((64, 128)) < density)).astype(np.int8)
        assert detected(scattered) in ("element", "dense")


def test_what_can_be_taken_out_comes_before_blocks_and_blocks_before_n_of_m():
    weight = np.ones((64, 64), np.float32)
    weight[:, ::4] = weight[:, 1::4] = 0  # every group of four keeps its last two
    assert detected(weight) == "column"
    weight = np.ones((64, 64), np.float32)
    weight[16:48] = 0  # two heads of sixteen rows, also 1x8, 16x16 ...
    assert detected(weight) == "row"
    tall = np.kron(fixed(np.random.default_rng(0), (16, 64), 2, 4) != 0, np.ones((4, 1))).astype(np.float32)
    assert detected(tall) == "4x1"  # 2:4 as well
    assert detected(np.zeros((64, 64), np.float32)) == "row"
