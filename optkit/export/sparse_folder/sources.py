"""Where the tensors of a weight file lie: of a safetensors file by its header, of an IR's ``.bin`` by its ``.xml``."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from safetensors import SafetensorError, safe_open

from optkit.errors import OptkitError
from optkit.export.sparse_folder.index import SIZES, Packed
from optkit.ir.io import read_model
from optkit.ir.layers import linear_layers
from optkit.ir.tags import read_tags

if TYPE_CHECKING:
    import openvino

_SAFETENSORS_NAMES = {"boolean": "BOOL", "bf16": "BF16", "f16": "F16", "f32": "F32", "f64": "F64"} | {
    f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in "iu" for bits in (8, 16, 32, 64)
}


def of_safetensors(file: Path) -> dict[str, Packed]:
    """The tensors of a safetensors file, by name.

    Raises:
        OptkitError: if it is none, or damaged.
    """
    try:
        with safe_open(file, framework="numpy"):  # checks the header and all offsets
            pass
    except SafetensorError as error:
        raise OptkitError(f"{file}: not a whole safetensors file ({error}): copy or train it again") from error
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return {
        name: Packed(entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
        for name, entry in header.items()
        if name != "__metadata__" and entry["dtype"] in SIZES
    }


def of_ir(xml: Path) -> dict[str, Packed]:
    """The constants of an IR that fill bytes of its ``.bin``, weights of linear layers by their parameter's name.

    Several constants may share their bytes: the first in the file stands for them.

    Raises:
        OptkitError: if there is no IR, or OpenVINO cannot read it.
    """
    model = read_model(xml)
    scales = _scales(model)
    names = _parameter_names(model)
    for weight, scale in scales.items():
        names.setdefault(scale, f"{names.get(weight, weight)}.scale")
    constants: dict[str, Packed] = {}
    for layer in ElementTree.parse(xml).getroot().iterfind("layers/layer[@type='Const']"):
        data = layer.find("data").attrib
        dtype = _SAFETENSORS_NAMES.get(data["element_type"])
        shape = tuple(int(size) for size in data["shape"].split(",") if size.strip())
        if dtype is not None and SIZES[dtype] * prod(shape) == int(data["size"]) > 0:
            constants[layer.get("name")] = Packed(dtype, shape, int(data["offset"]))
    first: dict[int, str] = {}
    end = 0
    for constant, tensor in sorted(constants.items(), key=lambda item: item[1].offset):
        if tensor.offset >= end:
            first[tensor.offset] = constant
            end = tensor.offset + tensor.nbytes
    found = {}
    for constant in first.values():
        tensor, scale = constants[constant], constants.get(scales.get(constant, ""))
        if scale is not None and scale.offset in first:
            of = first[scale.offset]
            tensor = replace(tensor, scale=names.get(of, of))
        found[names.get(constant, constant)] = tensor
    return found


def _parameter_names(model: openvino.Model) -> dict[str, str]:
    """Names of parameters by those of the constants that are their linear layers' weights."""
    tags = read_tags(model)
    tagged = {tag.matmul: tag.parameter for tag in tags.layers} if tags else {}
    names: dict[str, str] = {}
    for layer in linear_layers(model):
        name = tagged.get(layer.matmul) or (f"{layer.module}.weight" if layer.module else layer.matmul)
        if name not in names.values():
            names.setdefault(layer.weight.constant, name)
    return names


def _scales(model: openvino.Model) -> dict[str, str]:
    """For 8-bit constants without a zero point, the constant that their numbers are multiplied by."""
    found = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Multiply":
            parts = [_constant(node.input_value(index).get_node()) for index in (0, 1)]
            if None not in parts and parts[0].get_element_type().to_string() == "i8":
                found[parts[0].get_friendly_name()] = parts[1].get_friendly_name()
    return found


def _constant(node: openvino.Node) -> openvino.Node | None:
    """The Constant that ``node`` is, or converts to another type."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node if node.get_type_name() == "Constant" else None
