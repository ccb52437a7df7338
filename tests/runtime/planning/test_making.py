"""Plans for callers: what they may ask for, what the model is fed with, and what is known of the machine."""

from __future__ import annotations

import os

import numpy as np
import pytest

from optkit import cpu
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.runtime import Plan
from optkit.runtime import extension as library
from optkit.runtime.planning import feeding
from optkit.runtime.planning import plan as make
from optkit.runtime.planning.machine import detect


def test_inputs_are_made_for_what_the_model_asks():
    openvino = import_openvino()
    ops = openvino.opset13
    names = {"input_ids": np.int64, "attention_mask": np.int64, "token_type_ids": np.int64, "position_ids": np.int64}
    parameters = [ops.parameter([-1, -1], dtype, name=name) for name, dtype in names.items()]
    parameters.append(ops.parameter([-1, 3, -1, 224], np.float32, name="pixel_values"))
    for node in parameters:
        node.output(0).get_tensor().set_names({node.get_friendly_name()})
    model = openvino.Model([ops.relu(node) for node in parameters], parameters, "inputs")
    ids, mask, types, positions, pixels = feeding.feeds(model, (2, 8))
    assert ids.shape == (2, 8) and ids.min() >= 1 and pixels.shape == (2, 3, 224, 224)
    assert (mask == 1).all() and (types == 0).all() and (positions == np.arange(8)).all()


def test_tokens_of_each_layer_are_told_from_its_shape(make_encoder):
    tokens = feeding.tokens_of(make_encoder(), (2, 16))
    prefix = "__module.encoder.layer.0."
    wanted = {f"{prefix}up/aten::linear/MatMul": 32, f"{prefix}down/aten::linear/MatMul": 32, "head": 2}
    assert tokens == wanted


def test_without_the_extension_a_plan_says_so(make_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    plan = make(make_encoder())
    assert plan.kernels == {} and len(plan.layers) == 3
    assert plan.reason == f"plain OpenVINO: the sparse runtime is missing: {library.missing_reason()}"
    assert Plan.from_json(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"mode": "fast"}, "unknown plan 'fast': one of static, measured"),
        ({"isa": "avx2"}, "a measured plan is for the kernels in use"),
        ({"mode": "static", "shape": (0, 1)}, "both positive, not (0, 1)"),
        ({"mode": "static", "shape": (1, 2, 3)}, "a plan's shape is (batch, sequence length)"),
    ],
)
def test_arguments_that_make_no_plan(make_encoder, arguments, said):
    with pytest.raises(OptkitError) as error:
        make(make_encoder(), **arguments)
    assert said in str(error.value)


def test_a_static_plan_for_another_machine(extension, make_encoder):
    model = make_encoder(density=1.0)
    plans = {isa: make(model, "static", isa=isa) for isa in extension.compiled_isas()}
    assert [plan.isa for plan in plans.values()] == list(plans)
    assert plans["scalar"].kernels == {} and len(plans["avx2"].kernels) == 2
    with pytest.raises(OptkitError, match="unknown instruction set 'sse9': the kernels are for scalar, "):
        make(model, "static", isa="sse9")


def test_this_machine(extension):
    machine = detect()
    assert machine.isa == extension.isa() and machine.cpu and machine.cores == len(os.sched_getaffinity(0))
    assert len(machine.library) == 16


def test_amx_is_read_from_the_flags(extension, tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu, "CPUINFO", info)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert detect().amx is False
    info.write_text("model name\t: A CPU\nflags\t\t: avx2 amx_tile amx_int8\n\nmodel name\t: Another\n")
    assert (detect().cpu, detect().amx) == ("A CPU", True)
    for limit, amx in (("ALL", True), ("avx512_core_amx", True), ("AVX512_CORE_VNNI", False)):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
        assert detect().amx is amx
    info.write_text("flags\t: avx2 amx_tile\n")
    assert detect().amx is False
