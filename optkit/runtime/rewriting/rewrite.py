"""Rewrites a model in place so that chosen linear layers, and all that can be fused with them, run in Program nodes.

First each value that steps of a Program can compute is recognised by itself (recognition.py and the patterns it names),
then neighbours are merged into Programs (grouping.py), each of which becomes one node in the graph (placing.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from optkit.errors import OptkitError
from optkit.ir.io import import_openvino
from optkit.runtime.packing import encode
from optkit.runtime.program import Kernel, Program, Quantization
from optkit.runtime.rewriting.canonical import simplify
from optkit.runtime.rewriting.graph import Key, integers, key, kind
from optkit.runtime.rewriting.grouping import group
from optkit.runtime.rewriting.linear import Chosen, Packing, choose
from optkit.runtime.rewriting.placing import CreateNode, Placed, place
from optkit.runtime.rewriting.recognition import recognise
from optkit.runtime.rewriting.shapes import Shapes
from optkit.runtime.rewriting.sites import readings
from optkit.runtime.rewriting.splitting import split_features

if TYPE_CHECKING:
    import openvino


def _create_node(inputs: list[openvino.Output], program: Program, name: str) -> openvino.Node:
    from optkit.runtime.extension import create_node

    return create_node(inputs, encode(program), name)


@dataclass(frozen=True, eq=False)
class Rewrite:
    """What became of a model.

    Attributes:
        programs: in the order of the graph.
        left_out: why, by MatMul, for layers that were named but stay OpenVINO's.
        notes: why, by node, for what looks like attention but stays OpenVINO's.
    """

    programs: tuple[Placed, ...]
    left_out: dict[str, str]
    notes: dict[str, str]


def rewrite(
    model: openvino.Model,
    kernels: Mapping[str, Kernel],
    *,
    attention: bool = True,
    dynamic: bool = False,
    create_node: CreateNode = _create_node,
) -> Rewrite:
    """Puts the linear layers named in ``kernels`` into Program nodes, in place; the others stay as they are.

    Args:
        model: any OpenVINO model; names of its inputs and outputs survive.
        kernels: how each layer is to be packed, by the friendly name of its MatMul.
        attention: whether attention between such layers goes into the same Program.
        dynamic: layers whose activations the model does not quantize compute with 8 bits if their kernel is ``block4``,
            each token's range found as it comes; float32 weights are quantized first, by output channel. Without it
            such layers are float32, and only ``element`` kernels can have them.
        create_node: makes a node from its inputs, the program and a name.

    Raises:
        OptkitError: if ``kernels`` names no linear layer of the model, or the extension is missing.
    """
    chosen, left_out = _chosen(model, kernels, dynamic)
    if not chosen:
        return Rewrite((), left_out, {})
    split_features(model)
    shapes = simplify(model)
    _ask_early(model, shapes)
    matches = recognise(model, shapes, chosen, Packing(), attention=attention)
    groups, demand = group(model, matches.found, shapes)
    placed = place(groups, demand, shapes, _free_names(model), create_node)
    model.validate_nodes_and_infer_types()
    inside = {layer for each in placed for layer in each.layers}
    for each in chosen:
        if each.reading.name not in inside:
            left_out[each.reading.name] = "its tokens' shape is not known well enough"
    return Rewrite(tuple(placed), left_out, matches.notes)


def _chosen(model: openvino.Model, kernels: Mapping[str, Kernel], dynamic: bool) -> tuple[list[Chosen], dict[str, str]]:
    """The layers that ``kernels`` names and can have, and why not for the others."""
    layers = {reading.name: reading for reading in readings(model)}
    unknown = [name for name in kernels if name not in layers]
    if unknown:
        raise OptkitError(f"{unknown[0]}: the model has no such linear layer: sites(model) lists those it has")
    as_they_come: dict[Key, Quantization] = {}
    chosen, left_out = [], {}
    for name, reading in layers.items():
        if name not in kernels:
            continue
        own = Quantization(None, None)
        shared = as_they_come.setdefault(key(reading.source), own) if dynamic and not reading.problem else None
        found = choose(reading, kernels[name], shared)
        if isinstance(found, str):
            left_out[name] = found
        else:
            chosen.append(found)
    return chosen, left_out


def _ask_early(model: openvino.Model, shapes: Shapes) -> None:
    """Lets ShapeOf read the first of the values that have the same shape.

    Exporters ask a value in the midst of the network for sizes that masks are made of: a Program that computes the one
    and reads the other would depend on itself.
    """
    first: dict[Key, tuple[int, openvino.Output]] = {}
    nodes = model.get_ordered_ops()
    for turn, node in enumerate(nodes):
        for value in node.outputs():
            alike = [first[key(each)] for each in node.input_values() if shapes[each] == shapes[value]]
            first[key(value)] = min(alike, key=lambda each: each[0], default=(turn, value))
    holders: dict[int, tuple[openvino.Output, int]] = {}
    for node in nodes:
        if node.get_type_name() == "Gather":
            _ask_the_first(node, holders, shapes)
        for value in node.outputs():
            for axis, size in enumerate(shapes[value] or ()):
                holders.setdefault(size, (value, axis))
    for node in nodes:
        if node.get_type_name() == "ShapeOf" and shapes[node.input_value(0)] is not None:
            node.input(0).replace_source_output(first[key(node.input_value(0))][1])


def _ask_the_first(node: openvino.Node, holders: Mapping[int, tuple[openvino.Output, int]], shapes: Shapes) -> None:
    """Lets a Gather of one size that is not known read it off the first value that has it."""
    sizes = node.input_value(0)
    if kind(sizes) != "ShapeOf" or len(integers(node.input_value(1)) or ()) != 1:
        return
    found = shapes.sizes(node.output(0))
    if not found or found[0] >= 0 or found[0] not in holders:
        return
    ops, (value, axis) = import_openvino().opset13, holders[found[0]]
    index = np.full(list(node.input_value(1).get_shape()), axis, np.int64)
    node.input(0).replace_source_output(ops.shape_of(value, sizes.get_element_type().to_string()).output(0))
    node.input(1).replace_source_output(ops.constant(index).output(0))


def _free_names(model: openvino.Model) -> Iterator[str]:
    """Friendly names for Programs that no node has."""
    taken = {node.get_friendly_name() for node in model.get_ordered_ops()}
    return (name for name in (f"Program_{i}" for i in count()) if name not in taken)
