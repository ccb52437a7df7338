"""What a ``Program`` means, in numpy: the other side of every comparison with the engine.

A step computes in float64 and its result is rounded to float32, as the values between steps are. Where a quantizer
rounds, it decides in float32 and half to even, as OpenVINO does. ``tolerance`` says how far a right float32
implementation may be from ``compute``, element by element, so that no test needs a number found by trying.

Plain numpy and slow on purpose: nothing here is shared with the engine or with the packing's own unpacking.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

from optkit.runtime.program import (
    Activation,
    Add,
    Affine,
    Attention,
    Bias,
    FakeQuantize,
    LayerNorm,
    Linear,
    Multiply,
    PackedWeights,
    Program,
    Quantization,
    RelativePositions,
    RMSNorm,
    Rotary,
    Step,
)

#: Largest relative error of one float32 rounding.
ROUNDING = 2.0**-24
#: Largest error of a float32 exp, erf or tanh that is good enough: what a short polynomial reaches.
ELEMENTARY = 1e-6

#: Largest relative error of one rounding to bfloat16, and of an exp whose result is rounded so.
BFLOAT16, SHORT_EXP = 2.0**-8, 1e-4

#: By number. Of a mask that steps make, ``-1 - number`` says how far it may be off.
Values = Mapping[int, np.ndarray]


def run(program: Program, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The program's outputs, float32 (..., features), for inputs (..., features) and masks as Attention wants them."""
    values = evaluate(program, inputs)
    return [values[number] for number in program.outputs]


def evaluate(program: Program, inputs: list[np.ndarray]) -> dict[int, np.ndarray]:
    """Every value of the program by its number."""
    values = dict(zip(program.inputs, inputs, strict=True))
    for number, value in values.items():
        features = program.features[number]
        assert features == 0 or (value.shape[-1] == features and value.dtype == np.float32), "not what it takes"
    for step in program.steps:
        assert step.target not in values, "a value is computed twice"
        values[step.target] = compute(step, values)
        assert program.features[step.target] in (0, values[step.target].shape[-1])
    return values


def dense(weights: PackedWeights) -> np.ndarray:
    """The matrix (out, in) that ``weights`` stand for."""
    rows, columns = weights.rows, weights.columns
    groups, width = len(weights.pointers) - 1, -(-weights.shape[1] // columns)
    full = np.zeros((groups, rows, width, columns), weights.values.dtype)
    group = np.repeat(np.arange(groups), np.diff(weights.pointers.astype(np.int64)))
    full[group, :, weights.indices.astype(np.int64), :] = weights.values
    return full.reshape(groups * rows, width * columns)[: weights.shape[0], : weights.shape[1]]


def compute(step: Step, values: Values) -> np.ndarray:
    """The step's target, float32, from the values of its sources."""
    with np.errstate(over="ignore"):
        return _compute(step, values).astype(np.float32)


def _compute(step: Step, values: Values) -> np.ndarray:
    match step:
        case Linear():
            return _linear(step, values[step.source])
        case Activation():
            return ACTIVATION_FUNCTIONS[step.kind](values[step.source].astype(np.float64))
        case Affine():
            return values[step.source] * _or(step.scale, 1.0) + _or(step.shift, 0.0)
        case FakeQuantize():
            levels, size, low = _levels(values[step.source], np.float32(step.low), np.float32(step.high), step.levels)
            return levels * size + low
        case Add():
            return values[step.left].astype(np.float64) + values[step.right]
        case LayerNorm():
            x = values[step.source].astype(np.float64)
            centred = x - x.mean(-1, keepdims=True)
            deviation = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(step.epsilon))
            return centred / deviation * _or(step.gamma, 1.0) + _or(step.beta, 0.0)
        case Multiply():
            return values[step.left].astype(np.float64) * values[step.right]
        case RMSNorm():
            return _rms_norm(step, values[step.source])
        case Rotary():
            kept, turned = _rotary(step, values)
            return (kept + turned).reshape(values[step.source].shape)
        case Attention():
            query, key, value = _operands(step, values)
            mask = None if step.mask is None else values[step.mask]
            return _merged(_softmax(_scores(step, query, key, mask)) @ value)
        case RelativePositions():
            return _relative(step, values, lambda x: x) * np.float32(step.scale)
        case Bias():
            return sum(np.where(each, 0.0, -np.inf) if each.dtype == bool else each for each in _both(step, values))
    raise TypeError(f"no step: {type(step).__name__}")


def tolerance(step: Step, values: Values) -> np.ndarray:
    """How far from ``compute`` each element of the step's target may be, computed in float32 in any order."""
    match step:
        case Linear():
            return _linear_tolerance(step, values[step.source])
        case Activation():
            x = np.abs(values[step.source].astype(np.float64))
            return np.zeros_like(x) if step.kind == "relu" else ELEMENTARY * np.maximum(x, 1)
        case Affine():
            # Two roundings, of the product and of the sum, or one where they are fused.
            product = np.abs(values[step.source] * _or(step.scale, 1.0))
            return 3 * ROUNDING * (product + np.abs(_or(step.shift, 0.0)))
        case FakeQuantize():
            x, low, high = values[step.source], np.float32(step.low), np.float32(step.high)
            size = (float(high) - float(low)) / (step.levels - 1)
            return _undecided(x, low, size, step.levels) * size + 4 * ROUNDING * max(abs(low), abs(high))
        case Add():
            return 2 * ROUNDING * np.abs(values[step.left].astype(np.float64) + values[step.right])
        case LayerNorm():
            return _layer_norm_tolerance(step, values[step.source].astype(np.float64))
        case Multiply():
            return 2 * ROUNDING * np.abs(values[step.left].astype(np.float64) * values[step.right])
        case RMSNorm():
            # A sum of squares, all of one sign, of at least four lanes; a root, a quotient, two products.
            size = values[step.source].shape[-1] // step.heads
            return (size / 4 + 12) * ROUNDING * np.abs(_rms_norm(step, values[step.source]))
        case Rotary():
            kept, turned = _rotary(step, values)
            return (3 * ROUNDING * (np.abs(kept) + np.abs(turned))).reshape(values[step.source].shape)
        case Attention():
            return _attention_tolerance(step, values)
        case RelativePositions():
            return relative_tolerance(step, values)
        case Bias():
            off = sum(values.get(-1 - number, 0.0) for number in (step.left, step.right))
            finite = [np.minimum(np.abs(each), 1e4) for each in _both(step, values) if each.dtype != bool]
            return off + 2 * ROUNDING * sum(finite)
    raise TypeError(f"no step: {type(step).__name__}")


def _or(array: np.ndarray | None, otherwise: float) -> np.ndarray | float:
    return otherwise if array is None else array.astype(np.float64)


# Linear layers and quantization


def _levels(x: np.ndarray, low: np.ndarray, high: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(levels of x as float64, size of a level, low): x is about ``level * size + low``. ``low`` and ``high`` float32."""
    span = high - low
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        position = (x - low) * np.where(span > 0, np.float32(levels - 1) / span, np.float32(0))
    return np.clip(np.rint(position), 0, levels - 1).astype(np.float64), span.astype(np.float64) / (levels - 1), low


def _scaled(x: np.ndarray, quantization: Quantization) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x * channel_scale, low, high), float32; the range of dynamic quantization is (..., 1), each token's own."""
    if quantization.channel_scale is not None:
        x = x * quantization.channel_scale
    if quantization.low is not None:
        return x, np.float32(quantization.low), np.float32(quantization.high)
    zero = np.float32(0)
    return x, np.minimum(x.min(-1, keepdims=True), zero), np.maximum(x.max(-1, keepdims=True), zero)


def _linear(step: Linear, x: np.ndarray) -> np.ndarray:
    weights = dense(step.weights).astype(np.float64)
    if step.quantization is None:
        return x.astype(np.float64) @ weights.T + _or(step.bias, 0.0)
    levels, size, low = _levels(*_scaled(x, step.quantization), 256)
    # Sums of whole numbers below 2**53: exact.
    sums = levels @ weights.T
    return (sums * size + weights.sum(1) * low) * step.scales.astype(np.float64) + _or(step.bias, 0.0)


def _undecided(x: np.ndarray, low: np.ndarray, size: np.ndarray, levels: int) -> np.ndarray:
    """Whether a float32 quantizer may round x to either neighbour: where it lies too near to the middle of two."""
    size = np.maximum(np.asarray(size, np.float64), 1e-300)
    position = (x.astype(np.float64) - low) / size
    error = 8 * ROUNDING * (np.abs(x) + np.abs(low) + size) / size
    return (np.abs(position - np.floor(position) - 0.5) <= error) & (position > -1) & (position < levels)


def _linear_tolerance(step: Linear, x: np.ndarray) -> np.ndarray:
    weights, bias = dense(step.weights).astype(np.float64), np.abs(_or(step.bias, 0.0))
    if step.quantization is None:
        # Higham, Accuracy and Stability of Numerical Algorithms, 3.1: n roundings of partial sums.
        return (x.shape[-1] + 4) * ROUNDING * (np.abs(x.astype(np.float64)) @ np.abs(weights).T + bias)
    scaled, low, high = _scaled(x, step.quantization)
    levels, size, low = _levels(scaled, low, high, 256)
    rows = np.abs(weights.sum(1))
    # Whole numbers are exact; the sum, its correction for the zero point and the bias are rounded a few times.
    parts = (np.abs(levels @ weights.T) + 255 * rows) * size + rows * np.abs(low)
    scales = np.abs(step.scales.astype(np.float64))
    flipped = _undecided(scaled, low, size, 256) * size
    return scales * (flipped @ np.abs(weights).T) + 8 * ROUNDING * (scales * parts + bias)


# Activations


_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * x))


ACTIVATION_FUNCTIONS = {
    "gelu_erf": lambda x: 0.5 * x * (1 + _erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
}


def _layer_norm_tolerance(step: LayerNorm, x: np.ndarray) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    variance = np.square(x - mean).mean(-1, keepdims=True) + np.float32(step.epsilon)
    # The mean is off by the roundings of a sum (of at least four lanes), and each difference by one more; a wrong mean
    # adds only its square to the variance. A one-pass variance, E[x^2] - E[x]^2, is far outside.
    count = x.shape[-1] / 4 + 8
    shift = count * ROUNDING * np.abs(x).mean(-1, keepdims=True) + ROUNDING * np.abs(x)
    normal = np.abs(x - mean) / np.sqrt(variance)
    relative = np.square(shift).mean(-1, keepdims=True) / variance + (count + 8) * ROUNDING
    gamma = np.abs(_or(step.gamma, 1.0))
    return gamma * (shift / np.sqrt(variance) + normal * relative) + 4 * ROUNDING * np.abs(_or(step.beta, 0.0))


def _rms_norm(step: RMSNorm, x: np.ndarray) -> np.ndarray:
    apart = x.astype(np.float64).reshape(*x.shape[:-1], step.heads, x.shape[-1] // step.heads)
    size = np.sqrt(np.square(apart).mean(-1, keepdims=True) + np.float32(step.epsilon))
    return (apart / size).reshape(x.shape) * _or(step.gamma, 1.0)


def _rotary(step: Rotary, values: Values) -> tuple[np.ndarray, np.ndarray]:
    """What the cosines and what the sines make, (batch, seq, heads, d) each."""
    x = values[step.source].astype(np.float64)
    x = x.reshape(*x.shape[:-1], step.heads, x.shape[-1] // step.heads)
    half = x.shape[-1] // 2
    first, second = (x[..., ::2], x[..., 1::2]) if step.interleaved else (x[..., :half], x[..., half:])
    turned = np.empty_like(x)
    if step.interleaved:
        turned[..., ::2], turned[..., 1::2] = -second, first
    else:
        turned[..., :half], turned[..., half:] = -second, first
    return x * values[step.cosines][..., None, :], turned * values[step.sines][..., None, :]


# Attention


def _both(step: Bias, values: Values) -> list[np.ndarray]:
    return [values[step.left], values[step.right]]


def _relative(step: RelativePositions, values: Values, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(batch, heads, seq, seq): products of content and rows of the table, both changed before, by query and key."""
    content, table = _heads(values[step.content], step.heads), values[step.table].astype(np.float64)
    places, seq = values[step.places].reshape(-1), content.shape[2]
    query, key = np.arange(seq)[:, None], np.arange(seq)[None]
    rows = places[query - key + seq - 1]
    products = change(content) @ change(table).swapaxes(-1, -2)
    return products[:, :, key if step.of_keys else query, rows]


def relative_tolerance(step: RelativePositions, values: Values, *, bf16: bool = False) -> np.ndarray:
    """``tolerance`` of relative positions; where products are of bfloat16, both of their factors are rounded."""
    products = BFLOAT16 if bf16 else 0.0
    depth = values[step.table].shape[-1]
    off = (depth + 4) * ROUNDING + 2 * products + products**2
    return off * abs(step.scale) * _relative(step, values, np.abs)


def _operands(step: Attention, values: Values) -> list[np.ndarray]:
    """Query, key and value by heads, keys and values as often as they are shared."""
    own = step.key_heads or step.heads
    query = _heads(values[step.query], step.heads)
    return [query, *(_heads(values[each], own).repeat(step.heads // own, axis=1) for each in (step.key, step.value))]


def _heads(x: np.ndarray, heads: int) -> np.ndarray:
    """(batch, heads, seq, d), float64, from (batch, seq, heads * d)."""
    batch, seq, features = x.shape
    return x.astype(np.float64).reshape(batch, seq, heads, features // heads).transpose(0, 2, 1, 3)


def _merged(x: np.ndarray) -> np.ndarray:
    batch, heads, seq, depth = x.shape
    return x.transpose(0, 2, 1, 3).reshape(batch, seq, heads * depth)


def _scores(step: Attention, query: np.ndarray, key: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """(batch, heads, seq, seq); -inf where a boolean mask leaves a key out."""
    scores = query @ key.swapaxes(-1, -2) * np.float32(step.scale)
    if mask is not None and mask.dtype == bool:
        scores = np.where(mask, scores, -np.inf)
    elif mask is not None:
        # In float32, for masks are often its lowest number, beside which a score vanishes.
        scores = (scores.astype(np.float32) + mask).astype(np.float64)
    distance = np.arange(scores.shape[-1]) - np.arange(scores.shape[-2])[:, None]
    far = np.zeros_like(distance, bool)
    if step.before is not None:
        far |= distance < -step.before
    if step.behind is not None:
        far |= distance > step.behind
    return np.where(far, -np.inf, scores)


def _softmax(scores: np.ndarray) -> np.ndarray:
    """Over the last axis; zeros where all are -inf."""
    if scores.shape[-1] == 0:
        return scores
    highest = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isinf(highest), 0, highest))
    total = powers.sum(-1, keepdims=True)
    return powers / np.where(total == 0, 1, total)


def _attention_tolerance(
    step: Attention, values: Values, products: float = 0.0, integer_scores: bool = False
) -> np.ndarray:
    query, key, value = _operands(step, values)
    mask = None if step.mask is None else values[step.mask]
    shares = _softmax(_scores(step, query, key, mask))
    if integer_scores:
        # The sum is exact; it becomes a float, and is scaled by a product of the scale and both steps.
        score = 6 * ROUNDING * np.abs(query @ key.swapaxes(-1, -2) * step.scale)
    else:
        size = np.abs(query) @ np.abs(key).swapaxes(-1, -2) * abs(step.scale)
        score = ((query.shape[-1] + 4) * ROUNDING + 2 * products + products**2) * size
    if mask is not None and mask.dtype != bool:
        score = score + 2 * ROUNDING * np.minimum(np.abs(mask), 1e4) * (shares > 0)
        score = score + values.get(-1 - step.mask, 0.0)
    # A score's error is a relative error of its share, once in the numerator and once in the sum of all.
    highest = np.where(shares > 0, score, 0).max(-1, keepdims=True, initial=0)
    relative = np.expm1(np.minimum(2 * highest, 100)) + 4 * ELEMENTARY + 2 * (query.shape[-2] + 4) * ROUNDING
    # A share and a value are rounded, and the sum of all shares, which is that of rounded ones.
    relative = relative + ((1 + products) ** 2 / (1 - products) - 1) * (1 + relative)
    return _merged((shares * relative) @ np.abs(value))


def attention_tolerance(step: Attention, values: Values, *, bf16: bool, integer_scores: bool) -> np.ndarray:
    """``tolerance`` of an attention by what its products are of.

    Args:
        bf16: bfloat16; softmax and sums are float32.
        integer_scores: queries and keys are integers that meet as such, so that their products add up exactly.
    """
    return _attention_tolerance(step, values, BFLOAT16 + SHORT_EXP if bf16 else 0.0, integer_scores)
