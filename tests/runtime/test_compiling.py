"""compile_model and load: the same results as plain OpenVINO, whatever is handed in, with and without the extension."""

from __future__ import annotations

import re
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from capabilities import need

from optkit import runtime
from optkit.adapters import optimum
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, read_model
from optkit.runtime import compiling
from optkit.runtime import extension as library
from optkit.runtime.planning.decompression import RATE

CONFIG = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPTKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def missing(monkeypatch, tmp_path):
    """As if optkit had been installed without the extension, in a new process."""
    monkeypatch.setattr(library, "FOLDER", tmp_path / "nowhere")
    monkeypatch.setattr(compiling, "_warned", threading.Event())
    compiling._core.cache_clear()
    yield
    compiling._core.cache_clear()


def inputs(batch: int, length: int) -> list[np.ndarray]:
    rng = np.random.default_rng(batch * length)
    mask = np.ones((batch, length), np.int64)
    mask[:, length // 2 + 1 :] = 0
    return [rng.integers(0, 200, (batch, length)), mask]


def plain(model) -> object:
    return import_openvino().Core().compile_model(model, "CPU", CONFIG)


def programs(compiled) -> int:
    """How many of our operations a compiled model runs."""
    names = [op.get_friendly_name() for op in compiled.get_runtime_model().get_ordered_ops()]
    return sum(re.fullmatch(r"Program_\d+", name) is not None for name in names)


def assert_same(compiled, model) -> None:
    reference = plain(model)
    for shape in ((1, 1), (1, 16), (3, 7), (2, 33)):
        found, wanted = compiled(inputs(*shape))[0], reference(inputs(*shape))[0]
        # An activation at a tie may become the next of 255 steps, which moves a logit by about a hundredth.
        np.testing.assert_allclose(found, wanted, atol=0.05)
        assert np.abs(wanted).max() > 0.5


@pytest.mark.parametrize("quantized", [True, False])
def test_a_model_computes_the_same_and_stays_as_it_was(extension, make_encoder, quantized):
    model = make_encoder(quantized=quantized)
    before = [op.get_type_name() for op in model.get_ordered_ops()]
    compiled = runtime.compile_model(model, CONFIG, plan="static")
    assert programs(compiled) >= 1
    assert_same(compiled, make_encoder(quantized=quantized))
    assert [op.get_type_name() for op in model.get_ordered_ops()] == before


@pytest.mark.parametrize("kind", [str, Path, "xml"])
def test_a_folder_or_an_xml_is_read(extension, encoder_folder, kind):
    path = encoder_folder / "openvino_model.xml" if kind == "xml" else kind(encoder_folder)
    compiled = runtime.compile_model(path, CONFIG, plan="static")
    assert programs(compiled) >= 1
    assert_same(compiled, read_model(encoder_folder))


def test_measured_is_the_default_and_computes_the_same(extension, make_encoder):
    assert_same(runtime.compile_model(make_encoder(), CONFIG, shape=(1, 16)), make_encoder())
    # Again, from the plan that was kept.
    assert_same(runtime.compile_model(make_encoder(), CONFIG, shape=(1, 16)), make_encoder())


def test_a_plan_is_followed(extension, make_encoder):
    plan = runtime.plan(make_encoder(), "static")
    up, down, head = plan.layers
    only = runtime.Plan.from_json(plan.to_json().replace('"name": "block4"', '"name": "element"', 1))
    assert [layer.kernel.name if layer.kernel else None for layer in only.layers] == ["element", "block4", None]
    assert_same(runtime.compile_model(make_encoder(), CONFIG, plan=only), make_encoder())
    nothing = runtime.plan(make_encoder(density=1.0), "static", isa="scalar")
    assert programs(runtime.compile_model(make_encoder(), CONFIG, plan=nothing)) == 0


def test_activations_quantized_as_they_come(extension, make_encoder):
    model = make_encoder(quantized=False, density=1.0)
    plan = runtime.plan(model, "static", isa="avx2", dynamic=True)
    compiled = runtime.compile_model(model, CONFIG, plan=plan)
    assert programs(compiled) >= 1
    wanted = plain(model)(inputs(2, 16))[0]
    difference = np.abs(compiled(inputs(2, 16))[0] - wanted).max() / np.abs(wanted).max()
    assert 1e-5 < difference < 0.02  # of 8 bits


def test_a_core_and_a_configuration_of_ones_own(extension, make_encoder):
    core = import_openvino().Core()
    config = CONFIG | {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2}
    compiled = runtime.compile_model(make_encoder(), config, plan="static", core=core)
    assert compiled.get_property("NUM_STREAMS") == 2
    queue = import_openvino().AsyncInferQueue(compiled, 4)
    results = {}
    queue.set_callback(lambda request, number: results.update({number: request.get_output_tensor().data.copy()}))
    for number in range(12):
        queue.start_async(inputs(1, 5 + number % 3), number)
    queue.wait_all()
    for number, found in results.items():
        np.testing.assert_array_equal(found, compiled(inputs(1, 5 + number % 3))[0])
    assert len(results) == 12


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"device": "GPU"}, "the sparse runtime is for the device CPU, not GPU"),
        ({"plan": "fast"}, "unknown plan 'fast': one of static, measured"),
        ({"config": {"NO_SUCH": 1}}, "OpenVINO cannot compile the model: "),
        ({"config": {"NO_SUCH": 1}, "plan": "static"}, "OpenVINO cannot compile the model: "),
    ],
)
def test_bad_arguments_are_a_line(extension, make_encoder, arguments, said):
    with pytest.raises(OptkitError) as error:
        runtime.compile_model(make_encoder(), **arguments)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_a_plan_of_another_model_is_refused(extension, make_encoder, save_ir, tmp_path):
    plan = runtime.plan(make_encoder(), "static")
    weight = np.eye(64, dtype=np.float32)
    other = save_ir(tmp_path / "other", {"a": weight})
    with pytest.raises(OptkitError, match=r"^the plan is for another model: this one has no MatMul __module\.encoder"):
        runtime.compile_model(other, plan=plan)
    taller = save_ir(tmp_path / "taller", {"encoder.layer.0.up": weight, "encoder.layer.0.down": weight})
    with pytest.raises(OptkitError, match="has 64 outputs here, 256 there: plan again"):
        runtime.compile_model(taller, plan=plan)


def test_what_is_no_ir_is_a_line(tmp_path):
    with pytest.raises(OptkitError, match="no OpenVINO IR here"):
        runtime.compile_model(tmp_path)


@pytest.mark.parametrize(
    ("amx", "config", "warned"),
    [
        (True, {RATE: 0.8}, True),
        (True, {RATE: "0.8"}, True),
        (True, {RATE: 0.95}, False),  # the layer has fewer zeros
        (True, {RATE: 1.0}, False),
        (True, {}, False),
        (False, {RATE: 0.8}, False),
    ],
)
def test_a_property_that_breaks_a_layer_gets_one_warning(save_ir, tmp_path, monkeypatch, amx, config, warned):
    weight = np.zeros((64, 64), np.int8)
    weight[:, ::10] = 1
    folder = save_ir(tmp_path / "square", {"a.square": weight, "a.wide": np.zeros((128, 64), np.int8)})
    monkeypatch.setattr(compiling, "has_amx", lambda: amx)
    # Only what is said of it matters: it is not compiled so.
    monkeypatch.setattr(compiling, "compile_for_cpu", lambda core, model, config: None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runtime.compile_model(folder, config, plan="static")
    said = [str(each.message) for each in caught if RATE in str(each.message)]
    assert len(said) == warned
    if warned:
        assert said[0].startswith(f"{RATE}=0.8: OpenVINO computes __module.a.square/aten::linear/MatMul wrongly so")


def test_without_the_extension_everything_runs_in_openvino_with_one_warning(missing, make_encoder, encoder_folder):
    with pytest.warns(RuntimeWarning) as caught:
        compiled = runtime.compile_model(make_encoder(), CONFIG)
        runtime.compile_model(encoder_folder, CONFIG, plan="static")
        if optimum.missing() is None:
            runtime.load(encoder_folder)
    said = [str(each.message) for each in caught if "sparse runtime" in str(each.message)]
    assert said == [f"no sparse runtime, the model runs in plain OpenVINO: {runtime.missing_reason()}"]
    assert_same(compiled, make_encoder())


def test_a_plan_and_what_is_fused_are_explained(extension, make_encoder):
    plan, rewrite = runtime.explain(make_encoder(), "static")
    assert list(plan.kernels) == [layer for program in rewrite.programs for layer in program.layers]
    fused = {layer: what for program in rewrite.programs for layer, what in program.fused.items()}
    assert "gelu_erf" in fused["__module.encoder.layer.0.up/aten::linear/MatMul"]
    nothing, empty = runtime.explain(make_encoder(density=1.0), "static", isa="scalar")
    assert nothing.kernels == {} and empty.programs == ()


# optimum-intel


def test_a_pipeline_runs_on_the_sparse_runtime(extension, encoder_folder, tmp_path):
    need("optimum-intel")
    from optimum.intel import OVModelForSequenceClassification
    from transformers import AutoTokenizer, pipeline

    plan = runtime.plan(encoder_folder, "static", isa="avx2")
    model = runtime.load(encoder_folder, plan=plan, ov_config=CONFIG)
    assert isinstance(model, OVModelForSequenceClassification) and programs(model.request) >= 1
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    texts = ["the soup was lovely .", "poor", "the letter of day 3 was awful ."]
    scores = pipeline("text-classification", model=model, tokenizer=tokenizer)(texts)
    reference = OVModelForSequenceClassification.from_pretrained(encoder_folder, ov_config=CONFIG)
    wanted = pipeline("text-classification", model=reference, tokenizer=tokenizer)(texts)
    assert [each["label"] for each in scores] == [each["label"] for each in wanted]
    assert [each["score"] for each in scores] == pytest.approx([each["score"] for each in wanted], abs=0.02)
    # What is saved is the portable IR; a model of another shape is compiled anew, and for the runtime again.
    model.save_pretrained(tmp_path / "saved")
    assert_same(plain(read_model(tmp_path / "saved")), read_model(encoder_folder))
    model.reshape(1, 8)
    model.compile()
    assert programs(model.request) >= 1
    assert model(**dict(zip(("input_ids", "attention_mask"), inputs(1, 8)))).logits.shape == (1, 2)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "no config.json here, which optimum-intel needs"),
        ("{", "config.json: not JSON: "),
        ("[]", "names no architecture: say which class to load with ov_class='OVModelFor...'"),
        ('{"architectures": ["BertForPreTraining"]}', "names 'BertForPreTraining': say which class"),
    ],
)
def test_a_folder_whose_class_cannot_be_told(encoder_folder, tmp_path, config, said):
    for file in encoder_folder.glob("openvino_model.*"):
        (tmp_path / file.name).symlink_to(file)
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(OptkitError) as error:
        runtime.load(tmp_path)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_class_that_does_not_exist(encoder_folder):
    need("optimum-intel")
    with pytest.raises(OptkitError, match="optimum-intel has no class OVModelForMagic"):
        runtime.load(encoder_folder, ov_class="OVModelForMagic")


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("BertForSequenceClassification", "OVModelForSequenceClassification"),
        ("RobertaForTokenClassification", "OVModelForTokenClassification"),
        ("ElectraForQuestionAnswering", "OVModelForQuestionAnswering"),
        ("BertForMaskedLM", "OVModelForMaskedLM"),
        ("ViTForImageClassification", "OVModelForImageClassification"),
        ("BertModel", "OVModelForFeatureExtraction"),
    ],
)
def test_the_class_is_told_from_the_architecture(tmp_path, architecture, name):
    from optkit.adapters.optimum import class_for

    (tmp_path / "config.json").write_text(f'{{"architectures": ["{architecture}"]}}')
    assert class_for(tmp_path) == name


def test_names_are_imported_on_first_use():
    assert callable(runtime.bake) and runtime.Kernel("block4").columns == 4
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = runtime.nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sorted(runtime.__all__) == runtime.__all__
