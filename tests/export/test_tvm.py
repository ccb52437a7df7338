"""Apache TVM: libraries whose outputs are torch's, with sparse layers in the blocks that their zeros have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from capabilities import need
from transformers import AutoModelForSequenceClassification

from optkit.errors import ExportError, OptkitError, UsageError
from optkit.export.tvm.index import read_index
from optkit.export.tvm.packing import COSTS, INT8_COSTS, pack, pack_blocks, quantized


def zeros_in_blocks(weight: torch.Tensor, rows: int, cols: int, share: float) -> None:
    """Sets a share of the blocks of a weight to zero, chosen by chance."""
    keep = torch.rand(weight.shape[0] // rows, weight.shape[1] // cols) >= share
    weight.mul_(keep.repeat_interleave(rows, 0).repeat_interleave(cols, 1))


@pytest.fixture(scope="module")
def foreign(tiny_checkpoint, tmp_path_factory):
    """A checkpoint that was pruned with torch alone: 4x4 blocks in one layer, 1x4 in the other."""
    folder = tmp_path_factory.mktemp("foreign")
    shutil.copytree(tiny_checkpoint, folder, dirs_exist_ok=True)
    model, chance = AutoModelForSequenceClassification.from_pretrained(folder), torch.random.fork_rng()
    with torch.no_grad(), chance:
        torch.manual_seed(0)
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "encoder.layer" in name:
                zeros_in_blocks(weight, 4 if "layer.0" in name else 1, 4, 0.95)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compiled(foreign, tmp_path_factory):
    need("tvm")
    import optkit

    folder = tmp_path_factory.mktemp("compiled") / "tvm"
    optkit.compile_tvm(foreign, folder, shapes=[(2, 16), (1, 12)])
    return folder


@pytest.mark.parametrize("block", COSTS)
def test_packed_blocks_are_the_matrix(block):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(64, 32, generator=generator)
    zeros_in_blocks(weight, *block, 0.8)
    packed = pack_blocks(weight.numpy(), block)
    assert np.array_equal(packed.unpack(), weight.numpy())
    assert packed.starts[0] == 0 and packed.starts[-1] == len(packed.columns) == len(packed.values)


@pytest.mark.parametrize("block", INT8_COSTS)
def test_a_layer_in_int8_is_within_half_a_step(block):
    weight = torch.randn(64, 32, generator=torch.Generator().manual_seed(1))
    zeros_in_blocks(weight, *block, 0.8)
    weight[:16] = 0  # outputs without weights
    layer = quantized(pack_blocks(weight.numpy(), block))
    found, scales = layer.unpack(), layer.scales[:, None]
    assert (np.abs(found - weight.numpy()) <= 0.5001 * scales).all()
    assert not found[weight.numpy() == 0].any()
    assert np.allclose(np.abs(found / scales).max(1), np.where(weight.abs().amax(1) > 0, 127, 0))
    assert np.allclose(layer.offsets, -128 * found.sum(1), rtol=1e-4, atol=1e-3)


def test_the_blocks_of_the_zeros_are_chosen_and_few_zeros_stay_dense():
    torch.manual_seed(2)
    for rows, cols in ((4, 4), (16, 4), (1, 4)):
        weight = torch.randn(64, 64)
        zeros_in_blocks(weight, rows, cols, 0.95)
        assert pack(weight.numpy()).block == (rows, cols)
    weight = torch.randn(64, 64)
    zeros_in_blocks(weight, 4, 4, 0.3)
    assert pack(weight.numpy()) is None
    empty = pack(np.zeros((16, 16), np.float32))
    assert not empty.unpack().any()


@pytest.mark.slow
def test_outputs_are_those_of_torch(compiled, foreign):
    from optkit import TvmModel

    model, index = TvmModel(compiled), read_index(compiled)
    forms = {layer.form for layer in index.layers.values()}
    assert {"4x4", "1x4"} <= forms and index.limits["input_ids"] > 0
    torch_model = AutoModelForSequenceClassification.from_pretrained(foreign).eval()
    for batch, seq in ((2, 16), (1, 12)):
        ids = torch.randint(5, index.limits["input_ids"], (batch, seq), generator=torch.Generator().manual_seed(3))
        mask = torch.ones_like(ids)
        mask[-1, seq // 2 :] = 0
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
        with torch.no_grad():
            expected = torch_model(**inputs).logits.numpy()
        found = model({name: tensor.numpy() for name, tensor in inputs.items()})["logits"]
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()


@pytest.mark.slow
def test_in_int8_outputs_are_those_of_torch_with_rounded_numbers(foreign, tmp_path):
    need("tvm")
    import optkit
    from optkit.adapters import tvm
    from optkit.benchmark.backend_support import backend_support
    from optkit.export.tvm.rounding import rounded

    if not tvm.has_vnni(tvm.cpu_target()):
        with pytest.raises(UsageError, match="int8 needs a CPU with AVX-512 VNNI"):
            optkit.compile_tvm(foreign, tmp_path / "tvm", shapes=[(1, 16)], int8=True)
        return
    index = optkit.compile_tvm(foreign, tmp_path / "tvm", shapes=[(1, 16)], int8=True)
    (model,) = backend_support(tmp_path / "tvm").models
    assert model.variant.id == "given/int8/tvm"
    assert {"4x4 int8", "1x4 int8"} <= {layer.form for layer in index.layers.values()}
    model = AutoModelForSequenceClassification.from_pretrained(foreign).eval()
    layers = {
        name: quantized(pack_blocks(weight.detach().numpy(), tuple(map(int, index.layers[name].form[:3].split("x")))))
        for name, weight in model.named_parameters()
        if name in index.layers and index.layers[name].form.endswith("int8")
    }
    ids = torch.arange(5, 21)[None]
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad(), rounded(model, layers):
        expected = model(**inputs).logits.numpy()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    with torch.no_grad():
        plain = model(**inputs).logits.numpy()
    found = optkit.TvmModel(tmp_path / "tvm")({name: tensor.numpy() for name, tensor in inputs.items()})["logits"]
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected - plain).max()


def test_int8_is_refused_where_it_cannot_be(foreign, tmp_path):
    need("tvm")
    import optkit

    with pytest.raises(UsageError, match=r"int8 needs a CPU with AVX-512 VNNI, which llvm -mcpu=haswell has not"):
        optkit.compile_tvm(foreign, tmp_path / "tvm", target="llvm -mcpu=haswell", int8=True)
    with pytest.raises(UsageError, match="1 x 12: int8 takes a multiple of 16 tokens"):
        optkit.compile_tvm(foreign, tmp_path / "tvm", target="llvm -mcpu=znver4", shapes=[(1, 12)], int8=True)


@pytest.mark.slow
def test_running_it_leaves_the_thread_its_cpus(compiled):
    """Else what other libraries start afterwards would share one."""
    from optkit import TvmModel
    from optkit.adapters import tvm

    before = os.sched_getaffinity(0)
    tvm.set_threads(len(before))
    model = TvmModel(compiled)
    model({name: np.ones((2, 16), np.int64) for name in model.index.inputs})
    assert os.sched_getaffinity(0) == before


@pytest.mark.slow
def test_the_cpp_example_gives_the_same_outputs(compiled, tmp_path):
    need("cmake", "compiler")
    import tvm
    import tvm_ffi

    from optkit import TvmModel

    source = Path(__file__).parents[2] / "examples" / "tvm"
    places = [f"-DTVM={tvm.__path__[0]}", f"-DTVM_FFI={tvm_ffi.__path__[0]}"]
    for command in (["cmake", "-S", source, "-B", tmp_path, *places], ["cmake", "--build", tmp_path]):
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stdout + built.stderr
    done = subprocess.run([tmp_path / "run_tvm", compiled, "5", "9", "7"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name, *numbers = done.stdout.split()
    model = TvmModel(compiled)
    ids = np.zeros((2, 16), np.int64)
    ids[0, :3] = 5, 9, 7
    inputs = {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64), "token_type_ids": 0 * ids}
    assert name == "logits:"
    assert np.allclose([float(number) for number in numbers], model(inputs)["logits"].ravel(), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_wrong_inputs_are_one_line(compiled):
    from optkit import TvmModel

    model = TvmModel(compiled)
    ones = {name: np.ones((2, 16), np.int64) for name in model.index.inputs}
    with pytest.raises(OptkitError, match=r"inputs of 2 x 15: it was compiled for 2 x 16, 1 x 12 alone"):
        model({name: array[:, 1:] for name, array in ones.items()})
    limit = model.index.limits["input_ids"]
    with pytest.raises(OptkitError, match=f"input_ids: numbers from 0 to {limit - 1} are taken"):
        model(ones | {"input_ids": ones["input_ids"] * limit})
    with pytest.raises(OptkitError, match="it has an input 'attention_mask', which is not given"):
        model({"input_ids": ones["input_ids"]})


@pytest.mark.slow
def test_a_wrong_product_is_refused_and_its_layer_named(foreign, tmp_path, monkeypatch):
    need("tvm")
    from optkit.export.tvm import compile as compiling

    name = "bert.encoder.layer.1.output.dense.weight"
    find = compiling._layers

    def with_a_fault(*arguments):
        shares, packed = find(*arguments)
        packed[name].values[0] += 1
        return shares, packed

    monkeypatch.setattr(compiling, "_layers", with_a_fault)
    with pytest.raises(ExportError, match=f"{name}: its product is wrong"):
        compiling.compile_tvm(foreign, tmp_path / "out", shapes=[(1, 8)])
    assert not (tmp_path / "out" / "tvm.json").exists()


@pytest.mark.slow
def test_the_benchmark_times_it(compiled, foreign):
    import optkit

    options = optkit.BenchmarkOptions(
        backends=("torch", "tvm"), batch=(2,), seq=(16,), duration=0.05, threads=1, loads=False
    )
    report = optkit.bench([foreign, compiled], options)
    rows = {row["variant"]: row for row in report["shapes"][0]["rows"]}
    assert set(rows) == {"given/fp32/torch", "given/fp32/tvm"}
    assert rows["given/fp32/tvm"]["milliseconds"] > 0


def test_what_is_no_compiled_model_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"no tvm.json in it: make the folder with `optkit compile`"):
        read_index(tmp_path)
    (tmp_path / "tvm.json").write_text('{"format": 2}')
    with pytest.raises(OptkitError, match="written by a newer optkit"):
        read_index(tmp_path)
    (tmp_path / "tvm.json").write_text(json.dumps({"format": 1, "target": 5}))
    with pytest.raises(OptkitError, match=r"tvm.json: target: .*: compile the model again"):
        read_index(tmp_path)
    (tmp_path / "tvm.json").write_text("{")
    with pytest.raises(OptkitError, match="compile the model again"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("cuda", "only CPUs are supported"),
        ("llvm -mcpu=nothing", "LLVM knows no CPU nothing"),
        ("llvm --fast", "unknown option --fast"),
    ],
)
def test_wrong_targets_are_one_line(tiny_checkpoint, tmp_path, target, line):
    need("tvm")
    import optkit

    with pytest.raises(UsageError, match=line):
        optkit.compile_tvm(tiny_checkpoint, tmp_path / "out", target=target)
