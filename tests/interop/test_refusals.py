"""What cannot be quantized: one clear line each, before anything is converted; nothing run, nothing left behind."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from pickles import Bomb
from safetensors.numpy import load_file, save_file

import optkit
from optkit.errors import OptkitError
from optkit.interop.calibration import draw
from optkit.ir.io import import_openvino

TEXTS = ["the soup was fine", "the song was poor"]


@pytest.fixture
def refused(tmp_path):
    """The message with which a model is refused, its folder cut off."""

    def message(model, **options):
        options = {"data": TEXTS, "output": tmp_path / "out" / "ir"} | options
        with pytest.raises(OptkitError) as caught:
            optkit.quantize(model, **options)
        said = str(caught.value)
        assert "\n" not in said and len(said) < 400
        assert not options["output"].is_relative_to(tmp_path / "out") or not any((tmp_path / "out").iterdir())
        return said.replace(str(tmp_path), "")

    (tmp_path / "out").mkdir()
    return message


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"num_hidden_layers": 1}, "16 have no place in it, first bert.encoder.layer.1."),
        ({"num_hidden_layers": 3}, "16 are missing, first bert.encoder.layer.2."),
        ({"intermediate_size": 48}, "bert.encoder.layer.0.intermediate.dense.bias is 64 and should be 48"),
        (
            {"model_type": "distilbert", "architectures": ["DistilBertForSequenceClassification"]},
            "and bert.encoder.layer.0.attention.output.LayerNorm.bias has no place",
        ),
        ({"pruned_heads": {"0": [1]}}, "attention heads were taken out of it (pruned_heads)"),
        ({"model_type": "unheard_of"}, "its config.json cannot be read"),
    ],
)
def test_a_config_of_another_model(pruned, refused, values, expected):
    change(pruned, **values)
    assert expected in refused(pruned)


def test_a_head_that_is_not_there(pruned, refused):
    assert "of the BertForMaskedLM that config.json describes: 6 are missing" in refused(pruned, task="fill-mask")
    assert "task 'fill-masks' is not calibrated with texts, did you mean 'fill-mask'?" in refused(
        pruned, task="fill-masks"
    )
    change(pruned, architectures=None)
    assert "names no architecture" in refused(pruned)


@pytest.mark.parametrize("name", ["bert.encoder.layer.1.output.dense.weight", "classifier.bias"])
def test_numbers_that_are_none(pruned, refused, name):
    weights = load_file(pruned / "model.safetensors")
    weights[name].flat[:2] = [np.nan, np.inf]
    save_file(weights, pruned / "model.safetensors")
    assert refused(pruned).startswith(f"/pruned: {name}: 2 of {weights[name].size} weights are NaN or infinite")


def test_pickles_run_nothing(pruned, refused, tmp_path):
    import torch

    weights = {name: torch.from_numpy(array) for name, array in load_file(pruned / "model.safetensors").items()}
    (pruned / "model.safetensors").unlink()
    file = pruned / "pytorch_model.bin"
    torch.save(weights | {"extra": Bomb(tmp_path / "ran")}, file)
    assert "pytorch_model.bin: asks for posix.mkdir, which may be code: nothing of it was run" in refused(pruned)
    assert not (tmp_path / "ran").exists()
    torch.save(weights, file)
    file.write_bytes(file.read_bytes()[:-1000])
    assert "/pruned/pytorch_model.bin: damaged or only half written" in refused(pruned)
    torch.save(list(weights.values()), file)
    assert "pytorch_model.bin: no plain state dict" in refused(pruned)


def test_setup_that_is_missing(pruned, refused):
    for file in pruned.glob("tokenizer*"):
        file.unlink()
    assert (
        refused(pruned) == "/pruned: no tokenizer here: copy tokenizer.json and tokenizer_config.json beside the model"
    )
    (pruned / "config.json").unlink()
    assert refused(pruned).startswith("/pruned: no config.json here")


def test_models_that_are_none(refused, tmp_path, pruned):
    (tmp_path / "empty").mkdir()
    assert refused(tmp_path / "empty").startswith("/empty: no model in this folder, none of model.safetensors")
    assert "give the folder of the model" in refused(pruned / "model.safetensors")
    assert refused(tmp_path / "nowhere").startswith(
        "model: no folder /nowhere: give the folder of a model, an .onnx or .xml"
    )
    assert refused(tmp_path / "nowhere.onnx").startswith("/nowhere.onnx: no such file: give the folder of a model")
    run = tmp_path / "run"
    (run).mkdir()
    pruned.rename(run / "pruned")
    assert refused(run).startswith("/run: a run folder: give its checkpoint, /run/pruned")


def test_arguments(pruned, refused, tmp_path, optkit_cli):
    assert refused(pruned, data=None).startswith("data: the ranges of int8 activations come from texts")
    assert "unknown quantization weight range 'avx9'" in refused(pruned, weight_range="avx9")
    assert "there is something already" in refused(pruned, output=pruned)
    assert "samples is at least 1" in refused(pruned, samples=0)
    assert refused(pruned, output=Path("/proc/int8")) == "/proc: No such file or directory: choose another output="
    done = optkit_cli("quantize", pruned, "--output", tmp_path / "ir")
    assert done.code == 2 and done.err.splitlines()[-1].endswith("give a file or a dataset with --data")


def test_calibration_data(pruned, refused, tmp_path, tiny_files):
    def of(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    train = tiny_files["train"]
    said = refused(pruned, data=train, text=["sentense"])
    assert said.endswith("no column 'sentense', did you mean 'sentence'?: the columns are sentence, label")
    assert "column 'label' holds int64, not text" in refused(pruned, data=train, text=["label"])
    two = of("two.csv", "a,b\nx,y\n")
    assert refused(pruned, data=two) == "/two.csv: 2 columns of texts, a, b: say which to read with text="
    assert "/n.csv: no texts, only a" in refused(pruned, data=of("n.csv", "a\n1\n"))
    assert refused(pruned, data=of("e.tsv", "a\tb\nx\t1\n \t2\n"), text=["a"]) == "data: row 2 holds no text: remove it"
    assert "no rows" in refused(pruned, data=of("none.txt", "\n"))
    assert "no such file" in refused(pruned, data=tmp_path / "gone.csv")
    assert "unknown file type '.xls'" in refused(pruned, data=of("a.xls", "x"))
    assert "3 columns" in refused(pruned, data=two, text=["a", "b", "a"])
    assert "pairs of texts as tuples" in refused(pruned, data=["one", ("two", "three")])
    assert "HF_HUB_OFFLINE is set): give a file of texts instead" in refused(pruned, data="glue:sst2")


def test_texts_and_pairs_are_cut_and_drawn(pruned, tiny_files):
    options = {"setup": pruned, "max_length": 9, "seed": 1}
    rows = draw(tiny_files["train"], [], samples=5, **options)
    assert len(rows) == 5 and {len(row["input_ids"]) for row in rows} == {9}
    assert rows == draw(tiny_files["train"], ["sentence"], samples=5, **options)
    assert rows != draw(tiny_files["train"], [], samples=5, **options | {"seed": 2})
    [pair] = draw([("the soup", "the song")], [], samples=5, **options)
    assert sorted(set(pair["token_type_ids"])) == [0, 1]
    long = " ".join(["soup"] * 200)
    assert [len(row["input_ids"]) for row in draw([long], [], samples=1, **options | {"max_length": 500})] == [64]


def test_texts_of_a_dataset(pruned, monkeypatch):
    import datasets

    parts = {"test": ["soup"], "train": ["the soup was fine", "the song was poor"]}
    found = {
        name: datasets.Dataset.from_dict({"sentence": texts, "idx": range(len(texts))}) for name, texts in parts.items()
    }
    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **_: asked.append(given) or found)
    rows = draw("glue:sst2", [], setup=pruned, samples=9, max_length=16, seed=0)
    assert len(rows) == 2 and asked == [("glue", "sst2")]


def test_onnx_models(sparseml_model, onnx_folder, refused):
    import onnx
    from onnx import helper, numpy_helper

    file = onnx_folder / "model.onnx"
    sparseml_model(onnx_folder, external=True)
    (onnx_folder / "model.data").unlink()
    assert (
        refused(file)
        == "/onnx/model.onnx: its weights lie in model.data, which is missing or too short: copy both files again"
    )
    sparseml_model(onnx_folder)
    whole = onnx.load(file)

    def changed(change):
        model = onnx.ModelProto.FromString(whole.SerializeToString())
        change(model.graph)
        onnx.save(model, file)
        return refused(onnx_folder)

    def telepathy(graph):
        graph.node[-1].output[0] = "sent"
        graph.node.append(helper.make_node("Telepathy", ["sent"], ["logits"], domain="elsewhere"))

    assert "OpenVINO does not know its operations elsewhere.Telepathy: export the model without them" in changed(
        telepathy
    )

    def nan(graph):
        weight = next(i for i in graph.initializer if i.name.startswith("onnx::MatMul"))
        array = numpy_helper.to_array(weight).copy()
        array[0, 0] = np.nan
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    assert "bert.encoder.layer.0.intermediate.dense.weight: 1 of 2048 weights are NaN" in changed(nan)

    def fixed(graph):
        graph.node[0].output[0] = "looked_up"
        graph.node.insert(1, helper.make_node("Reshape", ["looked_up", "sizes"], ["hidden"]))
        graph.initializer.append(numpy_helper.from_array(np.array([1, 6, 32]), "sizes"))

    assert "its graph is made for one size of input: export it again with dynamic axes" in changed(fixed)

    def without_shape(graph):
        graph.input[0].type.tensor_type.ClearField("shape")

    assert "its inputs have the shapes [...]" in changed(without_shape)

    def another_output(graph):
        graph.output.append(helper.make_tensor_value_info("pooled", 1, ["b", 32]))
        graph.output[0].name = graph.node[-1].output[0] = "scores"

    assert "its outputs are scores, pooled, and a model for text-classification gives logits" in changed(another_output)
    for form, expected in (("integer", "(MatMulInteger) make no int8 IR"), ("unfolded", "its weights are floats")):
        sparseml_model(onnx_folder, form)
        assert expected in refused(onnx_folder)
    file.write_bytes(b"not protobuf, surely")
    assert refused(onnx_folder).startswith("/onnx/model.onnx: not an ONNX model that can be read")


def test_irs(make_encoder, onnx_folder, refused):
    xml = onnx_folder / "openvino_model.xml"
    import_openvino().save_model(make_encoder(), xml)
    assert refused(onnx_folder).endswith(
        ".xml: int8 already: use it as it is, or give the fp32 model that it was made from"
    )
    xml.write_text(xml.read_text().replace("<layer ", '<layer version="optkit" ', 1))
    assert "baked" in refused(xml)
    xml.with_suffix(".bin").unlink()
    xml.write_text("<net/>")
    assert "its weights openvino_model.bin are missing" in refused(onnx_folder)


def test_adapters(tmp_path, refused, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert refused(adapter).endswith("does not name its base model: copy the whole adapter again")
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base", "task_type": "SEQ_CLS"}')
    assert "no adapter_model.safetensors here" in refused(adapter)
    save_file({"a": np.zeros(1, np.float32)}, adapter / "adapter_model.safetensors")
    if importlib.util.find_spec("peft") is not None:
        odd = '{"base_model_name_or_path": "org/base", "task_type": ["SEQ_CLS"]}'
        (adapter / "adapter_config.json").write_text(odd)
        assert "an adapter for ['SEQ_CLS'], which is not merged here" in refused(adapter)
        (adapter / "adapter_config.json").write_text(odd.replace('["SEQ_CLS"]', '"SEQ_CLS"'))
    monkeypatch.setitem(sys.modules, "peft", None)
    said = refused(adapter)
    assert said.startswith(
        "/adapter: an adapter of org/base, not a model: install optkit[peft], or merge it: PeftModel.from"
    )
