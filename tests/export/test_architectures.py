"""Each architecture all the way: pruned in three structures, folded, compacted, exported, read back, run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from architectures import emptied, inputs_of, small_model

from optkit import runtime
from optkit.adapters import optimum
from optkit.counting.sparsity import sparsity
from optkit.export.openvino import export_openvino
from optkit.ir.io import import_openvino, read_model
from optkit.ir.tags import read_tags
from optkit.pruning import Pruner, Rule, Schedule, compact, load_compact, save_compact
from optkit.quantization.config import Quantization

pytestmark = pytest.mark.slow

F32 = {"INFERENCE_PRECISION_HINT": "f32"}
AT_ONCE = {"shape": "constant", "begin": 0, "end": 0}
RULES = [
    Rule(structure="head", name="heads", schedule=Schedule(to=0.5, **AT_ONCE)),
    Rule(structure="neuron:4", name="neurons", schedule=Schedule(to=0.5, **AT_ONCE)),
    Rule(structure="1x4", name="blocks", schedule=Schedule(to=0.7, **AT_ONCE)),
]
#: Linear weights of the encoder, and MatMuls of the IR that are linear layers of the checkpoint.
SIZES = {
    "bert": (14336, 14),
    "roberta": (14336, 14),
    "distilbert": (14336, 14),
    "electra": (14336, 15),
    "albert": (7168, 15),  # one layer, which runs twice
    "deberta": (14336, 14),
    "modernbert": (17408, 10),
    "vit": (14336, 13),
}


@pytest.mark.parametrize("name", SIZES)
def test_from_masks_to_an_ir(name, tmp_path):
    size, matmuls = SIZES[name]
    model = small_model(name)
    pruner = Pruner(model, RULES)
    pruner.start(1, 1)
    pruner.update(0)
    heads, neurons, blocks = pruner.fold()
    inputs = inputs_of(model)
    with torch.no_grad():
        wanted = model(**inputs).logits
    # A group is one of the encoder, not of each time that a layer runs: ALBERT has half as many.
    layers = 1 if name == "albert" else 2
    assert (heads.groups, neurons.groups, blocks.groups) == (4 * layers, 12 * layers, size // 4)
    assert (heads.pruned, neurons.pruned) == (2 * layers, 6 * layers)
    zeros = 4 * round(0.7 * size / 4)
    assert 4 * blocks.pruned == zeros

    done = compact(model, RULES)
    assert done.counts() == {
        "heads": [2 * layers, 4 * layers],
        "neurons": [24 * layers, 48 * layers],
        "layers": [layers, layers],
    }
    save_compact(model, done, tmp_path / "compact")
    with torch.no_grad():
        assert torch.allclose(load_compact(tmp_path / "compact")(**inputs).logits, wanted, rtol=0, atol=1e-5)

    task = "image-classification" if name == "vit" else "text-classification"
    result = export_openvino(tmp_path / "compact", tmp_path / "ir", export_task=task, rules=RULES)
    exported = read_model(tmp_path / "ir")
    feeds = {key: values.numpy() for key, values in inputs.items()}
    if any("token_type_ids" in port.get_names() for port in exported.inputs):
        feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
    compiled = import_openvino().compile_model(exported, "CPU", F32)
    np.testing.assert_allclose(compiled(feeds)["logits"], wanted.numpy(), rtol=0, atol=1e-4)

    # The tags tell of both: the layers as they are, whose zeros are blocks, and the weights that there were.
    assert read_tags(exported) == result.tags and len(result.layers) == matmuls
    tags = {tag.parameter: tag for tag in result.layers}
    cut = {parameter: tag for parameter, tag in tags.items() if tag.original_shape}
    assert {parameter: tag.original_shape for parameter, tag in cut.items()} == done.reduced
    assert {tag.structure for tag in cut.values()} <= {"1x4", "dense", "1x8", "2x4", "4x4", "8x4", "8x1"}
    assert all(tag.original_sparsity > tag.sparsity for tag in cut.values())
    for folder in ("compact", "ir"):
        found = sparsity(tmp_path / folder).denominators["encoder_linear"]
        assert (found["zeros"], found["size"]) == (zeros, size)

    if optimum.missing() is None:
        assert optimum.load(tmp_path / "ir", compile=False).config.model_type == model.config.model_type
    if runtime.available():
        sparse = runtime.compile_model(tmp_path / "ir", F32, plan="static")
        np.testing.assert_allclose(sparse(feeds)["logits"], wanted.numpy(), rtol=0, atol=1e-4)


def test_int8_of_a_model_whose_layers_differ(tmp_path):
    """Three heads and neurons of no round number in the first layer; the second has neither any more."""
    model = emptied("bert", heads=[(1,), range(4)], neurons=[range(7), range(48)])
    done = compact(model)
    save_compact(model, done, tmp_path / "compact")
    inputs = inputs_of(model)
    rows = [ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"])]
    samples = [{"input_ids": ids} for ids in rows]
    result = export_openvino(
        *(tmp_path / "compact", tmp_path / "ir"),
        export_task="text-classification",
        calibration=samples,
        quantization=Quantization(),
    )
    assert {layer.int8_sparsity is None for layer in result.layers} == {False}
    names = ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense")
    shapes = {**dict.fromkeys(names, (32, 32)), "intermediate.dense": (48, 32), "output.dense": (32, 48)}
    gone = {f"bert.encoder.layer.1.{name}.weight": shape for name, shape in shapes.items()}
    assert dict(result.tags.removed) == gone == done.removed
    zeros = 4 * 8 * 32 + 7 * 64 + 7168
    found = sparsity(tmp_path / "ir").denominators["encoder_linear"]
    assert found["size"] == 14336 and zeros <= found["zeros"] < zeros + 500  # some round to zero
    feeds = {key: values.numpy() for key, values in inputs.items()}
    feeds["token_type_ids"] = np.zeros_like(feeds["input_ids"])
    plain = import_openvino().compile_model(read_model(tmp_path / "ir"), "CPU", F32)(feeds)["logits"]
    with torch.no_grad():
        assert np.abs(plain - model(**inputs).logits.numpy()).max() < 0.5
    if runtime.available():
        sparse = runtime.compile_model(tmp_path / "ir", F32, plan="static")
        assert np.abs(sparse(feeds)["logits"] - plain).max() < 0.1  # neighbouring levels of an activation
