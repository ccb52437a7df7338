"""Checkpoints, ONNX models, IRs and adapters from elsewhere through `optkit quantize`: zeros before and after."""

from __future__ import annotations

import json

import capabilities
import numpy as np
import pytest
from exported import load_ir
from safetensors.numpy import load_file, save_file

import optkit
from optkit.errors import OptkitError
from optkit.ir.io import import_openvino, read_model
from optkit.ir.layers import linear_layers
from optkit.ir.tags import LayerTag, Tags, read_tags, write_tags

pytestmark = pytest.mark.slow

TEXTS = [f"the soup of day {i} was fine" for i in range(12)]


def zeros_of(folder) -> dict[str, tuple[int, int]]:
    """(zeros, size) of each matrix of linear layers, counted without optkit."""
    found = load_file(folder / "model.safetensors")
    return {
        name: (int((array == 0).sum()), array.size)
        for name, array in found.items()
        if array.ndim == 2 and "embeddings" not in name
    }


def stored(folder):
    """The integers (out, in) of an IR's linear layers, by MatMul."""
    return {layer.matmul: layer.weight for layer in linear_layers(read_model(folder))}


def outputs(folder, texts=TEXTS[:3]):
    return load_ir(folder)(**token_ids(folder, texts)).logits.numpy()


def token_ids(folder, texts=TEXTS[:3]):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")


@pytest.fixture(scope="module")
def printed(torch_pruned, tiny_files, tmp_path_factory, optkit_cli):
    """The folder that `optkit quantize` made of what torch pruned, and what it printed."""
    folder = tmp_path_factory.mktemp("quantized") / "ir"
    done = optkit_cli("quantize", torch_pruned, "--data", tiny_files["train"], "--output", folder, "--json")
    assert done.code == 0, done.err
    return folder, json.loads(done.out)


def test_what_torch_pruned_is_as_sparse_in_the_ir_layer_by_layer(torch_pruned, printed):
    folder, said = printed
    before, weights = zeros_of(torch_pruned), load_file(torch_pruned / "model.safetensors")
    tags = {tag.parameter: tag for tag in read_tags(folder).layers}
    assert set(tags) == set(before) and len(before) == 14
    integers = stored(folder)
    for name, (zeros, size) in before.items():
        assert zeros == (0.75 * size if ".layer." in name else 0)
        assert tags[name].sparsity == round(zeros / size, 6)
        assert tags[name].structure == ("element" if zeros else "dense")
        weight = integers[tags[name].matmul]
        assert weight.dtype == "i8" and not weight.values[weights[name] == 0].any()
    assert said["structure"] == "12 of 14 linear layers are pruned, 75.00 % of their weights: single weights in 12"
    listed = {layer["parameter"]: layer["sparsity"] for layer in said["layers"]}
    assert listed == {name: tag.sparsity for name, tag in tags.items()}
    assert said["notes"][-1].startswith("precision: OpenVINO computes in ")
    assert (said["kind"], said["samples"], said["ov_class"]) == ("checkpoint", 96, "OVModelForSequenceClassification")

    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(torch_pruned)
    with torch.no_grad():
        expected = model(**token_ids(torch_pruned)).logits.numpy()
    assert np.abs(outputs(folder) - expected).max() < 0.1 * np.abs(expected).max()


def test_pickled_and_sharded_weights_give_the_same_ir(pruned, printed, tiny_files, tmp_path):
    import torch

    weights = {name: torch.from_numpy(array) for name, array in load_file(pruned / "model.safetensors").items()}
    (pruned / "model.safetensors").unlink()
    names = sorted(weights)
    files = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
    for file, part in files.items():
        torch.save({name: weights[name] for name in part}, pruned / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
    (pruned / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    result = optkit.quantize(pruned, data=tiny_files["train"], output=tmp_path / "bin")
    assert result.tags == read_tags(printed[0]) and result.samples == 96
    assert (result.output / "openvino_model.bin").read_bytes() == (printed[0] / "openvino_model.bin").read_bytes()


def test_a_recipe_without_prune_makes_the_same_ir(torch_pruned, printed, tiny_files, tmp_path, optkit_cli):
    files = f"{{train: {tiny_files['train']}, validation: {tiny_files['validation']}}}"
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"optkit: 1\nseed: 42\nmodel: {{name: {torch_pruned}}}\n"
        f"task: {{type: text-classification, text: sentence, max_length: 64, dataset: {{files: {files}}}}}\nquantize: {{}}\n"
    )
    done = optkit_cli("run", recipe, "--output", tmp_path / "run", "--stop-after", "export")
    assert done.code == 0, done.err
    assert f"  {printed[1]['structure']}\n" in done.err
    made = tmp_path / "run/openvino"
    assert (made / "openvino_model.bin").read_bytes() == (printed[0] / "openvino_model.bin").read_bytes()
    assert read_tags(made).layers == read_tags(printed[0]).layers


def test_what_the_task_leaves_out_may_be_pruned(pruned, tmp_path):
    weights = load_file(pruned / "model.safetensors")
    weights["bert.pooler.dense.weight"][:, ::2] = 0
    save_file(weights, pruned / "model.safetensors", metadata={"format": "pt"})
    result = optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir", task="feature-extraction")
    assert result.ov_class == "OVModelForFeatureExtraction" and result.samples == len(TEXTS)
    assert result.structure.startswith("12 of 12 linear layers are pruned, 75.00 %")
    assert {tag.parameter for tag in result.layers} == {name for name in zeros_of(pruned) if ".layer." in name}


def test_a_dense_model_is_told_that_it_is(sparseml_model, onnx_folder, tiny_files, tmp_path, optkit_cli):
    sparseml_model(onnx_folder, sparsity=0)
    done = optkit_cli("quantize", onnx_folder, "--data", tiny_files["test"], "--output", tmp_path / "ir")
    assert done.code == 0, done.err
    assert "the model is dense: quantizing only saves arithmetic, there are no zeros to skip" in done.out
    assert f"{tmp_path / 'ir'}: load it with OVModelForSequenceClassification" in done.out
    assert {tag.structure for tag in read_tags(tmp_path / "ir").layers} == {"dense"}


@pytest.mark.parametrize("names", ["biases", "modules"])
def test_floats_in_onnx_keep_their_zeros_and_get_their_names(sparseml_model, onnx_folder, tmp_path, names):
    weights = sparseml_model(onnx_folder, names=names, external=names == "modules")
    result = optkit.quantize(
        onnx_folder if names == "biases" else onnx_folder / "model.onnx", data=TEXTS, output=tmp_path / "ir"
    )
    assert result.kind == "onnx" and {tag.parameter for tag in result.layers} == set(weights)
    integers = stored(tmp_path / "ir")
    for tag in result.layers:
        weight, now = weights[tag.parameter], integers[tag.matmul]
        assert tag.shape == weight.shape and tag.sparsity == round(float((weight == 0).mean()), 6)
        assert now.dtype == "i8" and not now.values[weight == 0].any()
    feed = {name: values.numpy() for name, values in token_ids(onnx_folder).items() if name != "token_type_ids"}
    expected = import_openvino().Core().compile_model(onnx_folder / "model.onnx", "CPU")(feed)[0]
    assert np.abs(outputs(tmp_path / "ir") - expected).max() < 0.1 * np.abs(expected).max()


def test_int8_in_onnx_is_tagged_as_it_is(sparseml_model, onnx_folder, tmp_path, optkit_cli):
    weights = sparseml_model(onnx_folder, "qdq")
    done = optkit_cli("quantize", onnx_folder, "--output", tmp_path / "ir", "--json")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["samples"] == 0 and "int8 already" in printed["notes"][0]
    integers = stored(tmp_path / "ir")
    for tag in read_tags(tmp_path / "ir").layers:
        weight, now = weights[tag.parameter], integers[tag.matmul]
        assert np.array_equal(now.values, weight)
        if ".layer." in tag.parameter:
            assert now.dtype == "i8" and tag.int8_sparsity == tag.sparsity == round(float((weight == 0).mean()), 6)
            assert tag.structure == "element"
    kinds = [node.get_type_name() for node in read_model(tmp_path / "ir").get_ordered_ops()]
    assert kinds.count("FakeQuantize") == 2  # each pair became one
    core, ids = import_openvino().Core(), np.arange(10, 22).reshape(2, 6)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    expected = core.compile_model(onnx_folder / "model.onnx", "CPU", exact)(feed)[0]
    found = core.compile_model(tmp_path / "ir/openvino_model.xml", "CPU", exact)(feed)["logits"]
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("tagged", [False, True])
def test_an_fp32_ir_keeps_zeros_names_and_what_its_tags_say(make_encoder, onnx_folder, tmp_path, tagged):
    model = make_encoder(quantized=False)
    before = {layer.matmul: layer.weight.values.copy() for layer in linear_layers(model)}
    up = "__module.encoder.layer.0.up/aten::linear/MatMul"
    if tagged:
        tag = LayerTag(up, "bert.up.weight", before[up].shape, "2x4", 0.5, 0.5, original_shape=(300, 64))
        write_tags(model, Tags((tag,), 1.0, removed=(("bert.gone.weight", (64, 64)),)))
    else:
        model.reshape({port: [1, 16] for port in model.inputs})  # made for one size
    xml = onnx_folder / "openvino_model.xml"
    import_openvino().save_model(model, xml, compress_to_fp16=not tagged)
    result = optkit.quantize(onnx_folder if tagged else xml, data=TEXTS, output=tmp_path / "ir")
    assert result.kind == "ir"
    tags, integers = {tag.matmul: tag for tag in result.layers}, stored(tmp_path / "ir")
    assert set(tags) == set(before)
    for name, weight in before.items():
        assert tags[name].sparsity == round(float((weight == 0).mean()), 6)
        assert integers[name].dtype == "i8" and not integers[name].values[weight == 0].any()
    assert tags[up].parameter == ("bert.up.weight" if tagged else "encoder.layer.0.up.weight")
    assert tags[up].structure == "element" and tags[up].original_shape == ((300, 64) if tagged else None)
    assert result.tags.removed == ((("bert.gone.weight", (64, 64)),) if tagged else ())
    assert outputs(tmp_path / "ir").shape == (3, 2)


def test_an_adapter_is_merged_and_the_zeros_that_it_fills_are_told(torch_pruned, tmp_path):
    peft = capabilities.package("peft")
    from transformers import AutoModelForSequenceClassification

    base = AutoModelForSequenceClassification.from_pretrained(torch_pruned)
    base.config._name_or_path = base.name_or_path = str(torch_pruned)
    lora = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"], r=2, init_lora_weights=False)
    peft.get_peft_model(base, lora).save_pretrained(tmp_path / "adapter")
    result = optkit.quantize(tmp_path / "adapter", data=TEXTS, output=tmp_path / "ir")
    lost = 2 * (3 * 32 * 32 // 4)
    total = sum(zeros for zeros, _ in zeros_of(torch_pruned).values())
    assert result.notes[1].startswith(f"merging filled {lost:,} of the base model's {total:,} zeros")
    assert [tag.structure for tag in result.layers if "query" in tag.parameter] == ["dense"] * 2
    assert result.structure.startswith("10 of 14 linear layers are pruned, 75.00 %")


def test_nothing_is_left_where_it_fails(sparseml_model, onnx_folder, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise OptkitError("the disk is full")

    monkeypatch.setattr("optkit.export.openvino.save_model", broken)
    (tmp_path / "work").mkdir()
    sparseml_model(onnx_folder)
    with pytest.raises(OptkitError, match="the disk is full"):
        optkit.quantize(onnx_folder, data=TEXTS, output=tmp_path / "work/ir")
    assert list((tmp_path / "work").iterdir()) == []
