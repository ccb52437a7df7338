"""config.json of a model from elsewhere: odd class names mended or refused, the architecture named for who loads it."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.numpy import load_file, save_file

import optkit
from optkit import runtime
from optkit.adapters import optimum
from optkit.errors import OptkitError

pytestmark = pytest.mark.slow

TEXTS = [f"the soup of day {i} was fine" for i in range(8)]


def change(folder, **values):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def config_notes(result):
    return [note for note in result.notes if note.startswith("config.json: ")]


def said(folder):
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize(
    ("values", "note"),
    [
        ({"id2label": {"1": "bad", "2": "good"}, "label2id": {"bad": 1, "good": 2}}, "id2label counts from 1"),
        ({"id2label": {"bad": 0, "good": 1}, "label2id": {"0": "bad", "1": "good"}}, "the other way round"),
    ],
)
def test_names_that_are_odd_are_written_right(pruned, tmp_path, values, note):
    change(pruned, **values)
    result = optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir")
    assert [note in line for line in config_notes(result)] == [True]
    assert said(tmp_path / "ir")["id2label"] == {"0": "bad", "1": "good"}
    from transformers import AutoConfig

    assert AutoConfig.from_pretrained(tmp_path / "ir").label2id == {"bad": 0, "good": 1}
    assert said(pruned)["id2label"] == values["id2label"]  # the model itself stays as it is


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"id2label": {"0": "O", "1": "O"}}, "id2label gives two outputs the name 'O'"),
        ({"id2label": {"0": None, "1": "b"}}, "id2label has None where the name of a class should be"),
        ({"id2label": {"0": "a", "1": "b", "2": "c"}}, "id2label names 3 outputs, and classifier.weight has 2"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 1, "b": 0}}, "contradict each other"),
        ({"auto_map": {"AutoConfig": "own.Own"}, "model_type": "own"}, "runs its own code, which is not done here"),
    ],
)
def test_what_cannot_be_told_is_refused(pruned, tmp_path, values, expected):
    change(pruned, **{"label2id": None, **values})
    with pytest.raises(OptkitError) as raised:
        optkit.quantize(pruned, data=TEXTS, output=tmp_path / "out/ir")
    message = str(raised.value)
    assert message.startswith(str(pruned)) and expected in message and "\n" not in message
    assert not any((tmp_path / "out").iterdir())


def test_names_of_an_onnx_model_are_counted(sparseml_model, onnx_folder, tmp_path):
    sparseml_model(onnx_folder)
    change(onnx_folder, id2label={"0": "a", "1": "b", "2": "c"}, label2id={})
    with pytest.raises(OptkitError, match="id2label names 3 outputs, and the model has 2: name each"):
        optkit.quantize(onnx_folder, data=TEXTS, output=tmp_path / "ir")


def test_names_without_use_are_in_nobodys_way(pruned, tmp_path):
    change(pruned, id2label={"0": "O", "1": "O"}, label2id=[])
    result = optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir", task="feature-extraction")
    assert config_notes(result) == [] and "id2label" not in said(tmp_path / "ir")


def test_a_task_that_was_named_is_what_loads_the_result(pruned, tmp_path):
    change(pruned, architectures=None)
    optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir", task="text-classification")
    assert said(tmp_path / "ir")["architectures"] == ["BertForSequenceClassification"]
    assert optimum.class_for(tmp_path / "ir") == "OVModelForSequenceClassification"
    if optimum.missing() is None:
        assert type(runtime.load(tmp_path / "ir")).__name__ == "OVModelForSequenceClassification"
    change(pruned, architectures=["BertForSequenceClassification"])
    optkit.quantize(pruned, data=TEXTS, output=tmp_path / "bare", task="feature-extraction")
    assert optimum.class_for(tmp_path / "bare") == "OVModelForFeatureExtraction"


@pytest.mark.parametrize(
    "architecture",
    ["BertLMHeadModel", "GPT2DoubleHeadsModel", "XLMWithLMHeadModel", "AutoModel", "EncoderDecoderModel"],
)
def test_what_ends_in_model_and_has_a_head_is_no_encoder(pruned, tmp_path, architecture, optkit_cli):
    change(pruned, architectures=[architecture])
    with pytest.raises(OptkitError) as raised:
        optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir")
    way_out = ", one of text-classification, token-classification, question-answering, feature-extraction, fill-mask"
    assert str(raised.value) == f"{pruned}/config.json: names '{architecture}': say what it is for with task={way_out}"
    printed = optkit_cli("quantize", pruned, "--output", tmp_path / "ir")
    assert printed.err.splitlines()[-1].endswith(f"say what it is for with --task{way_out}")
    with pytest.raises(OptkitError, match="ov_class='OVModelFor...'"):
        optimum.class_for(pruned)


def test_a_bare_encoder_has_no_head_for_a_task(pruned, tmp_path):
    from transformers import BertModel

    folder = shutil.copytree(pruned, tmp_path / "encoder")
    BertModel.from_pretrained(pruned).save_pretrained(folder)
    for task in ("text-classification", "token-classification", "question-answering", "fill-mask"):
        with pytest.raises(OptkitError, match="are missing, first "):
            optkit.quantize(folder, data=TEXTS, output=tmp_path / "ir", task=task)


def test_outputs_without_names_are_numbered(pruned, tmp_path):
    weights = load_file(pruned / "model.safetensors")
    weights |= {name: weights[name].repeat(2, axis=0) for name in ("classifier.weight", "classifier.bias")}
    save_file(weights, pruned / "model.safetensors", metadata={"format": "pt"})
    change(pruned, id2label=None, label2id=None)
    result = optkit.quantize(pruned, data=TEXTS, output=tmp_path / "ir")
    assert "its head has 4 outputs: they are numbered" in config_notes(result)[0]
    assert list(said(tmp_path / "ir")["id2label"].values()) == ["LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3"]
