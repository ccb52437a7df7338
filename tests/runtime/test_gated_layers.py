"""Gated layers that OpenVINO fuses with AMX: with one thread the fused node ends the process."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optkit.ir.io import import_openvino
from optkit.runtime import gated_layers
from optkit.runtime.gated_layers import may_have_one_thread, unfused
from optkit.runtime.loading import compile_for_cpu

openvino = import_openvino()
ops = openvino.opset13


def gated(activation=ops.swish):
    """``down(activation(gate(x)) * up(x))``, x of (batch, seq, 32)."""
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in ((64, 32), (64, 32), (32, 64))]
    x = ops.parameter([-1, -1, 32], np.float32, name="x")
    gate, up = (ops.matmul(x, ops.constant(weight), False, True) for weight in weights[:2])
    down = ops.matmul(ops.multiply(activation(gate), up), ops.constant(weights[2]), False, True)
    return openvino.Model([down], [x], "gated")


ACTIVATIONS = [ops.swish, lambda x: ops.gelu(x, "erf"), lambda x: ops.gelu(x, "tanh")]
ONE_THREAD = [{"INFERENCE_NUM_THREADS": 1}, {"NUM_STREAMS": 2}, {"PERFORMANCE_HINT": "THROUGHPUT"}]


@pytest.fixture
def amx(monkeypatch):
    monkeypatch.setattr(gated_layers, "has_amx", lambda: True)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("config", ONE_THREAD)
def test_a_copy_computes_the_same_without_the_fused_pattern(amx, activation, config):
    model = gated(activation)
    copy = unfused(model, config)
    kinds = [[node.get_type_name() for node in each.get_ops()] for each in (model, copy)]
    assert "Clamp" not in kinds[0] and kinds[1].count("Clamp") == 1
    x = np.random.default_rng(1).standard_normal((2, 5, 32)).astype(np.float32)
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    expected, found = (openvino.Core().compile_model(each, "CPU", exact)(x)[0] for each in (model, copy))
    np.testing.assert_array_equal(found, expected)


def test_other_models_stay_as_they_are(amx, monkeypatch):
    model, one = gated(), ONE_THREAD[0]
    monkeypatch.setattr(gated_layers, "cpu_cores", lambda: 8)
    assert unfused(model, {"INFERENCE_NUM_THREADS": 8}) is model and unfused(model, {"NUM_STREAMS": 1}) is model
    plain = gated(ops.relu)
    assert unfused(plain, one) is plain
    monkeypatch.setattr(gated_layers, "has_amx", lambda: False)
    assert unfused(model, one) is model


def test_a_process_with_one_core_has_one_thread(monkeypatch):
    monkeypatch.setattr(gated_layers, "cpu_cores", lambda: 1)
    assert may_have_one_thread({})


CHILD = """
import sys
sys.path[:0] = {path!r}
from test_gated_layers import compiled_in_every_way
compiled_in_every_way()
"""


def compiled_in_every_way():
    for config in ONE_THREAD:
        for activation in ACTIVATIONS:
            compile_for_cpu(openvino.Core(), gated(activation), config)


def test_they_are_compiled_with_one_thread():
    """In a process of its own, which a division by zero ends where OpenVINO has AMX."""
    child = CHILD.format(path=[str(Path(__file__).parent)])
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
