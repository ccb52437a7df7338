"""Engines that others serve with: int8 by ONNX Runtime's and CTranslate2's defaults, torch.compile, OpenVINO in f32."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from capabilities import need

from optkit.adapters import ctranslate2
from optkit.benchmark import backends
from optkit.benchmark.backend_support import backend_support
from optkit.benchmark.backends import BACKENDS
from optkit.benchmark.bench import bench, reference
from optkit.benchmark.engines.base import Setting
from optkit.benchmark.engines.loader import load
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.exports import export
from optkit.benchmark.inputs import InputSpec, SharedInputs
from optkit.benchmark.options import BenchmarkOptions
from optkit.errors import ExportError, OptkitError, UsageError
from optkit.progress import SILENT

pytestmark = pytest.mark.slow

QUICK = {"duration": 0.05, "threads": 1, "loads": False}
NEEDS = {
    "ctranslate2-int8": ["ctranslate2"],
    "onnxruntime-int8": ["onnx", "onnxscript", "onnxruntime"],
    "onnxruntime-int8-dynamic": ["onnx", "onnxscript", "onnxruntime"],
    "torch-compile": ["compiler"],
    "torch-compile-bf16": ["compiler"],
}


@pytest.fixture(scope="module")
def shared(tiny_checkpoint):
    return SharedInputs.of([InputSpec.of(tiny_checkpoint)])


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint, shared, tmp_path_factory):
    """An engine on ``tiny_checkpoint``, what it is made of exported once."""
    folder = tmp_path_factory.mktemp("exported")
    samples = [shared.dummy_inputs(1, 16, seed) for seed in range(4)]

    def call(backend, setting=None):
        need(*NEEDS.get(backend, ()))
        (model,) = (each for each in backend_support(tiny_checkpoint).models if each.backend == backend)
        return load(model.variant, export(model, folder, SILENT, samples), setting or Setting(1))

    return call


def off(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize("backend", ["onnxruntime-int8", "onnxruntime-int8-dynamic", "ctranslate2-int8"])
def test_int8_by_default_settings_is_near_and_not_the_same(loaded, shared, backend):
    inputs = shared.dummy_inputs(2, 12)
    expected, engine = loaded("torch").logits(inputs), loaded(backend)
    assert 1e-5 < off(engine.logits(inputs), expected) < 0.5
    # Another shape, and several at once.
    assert engine.logits(shared.dummy_inputs(1, 5)).shape == (1, 2)
    streamed = loaded(backend, Setting(2, "throughput", 2))
    assert streamed.stream([inputs], count=4)[0] == 4


def test_static_and_dynamic_are_two_models(loaded):
    kinds = []
    for backend in ("onnxruntime-int8", "onnxruntime-int8-dynamic"):
        import onnx

        kinds.append({node.op_type for node in onnx.load(loaded(backend)._file).graph.node})
    assert "QuantizeLinear" in kinds[0] and "DynamicQuantizeLinear" not in kinds[0]
    assert "DynamicQuantizeLinear" in kinds[1]


def test_padding_is_no_token_for_ctranslate2(loaded, shared):
    engine, plain = loaded("ctranslate2-int8"), loaded("torch")
    inputs = {name: array.copy() for name, array in shared.dummy_inputs(2, 12).items()}
    inputs["attention_mask"][1, 7:] = 0
    assert off(engine.logits(inputs), plain.logits(inputs)) < 0.5
    changed = {**inputs, "input_ids": inputs["input_ids"].copy()}
    changed["input_ids"][1, 7:] = 9
    assert np.array_equal(engine.logits(inputs), engine.logits(changed))
    inputs["attention_mask"][1] = inputs["attention_mask"][1, ::-1]
    with pytest.raises(OptkitError, match="CTranslate2 takes padding behind the tokens alone"):
        engine.logits(inputs)


def test_what_ctranslate2_does_not_know_is_left_out_with_the_reason(tiny_vit, tmp_path, monkeypatch):
    need("ctranslate2")
    with pytest.raises(ExportError, match=f"{tiny_vit}: CTranslate2 cannot convert it: "):
        ctranslate2.convert(tiny_vit, tmp_path / "converted")
    report = bench([tiny_vit, tiny_vit], BenchmarkOptions(backends=("torch", "ctranslate2-int8"), **QUICK))
    assert {each["backend"] for each in report["left_out"]} == {"ctranslate2-int8"}
    assert all("CTranslate2 cannot convert it" in each["why"] for each in report["left_out"])
    monkeypatch.setattr(ctranslate2, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"ctranslate2-int8 cannot run it: ctranslate2 is not installed: pip install"):
        bench([tiny_vit], BenchmarkOptions(backends=("ctranslate2-int8",), **QUICK))


def test_a_compiled_model_computes_what_it_did(loaded, shared):
    """By the real compiler, in bfloat16, which differs from fp32 only in what the model is cast to."""
    inputs = shared.dummy_inputs(1, 8)
    assert 0 < off(loaded("torch-compile-bf16").logits(inputs), loaded("torch").logits(inputs)) < 0.05


def test_without_a_compiler_torch_compile_is_left_out(monkeypatch, tiny_checkpoint, loaded, shared):
    monkeypatch.setattr(backends.shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    said = "torch.compile needs a C\\+\\+ compiler, and there is no g\\+\\+ or clang\\+\\+ here"
    with pytest.raises(UsageError, match=said):
        bench([tiny_checkpoint], BenchmarkOptions(backends=("torch-compile",), **QUICK))
    monkeypatch.undo()

    def compile_(model):
        def call(**_):
            raise RuntimeError("no such operation")

        return call

    monkeypatch.setattr(sys.modules["torch"], "compile", compile_)
    monkeypatch.setattr(backends, "compiler_missing", lambda: None)
    with pytest.raises(OptkitError, match="torch.compile cannot compile the model: "):
        loaded("torch-compile").logits(shared.dummy_inputs(1, 8))


@pytest.mark.parametrize("default", ["f32", "bf16"])
def test_what_is_measured_unless_it_is_named(monkeypatch, default):
    monkeypatch.setattr(backends, "default_precision", lambda: default)
    left = {backend for backend in BACKENDS if backends.excluded_by_default(backend) is not None}
    slow = {"torch-compile", "torch-compile-bf16"}
    assert left == slow | ({"openvino-f32", "openvino-int8-f32"} if default == "f32" else set())
    exact = {name: backends.computes_in_fp32(BACKENDS[name].variant("dense")) for name in BACKENDS}
    assert exact["openvino"] is exact["optkit"] is (default == "f32") and exact["openvino-f32"] and exact["torch"]
    assert not exact["openvino-int8-f32"] and not exact["torch-compile-bf16"] and not exact["ctranslate2-int8"]


def test_the_hint_is_given_where_it_is_said(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(OpenVino, "from_file", lambda path, setting, sparse: given.append(setting.config()))
    for backend in ("openvino", "openvino-f32", "openvino-int8-f32", "optkit"):
        load(BACKENDS[backend].variant("given"), SimpleNamespace(path=tmp_path), Setting(1))
    assert [config.get("INFERENCE_PRECISION_HINT") for config in given] == [None, "f32", "f32", None]


@pytest.mark.parametrize(
    ("backends", "against", "there", "expected"),
    [
        ((), None, ("torch", "onnxruntime", "openvino", "openvino-int8", "optkit"), "openvino"),
        ((), None, ("openvino-int8", "optkit"), "openvino-int8"),
        ((), None, ("torch", "onnxruntime"), "torch"),
        (("torch", "openvino"), None, ("torch", "openvino"), "torch"),
        ((), "optkit", ("openvino", "optkit"), "optkit"),
    ],
)
def test_what_ratios_are_against(backends, against, there, expected):
    models = [SimpleNamespace(backend=backend) for backend in there]
    assert there[reference(models, BenchmarkOptions(backends=backends, against=against))] == expected
