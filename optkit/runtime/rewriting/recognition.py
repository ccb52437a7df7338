"""The table of patterns, and the pass that tries them on each value of a model, first to last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from optkit.runtime.rewriting import decomposed, pointwise
from optkit.runtime.rewriting.attention import attention as attention_pattern
from optkit.runtime.rewriting.graph import Key, key
from optkit.runtime.rewriting.linear import Chosen, Packed, linear, part
from optkit.runtime.rewriting.matches import Match, Matches
from optkit.runtime.rewriting.shapes import Shapes

if TYPE_CHECKING:
    import openvino

Pattern = Callable[["openvino.Output", Matches], Match | None]

#: Patterns by the type of their last node, the one of most nodes first.
PATTERNS: Mapping[str, tuple[Pattern, ...]] = {
    "Add": (pointwise.affine, pointwise.residual),
    "Subtract": (pointwise.affine,),
    "Multiply": (
        decomposed.layer_norm,
        decomposed.rms_norm,
        decomposed.gelu,
        decomposed.swish,
        pointwise.affine,
        pointwise.product,
    ),
    "Divide": (decomposed.layer_norm, decomposed.rms_norm, decomposed.gelu, pointwise.affine),
    "MVN": (pointwise.mvn,),
    "Gelu": (pointwise.activation,),
    "Relu": (pointwise.activation,),
    "Tanh": (pointwise.activation,),
    "Sigmoid": (pointwise.activation,),
    "Swish": (pointwise.swish,),
    "FakeQuantize": (pointwise.fake_quantize,),
    "Reshape": (attention_pattern,),
    "Split": (part,),
    "VariadicSplit": (part,),
    "Slice": (part,),
}


def _linear(
    layers: Mapping[Key, Chosen],
    packing: Callable[[Chosen, slice], Packed],
    value: openvino.Output,
    matches: Matches,
) -> Match | None:
    chosen = layers.get(key(value))
    source = chosen and matches.shapes.tokens(chosen.reading.source)
    return linear(chosen, packing) if source and source[:-1] == matches.shapes[value][:-1] else None


def recognise(
    model: openvino.Model,
    shapes: Shapes,
    chosen: Iterable[Chosen],
    packing: Callable[[Chosen, slice], Packed],
    *,
    attention: bool,
) -> Matches:
    """Every value of ``model`` that a Program could compute.

    Args:
        shapes: of the model.
        chosen: the linear layers among them.
        packing: packs weights when steps are made.
        attention: whether attention is one of the steps.
    """
    layers: dict[Key, Chosen] = {key(each.reading.matmul): each for each in chosen}
    matches = Matches(shapes)
    for each in layers.values():
        shapes.learn_features(each.reading.source, each.reading.values.shape[1])
    for node in model.get_ordered_ops():
        for value in node.outputs():
            if matches.shapes.tokens(value) is None:
                continue
            patterns = (partial(_linear, layers, packing), *PATTERNS.get(node.get_type_name(), ()))
            found = (pattern(value, matches) for pattern in patterns if attention or pattern is not attention_pattern)
            match = next(filter(None, found), None)
            if match is not None:
                matches.found[key(value)] = match
    return matches
