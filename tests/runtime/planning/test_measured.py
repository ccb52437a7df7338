"""What measuring does with times. The clock is replaced, so that it does not matter how busy the machine is."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from layers_made import BLOCK4, ELEMENT, block4, site

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.ir.tags import LayerTag, Tags, write_tags
from optkit.runtime import extension as library
from optkit.runtime.planning import agreement, layers, making, measured
from optkit.runtime.planning import plan as make
from optkit.runtime.planning.choosing import Cost
from optkit.runtime.planning.decompression import RATE
from optkit.runtime.planning.layers import LEAST
from optkit.runtime.planning.machine import Machine
from optkit.runtime.rewriting.sites import sites

FAST = {"openvino": 2.0, "block4": 1.0, "element": 1.5}
#: Milliseconds of kernels that a test does not name.
SLOW = 9.0


@pytest.fixture
def clock(monkeypatch, extension, folder):
    """Sets milliseconds: of layers by kernel or openvino, of models by plain, best, new."""

    def set_times(layer: dict[str, float], model: list[dict[str, float]]):
        calls = []

        def of_models(turns, **_):
            for run in turns.values():
                run()
            calls.append(set(turns))
            return {name: time for name, time in model[min(len(calls), len(model)) - 1].items() if name in turns}

        of_layers = lambda turns, **_: {name: layer.get(name, 0.0 if name == "empty" else SLOW) for name in turns}  # noqa: E731
        monkeypatch.setattr(layers, "medians", of_layers)
        monkeypatch.setattr(measured, "medians", of_models)
        return calls

    return set_times


def test_the_fastest_whole_model_wins(clock, make_encoder):
    calls = clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    plan = make(make_encoder(), shape=(1, 16))
    assert calls == [{"openvino", "new"}]
    up, down, head = plan.layers
    assert (up.kernel, down.kernel) == (BLOCK4, BLOCK4) and head.quantized is False
    assert up.reason == "block4: 10 % of 1x4 blocks left, measured 1.00 ms against OpenVINO's 2.00"
    assert (up.cost, up.openvino_cost) == (1.0, 2.0)
    assert plan.milliseconds == {"openvino": 4.0, "optkit": 2.0}
    assert (plan.mode, plan.shape, plan.isa) == ("measured", (1, 16), library.isa())
    assert "measured 2.00 ms against OpenVINO's 4.00 at 1 x 16 tokens" in plan.reason


@pytest.mark.parametrize("whole", [5.0, 3.95])
def test_plain_openvino_wins_when_nothing_is_faster_by_more_than_noise(clock, make_encoder, whole):
    clock(FAST, [{"openvino": 4.0, "new": whole}])
    plan = make(make_encoder(), shape=(1, 16))
    assert plan.kernels == {}
    assert plan.reason.startswith("plain OpenVINO: the sparse runtime does not gain here")
    assert plan.layers[0].reason.endswith("but the model as a whole is faster so")


def test_when_the_likely_plan_loses_others_are_tried(clock, make_encoder, monkeypatch):
    # Only the first layer seems to gain, and only all of them together do.
    calls = clock({}, [{"openvino": 4.0, "new": 5.0}, {"openvino": 4.0, "new": 1.0}])
    found = [Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 2.0}, 1.0), None]
    monkeypatch.setattr(measured, "layer_costs", lambda *_, **__: found)
    plan = make(make_encoder(), shape=(1, 16))
    assert [layer.kernel for layer in plan.layers] == [BLOCK4, BLOCK4, None]
    assert calls == [{"openvino", "new"}] * 2 and plan.milliseconds == {"openvino": 4.0, "optkit": 1.0}
    assert plan.layers[2].reason == "OpenVINO: too little of the work to be timed"


def test_a_likely_plan_that_gains_may_lose_to_one_with_no_gaps(clock, make_encoder, monkeypatch):
    # The second layer is slower on the kernels, and lies between two that gain.
    times = [{"openvino": 4.0, "new": 3.0}, {"openvino": 4.0, "best": 3.0, "new": 2.0}]
    calls = clock({}, times)
    found = [Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 2.0}, 1.0), Cost({BLOCK4: 1.0}, 2.0)]
    monkeypatch.setattr(measured, "layer_costs", lambda *_, **__: found)
    plan = make(make_encoder(), shape=(1, 16))
    assert all(layer.kernel == BLOCK4 for layer in plan.layers)
    assert calls == [{"openvino", "new"}, {"openvino", "best", "new"}]
    assert plan.milliseconds == {"openvino": 4.0, "optkit": 2.0}


@pytest.mark.parametrize(("without", "attention"), [(1.0, False), (1.99, True)])
def test_attention_stays_openvinos_where_that_is_clearly_faster(clock, make_encoder, monkeypatch, without, attention):
    times = [{"openvino": 4.0, "new": 2.0}, {"openvino": 4.0, "best": 2.0, "new": without}]
    calls = clock(FAST, times)
    monkeypatch.setattr(measured, "_holds_attention", lambda placed: True)
    plan = make(make_encoder(), shape=(1, 16))
    assert calls == [{"openvino", "new"}, {"openvino", "best", "new"}]
    assert plan.attention is attention and plan.kernels
    assert plan.milliseconds == {"openvino": 4.0, "optkit": 2.0 if attention else 1.0}


def test_choices_that_differ_in_work_are_each_tried_once():
    won, near, far = Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 1.1}, 1.0), Cost({BLOCK4: 2.0}, 1.0)
    choices, alike = measured._choices, [10, 10, 10]
    assert choices([won, won, None], alike) == [[True, True, False]]
    assert choices([won, near, far], alike) == [[True, True, False], [True, True, True], [True, False, False]]
    assert choices([far, None], [10, 10]) == [[True, False]]
    assert choices([None], [10]) == []
    assert choices([won, far], [100, 2]) == [[True, False]] and choices([far, far], [100, 2]) == [[True, True]]


def test_all_layers_are_tried_first_where_single_ones_say_that_it_costs_little():
    """Each layer that is left to OpenVINO cuts a program in two, which no time of a single layer tells."""
    won, lost = Cost({BLOCK4: 1.0}, 1.2), Cost({BLOCK4: 1.3}, 1.0)
    choices, works = measured._choices, [10] * 8
    assert choices([*[won] * 7, lost], works) == [[True] * 8, [True] * 7 + [False]]
    assert choices([*[won] * 4, *[lost] * 4], works) == [[True] * 4 + [False] * 4, [True] * 8]


def test_layers_whose_time_vanishes_in_the_calls_count_by_their_work():
    won, vanished = Cost({BLOCK4: 0.05}, 0.08), Cost({BLOCK4: 0.005}, LEAST)
    assert measured._choices([won, vanished], [20, 10]) == [[True, True], [True, False]]


@pytest.fixture
def with_amx(monkeypatch, extension):
    """As on a CPU with AMX; returns the configurations that models are compiled with, their sparse path taken out."""
    machine, compiled = making.detect(), []
    compile_for_cpu = measured.compile_for_cpu

    def without_rate(core, model, config):
        compiled.append(config)
        return compile_for_cpu(core, model, {key: value for key, value in config.items() if key != RATE})

    monkeypatch.setattr(making, "detect", lambda: dataclasses.replace(machine, amx=True))
    monkeypatch.setattr(measured, "compile_for_cpu", without_rate)
    return compiled


def suggesting(model, rate: float):
    """``model`` with tags that suggest ``rate``."""
    write_tags(model, Tags((LayerTag("head", "head.weight", (64, 64), "1x4", 0.9, 0.9, 0.91),), rate))
    return model


def test_with_amx_openvinos_own_sparse_path_is_one_more_choice(clock, make_encoder, with_amx):
    times = [{"openvino": 4.0, "new": 2.0}, {"openvino": 4.0, "best": 2.0, "new": 1.0}]
    calls = clock(FAST, times)
    plan = make(suggesting(make_encoder(), 0.9), shape=(1, 16))
    assert calls == [{"openvino", "new"}, {"openvino", "best", "new"}]
    assert [config[RATE] for config in with_amx if RATE in config] == [0.9]
    assert plan.kernels == {} and plan.decompression_rate == 0.9
    assert plan.reason.startswith("OpenVINO's own sparse path, rate 0.9: measured 1.00 ms against OpenVINO's 4.00")


@pytest.mark.parametrize(("sparsity", "tried"), [(0.95, False), (0.9, False), (0.5, True)])
def test_openvinos_sparse_path_is_not_tried_with_a_layer_that_it_breaks(clock, with_amx, sparsity, tried):
    clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    openvino, rng = import_openvino(), np.random.default_rng(0)
    ops = openvino.opset13
    data = ops.parameter([-1, -1, 64], np.float32, name="data")
    kept = rng.permutation(64 * 64).reshape(64, 64) >= round(sparsity * 64 * 64)
    weight = ops.constant(kept.astype(np.float32))
    model = openvino.Model([ops.matmul(data, weight, False, True, name="layer")], [data], "square")
    make(suggesting(model, 0.9), shape=(1, 16))
    assert any(RATE in config for config in with_amx) is tried


def spoiled(monkeypatch, damage, which=lambda plan: True):
    """Candidates whose plan is one of ``which`` answer with what ``damage`` makes of their logits."""
    apply = measured.apply

    def damaged(model, plan):
        rewritten, placed = apply(model, plan)
        if which(plan):
            result = rewritten.get_results()[0]
            port = result.input_value(0)
            result.input(0).replace_source_output(damage(import_openvino().opset13, port).output(0))
            rewritten.validate_nodes_and_infer_types()
        return rewritten, placed

    monkeypatch.setattr(measured, "apply", damaged)


WRONG = {
    "wrong": (lambda ops, port: ops.multiply(port, np.float32(-1)), r"output logits is off by 200 %, where rounding"),
    "slightly wrong": (lambda ops, port: ops.multiply(port, np.float32(1.3)), "output logits is off by [23][0-9] %"),
    "not a number": (lambda ops, port: ops.log(ops.multiply(port, np.float32(0))), "no finite number"),
    "empty": (
        lambda ops, port: ops.slice(port, [0], [0], [1], [0]),
        r"output logits has the shape \[0, 2\], not \[1, 2\]",
    ),
}


@pytest.mark.parametrize(("damage", "said"), WRONG.values(), ids=list(WRONG))
@pytest.mark.parametrize("config", [{}, {"INFERENCE_PRECISION_HINT": "f32"}], ids=["default", "f32"])
def test_a_candidate_that_answers_otherwise_is_dropped_and_named(
    clock, make_encoder, monkeypatch, damage, said, config
):
    calls = clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    spoiled(monkeypatch, damage)
    plan = make(make_encoder(), config=config, shape=(1, 16))
    assert calls == [] and plan.kernels == {} and plan.milliseconds == {}
    assert re.fullmatch(
        r"plain OpenVINO: nothing else gives its answers; dropped, since it does not run, or answer as plain OpenVINO does: 3 of 3 "
        f"linear layers on the sparse runtime: .*{said}.*",
        plan.reason,
    )
    assert plan.layers[0].reason.endswith(", but the model then answers otherwise")


def test_another_candidate_wins_where_one_answers_otherwise(clock, make_encoder, monkeypatch):
    # Only the first layer seems to gain, so the second candidate takes both.
    found = [Cost({BLOCK4: 1.0}, 2.0), Cost({BLOCK4: 2.0}, 1.0), None]
    monkeypatch.setattr(measured, "layer_costs", lambda *_, **__: found)
    calls = clock({}, [{"openvino": 4.0, "new": 3.0}])
    spoiled(monkeypatch, WRONG["wrong"][0], lambda plan: len(plan.kernels) == 1)
    plan = make(make_encoder(), shape=(1, 16))
    assert calls == [{"openvino", "new"}] and len(plan.kernels) == 2
    assert plan.milliseconds == {"openvino": 4.0, "optkit": 3.0}
    assert "measured 3.00 ms against OpenVINO's 4.00 at 1 x 16 tokens on" in plan.reason
    assert "plain OpenVINO does: 1 of 3 linear layers on the sparse runtime: output logits is off by" in plan.reason


def test_a_candidate_that_answers_otherwise_later_is_dropped(clock, make_encoder, monkeypatch):
    calls = clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    said = iter(["", "output logits is off by 90 %"])
    monkeypatch.setattr(measured.Agreement, "fault", lambda self, compiled: next(said))
    plan = make(make_encoder(), shape=(1, 16))
    assert calls == [{"openvino", "new"}] and plan.kernels == {}
    assert plan.reason.endswith("runtime: output logits is off by 90 %")


def test_a_candidate_that_openvino_cannot_compile_is_dropped(clock, make_encoder, monkeypatch):
    clock(FAST, [])
    compile_for_cpu = measured.compile_for_cpu

    def refused(core, model, config):
        if any(node.get_type_name() == "Program" for node in model.get_ops()):
            raise OptkitError("OpenVINO cannot compile the model: no such thing")
        return compile_for_cpu(core, model, config)

    monkeypatch.setattr(measured, "compile_for_cpu", refused)
    plan = make(make_encoder(), shape=(1, 16))
    assert plan.kernels == {} and plan.reason.endswith("OpenVINO cannot compile the model: no such thing")


def test_where_openvinos_int8_saturates_the_runtime_is_not_blamed(clock, make_encoder, monkeypatch):
    """As on a CPU without VNNI, with weights in their whole range: plain OpenVINO is what answers wrongly."""
    clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    other = import_openvino().Core().compile_model(make_encoder(seed=7), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    compile_for_cpu = agreement.compile_for_cpu

    def saturating(core, model, config):
        quantized = any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
        return other if quantized else compile_for_cpu(core, model, config)

    monkeypatch.setattr(agreement, "compile_for_cpu", saturating)
    plan = make(make_encoder(), shape=(1, 16))
    assert len(plan.kernels) == 3 and "dropped" not in plan.reason
    # What is wrong by both accounts is still dropped.
    spoiled(monkeypatch, WRONG["wrong"][0])
    assert make(make_encoder(), shape=(1, 16), cached=False).kernels == {}


def test_activations_quantized_as_they_come_may_cost_more(clock, make_encoder):
    clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    model = make_encoder(quantized=False, density=1.0)
    plan = make(model, shape=(1, 16), dynamic=True)
    assert len(plan.kernels) >= 2 and "dropped" not in plan.reason


def answers(*outputs) -> list[list[np.ndarray]]:
    return [[np.array(each) for each in outputs]]


@pytest.mark.parametrize(
    ("found", "wanted", "distance"),
    [
        (answers([1.0, 2.0]), answers([1.0, 2.0]), 0.0),
        (answers([0.0, 0.0]), answers([3.0, 4.0]), 1.0),
        (answers([3.0, 5.0]), answers([3.0, 4.0]), 0.2),
        (answers([3.0, 5.0]) * 2, answers([3.0, 4.0]) * 2, 0.2),  # over all inputs
        (answers([3.0, np.nan]), answers([3.0, 4.0]), np.inf),
        (answers([3.0, 5.0]), answers([3.0, np.nan]), 0.0),  # nothing to compare with
        (answers([[3.0]]), answers([3.0]), np.inf),
        (answers([1e-9, 0.0]), answers([0.0, 0.0]), 1e-9 / 2**0.5),
        (answers([1, 7, 3, 4]), answers([1, 2, 3, 4]), 0.5),  # the root of a quarter
        (answers([]), answers([]), 0.0),
    ],
)
def test_distances_between_answers(found, wanted, distance):
    assert agreement.distances(found, wanted) == [pytest.approx(distance)]


def test_a_length_that_the_model_cannot_take_is_halved(clock, make_encoder):
    openvino = import_openvino()
    ops = openvino.opset13
    clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    ids = ops.parameter([-1, -1], np.int64, name="ids")
    positions = ops.gather(ops.constant(np.ones((40, 64), np.float32)), ids, np.int64(0))
    fixed = ops.add(positions, ops.constant(np.ones((1, 20, 64), np.float32)))
    weight = ops.constant(np.eye(64, dtype=np.float32))
    model = openvino.Model([ops.matmul(fixed, weight, False, True, name="layer")], [ids], "fixed")
    assert make(model, shape=(1, 80)).shape == (1, 20)


def test_a_measured_plan_is_kept_and_not_measured_again(clock, make_encoder, monkeypatch, folder):
    clock(FAST, [{"openvino": 4.0, "new": 2.0}])
    model = make_encoder()
    first = make(model, shape=(1, 16))
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr(making, "measured_plan", lambda *_, **__: pytest.fail("measured again"))
    assert make(model, shape=(1, 16)) == first
    with pytest.raises(pytest.fail.Exception):
        make(model, shape=(1, 16), cached=False)
    with pytest.raises(pytest.fail.Exception):
        make(model, shape=(2, 16))


def test_layers_that_are_alike_are_timed_once(clock, monkeypatch):
    clock(FAST, [])
    timed = []
    monkeypatch.setattr(layers, "_measure", lambda site, *_: timed.append(site.matmul) or Cost({BLOCK4: 1.0}, 2.0))
    found = [site("a"), site("b", density=0.101), site("c", density=0.5), site("d", problem="no"), site("e", (64, 64))]
    tokens = {each.matmul: 128 for each in found} | {"b": 128}
    options = {"core": import_openvino().Core(), "machine": avx2(), "dynamic": False}
    costs = layers.layer_costs(found, tokens, {}, **options, budget=60)
    assert sorted(timed) == ["a", "c", "e"] and costs[0] is costs[1] and costs[3] is None
    assert layers.layer_costs(found, tokens, {}, **options, budget=-1) == [None] * 5


def test_a_layer_that_there_is_no_time_for_costs_what_the_model_says(clock, monkeypatch):
    clock(FAST, [])
    found, asked = [site("large", (64, 256)), site("small", (64, 64))], iter([0.0, 0.0, 100.0])
    tokens, machine = {each.matmul: 128 for each in found}, avx2()
    modelled = [layers.model_cost(each, 128, machine.isa, machine.amx, False) for each in found]
    kernel = modelled[0].kernel
    timed = Cost({kernel: 3.0}, 8.0)
    monkeypatch.setattr(layers, "_measure", lambda *_: timed)
    monkeypatch.setattr(layers, "likely", lambda *_: (kernel,))
    monkeypatch.setattr(layers.time, "perf_counter", lambda: next(asked))
    monkeypatch.setattr(layers, "_call_time", lambda *_: 0.0)
    options = {"core": import_openvino().Core(), "machine": machine, "dynamic": False}
    first, second = layers.layer_costs(found, tokens, {}, **options, budget=60)
    assert first is timed and second.estimated
    assert second.kernels[kernel] / 3.0 == pytest.approx(modelled[1].kernels[kernel] / modelled[0].kernels[kernel])
    assert second.openvino / 8.0 == pytest.approx(modelled[1].openvino / modelled[0].openvino)


def avx2() -> Machine:
    return dataclasses.replace(making.detect(), isa="avx2", amx=False)


@pytest.mark.parametrize(
    ("layer", "kernels"),
    [
        (site(density=0.2), [BLOCK4, block4(2), ELEMENT]),
        (site(density=0.2, tall=16), [block4(8), block4(4), block4(2), ELEMENT]),
        (site(density=1.0), [block4(8), block4(4), block4(2), ELEMENT]),
        (site(density=0.02, block4=0.05), [ELEMENT, BLOCK4]),
        (site(density=0.02, block4=0.5), [ELEMENT]),
        (site(density=0.5, quantized=False), [ELEMENT]),
        (site(problem="it is odd"), []),
    ],
)
def test_the_likely_kernels_are_timed_and_few_heights_of_blocks(extension, layer, kernels):
    assert set(layers.likely(layer, 128, avx2(), False)) == set(kernels)


def test_a_kernel_that_was_not_timed_is_not_chosen(clock, make_encoder):
    """Whatever the cost model says of it."""
    clock(FAST | {"block4 of 8x4": 1e-3, "block4 of 2x4": 0.7}, [{"openvino": 4.0, "new": 2.0}])
    plan = make(make_encoder(), shape=(1, 16))
    assert plan.layers[0].kernel == block4(2)
    assert plan.layers[0].reason.startswith(
        "block4 of 2x4: 19 % of 2x4 blocks left, 1.4 times as fast as 1x4 blocks, of which 10 % are left, measured 0.70"
    )


def test_cut_out_layers_compute_what_they_do_in_the_model(make_encoder):
    model = make_encoder()
    up = sites(model)[0]
    data = np.random.default_rng(1).normal(size=(5, 64)).astype(np.float32)
    found = import_openvino().Core().compile_model(layers.cut_out(up, 5), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    low, high = up.quantization.low, up.quantization.high
    step = (high - low) / 255
    quantized = np.clip(np.round((data - low) / step), 0, 255) * step + low
    wanted = quantized @ (up.values * up.scales[:, None]).T + 0.5
    np.testing.assert_allclose(found([data])[0], wanted, atol=1e-4)
