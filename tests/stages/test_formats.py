"""Runs that write every format: each from the same checkpoint, each scored, and one shape where that is asked for."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from capabilities import need
from split_scores import split_scores
from transformers import AutoModelForSequenceClassification

import optkit
from optkit.errors import PlanError
from optkit.export.sparse_folder import read_sparse
from optkit.ir.io import read_model
from optkit.ir.tags import read_tags
from optkit.recipe import load_recipe

pytestmark = pytest.mark.slow

FORMATS = ("export.formats=[openvino, onnx, sparse, tvm]", "export.tokenizer=true", "export.shapes={batch: 2, seq: 32}")


@pytest.fixture(scope="module")
def run(tmp_path_factory, files_recipe, optkit_cli):
    """``files_recipe`` with every format, one shape and the runtime measured."""
    need("onnx", "onnxscript", "onnxruntime", "tokenizers", "tvm")
    folder = tmp_path_factory.mktemp("formats") / "run"
    more = (
        "prune.0.structure=1x4",
        "train.num_train_epochs=1",
        "prune.0.schedule={to: 0.8, begin: 0, end: 4, every: 2}",
    )
    more += (
        "evaluate.baseline=none",
        "benchmark={batch: 2, seq: 32, backends: [openvino, tvm, optkit]}",
        "quantize.calibration.samples=8",
    )
    sets = [part for text in (*FORMATS, *more) for part in ("--set", text)]
    done = optkit_cli("run", files_recipe, "--output", folder, "--json", *sets)
    assert done.code == 0, done.err
    return folder, json.loads(done.out)


def test_each_format_is_written_scored_and_told(run):
    folder, report = run
    found = split_scores(report)
    assert {"pruned", "int8", "int8 onnx"} <= set(found) and "accuracy" in found["int8 onnx"]
    assert set(report["bytes"]) == {"pruned", "openvino", "onnx", "sparse", "tvm"}
    assert set(report["sparsity"]) == {"pruned", "openvino", "onnx"}
    shares = {name: of["denominators"]["encoder_linear"]["zeros"] for name, of in report["sparsity"].items()}
    assert shares["openvino"] >= shares["pruned"] and shares["onnx"] >= shares["pruned"]
    assert [[row["variant"] for row in shape["rows"]][:1] for shape in report["benchmark"]["shapes"]] == [
        ["pruned/int8/openvino"]
    ]
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| int8 ONNX |" in text and "## Sparse folder" in text
    assert json.loads((folder / "manifest.json").read_text())["stages"]["onnx"]["facts"]["layers"] == 14


def test_ir_and_onnx_take_one_shape_and_bear_the_same_tags(run):
    from optkit.adapters.onnxruntime import OnnxModel
    from optkit.export.onnx import read_onnx_tags

    folder, _ = run
    shapes = {port.get_any_name(): port.get_shape() for port in read_model(folder / "openvino").inputs}
    assert shapes == dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), [2, 32])
    session = OnnxModel(folder / "onnx")._session
    assert {tuple(port.shape) for port in session.get_inputs()} == {(2, 32)}
    ours, theirs = read_tags(folder / "openvino"), read_onnx_tags(folder / "onnx")
    assert ours.recipe_hash == theirs.recipe_hash

    def facts(tags):
        return {tag.parameter: (tag.shape, tag.structure, tag.sparsity, tag.block_sparsity) for tag in tags.layers}

    assert facts(ours) == facts(theirs) and any(tag.structure == "1x4" for tag in ours.layers)


def test_the_sparse_folder_holds_checkpoint_and_int8(run, tmp_path):
    folder, report = run
    files = optkit.unpack_sparse(folder / "sparse", tmp_path / "dense")
    assert [file.name for file in files] == ["model.safetensors", "openvino_model.bin"]
    assert files[0].read_bytes() == (folder / "pruned" / "model.safetensors").read_bytes()
    assert files[1].read_bytes() == (folder / "openvino" / "openvino_model.bin").read_bytes()
    ir = {tag.parameter for tag in read_tags(folder / "openvino").layers if tag.structure == "1x4"}
    weights = read_sparse(folder / "sparse", "openvino_model.bin")
    assert ir and all(weights[name].array.dtype == np.int8 and weights[name].packed.block for name in ir)
    told = report["sparse"]["files"]["model.safetensors"]
    assert told["size"] == files[0].stat().st_size > told["stored"]


def test_the_library_of_tvm_gives_the_outputs_of_the_checkpoint_and_is_timed(run, tmp_path):
    folder, report = run
    inputs = {name: np.ones((2, 32), np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    inputs["input_ids"] = np.random.default_rng(0).integers(5, 40, (2, 32))
    model = AutoModelForSequenceClassification.from_pretrained(folder / "pruned").eval()
    with torch.no_grad():
        expected = model(**{name: torch.from_numpy(array) for name, array in inputs.items()}).logits.numpy()
    found = optkit.TvmModel(folder / "tvm")(inputs)["logits"]
    assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()

    inspected = optkit.inspect(folder / "tvm")
    forms = {layer.structure for layer in inspected.layers}
    assert "1x4" in forms and "inputs of 2 x 32, not tuned" in inspected.notes[0]
    own, pruned = (each.denominators["encoder_linear"] for each in (inspected, optkit.inspect(folder / "pruned")))
    assert own == pruned
    (shape,) = report["benchmark"]["shapes"]
    assert "pruned/fp32/tvm" in [row["variant"] for row in shape["rows"]]
    prices = tmp_path / "prices.yaml"
    prices.write_text("date: 2026-01-01\nsource: test\ninstances: {small: {hourly: 0.1, cores: 2}}\n")
    assert "pruned/fp32/tvm" in {row["engine"] for row in optkit.cost(folder, prices).to_dict()["costs"]}


def test_the_tokenizer_of_the_ir_gives_the_same_ids(run):
    import openvino
    import openvino_tokenizers  # noqa: F401  the operations of the model
    from transformers import AutoTokenizer

    folder, _ = run
    texts = ["the soup was fine", "Ünknown – words 漢字!", "", "day " * 50, "[MASK] [SEP]"]
    found = openvino.Core().compile_model(folder / "openvino" / "openvino_tokenizer.xml", "CPU")(texts)
    tokenizer = AutoTokenizer.from_pretrained(folder / "openvino")
    expected = tokenizer(texts, truncation=True, max_length=32, padding="max_length", return_tensors="np")
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert np.array_equal(found[name], expected[name])


def test_what_cannot_work_is_told_before_any_training(files_recipe, monkeypatch):
    from optkit.adapters import onnx_package, tokenizers, tvm
    from optkit.pipeline.validate import make_plan

    def problems(*sets):
        with pytest.raises(PlanError) as caught:
            make_plan(load_recipe(files_recipe, list(sets)))
        return caught.value.problems

    assert problems("export.shapes={seq: 16}") == [
        "export.shapes.seq: 16 tokens, and an input may have task.max_length, 32: set them alike"
    ]
    assert problems("export.shapes={seq: 128}") == ["export.shapes.seq: 128 is more than the 64 tokens the model takes"]
    (problem,) = problems("export.shapes={seq: 32}", "benchmark={batch: [1, 2], seq: 32}")
    assert problem.startswith("benchmark: the exported model takes 1 x 32 tokens alone: set benchmark.batch")
    assert problems("benchmark={backends: [openvino, tvm]}") == [
        "benchmark.backends: tvm runs what `export.formats: [openvino, tvm]` writes: add tvm there"
    ]
    monkeypatch.setattr(tvm, "find_spec", lambda name: None)
    assert problems("export.formats=[openvino, tvm]") == [
        "export.formats: tvm: apache-tvm is not installed: pip install 'optkit[tvm]'"
    ]
    monkeypatch.setattr(onnx_package, "find_spec", lambda name: None)
    monkeypatch.setattr(tokenizers, "find_spec", lambda name: None)
    assert problems("export.formats=[openvino, onnx]", "export.tokenizer=true") == [
        "export.tokenizer: openvino-tokenizers is not installed: pip install 'optkit[tokenizers]'",
        "export.formats: onnx: onnx, onnxscript, onnxruntime are not installed: pip install 'optkit[onnx]'",
    ]
