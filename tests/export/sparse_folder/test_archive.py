"""Sparse folders of checkpoints and of int8 IRs: the same bytes back, and damaged ones refused before they are used."""

from __future__ import annotations

import json
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from architectures import BERT
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import optkit
from optkit.counting.sparsity import sparsity
from optkit.errors import OptkitError
from optkit.export.sparse_folder import pack_sparse, read_sparse, unpack_sparse
from optkit.ir.io import read_model
from optkit.ir.layers import linear_layers


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, save_checkpoint) -> Path:
    """BERT with 90 % of its encoder's 1x4 blocks zero."""
    folder = tmp_path_factory.mktemp("sparse") / "pruned"
    save_checkpoint(folder, "BertForSequenceClassification", BERT, (1, 4), 0.9)
    return folder


@pytest.fixture(scope="module")
def int8_weights(prune) -> dict[str, np.ndarray]:
    """int8 weights by module name, one of them dense."""
    rng = np.random.default_rng(1)
    weights = {}
    for name, share in (("encoder.layer.0.up", 0.9), ("encoder.layer.1.up", 0.9), ("head", 0.0)):
        weight = prune(rng, (128, 64), (1, 4), share)
        weights[name] = (np.sign(weight) * np.clip(np.abs(weight) * 60, 1, 127)).astype(np.int8)
    return weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory, checkpoint, int8_weights, save_ir) -> Path:
    """A sparse folder of a checkpoint and an int8 IR: leave it as it is, or work on a copy."""
    base = tmp_path_factory.mktemp("folder")
    pack_sparse([checkpoint, save_ir(base / "openvino", int8_weights)], base / "sparse")
    return base / "sparse"


def test_the_same_bytes_come_back(folder, checkpoint, tmp_path):
    files = unpack_sparse(folder, tmp_path / "dense")
    assert [file.name for file in files] == ["model.safetensors", "openvino_model.bin"]
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "dense" / name).read_bytes() == (checkpoint / name).read_bytes()
    for name in ("openvino_model.bin", "openvino_model.xml"):
        assert (tmp_path / "dense" / name).read_bytes() == (folder.parent / "openvino" / name).read_bytes()
    (only,) = unpack_sparse(folder, tmp_path / "int8", only=["openvino_model.bin"])
    assert only.read_bytes() == files[1].read_bytes() and not (tmp_path / "int8" / "model.safetensors").exists()


def test_the_int8_matrices_take_below_016_of_their_size(folder, int8_weights):
    found = read_sparse(folder, "openvino_model.bin")
    for module, weight in int8_weights.items():
        tensor = found[f"{module}.weight"]
        assert tensor.array.dtype == np.int8 and np.array_equal(tensor.array, weight)
        assert np.array_equal(found[tensor.packed.scale].array, np.full((128, 1), 0.5, np.float32))
        if module == "head":
            assert tensor.packed.block is None and tensor.stored == weight.size
        else:
            live = round(0.1 * weight.size / 4)
            assert tensor.packed.block == (1, 4) and tensor.stored == 4 * live + weight.size // 32 < 0.16 * weight.size
    size = (folder / "sparse.openvino_model.safetensors").stat().st_size
    assert size < (folder.parent / "openvino" / "openvino_model.bin").stat().st_size


def test_the_model_loads_bit_for_bit(folder, checkpoint):
    import torch

    model = optkit.load_sparse(folder)
    assert type(model).__name__ == "BertForSequenceClassification" and not model.training
    state, expected = model.state_dict(), load_file(checkpoint / "model.safetensors")
    assert expected.keys() <= state.keys()
    for name, array in expected.items():
        assert torch.equal(state[name].view(torch.int32), torch.from_numpy(array).view(torch.int32)), name


def test_other_files_beside_the_model_are_not_packed(checkpoint, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "source")
    shutil.copy(checkpoint / "model.safetensors", tmp_path / "source" / "model.fp16.safetensors")
    pack_sparse(tmp_path / "source", tmp_path / "sparse")
    assert [file.name for file in unpack_sparse(tmp_path / "sparse", tmp_path / "dense")] == ["model.safetensors"]


def test_other_types_shards_and_odd_headers(tmp_path, prune):
    import torch
    from safetensors.torch import save_file as save_torch

    source, rng = tmp_path / "source", np.random.default_rng(0)
    source.mkdir()
    half = torch.from_numpy(prune(rng, (32, 64), (1, 4), 0.75)).to(torch.bfloat16)
    first = {"a.weight": half, "a.scalar": torch.tensor(3, dtype=torch.int64), "none": torch.zeros(0, 4)}
    save_torch(first, source / "model-00001-of-00002.safetensors", metadata={"format": "pt", "note": "ä"})
    second = source / "model-00002-of-00002.safetensors"
    save_file({"b.weight": prune(rng, (16, 16), (1, 1), 0.9), "b.bias": np.ones(3, np.float16)}, second)
    # A header with room after it, which moves the numbers off their natural alignment.
    raw = second.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    second.write_bytes(struct.pack("<Q", length + 3) + raw[8 : 8 + length] + b"   " + raw[8 + length :])
    index = {"weight_map": {"a.weight": "model-00001-of-00002.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    pack_sparse(source, tmp_path / "sparse")
    unpack_sparse(tmp_path / "sparse", tmp_path / "dense")
    assert {file.name for file in source.iterdir()} == {file.name for file in (tmp_path / "dense").iterdir()}
    for file in source.iterdir():
        assert (tmp_path / "dense" / file.name).read_bytes() == file.read_bytes()
    tensor = read_sparse(tmp_path / "sparse", "model-00001-of-00002.safetensors")["a.weight"]
    assert tensor.packed.dtype == "BF16" and tensor.packed.block == (1, 4)
    assert np.array_equal(tensor.array, half.view(torch.uint16).numpy())
    with safe_open(tmp_path / "sparse" / "sparse.model-00001-of-00002.safetensors", framework="pt") as opened:
        assert opened.get_tensor("a.weight:values").dtype == torch.bfloat16


def test_the_reader_of_the_documentation_reads_it(folder, int8_weights, checkpoint):
    text = (Path(__file__).parents[3] / "docs" / "formats.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "def read_sparse" in block)
    assert len(code.splitlines()) <= 30
    names: dict = {}
    exec(code, names)
    found = names["read_sparse"](folder, "openvino_model.bin")
    for module, weight in int8_weights.items():
        assert np.array_equal(found[f"{module}.weight"], weight)
    found, expected = names["read_sparse"](folder), load_file(checkpoint / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype and found[name].tobytes() == array.tobytes(), name


def test_inspecting_it_tells_what_the_dense_files_tell(folder, checkpoint, int8_weights):
    report, plain = sparsity(folder), sparsity(checkpoint)
    assert report.kind == "sparse folder" and report.path == str(folder)
    assert [(layer.name, layer.zeros) for layer in report.layers] == [(la.name, la.zeros) for la in plain.layers]
    assert report.denominators == plain.denominators
    sizes = sum(file.stat().st_size for file in folder.glob("sparse.*.safetensors"))
    assert any(f"{sizes:,}" in note for note in report.notes)


def _refused(folder, tmp_path, *, only=None) -> str:
    out = tmp_path / "refused"
    shutil.rmtree(out, ignore_errors=True)
    with pytest.raises(OptkitError) as caught:
        unpack_sparse(folder, out, only=only)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 700
    assert not out.exists() or not any(file.suffix in (".safetensors", ".bin") for file in out.iterdir())
    return message


def test_an_index_that_does_not_fit_is_one_line(folder, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    good = json.loads((folder / "sparse.json").read_text())
    name = "bert.encoder.layer.0.attention.self.query.weight"

    def refused(change) -> str:
        values = json.loads(json.dumps(good))
        change(values, values["files"]["model.safetensors"], values["files"]["model.safetensors"]["tensors"])
        (bad / "sparse.json").write_text(json.dumps(values))
        return _refused(bad, tmp_path)

    def put(key, value):
        return refused(lambda index, file, tensors: tensors[name].__setitem__(key, value))

    assert "newer than this optkit reads" in refused(lambda index, file, tensors: index.update(format=2))
    assert "format is 'one'" in refused(lambda index, file, tensors: index.update(format="one"))
    assert "files is missing" in refused(lambda index, file, tensors: index.pop("files"))
    assert "size is missing" in refused(lambda index, file, tensors: file.pop("size"))
    assert "cannot come from" in refused(lambda index, file, tensors: file.update(size=1 << 40))
    assert "its data are to be in" in refused(lambda index, file, tensors: file.update(data="../../etc/passwd"))
    for strange in ("../model.safetensors", "/tmp/model.bin", "config.json", "model/../x.bin", "evil.py", "model.pkl"):
        assert "is no file of weights" in refused(
            lambda index, file, tensors, strange=strange: index["files"].__setitem__(strange, file)
        )
    assert "dtype is 'F31'" in put("dtype", "F31")
    assert "no shape" in put("shape", "64x64")
    assert "no shape" in put("shape", [1] * 40)
    assert "not a number" in put("shape", [64, -64])
    assert "not a number" in put("shape", [64, True])
    assert "it ends at byte" in put("shape", [1 << 47, 1 << 47])
    assert "it ends at byte" in put("offset", 10**9)
    assert "not a number" in put("offset", -1)
    assert "within another tensor" in put("offset", good["files"]["model.safetensors"]["tensors"][name]["offset"] + 4)
    assert "do not divide" in put("block", [3, 4])
    assert "do not divide" in put("block", [0, 4])
    assert "do not divide" in put("block", [4])
    assert "none of bitmap, columns" in put("positions", "pickle")
    assert "not a number" in put("kept", 1 << 40)
    assert "copy both again" in put("kept", 1)
    assert "copy both again" in put("positions", "columns")
    assert "copy both again" in put("block", [1, 1])
    assert "no tensor 'none'" in put("scale", "none")
    assert "minus is '1'" in put("minus", 1)
    assert "copy both again" in put("minus", False)
    assert "scale is no name" in put("scale", 3)
    assert "copy both again" in refused(lambda index, file, tensors: tensors.pop(name))
    for text in ("", "[1, 2]", "null", "{" * 50_000, "[" * 50_000):
        (bad / "sparse.json").write_text(text)
        assert "sparse.json" in _refused(bad, tmp_path)
    (bad / "sparse.json").unlink()
    assert "not found: give a sparse folder" in _refused(bad, tmp_path)


def test_damaged_data_never_pass(folder, tmp_path):
    """Bytes changed at random, anywhere: refused, or without effect on what is rebuilt."""
    bad, rng = tmp_path / "bad", np.random.default_rng(0)
    shutil.copytree(folder, bad)
    for name in ("model", "openvino_model"):
        path = bad / f"sparse.{name}.safetensors"
        good = np.frombuffer(path.read_bytes(), np.uint8)
        dense = {"model": "model.safetensors", "openvino_model": "openvino_model.bin"}[name]
        for attempt in range(60):
            damaged = good.copy()
            # The header, where everything hangs on every byte, as often as the numbers.
            where = rng.integers(0, 4000 if attempt % 2 else good.size, rng.integers(1, 4)) % good.size
            damaged[where] ^= rng.integers(1, 256, len(where)).astype(np.uint8)
            path.write_bytes(damaged.tobytes())
            assert path.name in _refused(bad, tmp_path, only=[dense])
        path.write_bytes(good.tobytes()[:-7])
        assert "not a whole safetensors file" in _refused(bad, tmp_path, only=[dense])
        path.unlink()
        assert "copy the whole sparse folder" in _refused(bad, tmp_path, only=[dense])


def test_a_digest_that_differs_and_files_that_are_not_there(folder, checkpoint, tmp_path):
    bad = tmp_path / "bad"
    shutil.copytree(folder, bad)
    text = (bad / "sparse.json").read_text()
    (bad / "sparse.json").write_text(re.sub(r'"sha256": "\w{8}', '"sha256": "00000000', text))
    assert "is not the file that was packed" in _refused(bad, tmp_path)
    assert "holds no model.bin" in _refused(folder, tmp_path, only=["model.bin"])
    with pytest.raises(OptkitError, match="is not empty"):
        unpack_sparse(folder, checkpoint)
    with pytest.raises(OptkitError, match="is a sparse folder already"):
        pack_sparse(folder, tmp_path / "packed")
    with pytest.raises(OptkitError, match="no weights here"):
        pack_sparse(tmp_path / "bad" / "nowhere", tmp_path / "packed")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:5000])
    with pytest.raises(OptkitError, match="not a whole safetensors file"):
        pack_sparse(cut, tmp_path / "again")
    save_file({"a": np.zeros((8, 8), np.float32), "a:values": np.zeros(3, np.float32)}, cut / "model.safetensors")
    with pytest.raises(OptkitError, match="two tensors would be stored as 'a:values'"):
        pack_sparse(cut, tmp_path / "twice")


def test_an_ir_from_a_sparse_folder_holds_the_same_layers(folder, int8_weights, tmp_path):
    unpack_sparse(folder, tmp_path / "dense", only=["openvino_model.bin"])
    model = read_model(tmp_path / "dense")
    layers = {layer.module: layer.weight.values for layer in linear_layers(model)}
    assert layers.keys() == int8_weights.keys()
    assert all(np.array_equal(layers[name], weight) for name, weight in int8_weights.items())
    with pytest.raises(OptkitError, match="holds no checkpoint"):
        pack_sparse(tmp_path / "dense", tmp_path / "ir")
        optkit.load_sparse(tmp_path / "ir")
