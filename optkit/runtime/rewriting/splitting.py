"""Tokens that are split by an axis of their own, as a layer's outputs for query, key and value are, made a split of
features, which is what can be computed in parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.io import import_openvino
from optkit.runtime.rewriting.graph import arguments, integers, kind

if TYPE_CHECKING:
    import openvino

#: The axis of the parts: (batch, seq, parts, heads, d).
_PARTS = 2


def split_features(model: openvino.Model) -> None:
    """Replaces, in place, parts (batch, seq, heads, d) that are taken of tokens as (batch, seq, parts, heads, d): the
    tokens' features are split first, and heads put apart then. The numbers stay the same.
    """
    ops, splits = import_openvino().opset13, {}
    for node in model.get_ordered_ops():
        if node.get_type_name() not in ("Squeeze", "Gather", "Reshape"):
            continue
        found = _part(node.output(0))
        if found is None:
            continue
        together, number = found
        parts, heads, size = (each.get_length() for each in list(together.get_partial_shape())[_PARTS:])
        tokens = arguments(together)[0]
        at = together.get_node().get_name()
        if at not in splits:
            lengths = ops.constant(np.full(parts, heads * size, np.int64))
            splits[at] = ops.variadic_split(tokens, ops.constant(np.int64(-1)), lengths)
        shape = ops.constant(np.array([0, 0, heads, size], np.int64))
        apart = ops.reshape(splits[at].output(number), shape, True)
        apart.set_friendly_name(node.get_friendly_name())
        node.output(0).replace(apart.output(0))


def _part(value: openvino.Output) -> tuple[openvino.Output, int] | None:
    """(tokens as (batch, seq, parts, heads, d), which part) if ``value`` is one of them, (batch, seq, heads, d)."""
    inputs = arguments(value)
    if kind(value) == "Gather":
        index = integers(inputs[1])
        if len(inputs[1].get_partial_shape()) or not index or integers(inputs[2]) not in ([_PARTS], [_PARTS - 5]):
            return None
        together, number = inputs[0], index[0]
    else:
        part = inputs[0]
        if kind(part) != "Split" or integers(arguments(part)[1]) not in ([_PARTS], [_PARTS - 5]):
            return None
        if kind(value) == "Squeeze" and (len(inputs) < 2 or integers(inputs[1]) not in ([_PARTS], [_PARTS - 5])):
            return None
        together, number = arguments(part)[0], part.get_index()
    if not _puts_parts_apart(together):
        return None
    sizes = list(together.get_partial_shape())
    parts = sizes[_PARTS].get_length()
    if kind(value) != "Gather" and value.get_node().input_value(0).get_node().get_attributes()["num_splits"] != parts:
        return None
    whole = list(value.get_partial_shape())
    if len(whole) != 4 or whole[2:] != sizes[3:]:
        return None
    if kind(value) == "Reshape" and not _keeps_leads(value):
        return None
    return together, number % parts if -parts <= number < parts else None


def _puts_parts_apart(value: openvino.Output) -> bool:
    """Whether ``value`` is a Reshape of tokens (batch, seq, features) to (batch, seq, parts, heads, d)."""
    if kind(value) != "Reshape" or len(value.get_partial_shape()) != 5 or not _keeps_leads(value):
        return False
    tokens, sizes = arguments(value)[0].get_partial_shape(), list(value.get_partial_shape())[_PARTS:]
    if tokens.rank.is_dynamic or len(tokens) != 3 or tokens[2].is_dynamic or any(size.is_dynamic for size in sizes):
        return False
    return int(np.prod([size.get_length() for size in sizes])) == tokens[2].get_length()


def _keeps_leads(value: openvino.Output) -> bool:
    """Whether a Reshape leaves the first two dimensions as they are."""
    pattern = integers(arguments(value)[1])
    return bool(pattern) and pattern[:2] == [0, 0] and bool(value.get_node().get_attributes()["special_zero"])
