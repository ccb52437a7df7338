"""The real chain (torch.onnx, NNCF, ONNX Runtime) on tiny models; each export is made once and seen from all sides."""

from __future__ import annotations

import capabilities
import numpy as np
import pytest
import torch
from architectures import BERT, token_samples
from safetensors.numpy import load_file

from optkit.adapters import onnx as adapter
from optkit.adapters import onnx_package
from optkit.adapters.onnx import linear_layers
from optkit.adapters.onnxruntime import OnnxModel
from optkit.counting.sparsity import sparsity
from optkit.errors import ExportError, OptkitError
from optkit.export.onnx import export_onnx, read_onnx_tags
from optkit.ir.tags import pairs_to_tags, tags_to_pairs
from optkit.pruning.config import Rule
from optkit.quantization.config import Quantization
from optkit.quantization.operations import module_of

pytestmark = pytest.mark.slow

onnx = capabilities.package("onnx")
capabilities.need("onnxscript", "onnxruntime")

PREFIX = "bert.encoder.layer"


SAMPLES = token_samples(8)
#: A linear layer, an embedding, and a module whose products of queries and keys, shares and values are its own.
FP32 = [f"{PREFIX}.0.output.dense", "bert.embeddings.word_embeddings", f"{PREFIX}.1.attention.self"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory, save_checkpoint):
    """BERT with 80 % of its encoder's 1x4 blocks zero."""
    folder = tmp_path_factory.mktemp("onnx") / "pruned"
    return folder, save_checkpoint(folder, "BertForSequenceClassification", BERT, (1, 4), 0.8)


@pytest.fixture(scope="module")
def traced(bert):
    """``bert`` in fp32, traced once: makes a copy at each call."""
    model = adapter.trace(bert[0]).SerializeToString()
    return lambda *_, **options: onnx.load_from_string(model)


@pytest.fixture(scope="module")
def int8(tmp_path_factory, bert, traced):
    """The int8 model of ``bert``, ``FP32`` left as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "trace", traced)
        return _int8(tmp_path_factory, bert)


def _int8(tmp_path_factory, bert):
    return export_onnx(
        bert[0],
        tmp_path_factory.mktemp("exported") / "onnx",
        rules=[Rule(structure="1x4")],
        calibration=SAMPLES,
        quantization=Quantization(),
        fp32=FP32,
        recipe_hash="c0ffee",
    )


def _torch_logits(folder, sample):
    import torch
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**{name: torch.tensor([row]) for name, row in sample.items()}).logits


def test_every_pruned_weight_is_zero_in_the_written_file(bert, int8):
    checkpoint, zeros = load_file(bert[0] / "model.safetensors"), bert[1]
    model = onnx.load(int8.path)
    tags = {tag.matmul: tag for tag in read_onnx_tags(int8.path).layers}
    layers = {layer.matmul: layer for layer in linear_layers(model)}
    assert {tag.parameter for tag in tags.values()} == {*zeros, "bert.pooler.dense.weight", "classifier.weight"}
    assert f"/{PREFIX.replace('.', '/')}/1/attention/self/query/MatMul" in tags
    for name, tag in tags.items():
        weight, stored = checkpoint[tag.parameter], layers[name].weight
        assert stored.values.shape == weight.shape == tag.shape and not stored.values[weight == 0].any()
        assert (np.sign(stored.values) * np.sign(weight) >= 0).all()
        assert tag.sparsity == round(zeros.get(tag.parameter, 0) / weight.size, 6)
        assert tag.structure == ("1x4" if tag.parameter in zeros else "dense")
        if tag.parameter == f"{PREFIX}.0.output.dense.weight":
            assert stored.dtype == "f32" and tag.int8_sparsity is None
        else:
            assert stored.dtype == "i8" and np.abs(stored.values.astype(int)).max() <= 64  # half the range
            assert tag.int8_sparsity == round(float((stored.values == 0).mean()), 6)
            assert np.abs(stored.values * stored.scale).max() > 0
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert int8.tags.recipe_hash == "c0ffee" and int8.tags == read_onnx_tags(int8.path.parent)


def test_the_metadata_are_the_keys_of_the_ir_and_nothing_of_this_machine(int8):
    model = onnx.load(int8.path)
    pairs = {entry.key: entry.value for entry in model.metadata_props}
    assert pairs["optkit/format_version"] == "1" and pairs["optkit/recipe_hash"] == "c0ffee"
    matmul = f"/{PREFIX.replace('.', '/')}/0/attention/self/key/MatMul"
    assert pairs[f"optkit/layers/{matmul}/parameter"] == f"{PREFIX}.0.attention.self.key.weight"
    assert pairs[f"optkit/layers/{matmul}/structure"] == "1x4"
    assert tags_to_pairs(int8.tags) == pairs and pairs_to_tags({**pairs, "other": "x"}, "m") == int8.tags
    assert pairs_to_tags({"other": "x"}, "m") is None
    raw = int8.path.read_bytes()
    assert b"site-packages" not in raw and b".py" not in raw


def test_it_runs_for_any_batch_and_length_near_the_checkpoint(bert, int8):
    import torch

    model = OnnxModel(int8.path.parent)
    assert int8.opset >= 13
    for sample in SAMPLES[:3]:
        feed = {name: torch.tensor([row, row]) for name, row in sample.items()}
        feed["token_type_ids"] = torch.zeros_like(feed["input_ids"])
        logits = model(**feed, unknown=torch.zeros(1)).logits
        assert logits.shape == (2, 2) and torch.equal(logits[0], logits[1])
        assert (logits[:1] - _torch_logits(bert[0], sample)).abs().max() < 0.1
    with pytest.raises(OptkitError, match="ONNX Runtime cannot run the model"):
        model(input_ids=torch.zeros(1, 4, dtype=torch.int64))


def test_fixed_shapes_and_no_int8(bert, traced, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(adapter, "trace", traced)
    result = export_onnx(bert[0], tmp_path / "onnx", rules=[Rule(structure="1x4")], shape=(2, 6))
    zeros, checkpoint = bert[1], load_file(bert[0] / "model.safetensors")
    assert {tag.int8_sparsity for tag in result.tags.layers} == {None} and result.tags.decompression_rate == 1.0
    layers = {layer.matmul: layer.weight.values for layer in linear_layers(onnx.load(result.path))}
    for tag in result.tags.layers:
        assert np.array_equal(layers[tag.matmul], checkpoint[tag.parameter])
    model = OnnxModel(tmp_path / "onnx")
    ids = torch.randint(5, 100, (2, 6))
    feed = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    assert model(**feed).logits.shape == (2, 2)
    with pytest.raises(OptkitError, match="ONNX Runtime cannot run the model"):
        model(**{name: tensor[:1] for name, tensor in feed.items()})
    report = sparsity(tmp_path / "onnx")
    by_name = {layer.name: layer for layer in report.layers}
    assert report.kind == "onnx" and {name: by_name[name].zeros for name in zeros} == zeros
    counted = report.denominators["encoder_linear"]
    assert counted["zeros"] == sum(zeros.values()) and counted["size"] == sum(checkpoint[name].size for name in zeros)
    # Of a Gemm torch leaves a bias out that is all zero: those of the pooler and the classifier.
    assert report.denominators["all"]["size"] == sum(array.size for array in checkpoint.values()) - 64 - 2


def test_inspecting_int8_shows_both_sparsities(bert, int8):
    before = {layer.name: layer for layer in sparsity(bert[0]).layers}
    report = sparsity(int8.path)
    assert {layer.name for layer in report.layers} == set(before) and report.notes == ()
    for layer in report.layers:
        assert layer.structure == before[layer.name].structure
        assert layer.tagged_sparsity == round(before[layer.name].sparsity, 6)
        assert (layer.int8_sparsity is None) == (layer.name == f"{PREFIX}.0.output.dense.weight")
        assert layer.zeros >= before[layer.name].zeros


def test_what_stays_fp32_reads_no_int8(int8):
    model = onnx.load(int8.path)
    makers = {output: node for node in model.graph.node for output in node.output}

    def reads_int8(name: str) -> bool:
        node = makers.get(name)
        if node is not None and node.op_type in ("Reshape", "Transpose"):
            return reads_int8(node.input[0])
        return node is not None and node.op_type == "DequantizeLinear"

    reading: dict[str, list[bool]] = {}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Gather"):
            reading.setdefault(module_of(node.name), []).append(any(map(reads_int8, node.input)))
    assert [reading[module] for module in FP32] == [[False], [False], [False, False]]
    others = f"{PREFIX}.1.output.dense", "bert.embeddings.token_type_embeddings", f"{PREFIX}.0.attention.self"
    assert [any(reading[module]) for module in others] == [True, True, True]


def test_a_tokenizer_without_segments_serves_a_model_with_them(traced, tmp_path):
    adapter.save(traced(), tmp_path, {})
    model, ids = OnnxModel(tmp_path), torch.tensor([[5, 6, 7]])
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    wanted = model(**given, token_type_ids=torch.zeros_like(ids)).logits
    assert torch.equal(model(**given).logits, wanted)


def test_weights_alone_and_biases_that_torch_shares(traced):
    """The model's biases are all zero: torch writes one constant for all of a size, which correction must not share."""
    model = traced()
    vectors = {constant.name for constant in model.graph.initializer if len(constant.dims) == 1}
    used = [name for node in model.graph.node for name in node.input if name in vectors]
    assert len(used) == len(set(used)) > 20
    quantized = adapter_quantize(model, Quantization(method="int8_weights", smooth_quant=None, bias_correction=None))
    dtypes = [layer.weight.dtype for layer in linear_layers(quantized)]
    assert dtypes == ["i8"] * 14 and "QuantizeLinear" not in {node.op_type for node in quantized.graph.node}


def adapter_quantize(model, quantization):
    from optkit.adapters.nncf import quantize_onnx

    return quantize_onnx(model, [], quantization=quantization)


def test_what_cannot_be_done_is_one_clear_line(bert, int8, tmp_path, monkeypatch):
    def message(work):
        with pytest.raises(OptkitError) as caught:
            work()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        return str(caught.value)

    assert "no model.onnx here" in message(lambda: OnnxModel(tmp_path))
    assert "not found" in message(lambda: read_onnx_tags(tmp_path / "model.onnx"))
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(int8.path.read_bytes()[:3000])
    assert "not an ONNX file that can be read" in message(lambda: read_onnx_tags(damaged))
    assert "ONNX Runtime cannot load it" in message(lambda: OnnxModel(damaged))
    assert "int8 needs calibration samples" in message(lambda: adapter_quantize(onnx.load(int8.path), Quantization()))
    wrong = onnx.load(int8.path)
    onnx.helper.set_model_props(wrong, {"optkit/format_version": "9", "optkit/layers": "none"})
    onnx.save(wrong, damaged)
    assert "format 9 is newer" in message(lambda: read_onnx_tags(damaged))
    monkeypatch.setattr(onnx_package, "find_spec", lambda name: None if name == "onnxscript" else name)
    assert message(lambda: adapter.trace(bert[0])) == ("ONNX: onnxscript is not installed: pip install 'optkit[onnx]'")


def test_a_model_that_computes_something_else_is_refused(bert, traced, monkeypatch):
    import torch

    class Program:
        model_proto = traced()

    head = next(constant for constant in Program.model_proto.graph.initializer if constant.name == "classifier.weight")
    head.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) * 1.01, head.name))
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **options: Program)
    with pytest.raises(ExportError, match="its ONNX form computes something else: outputs differ by 0.01"):
        adapter.trace(bert[0])


def test_a_revived_weight_stops_the_export(bert, traced, tmp_path, monkeypatch):
    def careless(model, inputs, **options):
        constants = {constant.name: constant for constant in model.graph.initializer}
        layer = next(node for node in model.graph.node if node.name.endswith("layer/1/output/dense/MatMul"))
        weight = onnx.numpy_helper.to_array(constants[layer.input[1]]).copy()
        weight[tuple(np.argwhere(weight == 0)[:3].T)] = 1e-3
        constants[layer.input[1]].CopyFrom(onnx.numpy_helper.from_array(weight, layer.input[1]))
        return model

    monkeypatch.setattr(adapter, "trace", traced)
    monkeypatch.setattr("optkit.adapters.nncf.quantize_onnx", careless)
    with pytest.raises(ExportError, match=f"^{PREFIX}.1.output.dense.weight: 3 pruned weights became"):
        export_onnx(bert[0], tmp_path / "out", calibration=SAMPLES, quantization=Quantization())
