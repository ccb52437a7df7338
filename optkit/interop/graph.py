"""ONNX models and IRs from elsewhere as models that can be tagged: read, weights named, tried out at any size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.counting.result import measure
from optkit.errors import OptkitError
from optkit.export.fp32 import NamedModel
from optkit.ir.io import import_openvino, last_line, read_model
from optkit.ir.layers import LinearLayer, linear_layers
from optkit.ir.tags import Tags, read_tags
from optkit.quantization.operations import module_of
from optkit.runtime.loading import compile_for_cpu, is_baked
from optkit.tasks import TASKS

if TYPE_CHECKING:
    import openvino

_INTEGERS = ("i8", "u8", "i4", "u4")


def open_onnx(file: Path, setup: Path, task: str) -> tuple[NamedModel, bool]:
    """The ONNX model in ``file`` and whether it is int8 already, by quantize-dequantize pairs, which are made into
    what NNCF writes.

    Raises:
        OptkitError: if it cannot be read, weights are missing or NaN, it has operations that OpenVINO does not know, or
            it takes or gives what no model for ``task`` does.
    """
    model = _read_onnx(file)
    layers = _layers(model, file)
    integers = [layer for layer in layers if layer.weight.dtype in _INTEGERS]
    if any(layer.weight.scale is None for layer in integers):
        raise OptkitError(
            f"{file}: its integer matrix products (MatMulInteger) make no int8 IR: give the model as it was before "
            "quantization, or with QuantizeLinear and DequantizeLinear"
        )
    if integers:
        _fuse(model)
    elif _is_quantized(model):
        raise OptkitError(
            f"{file}: its activations are quantized and its weights are floats: fold them (DequantizeLinear of int8), "
            "or give the model as it was before quantization"
        )
    _make_usable(model, file, task)
    return _name_model(model, linear_layers(model), setup, None), bool(integers)


def open_ir(xml: Path, setup: Path, task: str) -> NamedModel:
    """The fp32 or fp16 IR in ``xml``; what its tags say of compaction is kept.

    Raises:
        OptkitError: if it cannot be read, is quantized, holds NaN, or takes or gives what no model for ``task`` does.
    """
    if is_baked(xml):
        raise OptkitError(f"{xml}: baked, its weights are packed: give the checkpoint that it was made from")
    model = read_model(xml)
    layers = _layers(model, xml)
    if _is_quantized(model) or any(layer.weight.dtype in _INTEGERS for layer in layers):
        raise OptkitError(f"{xml}: int8 already: use it as it is, or give the fp32 model that it was made from")
    _make_usable(model, xml, task)
    return _name_model(model, layers, setup, read_tags(model))


def _read_onnx(file: Path) -> openvino.Model:
    import_openvino()
    from openvino.frontend import FrontEndManager

    # By name: left to find it out, OpenVINO asks every frontend, and those of other formats complain on the terminal.
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(file)))
    except Exception as error:  # its own classes, which share none but Exception
        cause = str(error)
        if found := re.search(r"No conversion rule found for operations: (.+)", cause):
            raise OptkitError(
                f"{file}: OpenVINO does not know its operations {found[1].strip()}: export the model without them"
            ) from error
        if found := re.search(r"externally stored data in file \(([^,)]+)", cause):
            raise OptkitError(
                f"{file}: its weights lie in {found[1]}, which is missing or too short: copy both files again"
            ) from error
        raise OptkitError(f"{file}: not an ONNX model that can be read ({last_line(error)}): copy it again") from error


def _layers(model: openvino.Model, where: Path) -> list[LinearLayer]:
    if layers := linear_layers(model):
        return layers
    raise OptkitError(f"{where}: it has no linear layers, no MatMul with a constant weight: nothing to quantize or tag")


def _is_quantized(model: openvino.Model) -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _name_model(model: openvino.Model, layers: Sequence[LinearLayer], setup: Path, tags: Tags | None) -> NamedModel:
    tags_by_matmul = {tag.matmul: tag for tag in tags.layers} if tags else {}
    biases = _biases(model)
    parameters: dict[str, str] = {}
    constants: dict[str, str] = {}
    facts = {}
    for layer in layers:
        tag = tags_by_matmul.get(layer.matmul)
        name = tag.parameter if tag else _name(layer, biases)
        if constants.setdefault(name, layer.weight.constant) != layer.weight.constant:
            name = constants_name = layer.matmul  # one name, two weights
            constants[constants_name] = layer.weight.constant
        parameters[layer.matmul] = name
        if name not in facts:
            shares = [tag.structure] if tag and "x" in tag.structure else []
            fact = measure(name, layer.weight.values, layer.weight.dtype, shares)
            facts[name] = replace(fact, original_shape=tag.original_shape) if tag else fact
    weights = {parameters[layer.matmul]: layer.weight.values for layer in layers}
    return NamedModel(model, parameters, weights, facts, setup, dict(tags.removed) if tags else {})


def _name(layer: LinearLayer, biases: Mapping[str, str]) -> str:
    """The parameter's name as far as the graph tells: torch's own, that of the module, or the bias's beside it.

    ONNX of torch loses the names of weights that it transposes, and keeps those of biases.
    """
    constant = layer.weight.constant.removeprefix("self.")
    if constant.endswith(".weight"):
        return constant
    module = module_of(layer.matmul)
    if module != layer.matmul:
        return f"{module}.weight"
    bias = biases.get(layer.matmul, "")
    return f"{bias.removesuffix('.bias')}.weight" if bias.endswith(".bias") else layer.matmul


def _biases(model: openvino.Model) -> dict[str, str]:
    """Name of the constant that is added to a MatMul's output, by the MatMul's name."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Add":
            continue
        sources = [value.get_node() for value in node.input_values()]
        for product, bias in (sources, sources[::-1]):
            if product.get_type_name() == "MatMul" and bias.get_type_name() == "Constant":
                found[product.get_friendly_name()] = bias.get_friendly_name()
    return found


def _make_usable(model: openvino.Model, where: Path, task: str) -> None:
    """Any batch and length as inputs, and outputs called as optimum-intel looks for them; tried out."""
    names = TASKS[task].outputs
    if not all(any(name in port.get_names() for port in model.outputs) for name in names):
        if len(model.outputs) != len(names):
            there = ", ".join(min(port.get_names(), default="?") for port in model.outputs)
            raise OptkitError(f"{where}: its outputs are {there}, and a model for {task} gives {', '.join(names)}")
        for port, name in zip(model.outputs, names):
            port.get_tensor().add_names({name})
    shapes = [port.get_partial_shape() for port in model.inputs]
    if any(shape.rank.is_dynamic or len(shape) != 2 for shape in shapes):
        given = ", ".join(map(str, shapes))
        raise OptkitError(f"{where}: its inputs have the shapes {given}: token ids (batch, length) were expected")
    fixed = "its graph is made for one size of input: export it again with dynamic axes for batch and length"
    try:
        model.reshape({port: [-1, -1] for port in model.inputs})
        compiled = compile_for_cpu(import_openvino().Core(), model, {})
        fits = all(_takes(compiled, names, batch, length) for batch, length in ((1, 5), (2, 8)))
    except (RuntimeError, OptkitError) as error:
        raise OptkitError(f"{where}: {fixed} ({last_line(error)})") from error
    if not fits:
        raise OptkitError(f"{where}: {fixed}")


def _takes(compiled: openvino.CompiledModel, names: Sequence[str], batch: int, length: int) -> bool:
    """Whether a batch of inputs gives a batch of each of the outputs ``names``; there may be others, such as a loss."""
    found = compiled([_ones(port, batch, length) for port in compiled.inputs])
    return all(found[name].shape[:1] == (batch,) for name in names)


def _ones(port: Any, batch: int, length: int) -> np.ndarray:
    return np.ones((batch, length), port.get_element_type().to_dtype())


def _fuse(model: openvino.Model) -> None:
    """Makes one FakeQuantize of each pair of QuantizeLinear and DequantizeLinear on activations, as NNCF writes it.

    OpenVINO reads the pair as FakeQuantize (to integers), Convert twice, Subtract, Multiply. The last two are linear,
    so they move into the FakeQuantize's output range.
    """
    ops = import_openvino().opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Multiply" or (found := _pair(node)) is None:
            continue
        quantize, zero, scale = found
        data, low, high, *ends = [value for value in quantize.input_values()]
        ends = [((end.get_node().data - zero) * scale).astype(np.float32) for end in ends]
        fused = ops.fake_quantize(data, low, high, *ends, levels=quantize.get_attributes()["levels"])
        fused.set_friendly_name(node.get_friendly_name())
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(fused.output(0))
    model.validate_nodes_and_infer_types()


def _pair(multiply: Any) -> tuple[Any, np.ndarray, np.ndarray] | None:
    """(FakeQuantize, zero point, scale) of what ends in ``multiply``, None if that is no such pair."""
    scale = _constant(multiply.input_value(1).get_node())
    node, zero = multiply.input_value(0).get_node(), np.float32(0)
    if node.get_type_name() == "Subtract":
        zero, node = _constant(node.input_value(1).get_node()), node.input_value(0).get_node()
    converts = 0
    while node.get_type_name() == "Convert":
        node, converts = node.input_value(0).get_node(), converts + 1
    if node.get_type_name() != "FakeQuantize" or not converts or scale is None or zero is None:
        return None
    plain = all(value.get_node().get_type_name() == "Constant" for value in list(node.input_values())[1:])
    return (node, zero, scale) if plain and all(np.size(of) == 1 for of in (zero, scale)) else None


def _constant(node: Any) -> np.ndarray | None:
    """The numbers of a constant, float32, also behind a Convert."""
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.data.astype(np.float32) if node.get_type_name() == "Constant" else None
