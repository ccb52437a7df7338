from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from architectures import SIZES
from safetensors.numpy import load_file, save_file

from optkit.counting.sparsity import sparsity
from optkit.counting.zeros import block_sparsity
from optkit.errors import OptkitError
from optkit.ir.tags import LayerTag, Tags

TINY = SIZES | {"vocab_size": 50, "max_position_embeddings": 16}
ENCODER = 2 * (4 * 32 * 32 + 2 * 32 * 64)  # weights of the nn.Linear in two layers
HEAD = 32 * 32 + 2 * 32  # pooler and classifier
PARAMETERS = (50 + 16 + 2) * 32 + 2 * 32 + ENCODER + 2 * (4 * 32 + 64 + 32 + 4 * 32) + HEAD + 32 + 2


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, save_checkpoint):
    """BERT with 70 % of its encoder's 1x4 blocks zero."""
    folder = tmp_path_factory.mktemp("bert")
    zeros = save_checkpoint(folder, "BertForSequenceClassification", TINY, (1, 4), 0.7)
    return folder, zeros


def test_a_checkpoint_by_four_denominators(checkpoint):
    folder, zeros = checkpoint
    report = sparsity(folder)
    pruned = sum(zeros.values())
    assert {name: report.denominators[name]["size"] for name in report.denominators} == {
        "encoder_linear": ENCODER,
        "linear": ENCODER + HEAD,
        "matmul_conv": ENCODER + HEAD,
        "all": PARAMETERS,
    }
    assert [report.denominators[name]["zeros"] for name in ("encoder_linear", "linear", "matmul_conv")] == [pruned] * 3
    assert report.denominators["encoder_linear"]["sparsity"] == pruned / ENCODER
    assert {layer.name: layer.zeros for layer in report.layers if layer.zeros} == zeros
    assert [layer.structure for layer in report.layers] == ["1x4"] * 12 + ["dense"] * 2
    first = report.layers[0]
    assert first.name == "bert.encoder.layer.0.attention.self.query.weight" and first.shape == (32, 32)
    assert first.block_sparsity == first.sparsity == round(0.7 * 256) / 256
    assert json.loads(json.dumps(report.to_dict()))["layers"][0]["shape"] == [32, 32]


def test_shards_and_narrow_types_count_the_same(checkpoint, tmp_path):
    import torch
    from transformers import BertForSequenceClassification

    folder, _ = checkpoint
    model = BertForSequenceClassification.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 1
    expected = sparsity(folder)
    sharded = sparsity(tmp_path / "shards")
    assert sharded.layers == expected.layers and sharded.denominators == expected.denominators
    model.to(torch.bfloat16).save_pretrained(tmp_path / "bf16")
    narrow = sparsity(tmp_path / "bf16")
    assert narrow.denominators["linear"] == expected.denominators["linear"]
    assert {layer.dtype for layer in narrow.layers} == {"bf16"}


def test_tied_weights_count_once(tmp_path, save_checkpoint):
    save_checkpoint(tmp_path, "BertForMaskedLM", TINY, (1, 1), 0.5)
    report = sparsity(tmp_path)
    names = [layer.name for layer in report.layers]
    assert names[-1] == "cls.predictions.transform.dense.weight"  # not the decoder, which is the embedding
    assert report.denominators["linear"]["size"] == ENCODER + 32 * 32
    head = 32 * 32 + 32 + 2 * 32 + 50  # transform, its LayerNorm, the decoder's bias
    pooler_and_classifier = HEAD + 32 + 2
    assert report.denominators["all"]["size"] == PARAMETERS - pooler_and_classifier + head


def test_an_unknown_architecture_is_said_not_guessed(checkpoint, tmp_path):
    tensors = load_file(checkpoint[0] / "model.safetensors")
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForTelepathy"]}')
    report = sparsity(tmp_path)
    assert "does not know BertForTelepathy" in report.notes[0]
    assert report.denominators["encoder_linear"] is None
    assert report.denominators["all"]["size"] == PARAMETERS


def test_tensors_that_are_no_parameters_are_left_out(checkpoint, tmp_path):
    tensors = load_file(checkpoint[0] / "model.safetensors")
    tensors["bert.encoder.layer.0.output.dense.scores"] = np.zeros((32, 64), np.float32)
    tensors["bert.encoder.layer.0.output.dense.mask"] = np.zeros((32, 64), bool)
    save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes((checkpoint[0] / "config.json").read_bytes())
    report = sparsity(tmp_path)
    assert report.denominators == sparsity(checkpoint[0]).denominators
    assert report.notes == (
        "1 tensors are no parameters of the model and are not counted (bert.encoder.layer.0.output.dense.scores ...)",
    )


def test_what_cannot_be_read_is_one_clear_line(checkpoint, tmp_path):
    def message(path):
        with pytest.raises(OptkitError) as caught:
            sparsity(path)
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(str(tmp_path), "")

    assert message(tmp_path / "nowhere").startswith("/nowhere: no such file or folder: give the folder of a checkpoint")
    assert message(tmp_path).startswith(": no model in this folder, none of model.safetensors")
    (tmp_path / "pytorch_model.bin").touch()
    assert message(tmp_path).startswith("/pytorch_model.bin: damaged or only half written (it ends early)")
    whole = (checkpoint[0] / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100])
    assert message(tmp_path).startswith("/model.safetensors: damaged or only half written")
    tensors = load_file(checkpoint[0] / "model.safetensors")
    tensors["classifier.weight"][0, :3] = np.nan
    save_file(tensors, tmp_path / "model.safetensors")
    assert message(tmp_path).startswith("classifier.weight: 3 of 64 weights are NaN")
    shards = tmp_path / "shards"
    shards.mkdir()
    index = shards / "model.safetensors.index.json"
    for files, expected in (
        (["a.safetensors"], "a.safetensors is missing"),
        (["../model.safetensors"], "names what is no file of this checkpoint"),
        ([3], "names what is no file of this checkpoint"),
        (["x" * 5000 + ".safetensors"], "names what is no file of this checkpoint"),
    ):
        index.write_text(json.dumps({"weight_map": dict(enumerate(files))}))
        assert expected in message(shards)
    index.write_text("[]")
    assert "not an index of files of weights" in message(shards)
    index.write_text("[" * 100_000)
    assert "not an index of files of weights" in message(shards)


@pytest.mark.parametrize(("shape", "said"), [((), "a single number"), ((5,), "5"), ((0, 32), "0 x 32")])
def test_a_linear_weight_that_is_no_matrix_is_refused(checkpoint, tmp_path, shape, said):
    folder = shutil.copytree(checkpoint[0], tmp_path / "odd")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    save_file(
        load_file(folder / "model.safetensors") | {name: np.zeros(shape, np.float32)}, folder / "model.safetensors"
    )
    with pytest.raises(OptkitError, match=f"odd: {name} is {said}, and a linear layer's weight has rows and columns"):
        sparsity(folder)


def test_a_pickled_tensor_that_is_no_plain_one_is_refused(tmp_path):
    import torch

    for odd in (torch.ones(2, 2).to_sparse(), torch.ones(2, 2, dtype=torch.complex64)):
        torch.save({"a.weight": odd}, tmp_path / "pytorch_model.bin")
        with pytest.raises(
            OptkitError, match="pytorch_model.bin: a.weight is no plain tensor of numbers: save the dense"
        ):
            sparsity(tmp_path)


def _tag(parameter, weight, **facts):
    module = parameter.removesuffix(".weight")
    return LayerTag(f"__module.{module}/aten::linear/MatMul", parameter, weight.shape, **facts)


def test_an_ir_counts_what_it_stores_and_its_tags_name_the_rest(tmp_path, prune, save_ir):
    rng = np.random.default_rng(0)
    weights = {f"net.layer.{i}.dense": (prune(rng, (64, 64), (1, 4), 0.75) * 20).astype(np.int8) for i in range(2)}
    weights["head"] = prune(rng, (8, 64), (1, 1), 0)
    untagged = sparsity(save_ir(tmp_path / "plain", weights))
    zeros = {f"{name}.weight": int((weight == 0).sum()) for name, weight in weights.items()}
    assert {layer.name: layer.zeros for layer in untagged.layers} == zeros
    by_name = {layer.name: layer for layer in untagged.layers}
    assert {name: layer.structure for name, layer in by_name.items()} == {
        "net.layer.0.dense.weight": "1x4",
        "net.layer.1.dense.weight": "1x4",
        "head.weight": "dense",
    }
    assert by_name["net.layer.1.dense.weight"].int8_sparsity == zeros["net.layer.1.dense.weight"] / 4096
    assert by_name["head.weight"].int8_sparsity is None
    assert untagged.denominators["encoder_linear"]["size"] == 2 * 4096
    assert untagged.denominators["all"]["size"] == 2 * 4096 + 8 * 64  # the scales are no parameters
    assert "no optkit tags" in untagged.notes[0]

    parameter = "net.layer.0.dense.weight"
    facts = {"structure": "2x2", "sparsity": 0.75, "block_sparsity": 0.75}
    tag = _tag(parameter, weights["net.layer.0.dense"], **facts, int8_sparsity=zeros[parameter] / 4096)
    right = sparsity(save_ir(tmp_path / "right", weights, Tags((tag,), 0.75)) / "openvino_model.xml")
    assert right.notes == ()
    layer = {layer.name: layer for layer in right.layers}[parameter]
    assert (layer.structure, layer.tagged_sparsity) == ("2x2", 0.75)
    assert layer.block_sparsity == block_sparsity(weights["net.layer.0.dense"], 2, 2)
    wrong = _tag(parameter, weights["net.layer.0.dense"], **facts, int8_sparsity=0.99)
    assert "its tag says 0.990000" in sparsity(save_ir(tmp_path / "wrong", weights, Tags((wrong,), 0.75))).notes[0]


def test_an_ir_is_read_without_torch(tmp_path, save_ir):
    folder = save_ir(tmp_path, {"dense": np.eye(64, dtype=np.int8)})
    code = (
        "import sys, optkit\n"
        f"print(optkit.sparsity({str(folder)!r}).layers[0].zeros)\n"
        "assert not {'torch', 'transformers', 'nncf'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "4032\n"


def test_a_run_shows_the_checkpoint_with_the_int8_of_its_ir(tmp_path, checkpoint, save_ir):
    folder, zeros = checkpoint
    (tmp_path / "pruned").symlink_to(folder, target_is_directory=True)
    assert sparsity(tmp_path).layers == sparsity(folder).layers
    int8 = np.zeros((32, 32), np.int8)
    int8[0] = 1
    save_ir(tmp_path / "openvino", {"bert.encoder.layer.0.attention.self.key": int8})
    report = sparsity(tmp_path)
    assert report.kind == "run" and report.denominators == sparsity(folder).denominators
    by_name = {layer.name: layer for layer in report.layers}
    key = by_name["bert.encoder.layer.0.attention.self.key.weight"]
    assert key.int8_sparsity == 31 / 32 and key.zeros == zeros[key.name]
    assert by_name["classifier.weight"].int8_sparsity is None


def test_counting_imports_numpy_alone():
    code = (
        "import sys, optkit\n"
        "try: optkit.sparsity('/nowhere/at/all')\n"
        "except optkit.OptkitError as error: print(error)\n"
        "assert not {'torch', 'transformers', 'openvino', 'pydantic'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("/nowhere/at/all: no such file or folder: ")
