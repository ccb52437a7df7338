"""The real chain (optimum-intel, NNCF, OpenVINO) on tiny models; each export is made once and seen from all sides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from architectures import BERT, token_samples
from capabilities import need
from safetensors.numpy import load_file, save_file

from optkit.adapters import nncf as nncf_adapter
from optkit.adapters import optimum
from optkit.counting.sparsity import sparsity
from optkit.counting.zeros import block_sparsity
from optkit.errors import ExportError, OptkitError
from optkit.export import conversion
from optkit.export.openvino import export_openvino
from optkit.ir.io import import_openvino, read_model
from optkit.ir.layers import linear_layers
from optkit.ir.tags import read_tags, suggest_decompression_rate
from optkit.pruning.config import Rule
from optkit.quantization.config import Quantization

DISTILBERT = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128, "vocab_size": 100}


SAMPLES = token_samples(8)


@pytest.fixture(scope="session")
def bert(tmp_path_factory, save_checkpoint):
    """BERT with 80 % of its encoder's 1x4 blocks zero, and files of a tokenizer."""
    folder = tmp_path_factory.mktemp("bert")
    zeros = save_checkpoint(folder, "BertForSequenceClassification", BERT, (1, 4), 0.8)
    for name in ("vocab.txt", "tokenizer_config.json"):
        (folder / name).write_text(f"any bytes of {name}" if name == "vocab.txt" else '{"do_lower_case": true}')
    return folder, zeros


def _export(checkpoint, output, **options):
    return export_openvino(checkpoint, output, export_task="text-classification", calibration=SAMPLES, **options)


@pytest.fixture(scope="session")
def int8(bert, tmp_path_factory):
    output = tmp_path_factory.mktemp("int8") / "openvino"
    return output, _export(
        bert[0], output, rules=[Rule(structure="1x4")], quantization=Quantization(), recipe_hash="c0ffee"
    )


def test_the_folder_holds_the_model_and_the_checkpoints_own_files(bert, int8):
    output, result = int8
    names = {"openvino_model.xml", "openvino_model.bin", "config.json", "vocab.txt", "tokenizer_config.json"}
    assert {file.name for file in output.iterdir()} == names
    for name in ("config.json", "vocab.txt", "tokenizer_config.json"):
        assert (output / name).read_bytes() == (bert[0] / name).read_bytes()
    assert result.xml == output / "openvino_model.xml"
    assert set(result.seconds) == {"convert", "quantize", "verify"} and min(result.seconds.values()) > 0


def test_every_pruned_weight_is_zero_in_the_written_int8(bert, int8):
    checkpoint, zeros = load_file(bert[0] / "model.safetensors"), bert[1]
    layers = {layer.matmul: layer for layer in linear_layers(read_model(int8[0]))}
    tags = read_tags(int8[0])
    assert {tag.parameter for tag in tags.layers} == {*zeros, "bert.pooler.dense.weight", "classifier.weight"}
    for tag in tags.layers:
        weight, stored = checkpoint[tag.parameter], layers[tag.matmul].weight
        assert stored.dtype == "i8" and not stored.values[weight == 0].any()
        assert (np.sign(stored.values) * np.sign(weight) >= 0).all()
        assert np.abs(stored.values.astype(int)).max() <= 64  # half the range: no sum of two products saturates
        assert tag.int8_sparsity == round(float((stored.values == 0).mean()), 6)
        assert tag.sparsity == round(zeros.get(tag.parameter, 0) / weight.size, 6)
        assert tag.shape == weight.shape and tag.structure == ("1x4" if tag.parameter in zeros else "dense")
        if tag.parameter in zeros:
            assert tag.block_sparsity == round(block_sparsity(weight, 1, 4), 6) == tag.sparsity
    assert tags.recipe_hash == "c0ffee" and tags == int8[1].tags
    lowest = min(tag.int8_sparsity for tag in tags.layers if tag.structure == "1x4" and tag.shape != (64, 64))
    assert tags.decompression_rate == 1.0  # attention has layers of 64x64, which OpenVINO cannot pack
    others = [tag for tag in tags.layers if tag.shape != (64, 64)]
    assert suggest_decompression_rate(others) == math.floor(100 * lowest) / 100 >= 0.79


def test_optimum_intel_loads_it_and_gives_what_the_ir_gives(int8):
    need("optimum-intel")
    import torch

    model = optimum.load(int8[0], "OVModelForSequenceClassification")
    plain = import_openvino().Core().compile_model(int8[0] / "openvino_model.xml", "CPU")
    for sample in SAMPLES:
        ids, mask = (np.array([sample[name]]) for name in ("input_ids", "attention_mask"))
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        expected = plain(feed)["logits"]
        logits = model(**{name: torch.from_numpy(array) for name, array in feed.items()}).logits.numpy()
        assert np.array_equal(logits, expected) and logits.shape == (1, 2)
    assert read_tags(model.model) == int8[1].tags


def test_inspecting_the_export_agrees_with_the_checkpoint(bert, int8):
    report = sparsity(int8[0])
    before = {layer.name: layer for layer in sparsity(bert[0]).layers}
    assert report.notes == ()
    assert {layer.name for layer in report.layers} == set(before)
    for layer in report.layers:
        assert layer.structure == before[layer.name].structure
        assert layer.tagged_sparsity == round(before[layer.name].sparsity, 6)
    assert report.denominators["encoder_linear"]["size"] == sum(before[name].size for name in bert[1])


def test_other_architectures_ranges_and_structures(tmp_path, save_checkpoint):
    """DistilBERT, single weights, full range: NNCF gives the same integers for the same samples."""
    zeros = save_checkpoint(tmp_path / "model", "DistilBertForSequenceClassification", DISTILBERT, (1, 1), 0.9)
    result = _export(
        tmp_path / "model", tmp_path / "ir", rules=[Rule()], quantization=Quantization(weight_range="full")
    )
    pruned = {tag.parameter: tag for tag in result.layers if tag.structure != "dense"}
    assert set(pruned) == set(zeros) and {tag.structure for tag in pruned.values()} == {"element"}
    ir = read_model(tmp_path / "ir")
    assert max(np.abs(layer.weight.values.astype(int)).max() for layer in linear_layers(ir)) in (127, 128)

    conversion.convert(tmp_path / "model", tmp_path / "fp32", task="text-classification")
    again = nncf_adapter.quantize_int8(
        read_model(tmp_path / "fp32"), SAMPLES, quantization=Quantization(weight_range="full")
    )
    for one, two in zip(linear_layers(ir), linear_layers(again), strict=True):
        assert one.matmul == two.matmul and np.array_equal(one.weight.values, two.weight.values)
        assert np.array_equal(one.weight.scale, two.weight.scale)


def test_shared_weights_and_no_int8(tmp_path, save_checkpoint):
    """ALBERT runs one layer twice: two MatMuls, one parameter. Rows in blocks of 32x1, stored as fp32."""
    config = {**BERT, "embedding_size": 32}
    zeros = save_checkpoint(tmp_path / "model", "AlbertForSequenceClassification", config, (32, 1), 0.5)
    result = _export(tmp_path / "model", tmp_path / "ir", rules=[Rule(structure="32x1")])
    parameters = [tag.parameter for tag in result.layers if tag.structure == "32x1"]
    assert sorted(parameters) == sorted([*zeros, *zeros]) and len({tag.matmul for tag in result.layers}) == 15
    assert {tag.int8_sparsity for tag in result.layers} == {None} and result.decompression_rate == 1.0
    report = sparsity(tmp_path / "ir")
    assert report.denominators["encoder_linear"] == sparsity(tmp_path / "model").denominators["encoder_linear"]
    assert report.denominators["encoder_linear"]["zeros"] == sum(zeros.values())


def test_a_dense_model_is_tagged_dense(tmp_path, save_checkpoint):
    config = {**BERT, "num_hidden_layers": 1, "pad_token_id": 1}
    save_checkpoint(tmp_path / "model", "RobertaForSequenceClassification", config, (1, 1), 0)
    result = _export(tmp_path / "model", tmp_path / "ir")
    assert len(result.layers) == 8 and {tag.structure for tag in result.layers} == {"dense"}
    assert {tag.sparsity for tag in result.layers} == {0.0} and result.decompression_rate == 1.0
    with pytest.raises(ExportError, match="no linear layer has zeros although it was pruned"):
        _export(tmp_path / "model", tmp_path / "again", rules=[Rule()])


def test_a_revived_weight_stops_the_export(bert, tmp_path, monkeypatch):
    openvino = import_openvino()

    def careless(model, samples, *, quantization, ignored, tell):
        matmuls = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
        layer = next(node for node in matmuls if "layer.1.output.dense" in node.get_friendly_name())
        weight = layer.input_value(1).get_node().data.copy()
        zeros = np.argwhere(weight == 0)[:3]
        weight[tuple(zeros.T)] = 1e-3
        layer.input(1).replace_source_output(openvino.op.Constant(weight).output(0))
        return model

    monkeypatch.setattr("optkit.adapters.nncf.quantize_int8", careless)
    with pytest.raises(ExportError, match="^bert.encoder.layer.1.output.dense.weight: 3 pruned weights became"):
        _export(bert[0], tmp_path, quantization=Quantization())


def test_what_cannot_be_exported_is_one_clear_line(bert, int8, tmp_path, capfd):
    def message(*arguments, **options):
        with pytest.raises(OptkitError) as caught:
            _export(*arguments, **options)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
        return str(caught.value)

    (tmp_path / "gone").mkdir()
    assert "no weights here: expected model.safetensors" in message(tmp_path / "gone", tmp_path / "out")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((bert[0] / "config.json").read_bytes())
    tensors = load_file(bert[0] / "model.safetensors")
    tensors["classifier.weight"][0, 0] = np.nan
    save_file(tensors, damaged / "model.safetensors")
    assert message(damaged, tmp_path / "out").startswith("classifier.weight: 1 of 128 weights are NaN")
    (damaged / "config.json").write_text('{"model_type": "unheard_of", "architectures": ["Unheard"]}')
    save_file({"a.weight": np.ones((4, 4), np.float32)}, damaged / "model.safetensors")
    assert "it cannot be converted for text-classification" in message(damaged, tmp_path / "out")
    model = read_model(int8[0])
    for samples, expected in (
        ([], "needs calibration samples"),
        ([{"input_ids": []}], "a calibration sample has no input_ids"),
    ):
        with pytest.raises(ExportError, match=expected):
            nncf_adapter.quantize_int8(model, samples, quantization=Quantization())
    with pytest.raises(OptkitError, match="no OpenVINO IR here"):
        optimum.load(tmp_path, "OVModelForSequenceClassification")


def test_nothing_reaches_the_terminal(bert, tmp_path, capfd, recwarn):
    conversion.convert(bert[0], tmp_path, task="text-classification")
    nncf_adapter.quantize_int8(read_model(tmp_path), SAMPLES[:2], quantization=Quantization())
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "") and len(recwarn) == 0
