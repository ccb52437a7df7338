"""LayerNorm, RMSNorm, GELU and Swish as several nodes, as exporters write them that have no single one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optkit.runtime.rewriting.graph import arguments, attribute, integers, key, kind, number
from optkit.runtime.rewriting.matches import Match, Matches
from optkit.runtime.rewriting.pointwise import LARGEST, activation_match, layer_norm_match, rms_norm_match, swish_match
from optkit.runtime.rewriting.shapes import Shapes

if TYPE_CHECKING:
    import openvino

Terms = tuple[float, list["openvino.Output"]]


def layer_norm(value: openvino.Output, matches: Matches) -> Match | None:
    """``(x - mean) / sqrt(variance + epsilon)``, the root as Sqrt, Power 0.5 or Power -0.5."""
    left, right = arguments(value)
    orders = [(left, right)] if kind(value) == "Divide" else [(left, right), (right, left)]
    for centred, spread in orders:
        x = _centred(centred, matches.shapes)
        if x is None:
            continue
        variance = _under_root(spread, inverse=kind(value) == "Multiply")
        found = None if variance is None else _plus_number(variance)
        if found and _is_variance(found[0], x, matches.shapes):
            return layer_norm_match(value, x, found[1], matches)
    return None


def rms_norm(value: openvino.Output, matches: Matches) -> Match | None:
    """``x / sqrt(mean(x^2) + epsilon)``."""
    found = root_mean_square(value, matches.shapes)
    return found and rms_norm_match(value, *found, matches)


def root_mean_square(value: openvino.Output, shapes: Shapes) -> tuple[openvino.Output, float] | None:
    """(x, epsilon) if ``value`` is x divided by the root mean square of its last axis."""
    left, right = arguments(value)
    orders = [(left, right)] if kind(value) == "Divide" else [(left, right), (right, left)]
    for x, spread in orders:
        mean = _under_root(spread, inverse=kind(value) == "Multiply")
        found = None if mean is None else _plus_number(mean)
        square = found and _mean_of(found[0], shapes)
        if square and _is_square(square, x) and shapes[x] == shapes[value] and 0 <= found[1] <= LARGEST:
            return x, found[1]
    return None


def gelu(value: openvino.Output, matches: Matches) -> Match | None:
    """``0.5 x (1 + erf(x / sqrt 2))`` or ``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``, in any order."""
    factor, terms = _product(value)
    if len(terms) != 2 or not math.isclose(factor, 0.5, rel_tol=1e-5):
        return None
    for x, gate in (terms, terms[::-1]):
        found = _plus_number(gate)
        if found is None or found[1] != 1:
            continue
        inner = found[0]
        if kind(inner) == "Erf" and _is_multiple(arguments(inner)[0], x, math.sqrt(0.5)):
            return activation_match(value, x, "gelu_erf", matches)
        if kind(inner) == "Tanh" and _is_tanh_argument(arguments(inner)[0], x):
            return activation_match(value, x, "gelu_tanh", matches)
    return None


def swish(value: openvino.Output, matches: Matches) -> Match | None:
    """``x sigmoid(a x)`` as two nodes."""
    left, right = arguments(value)
    for x, gate in ((left, right), (right, left)):
        factor, terms = _product(arguments(gate)[0]) if kind(gate) == "Sigmoid" else (0.0, [])
        if factor and [key(each) for each in terms] == [key(x)]:
            return swish_match(value, x, factor, matches)
    return None


# LayerNorm


def _mean_of(value: openvino.Output, shapes: Shapes) -> openvino.Output | None:
    """x if ``value`` is x's mean over the features."""
    if kind(value) != "ReduceMean" or not attribute(value, "keep_dims"):
        return None
    data, axes = arguments(value)
    rank = len(shapes[data] or ())
    return data if integers(axes) in ([-1], [rank - 1]) else None


def _centred(value: openvino.Output, shapes: Shapes) -> openvino.Output | None:
    """x if ``value`` is ``x - mean(x)``."""
    if kind(value) != "Subtract":
        return None
    x, mean = arguments(value)
    return x if _mean_of(mean, shapes) == x else None


def _is_variance(value: openvino.Output, x: openvino.Output, shapes: Shapes) -> bool:
    square = _mean_of(value, shapes)
    if square is None:
        return False
    left, right = arguments(square)[0], arguments(square)[-1]
    if kind(square) == "SquaredDifference":
        return (left == x and _mean_of(right, shapes) == x) or (right == x and _mean_of(left, shapes) == x)
    if kind(square) == "Multiply":
        return _centred(left, shapes) == x and _centred(right, shapes) == x
    return kind(square) == "Power" and number(right) == 2 and _centred(left, shapes) == x


def _is_square(value: openvino.Output, x: openvino.Output) -> bool:
    inputs = arguments(value)
    if kind(value) == "Power":
        return number(inputs[1]) == 2 and inputs[0] == x
    return kind(value) == "Multiply" and inputs[0] == x and inputs[1] == x


def _under_root(value: openvino.Output, *, inverse: bool) -> openvino.Output | None:
    """y if ``value`` is the root of y, or 1 divided by it."""
    inputs = arguments(value)
    if kind(value) == "Power":
        return inputs[0] if number(inputs[1]) == (-0.5 if inverse else 0.5) else None
    if inverse:
        return _under_root(inputs[1], inverse=False) if kind(value) == "Divide" and number(inputs[0]) == 1 else None
    return inputs[0] if kind(value) == "Sqrt" else None


# Sums and products


def _plus_number(value: openvino.Output) -> tuple[openvino.Output, float] | None:
    """(y, number) if ``value`` is their sum."""
    if kind(value) != "Add":
        return None
    left, right = arguments(value)
    for data, fixed in ((left, right), (right, left)):
        if (found := number(fixed)) is not None:
            return data, found
    return None


def _product(value: openvino.Output, depth: int = 4) -> Terms:
    """``value`` as a number times values; a small power counts as so many of them."""
    inputs = arguments(value)
    if kind(value) == "Multiply" and depth:
        fixed = [number(each) for each in inputs]
        parts = [_product(each, depth - 1) if found is None else (found, []) for each, found in zip(inputs, fixed)]
        return parts[0][0] * parts[1][0], parts[0][1] + parts[1][1]
    if kind(value) == "Divide" and number(inputs[1]):
        factor, terms = _product(inputs[0], depth - 1) if depth else (1.0, [inputs[0]])
        return factor / number(inputs[1]), terms
    if kind(value) == "Power" and number(inputs[1]) in (2, 3):
        return 1.0, [inputs[0]] * int(number(inputs[1]))
    return 1.0, [value]


def _is_multiple(value: openvino.Output, x: openvino.Output, factor: float, power: int = 1) -> bool:
    """Whether ``value`` is ``factor * x ** power``."""
    found, terms = _product(value)
    return math.isclose(found, factor, rel_tol=1e-4) and [key(each) for each in terms] == [key(x)] * power


def _is_tanh_argument(value: openvino.Output, x: openvino.Output) -> bool:
    factor, terms = _product(value)
    if not math.isclose(factor, math.sqrt(2 / math.pi), rel_tol=1e-4):
        return False
    if len(terms) == 1 and kind(terms[0]) == "Add":
        left, right = arguments(terms[0])
        return any(a == x and _is_multiple(b, x, 0.044715, 3) for a, b in ((left, right), (right, left)))
    for first, gate in (terms, terms[::-1]) if len(terms) == 2 else ():
        found = _plus_number(gate)
        if first == x and found and found[1] == 1 and _is_multiple(found[0], x, 0.044715, 2):
            return True
    return False
