"""Every kind of zeros comes back to the bit, in the block and the positions that take least."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest

from optkit.export.sparse_folder import blocks
from optkit.export.sparse_folder.blocks import BadBlocks, Blocks, index_type, unpack


def pack(matrix, floats=False):
    return blocks.pack(matrix, floats=floats)


def _bits(prune, shape, block, share, dtype=np.float32, seed=0):
    matrix = prune(np.random.default_rng(seed), shape, block, share).astype(dtype) + 0.0  # -0.0 becomes 0.0
    return matrix.view(f"u{matrix.itemsize}")


def test_a_1x4_matrix_of_int8_takes_its_values_and_a_bit_a_block():
    rng = np.random.default_rng(0)
    live = np.zeros(64 * 16, dtype=bool)
    live[rng.permutation(1024)[:102]] = True
    matrix = np.kron(live.reshape(64, 16), np.ones((1, 4))) * rng.integers(1, 128, (64, 64))
    packed = pack(matrix.astype(np.int8).view(np.uint8))
    assert (packed.block, packed.kept, packed.positions) == ((1, 4), 102, "bitmap")
    assert packed.nbytes == 102 * 4 + 1024 // 8 < 0.16 * 64 * 64
    assert np.array_equal(unpack(packed), matrix)


@pytest.mark.parametrize(
    ("shape", "block", "share", "found", "positions"),
    [
        ((32, 64), (1, 4), 0.8, (1, 4), "bitmap"),
        ((32, 64), (4, 4), 0.75, (4, 4), "bitmap"),
        ((32, 64), (2, 4), 0.75, (2, 4), "bitmap"),
        ((64, 64), (16, 4), 0.75, (16, 4), "bitmap"),
        ((96, 64), (32, 4), 0.75, (32, 4), "bitmap"),
        ((64, 32), (32, 1), 0.5, (32, 1), "bitmap"),
        ((48, 20), (1, 20), 0.75, (1, 20), "bitmap"),
        ((48, 20), (48, 1), 0.6, (48, 1), "bitmap"),
        ((40, 600), (1, 1), 0.6, (1, 1), "bitmap"),
        ((40, 600), (1, 1), 0.99, (1, 1), "columns"),
    ],
)
def test_the_smallest_form_is_found_and_exact(prune, shape, block, share, found, positions):
    matrix = _bits(prune, shape, block, share)
    packed = pack(matrix, floats=True)
    assert (packed.block, packed.positions) == (found, positions)
    assert packed.kept == np.count_nonzero(matrix) // (block[0] * block[1])
    back = unpack(packed)
    assert back.dtype == matrix.dtype and np.array_equal(back, matrix)
    count = matrix.size // (found[0] * found[1])
    assert packed.nbytes <= np.count_nonzero(matrix) * 4 + ceil(count / 8)


def test_wide_matrices_take_wider_columns():
    matrix = np.zeros((7, 70_001), np.uint16)
    matrix[[0, 0, 6], [3, 70_000, 1]] = 5
    packed = pack(matrix)
    assert packed.arrays["columns"].dtype == np.uint32 and packed.arrays["columns"].tolist() == [3, 70_000, 1]
    assert packed.arrays["counts"].tolist() == [2, 0, 0, 0, 0, 0, 1]
    assert np.array_equal(unpack(packed), matrix)
    assert [index_type(n) for n in (0, 255, 256, 65_535, 65_536)] == ["U8", "U8", "U16", "U16", "U32"]


def test_minus_zero_is_a_zero_with_a_bit_of_its_own_and_nan_a_number():
    matrix = np.zeros((16, 16), np.float32)
    matrix[3, 5], matrix[8, :2] = -0.0, (np.nan, -0.0)
    bits = matrix.view(np.uint32)
    packed = pack(bits, floats=True)
    assert (packed.block, packed.kept) == ((4, 1), 1) and np.array_equal(unpack(packed), bits)
    assert np.flatnonzero(np.unpackbits(packed.arrays["minus"], bitorder="little")).tolist() == [53, 129]
    assert pack(bits).kept == 3 and "minus" not in pack(bits).arrays  # as integers
    damaged = packed.arrays["minus"].copy()
    damaged[16] |= 1  # the NaN
    with pytest.raises(BadBlocks, match="that are not zero"):
        unpack(replace(packed, arrays={**packed.arrays, "minus": damaged}))


def test_a_masked_matrix_costs_a_bit_a_number_more(prune):
    masked = prune(np.random.default_rng(0), (32, 64), (1, 4), 0.75).astype(np.float16)
    assert (np.signbit(masked) & (masked == 0)).any()
    packed = pack(masked.view(np.uint16), floats=True)
    assert packed.block == (1, 4) and packed.nbytes == 128 * 8 + 512 // 8 + 2048 // 8
    assert np.array_equal(unpack(packed), masked.view(np.uint16))


def test_dense_and_empty_matrices(prune):
    assert pack(_bits(prune, (32, 32), (1, 1), 0.0)) is None
    assert pack(_bits(prune, (32, 32), (1, 1), 0.02)) is None
    empty = np.zeros((32, 32), np.uint8)
    packed = pack(empty)
    assert packed.kept == 0 and np.array_equal(unpack(packed), empty)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_arrays_that_do_not_fit_are_refused(prune, share):
    packed = pack(_bits(prune, (40, 64), (1, 1), share))
    arrays = dict(packed.arrays)

    def refused(**changed):
        damaged = replace(packed, **changed)
        with pytest.raises(BadBlocks, match="^it(s| has) "):
            unpack(damaged)

    refused(arrays=arrays | {"values": arrays["values"][:-1]})
    refused(kept=packed.kept - 1, arrays=arrays | {"values": arrays["values"][:-1]})
    if packed.positions == "bitmap":
        refused(arrays=arrays | {"bitmap": arrays["bitmap"][:-1]})
        flipped = np.concatenate([arrays["bitmap"][:1] ^ np.uint8(1), arrays["bitmap"][1:]])
        refused(arrays=arrays | {"bitmap": flipped})
    else:
        counts, columns = arrays["counts"], arrays["columns"]
        refused(arrays=arrays | {"columns": columns + np.uint8(64 - columns.min())})
        refused(arrays=arrays | {"columns": columns[::-1]})
        refused(arrays=arrays | {"columns": np.zeros_like(columns)})
        refused(arrays=arrays | {"counts": counts + np.uint8(1)})
        swapped = counts.copy()
        swapped[0] += counts[1] + counts[2]
        swapped[1:3] = 0
        with pytest.raises(BadBlocks, match="not in order"):
            unpack(replace(packed, arrays=arrays | {"counts": swapped}))


def test_bits_beyond_the_last_block_are_refused():
    bad = Blocks((3, 1), (1, 1), 1, "bitmap", {"values": np.ones((1, 1, 1)), "bitmap": np.array([8], np.uint8)})
    with pytest.raises(BadBlocks, match="its bitmap has bits after the last of 3"):
        unpack(bad)
