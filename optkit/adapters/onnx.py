"""ONNX: traces a checkpoint, finds its linear layers as in an IR, reads and writes files.

The packages are an extra, ``optkit[onnx]``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters import quiet, reason
from optkit.adapters.conversion_check import image_size, largest_difference
from optkit.adapters.onnx_package import MODEL_FILE, find, load_package
from optkit.adapters.onnxruntime import OnnxModel
from optkit.adapters.samples import feed
from optkit.errors import ExportError, OptkitError
from optkit.ir.layers import LinearLayer, Weight

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto
    from torch import Tensor

#: What the axes that may be of any size are called.
_BATCH, _SEQUENCE = "batch", "sequence"
#: protobuf writes no more than 2 GB into a file; beyond this weights go into a file beside it.
_LARGEST = 1 << 30
#: Batch and tokens of the inputs that a model is traced with (a size of 1 would be taken for a constant), those of the
#: inputs that it is tried on, and how far outputs may then lie from the checkpoint's, as a share of the largest.
_TRACED, _TRIED, _TOLERANCE = (2, 7), (3, 11), 1e-3


def trace(checkpoint: Path, *, seed: int = 0) -> ModelProto:
    """The fp32 ONNX model of ``checkpoint``, compacted or not, for batches and lengths of any size.

    Linear layers bear the names of their modules: ``/encoder/layer/0/query/MatMul``.

    Raises:
        ExportError: if torch cannot trace this architecture, or what it made computes something else on other sizes.
        OptkitError: if a package is missing, or there is no checkpoint.
    """
    import torch

    from optkit.pruning.compaction.checkpoint import load_compact

    load_package("onnx")
    with quiet():
        model = load_compact(checkpoint).float().eval()
        model.set_attn_implementation("eager")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            inputs, others = _inputs(model, _TRACED), _inputs(model, _TRIED)
            try:
                with torch.no_grad(), _hush_loggers("torch", "torch.fx", "torch.onnx", "onnxscript", "onnx_ir"):
                    program = torch.onnx.export(
                        model,
                        (),
                        kwargs=inputs,
                        dynamo=True,
                        dynamic_shapes={name: _axes(name) for name in inputs},
                        input_names=list(inputs),
                        output_names=_output_names(model(**inputs)),
                        verbose=False,
                    )
            except Exception as error:  # tracing runs the model's own code, which may raise anything
                why = reason(error.__cause__ or error)
                raise ExportError(f"{checkpoint}: torch cannot trace it for ONNX: {why}") from error
    traced = program.model_proto
    _name_layers(traced)
    _own_weights(traced)
    _own_biases(traced)
    with torch.no_grad():
        differ = _difference(traced, others, model(**others))
    if differ > _TOLERANCE:
        raise ExportError(f"{checkpoint}: its ONNX form computes something else: outputs differ by {differ:.2g}")
    return traced


def _difference(traced: ModelProto, inputs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """How far the outputs of ``traced`` are from those expected, at most, as a share of the largest."""
    with tempfile.TemporaryDirectory() as folder:
        save(traced, Path(folder), {})
        found = vars(OnnxModel(Path(folder))(**inputs))
    return max(largest_difference(out, expected[name]) for name, out in found.items())


def _inputs(model: Any, sizes: tuple[int, int]) -> dict[str, Tensor]:
    """Random inputs of these ``sizes`` (batch, tokens): those that the model's own ``forward`` takes and a tokenizer or
    image processor makes.
    """
    import torch

    config, parameters = model.config, signature(model.forward).parameters
    if "pixel_values" in parameters and "input_ids" not in parameters:
        return {"pixel_values": torch.randn(sizes[0], *image_size(config))}
    ids = torch.randint(5, min(config.vocab_size, 1000), sizes)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if "token_type_ids" in parameters and getattr(config, "type_vocab_size", 0) > 1:
        inputs["token_type_ids"] = torch.zeros_like(ids)
    return inputs


def _axes(name: str) -> dict[int, str]:
    return {0: _BATCH} if name == "pixel_values" else {0: _BATCH, 1: _SEQUENCE}


def _output_names(found: Any) -> list[str]:
    import torch

    return [name for name, value in found.items() if isinstance(value, torch.Tensor)]


@contextlib.contextmanager
def _hush_loggers(*names: str) -> Iterator[None]:
    """Loggers of these ``names`` at errors only, and no graphs of what failed on stderr."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _name_layers(model: ModelProto) -> None:
    """Names linear layers, embeddings and products of activations by their modules, and takes out what torch notes of
    each node: paths of this machine.
    """
    taken: set[str] = set()
    constants = {constant.name for constant in model.graph.initializer}
    turned = [node for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in constants]
    constants |= {node.output[0] for node in turned}
    for node in model.graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == "namespace"), "").split("/")
        del node.metadata_props[:]
        node.doc_string = ""
        module, _, kind = (scopes[-2] if len(scopes) > 1 else "").partition(":")
        linear = node.op_type in ("MatMul", "Gemm") and ".Linear" in kind
        product = node.op_type == "MatMul" and not constants & set(node.input)
        if module and (linear or product or (node.op_type == "Gather" and ".Embedding" in kind)):
            base = name = f"/{module.replace('.', '/')}/{node.op_type}"
            while name in taken:
                name = f"{base}_{sum(other.startswith(base) for other in taken)}"
            taken.add(name)
            node.name = name


def _own_biases(model: ModelProto) -> None:
    """Gives each node vectors of its own: torch lets equal ones be shared, and bias correction changes them."""
    vectors = {constant.name: constant for constant in model.graph.initializer if len(constant.dims) == 1}
    used: dict[str, int] = {}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name not in vectors:
                continue
            used[name] = used.get(name, 0) + 1
            if used[name] > 1:
                copy = model.graph.initializer.add()
                copy.CopyFrom(vectors[name])
                copy.name = node.input[index] = f"{name}_{used[name]}"


def _own_weights(model: ModelProto) -> None:
    """Makes a constant of each transposed one: so torch leaves a weight that embeddings share, and NNCF reads none."""
    onnx = load_package("onnx")
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Transpose" and node.input[0] in constants]:
        values = onnx.numpy_helper.to_array(constants[node.input[0]])
        order = next((list(each.ints) for each in node.attribute if each.name == "perm"), None)
        turned = np.ascontiguousarray(values.transpose(order))
        model.graph.initializer.append(onnx.numpy_helper.from_array(turned, node.output[0]))
        model.graph.node.remove(node)


def input_names(model: ModelProto) -> list[str]:
    return [value.name for value in model.graph.input]


def linear_layers(model: ModelProto) -> list[LinearLayer]:
    """Every MatMul or Gemm with a constant weight in the order of the graph, as ``ir.layers.linear_layers`` has them.

    int8 weights are those that a DequantizeLinear makes floats of.
    """
    onnx = load_package("onnx")
    constants = {constant.name: constant for constant in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    layers = []
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm"):
            continue
        weight = _weight(node.input[1], constants, producers, onnx.numpy_helper.to_array)
        if weight is None or weight.values.ndim != 2:
            continue
        if not _attribute(node, "transB", 0):
            weight = weight._reshape(np.transpose)
        layers.append(LinearLayer(node.name, weight))
    return layers


def parameters(model: ModelProto) -> Iterator[tuple[str, Weight]]:
    """Every constant that stands for trained numbers, once, see ``ir.layers.parameters``."""
    onnx = load_package("onnx")
    kinds = {layer.weight.constant: "linear" for layer in linear_layers(model)}
    helpers: set[str] = set()
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            helpers |= set(node.input[1:])
        elif node.op_type in ("Conv", "ConvTranspose"):
            kinds.setdefault(node.input[1], "conv")
    for constant in model.graph.initializer:
        values = onnx.numpy_helper.to_array(constant)
        wanted = values.dtype.kind == "f" or values.dtype in (np.int8, np.uint8)
        if wanted and values.ndim and constant.name not in helpers:
            yield kinds.get(constant.name, "other"), Weight(values, None, values.dtype.name, constant.name)


def _weight(name: str, constants: Mapping[str, Any], producers: Mapping[str, NodeProto], read: Any) -> Weight | None:
    if name in constants:
        values = read(constants[name])
        return Weight(values, None, {"i": "i8", "u": "u8"}.get(values.dtype.kind, f"f{8 * values.itemsize}"), name)
    node = producers.get(name)
    if node is None or node.op_type != "DequantizeLinear" or node.input[0] not in constants:
        return None
    values, axis = read(constants[node.input[0]]), _attribute(node, "axis", 1)
    across = [1] * values.ndim

    def spread(of: str) -> np.ndarray:
        numbers = read(constants[of])
        return numbers if numbers.ndim == 0 else numbers.reshape([*across[:axis], -1, *across[axis:][1:]])

    if any(of not in constants for of in node.input[1:] if of):
        return None
    dtype = "u8" if values.dtype == np.uint8 else "i8"
    if len(node.input) > 2 and node.input[2]:
        values = values.astype(np.int16) - spread(node.input[2]).astype(np.int16)
    return Weight(values, spread(node.input[1]), dtype, node.input[0])


def _attribute(node: NodeProto, name: str, default: int) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)


def fix_shapes(model: ModelProto, batch: int, seq: int) -> None:
    """Makes ``model`` one for inputs of this batch and length alone."""
    sizes = {_BATCH: batch, _SEQUENCE: seq}
    for value in (*model.graph.input, *model.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in sizes:
                axis.dim_value = sizes[axis.dim_param]
    del model.graph.value_info[:]  # shapes within, which follow


def save(model: ModelProto, folder: Path, pairs: Mapping[str, str]) -> Path:
    """Writes ``model.onnx``, with ``pairs`` as its metadata_props; weights beyond 1 GB go to ``model.onnx.data``.

    Raises:
        ExportError: if what was made is no valid ONNX.
    """
    onnx = load_package("onnx")
    path = Path(folder) / MODEL_FILE
    onnx.helper.set_model_props(model, dict(pairs))
    outside = model.ByteSize() > _LARGEST
    onnx.save_model(model, path, save_as_external_data=outside, location=f"{MODEL_FILE}.data" if outside else None)
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        raise ExportError(f"{path}: what was made is no valid ONNX: {reason(error)}") from error
    return path


def read(path: Path) -> tuple[ModelProto, dict[str, str]]:
    """An ONNX file, or the ``model.onnx`` of a folder, and its metadata_props.

    Raises:
        OptkitError: if there is none, or it is damaged.
    """
    onnx = load_package("onnx")
    path = find(path) or Path(path) / MODEL_FILE
    try:
        model = onnx.load(path)
        return model, {entry.key: entry.value for entry in model.metadata_props}
    except FileNotFoundError as error:
        raise OptkitError(f"{path}: not found, or its weights beside it are not: export it again") from error
    except Exception as error:  # protobuf and onnx each have errors of their own
        raise OptkitError(f"{path}: not an ONNX file that can be read ({reason(error)}): export it again") from error


def feeds(model: ModelProto, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, np.ndarray]]:
    """Each of ``samples`` as a batch of one for ``model``, see ``adapters.nncf.feeds``."""
    onnx = load_package("onnx")
    ports = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        for value in model.graph.input
    }
    return [feed(sample, ports) for sample in samples]
