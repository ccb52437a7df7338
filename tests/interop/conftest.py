"""A model that optkit did not prune, in the forms that it may come in."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import capabilities
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "torch_prune.py"


@pytest.fixture(scope="session")
def torch_pruned(tmp_path_factory, tiny_checkpoint) -> Path:
    """``tiny_checkpoint`` with 75 % of each encoder layer zero, made by a script that knows nothing of optkit."""
    folder = tmp_path_factory.mktemp("elsewhere") / "pruned"
    assert "optkit" not in SCRIPT.read_text()
    given, sys.argv = (
        sys.argv,
        [SCRIPT.name, "--model", str(tiny_checkpoint), "--output", str(folder), "--amount", "0.75"],
    )
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    finally:
        sys.argv = given
    return folder


@pytest.fixture
def pruned(torch_pruned, tmp_path) -> Path:
    """A copy to change."""
    return shutil.copytree(torch_pruned, tmp_path / "pruned")


@pytest.fixture(scope="session")
def sparseml_model():
    """Writes a classifier as SparseML's exports look: weights (in, out) without names, zeros in floats or int8."""
    onnx = capabilities.package("onnx")
    from onnx import TensorProto, helper, numpy_helper

    def write(
        folder: Path, form: str = "float", *, names: str = "biases", external: bool = False, sparsity: float = 0.8
    ) -> dict:
        """Returns the weights (out, in) by the names that the graph tells; ``form``: float, qdq, unfolded, integer."""
        rng = np.random.default_rng(0)
        nodes, initializers, weights = [], [], {}

        def constant(name, array):
            initializers.append(numpy_helper.from_array(np.asarray(array), name))
            return name

        def node(kind, inputs, output, **attributes):
            nodes.append(helper.make_node(kind, inputs, [output], name=f"{kind}_{len(nodes)}", **attributes))
            return output

        def linear(value, module, shape):
            weight = rng.normal(size=shape).astype(np.float32)
            weight[rng.random(shape) < sparsity] = 0
            label = f"onnx::MatMul_{100 + len(nodes)}"
            if form == "float":
                product = [value, constant(label, weight.T.copy())]
            else:
                scale = np.float32(np.abs(weight).max() / 127)
                integers = np.round(weight / scale).astype(np.int8)
                low, step = constant(f"{label}_z", np.uint8(115)), constant(f"{label}_s", np.float32(0.04))
                taken = node("QuantizeLinear", [value, step, low], f"{label}_q")
                zero, one = constant(f"{label}_wz", np.int8(0)), constant(f"{label}_ws", scale)
                if form == "integer":
                    held = constant(f"{label}_w", integers.T.copy())
                    product = node("MatMulInteger", [taken, held, low, zero], f"{label}_i")
                    nodes.append(helper.make_node("Cast", [product], [f"{label}_c"], to=TensorProto.FLOAT))
                    return f"{label}_c"
                given = node("DequantizeLinear", [taken, step, low], f"{label}_d")
                held = constant(f"{label}_w", weight.T.copy() if form == "unfolded" else integers.T.copy())
                if form == "unfolded":
                    held = node("QuantizeLinear", [held, one, zero], f"{label}_wq")
                product = [given, node("DequantizeLinear", [held, one, zero], f"{label}_wd")]
                weight = integers
            weights[f"{module}.weight"] = weight
            path = f"/{module.replace('.', '/')}/MatMul" if names == "modules" else f"MatMul_{len(nodes)}"
            nodes.append(helper.make_node("MatMul", product, [f"{label}_p"], name=path))
            bias = f"{module}.bias" if names == "biases" else f"{label}_b"
            return node(
                "Add", [constant(bias, rng.normal(size=shape[0]).astype(np.float32)), f"{label}_p"], f"{label}_o"
            )

        table = constant("bert.embeddings.word_embeddings.weight", rng.normal(size=(200, 32)).astype(np.float32))
        hidden = node("Gather", [table, "input_ids"], "hidden")
        mask = node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
        hidden = node("Mul", [hidden, node("Unsqueeze", [mask, constant("axis", np.array([2]))], "mask_3d")], "masked")
        up = node("Relu", [linear(hidden, "bert.encoder.layer.0.intermediate.dense", (64, 32))], "up")
        down = linear(up, "bert.encoder.layer.0.output.dense", (32, 64))
        pooled = node("Gather", [down, constant("first", np.array(0))], "pooled", axis=1)
        head = constant("classifier.weight", rng.normal(size=(2, 32)).astype(np.float32))
        weights["classifier.weight"] = numpy_helper.to_array(initializers[-1])
        last = constant("classifier.bias", np.zeros(2, np.float32))
        nodes.append(helper.make_node("Gemm", [pooled, head, last], ["logits"], name="Gemm_9", transB=1))
        ids = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"])
            for name in ("input_ids", "attention_mask")
        ]
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])
        graph = helper.make_graph(nodes, "bert", ids, [logits], initializers)
        opsets = [helper.make_opsetid("", 13), helper.make_opsetid("elsewhere", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        data = {"save_as_external_data": True, "location": "model.data", "size_threshold": 64} if external else {}
        onnx.save(model, str(folder / "model.onnx"), **data)
        return weights

    return write


@pytest.fixture
def onnx_folder(tmp_path, tiny_checkpoint) -> Path:
    """Config and tokenizer, and room for an ONNX model."""
    folder = tmp_path / "onnx"
    folder.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_checkpoint / name, folder / name)
    return folder
