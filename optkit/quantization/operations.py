"""The operations of an IR that quantization is about, by the torch modules that they come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from optkit.errors import ExportError
from optkit.ir.layers import Weight, constant_weight
from optkit.pruning.targets import matches
from optkit.spelling import suggest

if TYPE_CHECKING:
    import openvino

_WEIGHTED = {"MatMul": (1, 0), "Gather": (0,), "Convolution": (1,), "GroupConvolution": (1,)}
_BETWEEN_ACTIVATIONS = {"MatMul", "ScaledDotProductAttention"}


def operations(
    model: openvino.Model, parameters: Mapping[str, str], *, weights_only: bool = False
) -> dict[str, list[str]]:
    """Names of the operations that can be computed with 8 bits, by module, in the order of execution.

    These are linear layers, embeddings, convolutions and, under the name of the module that calls them, products of
    activations (attention).

    Args:
        model: fp32.
        parameters: the checkpoint's parameter by the MatMul's name; other operations, and MatMuls that are not among
            them, are known by the module in their own name, and where it tells none, by that name.
        weights_only: leave products of activations out.
    """
    found: dict[str, list[str]] = {}
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        if weight_of(node) is not None or (not weights_only and _is_product(node)):
            module = parameters[name].removesuffix(".weight") if name in parameters else module_of(name)
            found.setdefault(module, []).append(name)
    return found


def module_of(name: str) -> str:
    """The dotted torch module in an operation's name (``__module.a.b/aten::linear/MatMul``, and ``/a/b/MatMul`` as ONNX
    has it), the whole name where it tells none.
    """
    if traced := re.match(r"__module\.([^/]+)/", name):
        return traced[1]
    if name.startswith("/") and name.count("/") > 1:
        return name[1:].rpartition("/")[0].replace("/", ".")
    return name


def weight_of(node: openvino.Node) -> Weight | None:
    """The constant of real numbers, in two dimensions or more, that an operation multiplies with or looks up."""
    for port in _WEIGHTED.get(node.get_type_name(), ()):
        source = node.input_value(port)
        if not source.get_element_type().is_real():
            continue
        weight = constant_weight(source.get_node())
        if weight is not None and weight.values.ndim >= 2:
            return weight
    return None


def check_finite(model: openvino.Model) -> None:
    """Raises ExportError if a weight that would be quantized is NaN or infinite."""
    for node in model.get_ordered_ops():
        weight = weight_of(node)
        if weight is None or weight.values.dtype.kind != "f":
            continue
        wrong = weight.values.size - np.count_nonzero(np.isfinite(weight.values))
        if wrong:
            where = f"{module_of(node.get_friendly_name())}: {wrong} of {weight.values.size} weights"
            raise ExportError(f"{where} are NaN or infinite: they cannot be quantized")


def _is_product(node: openvino.Node) -> bool:
    """Whether an operation multiplies activations with each other."""
    if node.get_type_name() not in _BETWEEN_ACTIVATIONS:
        return False
    return all(constant_weight(value.get_node()) is None for value in node.input_values()[:2])


def select(patterns: Sequence[str], modules: Collection[str]) -> list[str]:
    """Those of ``modules`` that one of ``patterns`` matches, in their order.

    Raises:
        ExportError: if a pattern matches none.
    """
    for pattern in patterns:
        if not any(matches(pattern, module) for module in modules):
            raise ExportError(f"ignored: '{pattern}' matches no module that is quantized{hint(pattern, modules)}")
    return [module for module in modules if any(matches(pattern, module) for pattern in patterns)]


def hint(pattern: str, modules: Collection[str]) -> str:
    """What may have been meant by a pattern that matches none of ``modules``, by the last part of their names."""
    last = [name.rpartition(".")[2] for name in modules]
    return suggest(pattern.rpartition(".")[2].strip("*"), dict.fromkeys(last))
