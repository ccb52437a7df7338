"""Programs compute in float32 whatever surrounds them, graphs in float16 or bfloat16 and fp16 weights; only attention
follows a hint for bfloat16, which is written into their attribute."""

from __future__ import annotations

import numpy as np
import pytest
from programs import CONFIG, attention_program, compile_op, encoder_layer, f32, infer, op_model
from test_compiling import assert_same, inputs, own_cache, programs  # noqa: F401

from optkit import cpu, runtime
from optkit.ir.io import import_openvino, read_model
from optkit.ir.precision import default_precision
from optkit.runtime.loading import compile_for_cpu, new_core
from optkit.runtime.planning import apply
from optkit.runtime.rewriting.sites import sites

openvino = import_openvino()
pytestmark = pytest.mark.usefixtures("extension")

#: Steps between 1 and 2 of the types that a hint may ask for.
STEPS = {"f16": 2**-10, "bf16": 2**-7}


def evaluated(program, kind: str, arrays: list[np.ndarray], mask_type: str) -> list[np.ndarray]:
    """What the op gives for inputs of an element type, by its own evaluation, which takes the CPU's plugin out."""
    model = op_model(program, value_type=kind, mask_type=mask_type)
    assert {port.get_element_type().to_string() for port in model.outputs} == {kind}
    fed = []
    for port, array in zip(model.inputs, arrays, strict=True):
        tensor = openvino.Tensor(port.get_element_type(), openvino.Shape(array.shape))
        if port.get_element_type() == openvino.Type.bf16:
            tensor.data.view(np.uint16)[...] = array.view(np.uint32) >> 16
        else:
            tensor.data[...] = array
        fed.append(tensor)
    results = [openvino.Tensor(port.get_element_type(), openvino.Shape([1, 1, 1])) for port in model.outputs]
    assert model.evaluate(results, fed)
    if kind == "bf16":
        return [(tensor.data.view(np.uint16).astype(np.uint32) << 16).view(np.float32) for tensor in results]
    return [tensor.data.astype(np.float32) for tensor in results]


def shortened(array: np.ndarray, kind: str) -> np.ndarray:
    """Numbers of ``array`` that the type holds exactly, as float32."""
    if array.dtype == bool or kind == "f32":
        return array
    if kind == "f16":
        return array.astype(np.float16).astype(np.float32)
    return (array.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def assert_close(compiled, model) -> None:
    """Up to a few steps of bfloat16, which CPUs without float16 may take for it."""
    reference = openvino.Core().compile_model(model, "CPU", CONFIG)
    for shape in ((1, 1), (3, 7), (2, 33)):
        found, wanted = compiled(inputs(*shape))[0], reference(inputs(*shape))[0]
        assert np.abs(found - wanted).max() < 4 * STEPS["bf16"] * np.abs(wanted).max()


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("mask_type", ["boolean", "f32", "same"])
def test_values_of_a_shorter_type_are_computed_in_float32(kind, mask_type):
    rng, (batch, length) = np.random.default_rng(5), (2, 9)
    program = encoder_layer(rng, every_value=True)
    mask = np.arange(length)[None, None, None] < np.array([length, 4])[:, None, None, None]
    if mask_type != "boolean":
        mask = np.where(mask, np.float32(0), np.float32(-65504.0))
    mask_type = kind if mask_type == "same" else mask_type
    arrays = [shortened(f32(rng, batch, length, 48), kind), shortened(mask, mask_type)]
    wanted = infer(compile_op(program, mask_type="boolean" if mask.dtype == bool else "f32"), arrays)
    found = evaluated(program, kind, arrays, mask_type)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=STEPS[kind], atol=1e-6)
        assert np.abs(other).max() > 0.1


def test_the_lowest_float16_in_a_mask_leaves_a_key_out():
    rng = np.random.default_rng(6)
    values = [shortened(f32(rng, 1, 5, 6), "f16") for _ in range(3)]
    mask = np.zeros((1, 1, 1, 5), np.float32)
    mask[..., 3] = -np.inf
    program = attention_program(2, 3, mask=True)
    found = evaluated(program, "f16", [*values, mask], "f16")[0]
    wanted = infer(compile_op(program), [*values, mask == 0])[0]
    np.testing.assert_allclose(found, wanted, rtol=STEPS["f16"], atol=1e-6)


@pytest.mark.parametrize("quantized", [True, False])
def test_a_graph_that_openvino_turned_into_float16_is_one(make_encoder, quantized):
    """The pass that the CPU plugin runs for the hint f16, on CPUs that compute in it."""
    from openvino.passes import ConvertFP32ToFP16, Manager

    model = make_encoder(quantized=quantized)
    rewritten, placed = apply(model, runtime.plan(model, "static", isa="avx2"))
    manager = Manager()
    manager.register_pass(ConvertFP32ToFP16())
    manager.run_passes(rewritten)
    (program,) = [node for node in rewritten.get_ops() if node.get_type_name() == "Program"]
    assert len(placed.programs) == 1
    assert program.get_output_element_type(0) == program.get_input_element_type(0) == openvino.Type.f16
    compiled = new_core().compile_model(rewritten, "CPU", CONFIG)
    assert programs(compiled) == 1
    assert_same(compiled, model)


@pytest.mark.parametrize("hint", ["f16", "bf16", "f32"])
@pytest.mark.parametrize("plan", ["static", "measured"])
def test_a_precision_hint_costs_no_more_than_its_rounding(make_encoder, hint, plan):
    if plan == "static":
        plan = runtime.plan(make_encoder(), "static", isa="avx2")
    compiled = runtime.compile_model(make_encoder(), {"INFERENCE_PRECISION_HINT": hint}, plan=plan, shape=(1, 16))
    assert_close(compiled, make_encoder())


def test_weights_that_are_stored_in_float16(make_encoder, tmp_path):
    model = make_encoder(quantized=False)
    openvino.save_model(model, tmp_path / "openvino_model.xml", compress_to_fp16=True)
    stored = read_model(tmp_path)
    assert any(op.get_output_element_type(0) == openvino.Type.f16 for op in stored.get_ops())
    assert [site.supported for site in sites(stored)] == [True, True, True]
    plan = runtime.plan(stored, "static", isa="avx2")
    assert len(plan.kernels) == 2
    for hint in ("f16", "f32"):
        assert_close(runtime.compile_model(stored, {"INFERENCE_PRECISION_HINT": hint}, plan=plan), model)
    baked = runtime.bake(tmp_path, tmp_path / "baked", plan=plan)
    assert_same(runtime.compile_model(baked.xml, CONFIG), model)


def test_a_whole_model_in_float16_stays_openvinos(make_encoder):
    from openvino.passes import ConvertFP32ToFP16, Manager

    model = make_encoder()
    manager = Manager()
    manager.register_pass(ConvertFP32ToFP16())
    manager.run_passes(model)
    plan = runtime.plan(model, "static", isa="avx2")
    assert plan.kernels == {} and "the activations are f16" in plan.layers[0].reason
    assert_same(runtime.compile_model(model, CONFIG, plan="static"), make_encoder())


class Recording:
    """A Core that keeps what its models' programs, and OpenVINO itself, were told of the precision."""

    def __init__(self, default: str):
        self.core, self.default, self.told, self.hints = openvino.Core(), getattr(openvino.Type, default), [], []

    def get_property(self, device: str, name: str):
        assert (device, name) == ("CPU", "INFERENCE_PRECISION_HINT")
        return self.default

    def compile_model(self, model, device: str, config: dict):
        self.told += precisions(model)
        self.hints.append(config.get("INFERENCE_PRECISION_HINT"))
        return self.core.compile_model(model, device, config)


def precisions(model) -> list[str]:
    return [n.get_attributes()["inference_precision"] for n in model.get_ops() if n.get_type_name() == "Program"]


@pytest.mark.parametrize(
    ("default", "config", "told"),
    [
        ("f32", {}, "f32"),
        ("bf16", {}, "bf16"),
        ("dynamic", {}, "f32"),
        ("bf16", {"INFERENCE_PRECISION_HINT": "f32"}, "f32"),
        ("f32", {"INFERENCE_PRECISION_HINT": "bf16"}, "bf16"),
        ("bf16", {"INFERENCE_PRECISION_HINT": "f16"}, "f32"),
        ("f32", {openvino.properties.hint.inference_precision: openvino.Type.bf16}, "bf16"),
        ("bf16", {openvino.properties.hint.execution_mode: openvino.properties.hint.ExecutionMode.ACCURACY}, "f32"),
        ("bf16", {"EXECUTION_MODE_HINT": "PERFORMANCE"}, "bf16"),
    ],
    ids=str,
)
def test_programs_are_told_the_precision_that_a_model_is_compiled_for(default, config, told, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    model = op_model(attention_program(2, 8, mask=False))
    core = Recording(default)
    compile_for_cpu(core, model, config)
    assert core.told == [told] and precisions(model) == ["f32"], "the caller's model was changed"
    # And told otherwise the next time.
    other = op_model(attention_program(2, 8, mask=False), precision="bf16")
    compile_for_cpu(core, other, config)
    assert core.told == [told] * 2 and precisions(other) == ["bf16"]


@pytest.mark.parametrize(
    ("limit", "flags", "config", "told"),
    [
        ("avx2_vnni", "avx2 avx512f", {}, "f32"),
        ("SSE41", "avx2 avx512f", {}, "f32"),
        ("AVX512_CORE_VNNI", "avx2 avx512f", {}, "bf16"),
        ("AVX2", "avx2", {}, "bf16"),
        ("AVX2", "avx2 avx512f", {openvino.properties.hint.inference_precision: openvino.Type.bf16}, "bf16"),
    ],
    ids=str,
)
def test_an_openvino_held_below_the_cpu_computes_in_float32(limit, flags, config, told, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"flags\t: {flags}\n")
    monkeypatch.setattr(cpu, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    core = Recording("bf16")
    compile_for_cpu(core, op_model(attention_program(2, 8, mask=False)), config)
    assert core.told == [told]
    if told == "f32":
        assert default_precision() == "f32" and core.hints == ["f32"]


def test_the_precision_is_saved_and_may_be_missing_in_an_old_ir(extension, tmp_path):
    xml = tmp_path / "model.xml"
    openvino.save_model(op_model(attention_program(2, 8, mask=False), precision="bf16"), xml)
    assert precisions(new_core().read_model(xml)) == ["bf16"]
    text = xml.read_text()
    assert text.count('<data inference_precision="bf16" />') == 1
    xml.write_text(text.replace('<data inference_precision="bf16" />', ""))
    assert precisions(new_core().read_model(xml)) == ["f32"]
    xml.write_text(text.replace('inference_precision="bf16"', 'inference_precision="f64"'))
    with pytest.raises(RuntimeError, match="inference_precision is f32 or bf16, not f64"):
        new_core().read_model(xml)
