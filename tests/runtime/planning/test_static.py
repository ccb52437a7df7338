"""What the cost model decides, and which layers go together."""

from __future__ import annotations

import pytest
from layers_made import BLOCK4, ELEMENT, site

from optkit.runtime import Kernel
from optkit.runtime.planning.choosing import Cost, with_neighbours
from optkit.runtime.planning.costs import kernel_cost, openvino_cost
from optkit.runtime.planning.static import static_plan
from optkit.runtime.rewriting.sites import LinearSite


def chosen(*layers: LinearSite, isa: str = "avx2", **options) -> list[Kernel | None]:
    return [layer.kernel for layer in static_plan(layers, isa=isa, **options).layers]


@pytest.mark.parametrize(
    ("layer", "kernel"),
    [
        (site(density=0.2), BLOCK4),  # in 1x4 blocks
        (site(density=1.0), BLOCK4),  # OpenVINO's int8 is no faster than its fp32 here
        (site(density=0.9, block4=1.0), BLOCK4),
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
    assert chosen(site(density=1.0), site("b", density=1.0), isa="avx512vnni") == [None, None]
    assert chosen(site(density=0.2), isa="avx512vnni") == [BLOCK4]
    assert chosen(site(density=0.2), isa="scalar") == [None]


def test_a_handful_of_tokens_is_worth_less_to_a_kernel_that_works_on_many():
    assert chosen(site(density=0.5), tokens={"a": 128}) == [BLOCK4]
    assert chosen(site(density=1.0), tokens={"a": 1}) == [None]


def test_floats_are_quantized_only_if_that_is_asked_for():
    dense = site(density=1.0, quantized=False)
    assert chosen(dense) == [None]
    assert chosen(dense, dynamic=True) == [BLOCK4]
    assert static_plan([dense], isa="avx2", dynamic=True).dynamic


def test_costs_fall_with_density_and_rise_with_tokens():
    facts = {"shape": (768, 3072), "quantized": True, "tokens": 128, "isa": "avx2"}
    half, tenth = (kernel_cost(BLOCK4, density=density, block4_density=density, **facts) for density in (0.5, 0.1))
    assert half == pytest.approx(5 * tenth)
    assert half == pytest.approx(768 * 3072 * 0.5 * 128 / 28 / 1e6)
    more = kernel_cost(BLOCK4, density=0.5, block4_density=0.5, **facts | {"tokens": 129})
    assert more == pytest.approx(half * (128 + 16) / 128)
    assert openvino_cost(**facts, amx=True) < openvino_cost(**facts, amx=False)


def test_what_is_about_equal_joins_a_neighbour_that_is_taken():
    won, near, far = Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 1.1}, 1.0), Cost({BLOCK4: 2.0}, 1.0)
    assert with_neighbours([near, near, won, near, far, near, None, near]) == [True] * 4 + [False] * 4
    assert with_neighbours([near, near]) == [False, False]
    assert with_neighbours([]) == []


def test_one_kernel_for_layers_that_are_alike_unless_another_is_clearly_faster():
    assert Cost({BLOCK4: 1.0, ELEMENT: 0.97}, 2.0).kernel == BLOCK4
    assert Cost({BLOCK4: 1.0, ELEMENT: 0.5}, 2.0).kernel == ELEMENT


def test_with_amx_what_openvinos_sparse_path_takes_is_left_to_it():
    layers = [site(density=0.1), site("b", (768, 100), density=0.01), site("c", density=0.9)]
    plan = static_plan(layers, isa="avx512vnni", amx=True, decompression_rate=0.9)
    assert plan.decompression_rate == 0.9
    assert [layer.kernel for layer in plan.layers] == [None, BLOCK4, None]
    assert "sparse path for AMX" in plan.layers[0].reason and "sparse path" not in plan.layers[2].reason
    assert static_plan(layers, isa="avx512vnni", amx=True).decompression_rate is None
    assert static_plan(layers, isa="avx512vnni", amx=False, decompression_rate=0.9).decompression_rate is None


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
