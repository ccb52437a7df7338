"""Single nodes that treat each feature of each token by itself, or each token, and the sum of two values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optkit.runtime.program import Activation, Add, FakeQuantize, LayerNorm, Multiply, RMSNorm
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.graph import arguments, attribute, integers, kind, number, per_feature, split_constant
from optkit.runtime.rewriting.matches import Match, Matches

if TYPE_CHECKING:
    import openvino

#: Levels of a range, at most, in a program.
MAX_LEVELS = 65536
#: The largest number of a program.
LARGEST = float(np.finfo(np.float32).max)
_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}


@dataclass(frozen=True)
class Levels:
    """A FakeQuantize of the whole tensor whose input and output ranges are one."""

    low: float
    high: float
    levels: int


def fake_quantize_levels(value: openvino.Output) -> Levels | str:
    """What the FakeQuantize that computes ``value`` does; in words what no step can do, if it is that."""
    low, high, low_out, high_out = map(number, arguments(value)[1:5])
    if None in (low, high, low_out, high_out):
        return "FakeQuantize has a range for each channel"
    if (low, high) != (low_out, high_out):
        return "FakeQuantize changes the range"
    if not low < high:
        return "FakeQuantize has an empty range"
    if not 2 <= attribute(value, "levels") <= MAX_LEVELS or high - low > LARGEST:
        return "FakeQuantize has too many levels, or too wide a range"
    return Levels(low, high, attribute(value, "levels"))


def activation(value: openvino.Output, matches: Matches) -> Match | None:
    """Gelu, Relu, Tanh, Sigmoid."""
    name = _ACTIVATIONS.get(kind(value))
    if kind(value) == "Gelu":
        name = "gelu_" + str(attribute(value, "approximation_mode") or "ERF").lower()
    return activation_match(value, arguments(value)[0], name, matches)


def swish(value: openvino.Output, matches: Matches) -> Match | None:
    """``x sigmoid(beta x)``."""
    data, beta = arguments(value)[0], arguments(value)[1:]
    factor = number(beta[0]) if beta else 1.0
    return swish_match(value, data, factor, matches) if factor else None


def activation_match(value: openvino.Output, source: openvino.Output, name: str, matches: Matches) -> Match | None:
    """``value = name(source)``."""

    def step(builder: Builder, n: int, rows: slice) -> int:
        return builder.alike(n, lambda target: Activation(n, target, name))

    return matches.pointwise(value, source, name, step)


def swish_match(value: openvino.Output, source: openvino.Output, factor: float, matches: Matches) -> Match | None:
    """``value = source * sigmoid(factor * source)``, which is ``silu(factor * source) / factor``.

    With 1.702 for a factor it stands for a GELU (Hendrycks and Gimpel, https://arxiv.org/abs/1606.08415), as in CLIP.
    """

    def step(builder: Builder, n: int, rows: slice) -> int:
        scaled = n if factor == 1 else builder.affine(n, factor, None)
        target = builder.alike(scaled, lambda target: Activation(scaled, target, "silu"))
        return target if factor == 1 else builder.affine(target, 1 / factor, None)

    return matches.pointwise(value, source, "silu", step)


def affine(value: openvino.Output, matches: Matches) -> Match | None:
    """Add, Subtract, Multiply, Divide with a constant that is the same for each token."""
    operands = split_constant(value)
    shape = matches.shapes[value]
    fixed = None if operands is None else per_feature(operands[1], shape[-1], len(shape))
    if fixed is None:
        return None
    operation = kind(value)
    constant_first = operands[0] == arguments(value)[1]
    if operation == "Add":
        scale, shift = None, fixed
    elif operation == "Multiply":
        scale, shift = fixed, None
    elif operation == "Subtract":
        scale, shift = (np.full_like(fixed, -1), fixed) if constant_first else (None, -fixed)
    elif constant_first or np.abs(fixed).min() < np.finfo(np.float32).tiny:
        return None  # its reciprocal is not finite
    else:
        scale, shift = 1 / fixed, None

    def step(builder: Builder, n: int, rows: slice) -> int:
        return builder.affine(n, *(array if array is None else array[rows] for array in (scale, shift)))

    return matches.pointwise(value, operands[0], "affine", step)


def residual(value: openvino.Output, matches: Matches) -> Match | None:
    """The sum of two values that provably have the same shape, neither a constant."""
    return _combined(value, "residual", Add, matches)


def product(value: openvino.Output, matches: Matches) -> Match | None:
    """The product of two such values, as of a gated linear unit (Shazeer 2020, https://arxiv.org/abs/2002.05202)."""
    return _combined(value, "product", Multiply, matches)


def _combined(
    value: openvino.Output, kind_of_match: str, step: type[Add] | type[Multiply], matches: Matches
) -> Match | None:
    sources = tuple(arguments(value))
    if any(matches.shapes[each] != matches.shapes[value] or kind(each) == "Constant" for each in sources):
        return None

    def emit(builder: Builder, n: list[int]) -> int:
        return builder.alike(n[0], lambda target: step(n[0], n[1], target))

    return Match(value, kind_of_match, sources, emit)


def fake_quantize(value: openvino.Output, matches: Matches) -> Match | None:
    """FakeQuantize per tensor."""
    levels = fake_quantize_levels(value)
    if isinstance(levels, str):
        return None

    def step(builder: Builder, n: int, rows: slice) -> int:
        return builder.alike(n, lambda target: FakeQuantize(n, target, levels.low, levels.high, levels.levels))

    return matches.pointwise(value, arguments(value)[0], "fake_quantize", step)


def mvn(value: openvino.Output, matches: Matches) -> Match | None:
    """LayerNorm as OpenVINO writes it, gamma and beta following as constants."""
    data, axes = arguments(value)[0], arguments(value)[1:]
    rank = len(matches.shapes[value])
    if not axes or integers(axes[0]) not in ([-1], [rank - 1]):
        return None
    if not attribute(value, "normalize_variance") or str(attribute(value, "eps_mode")).upper() != "INSIDE_SQRT":
        return None
    return layer_norm_match(value, data, float(attribute(value, "eps")), matches)


def layer_norm_match(value: openvino.Output, source: openvino.Output, epsilon: float, matches: Matches) -> Match | None:
    """``value`` is ``source`` normalised over its features."""
    if matches.shapes[source] != matches.shapes[value] or not 0 <= epsilon <= LARGEST:
        return None

    def emit(builder: Builder, n: list[int]) -> int:
        return builder.alike(n[0], lambda target: LayerNorm(n[0], target, None, None, epsilon))

    return Match(value, "layer_norm", (source,), emit)


def rms_norm_match(value: openvino.Output, source: openvino.Output, epsilon: float, matches: Matches) -> Match | None:
    """``value`` is ``source`` divided by the root mean square of its features."""
    if matches.shapes[source] != matches.shapes[value]:
        return None

    def emit(builder: Builder, n: list[int]) -> int:
        return builder.alike(n[0], lambda target: RMSNorm(n[0], target, None, epsilon))

    return Match(value, "rms_norm", (source,), emit)
