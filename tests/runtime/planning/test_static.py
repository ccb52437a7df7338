"""What the cost model decides, and which layers go together."""

from __future__ import annotations

import numpy as np
import pytest
from layers_made import BLOCK4, ELEMENT, block4, site
from reference import dense

from optkit.counting.zeros import block_densities
from optkit.errors import OptkitError
from optkit.runtime import Kernel
from optkit.runtime.packing import pack
from optkit.runtime.planning import costs
from optkit.runtime.planning.choosing import Cost, candidates, with_neighbours
from optkit.runtime.planning.costs import kernel_cost, openvino_cost, stored_weights
from optkit.runtime.planning.static import static_plan
from optkit.runtime.program import HEIGHTS
from optkit.runtime.rewriting.sites import LinearSite


def chosen(*layers: LinearSite, isa: str = "avx2", **options) -> list[Kernel | None]:
    return [layer.kernel for layer in static_plan(layers, isa=isa, **options).layers]


@pytest.mark.parametrize(
    ("layer", "kernel"),
    [
        (site(density=0.2), BLOCK4),  # in 1x4 blocks
        (site(density=1.0), block4(8)),  # OpenVINO's int8 is no faster than its fp32 here
        (site(density=0.9, block4=1.0), block4(8)),
        (site(density=0.05, block4=0.185), ELEMENT),  # unstructured: few groups of 4 are wholly empty
        (site(density=0.05, block4=0.185, rows=16), Kernel("element", 16)),
        (site(density=0.05, block4=0.185, rows=2), ELEMENT),
        (site(density=0.1, quantized=False), ELEMENT),
        (site(density=0.9, quantized=False), None),
        (site(problem="the activations are transposed"), None),
    ],
)
def test_the_cost_model_on_avx2(layer, kernel):
    assert chosen(layer) == [kernel]


def test_where_openvino_is_fast_a_dense_layer_stays_and_a_sparse_one_does_not():
    assert chosen(site(density=1.0), site("b", density=1.0), isa="avx512vnni", amx=True) == [None, None]
    assert chosen(site(density=0.2), isa="avx512vnni") == [BLOCK4]
    assert chosen(site(density=0.2), isa="scalar") == [None]


def test_a_row_of_blocks_fills_whole_steps_of_a_kernel_that_takes_several():
    def padded(share: float, isa: str = "amx", rows: int = 16, shape=(768, 768)) -> float:
        stored = costs.stored_weights(shape, {rows: share}, rows)
        return costs.padded_weights(stored, shape, rows, isa) / (-(-shape[0] // rows) * rows * 4)

    # Blocks of a row of outputs, of 192: half a step of 16 more, but no more than all.
    assert padded(0.1) == pytest.approx(19.2 + 7.5) == padded(0.1, rows=32)
    assert padded(0.98) == 192 == padded(1.0)
    assert padded(1.0, shape=(10, 100)) == 32
    assert padded(0.0) == 0
    assert padded(0.1, rows=8) == pytest.approx(19.2) == padded(0.1, "avx512vnni")


def test_tile_registers_take_dense_layers_and_finer_zeros():
    layers = (site(density=1.0), site("b", density=0.2), site("c", density=0.1, tall=16))
    assert chosen(*layers, isa="amx", amx=True) == [block4(32), block4(32), block4(16)]


def test_a_handful_of_tokens_is_worth_less_to_a_kernel_that_works_on_many():
    assert chosen(site(density=0.5), tokens={"a": 128}) == [BLOCK4]
    assert chosen(site(density=1.0), tokens={"a": 1}) == [None]


def test_floats_are_quantized_only_if_that_is_asked_for():
    dense = site(density=1.0, quantized=False)
    assert chosen(dense) == [None]
    assert chosen(dense, dynamic=True) == [block4(8)]
    assert static_plan([dense], isa="avx2", dynamic=True).dynamic


def test_costs_fall_with_density_and_rise_with_tokens():
    facts = {"shape": (768, 3072), "quantized": True, "tokens": 128, "isa": "avx2", "amx": False}

    def cost(share: float, kernel: Kernel = BLOCK4, **more) -> float:
        densities = dict.fromkeys((1, 2, 4, 8, 16, 32), share)
        return kernel_cost(kernel, density=share, block4_densities=densities, **facts | more)

    half, tenth = cost(0.5), cost(0.1)
    assert half == pytest.approx(5 * tenth)
    assert half == pytest.approx(768 * 3072 * 0.5 * 128 / 28 / 1e6)
    assert cost(0.5, tokens=129) == pytest.approx(half * (128 + 16) / 128)
    assert cost(0.5, block4(4), isa="avx512vnni") == pytest.approx(half * 28 / 72)
    # A weight of few outputs is padded to whole blocks.
    assert cost(1.0, block4(32), shape=(2, 768)) == pytest.approx(cost(1.0, block4(32), shape=(32, 768)))
    assert openvino_cost(**facts | {"amx": True}) < openvino_cost(**facts)


def test_what_is_about_equal_joins_a_neighbour_that_is_taken():
    won, near, far = Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 1.1}, 1.0), Cost({BLOCK4: 2.0}, 1.0)
    assert with_neighbours([near, near, won, near, far, near, None, near]) == [True] * 4 + [False] * 4
    assert with_neighbours([near, near]) == [False, False]
    assert with_neighbours([]) == []


@pytest.mark.parametrize(
    ("layer", "kernel"),
    [
        (site(density=0.2), BLOCK4),  # the union of two rows holds 36 % of 2x4 blocks
        (site(density=0.2, tall=2), block4(2)),
        (site(density=0.2, tall=4), block4(4)),
        (site(density=0.2, tall=8), block4(8)),
        (site(density=0.2, tall=16), block4(8)),  # higher ones have no kernel of their own
        (site(density=0.6), block4(8)),  # next to no 8x4 block is empty
        (site(density=1.0), block4(8)),
        (site(shape=(2, 768), density=1.0), block4(2)),  # the others would be mostly padding
    ],
)
def test_the_height_of_blocks_is_that_which_costs_least(layer, kernel):
    assert chosen(layer, isa="avx512vnni", everything=True) == [kernel]


@pytest.mark.parametrize(
    ("layer", "heights"),
    [
        (site(density=0.1), [1, 2, 4, 8]),  # of 16x4 blocks 81 % are left, above eight times 10 %
        (site(density=0.1, tall=16), [16, 8, 4, 2, 1, 32]),
        (site(density=1.0), [32, 16, 8, 4, 2, 1]),
        (site(shape=(2, 768), density=1.0), [2, 1, 4, 8, 16]),
        (site(shape=(2, 768), density=0.0), [32, 16, 8, 4, 2, 1]),
    ],
)
def test_kernels_that_would_store_many_times_the_weights_are_not_offered(layer, heights):
    found = candidates(layer, dynamic=False)
    assert [kernel.rows for kernel in found if kernel.name == "block4"] == heights
    assert ELEMENT in found


@pytest.mark.parametrize("shape", [(64, 64), (70, 36), (2, 20), (33, 7), (5, 1)])
@pytest.mark.parametrize("rows", HEIGHTS)
def test_what_the_cost_model_counts_is_what_is_packed(shape, rows):
    """Of zeros in 1x4 blocks, whatever the kernel; the union of rows loses no weight."""
    rng = np.random.default_rng(0)
    live = rng.random((shape[0], -(-shape[1] // 4))) < 0.2
    values = (rng.integers(1, 128, shape) * np.repeat(live, 4, axis=1)[:, : shape[1]]).astype(np.int8)
    packed = pack(values, block4(rows))
    assert packed.values.size == stored_weights(shape, block_densities(values, 4, HEIGHTS), rows)
    assert np.array_equal(dense(packed), values)


def test_a_kernel_of_higher_blocks_says_what_it_gains():
    layers = [site("a", density=0.6), site("b", density=0.2, tall=16), site("c", density=1.0)]
    first, second, third = (layer.reason for layer in static_plan(layers, isa="avx512vnni").layers)
    assert first == (
        "block4 of 8x4: 100 % of 8x4 blocks left, 1.2 times as fast as 1x4 blocks, of which 60 % are left, about 0.8 "
        "million cycles against OpenVINO's 1.5"
    )
    assert second == ("block4 of 8x4: 20 % of 8x4 blocks left, about 0.2 million cycles against OpenVINO's 1.5")
    assert third == "block4 of 8x4: 100 % of 8x4 blocks left, about 0.8 million cycles against OpenVINO's 1.5"


def test_one_kernel_for_layers_that_are_alike_unless_another_is_clearly_faster():
    assert Cost({BLOCK4: 1.0, ELEMENT: 0.97}, 2.0).kernel == BLOCK4
    assert Cost({BLOCK4: 1.0, ELEMENT: 0.5}, 2.0).kernel == ELEMENT
    # Blocks of every height read inputs that are quantized alike.
    assert Cost({block4(4): 1.0, BLOCK4: 0.9, ELEMENT: 0.89}, 2.0).kernel == BLOCK4
    # Times of single layers scatter: less than that is no reason to leave the first, which stores fewest weights.
    assert Cost({BLOCK4: 1.0, block4(4): 0.96}, 2.0).kernel == BLOCK4
    assert Cost({block4(4): 1.0, BLOCK4: 0.98, ELEMENT: 0.95}, 2.0).kernel == block4(4)


@pytest.mark.parametrize("shape", [(1, 16), (1, 32), (1, 128), (1, 384), (8, 128)])
@pytest.mark.parametrize(
    ("left", "block4", "shapes_taken"),
    [
        (0.2, 0.2, {(1, 16), (1, 32), (1, 128), (1, 384), (8, 128)}),
        (0.1, 0.1, {(1, 16), (1, 32), (1, 128), (1, 384), (8, 128)}),
        (0.05, 0.05, {(1, 16), (1, 32), (1, 128), (1, 384), (8, 128)}),
        # Single weights: a block of four is empty with a chance of 0.9 ** 4.
        (0.1, 0.344, {(1, 16), (1, 32), (1, 128)}),
        # At 16 tokens OpenVINO has few rows for its tiles: it is no faster than four outputs at a time.
        (1.0, 1.0, {(1, 16)}),
    ],
)
def test_with_amx_layers_are_taken_where_they_were_measured_to_gain(shape, left, block4, shapes_taken):
    names = [("query", (768, 768)), ("up", (3072, 768)), ("down", (768, 3072))]
    layers = [site(name, size, density=left, block4=block4) for name, size in names]
    plan = static_plan(layers, isa="avx512vnni", amx=True, shape=shape)
    assert [layer.kernel is not None for layer in plan.layers] == [shape in shapes_taken] * 3
    assert plan.decompression_rate is None


def test_openvinos_speed_with_amx_lies_between_what_was_measured():
    at = costs.AMX_INT8
    assert [costs.amx_int8(tokens) for tokens in (1, 16, 17, 128, 5000)] == [at[16], at[16], at[17], at[128], at[1024]]
    assert costs.amx_int8(80) == pytest.approx((at[32] + at[128]) / 2)


def test_rates_of_an_instruction_set():
    assert costs.rates("avx2", amx=True) == costs.rates("avx2")
    assert costs.rates("avx512vnni", amx=True) != costs.rates("avx512vnni")


def test_an_unknown_instruction_set_has_no_cost():
    with pytest.raises(OptkitError, match="^unknown instruction set 'neon': the kernels are for scalar, avx2, avxvnni"):
        static_plan([site(density=0.1)], isa="neon")


def test_every_layer_has_a_reason_with_its_figures():
    layers = [site(density=0.1), site("b", density=1.0, quantized=False), site("c", problem="it is odd")]
    plan = static_plan(layers, isa="avx2")
    assert [layer.matmul for layer in plan.layers] == ["a", "b", "c"] and list(plan.kernels) == ["a"]
    first, second, third = (layer.reason for layer in plan.layers)
    assert first == "block4: 10 % of 1x4 blocks left, about 0.3 million cycles against OpenVINO's 4.7"
    assert second.startswith("OpenVINO: element, with 100 % of the weights left")
    assert third == "OpenVINO: it is odd"
    assert plan.layers[0].cost < plan.layers[0].openvino_cost and plan.layers[2].cost is None
    assert plan.reason == "1 of 3 linear layers on the sparse runtime, by the cost model for avx2"
