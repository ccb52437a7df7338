"""Blocks of 2 to 32 outputs x 4 inputs from a checkpoint to the answers: tags, inspect, sparse folder, plan, baked IR."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from architectures import BERT, token_samples
from capabilities import need
from safetensors.numpy import load_file

import optkit
from optkit import runtime
from optkit.export.openvino import export_openvino
from optkit.export.sparse_folder.index import read_index
from optkit.ir.io import read_model
from optkit.ir.tags import read_tags
from optkit.quantization.config import Quantization
from optkit.runtime import extension as library
from optkit.runtime.baking import baked_layers
from optkit.runtime.instruction_sets import Rates
from optkit.runtime.loading import compile_for_cpu, new_core
from optkit.runtime.planning import apply, costs
from optkit.runtime.planning.feeding import feeds

CONFIG = {**BERT, "num_hidden_layers": 1}
SAMPLES = token_samples(8)
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}


@pytest.fixture(scope="module", params=[2, 4, 8, 16, 32])
def exported(request, tmp_path_factory, save_checkpoint):
    """(outputs of a block, checkpoint, zeros by parameter, int8 IR); nothing says how the checkpoint was pruned."""
    folder = tmp_path_factory.mktemp(f"blocks{request.param}")
    zeros = save_checkpoint(folder / "pruned", "BertForSequenceClassification", CONFIG, (request.param, 4), 0.75)
    options = {"export_task": "text-classification", "calibration": SAMPLES, "quantization": Quantization()}
    export_openvino(folder / "pruned", folder / "ir", **options)
    return request.param, folder / "pruned", zeros, folder / "ir"


def test_tags_and_inspect_name_them(exported, optkit_cli):
    rows, checkpoint, zeros, ir = exported
    tags = {tag.parameter: tag for tag in read_tags(ir).layers}
    for name, tag in tags.items():
        assert tag.structure == (f"{rows}x4" if name in zeros else "dense"), name
        assert tag.block_sparsity == tag.sparsity == (0.75 if name in zeros else 0.0)
    for path in (checkpoint, ir):
        done = optkit_cli("inspect", path, "--json")
        found = {layer["name"]: layer for layer in json.loads(done.out)["layers"]}
        assert {name for name, layer in found.items() if layer["structure"] == f"{rows}x4"} == set(zeros)
        if path == checkpoint:  # in int8 more blocks may have become zero
            assert {found[name]["blocks"][f"{rows}x4"] for name in zeros} == {0.75}


def test_the_sparse_folder_stores_them_whole(exported, tmp_path):
    rows, checkpoint, zeros, ir = exported
    optkit.pack_sparse(checkpoint, tmp_path / "packed")
    tensors = read_index(tmp_path / "packed")["model.safetensors"].tensors
    weights = load_file(checkpoint / "model.safetensors")
    for name in zeros:
        assert tensors[name].block == (rows, 4)
        assert tensors[name].kept == weights[name].size // (4 * rows) // 4
    optkit.unpack_sparse(tmp_path / "packed", tmp_path / "again")
    assert (tmp_path / "again/model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()
    optkit.pack_sparse(ir, tmp_path / "packed_ir")
    optkit.unpack_sparse(tmp_path / "packed_ir", tmp_path / "ir", only=["openvino_model.bin"])
    assert (tmp_path / "ir/openvino_model.bin").read_bytes() == (ir / "openvino_model.bin").read_bytes()


@pytest.fixture
def rising_rates(monkeypatch):
    """The same on every CPU: each height that has a kernel gains a little and takes blocks one by one, and OpenVINO is
    slow.
    """
    need("extension")
    block4 = dict(zip((1, 2, 4, 8, 16, 32), (10.0, 11.0, 12.0, 13.0, 14.0, 15.0), strict=True))
    rates = Rates(block4, 1.0, 1.0, openvino_int8=0.1, openvino_fp32=0.1, tall=1.0)
    table = tuple(
        replace(
            row,
            features=(),
            supported=True,
            rates=rates,
            rates_with_amx=None,
            together=dict.fromkeys(row.together, 1),
        )
        for row in library.instruction_sets()
    )
    monkeypatch.setattr(library, "instruction_sets", lambda: table)
    monkeypatch.setattr(costs, "amx_int8", lambda tokens: 0.1)


def test_plan_and_baked_ir_have_the_highest_kernels_that_divide_them(exported, rising_rates, tmp_path):
    outputs, _, zeros, ir = exported
    heights = library.instruction_set(library.isa()).heights
    rows = max(height for height in heights if outputs % height == 0)
    matmuls = {tag.matmul for tag in read_tags(ir).layers if tag.parameter in zeros}
    plan = runtime.plan(ir, "static")
    for layer in plan.layers:
        if layer.matmul in matmuls:
            assert layer.kernel == runtime.Kernel("block4", rows)
            share = f"{100 * layer.block4_densities[rows]:.0f}"
            assert layer.reason.startswith(f"block4 of {rows}x4: {share} % of {rows}x4 blocks left, about ")
    baked = runtime.bake(ir, tmp_path / "baked")
    said = baked_layers(baked.xml)
    assert {name: said[name]["rows"] for name in matmuls} == dict.fromkeys(matmuls, str(rows))
    core = new_core()
    assert read_tags(core.read_model(baked.xml)) == read_tags(ir)

    # Integer products are exact, so single rows give the same numbers to the last bit.
    model, block4 = read_model(ir), runtime.Kernel("block4")
    by_single_rows = [
        replace(layer, kernel=block4 if layer.kernel is not None and layer.kernel.name == "block4" else layer.kernel)
        for layer in plan.layers
    ]
    models = (core.read_model(baked.xml), apply(model, replace(plan, layers=tuple(by_single_rows)))[0])
    tall, low = (compile_for_cpu(core, each, FLOAT32) for each in models)
    for shape in ((1, 5), (3, 17)):
        arrays = feeds(model, shape)
        np.testing.assert_array_equal(tall(arrays)[0], low(arrays)[0])
