"""Self-attention over heads: ScaledDotProductAttention, or the MatMuls and the Softmax that it stands for.

Query, key and value are tokens (batch, seq, heads * d) that Reshape and Transpose bring to (batch, heads, seq, d), and
the result goes back the same way. What is done to single numbers in between moves before or after the attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optkit.runtime.program import Attention, FakeQuantize
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.graph import arguments, attribute, integers, kind, number, split_constant
from optkit.runtime.rewriting.masks import Mask, Part, mask, overwhelming
from optkit.runtime.rewriting.matches import Match, Matches
from optkit.runtime.rewriting.pointwise import fake_quantize_levels

if TYPE_CHECKING:
    import openvino

Step = Callable[[Builder, int], int]

_BY_HEADS = (0, 2, 1, 3)
_TRANSPOSED = (0, 2, 3, 1)


@dataclass(frozen=True)
class _Path:
    """How a value of four dimensions comes from another: axes in new order, then steps on single numbers.

    Attributes:
        factor: what the value is multiplied by after all steps.
    """

    start: openvino.Output
    order: tuple[int, ...]
    steps: tuple[Step, ...]
    factor: float

    @property
    def every_step(self) -> tuple[Step, ...]:
        return self.steps if self.factor == 1 else (*self.steps, _times(self.factor))


@dataclass(frozen=True)
class _Core:
    """``softmax(query @ key * scale + masks) @ value``, each (batch, heads, seq, d)."""

    query: openvino.Output
    key: openvino.Output
    value: openvino.Output
    key_order: tuple[int, ...]
    scale: float
    parts: list[Part]


def attention(value: openvino.Output, matches: Matches) -> Match | None:
    """The Reshape that puts the heads of an attention side by side again."""
    data, shape = arguments(value)[0], matches.shapes[value]
    result = _path(data)
    if len(shape) != 3 or result.order != _BY_HEADS:
        return None
    core = _core(result.start)
    if core is None:
        return None
    if isinstance(core, str):
        return _refused(result.start, core, matches)
    split = matches.shapes[data]
    heads = split[2] if split and len(split) == 4 else 0
    if heads < 1 or split != (*shape[:2], heads, shape[2] // heads):
        return None
    operands = [_path(each) for each in (core.query, core.key, core.value)]
    orders = [_BY_HEADS, core.key_order, _BY_HEADS]
    for path, order in zip(operands, orders):
        if path.order != order or not _puts_heads_apart(path.start, shape, heads, matches):
            return _refused(result.start, "query, key or value is not made of tokens like the result", matches)
    found = mask(core.parts, (shape[0], heads, shape[1], shape[1]), matches.shapes)
    if isinstance(found, str):
        return _refused(result.start, found, matches)
    return _match(value, found, operands, result, heads, core.scale)


def _refused(core: openvino.Output, why: str, matches: Matches) -> None:
    matches.notes[core.get_node().get_friendly_name()] = why


def _match(
    value: openvino.Output,
    found: Mask | None,
    operands: list[_Path],
    result: _Path,
    heads: int,
    scale: float,
) -> Match:
    scale = scale * operands[0].factor * operands[1].factor
    steps = [operands[0].steps, operands[1].steps, operands[2].every_step]

    def emit(builder: Builder, n: list[int]) -> int:
        query, key, values = (_run(builder, *each) for each in zip(n, steps))
        masked = n[3] if found else None
        target = builder.alike(query, lambda target: Attention(query, key, values, masked, target, heads, scale))
        return _run(builder, target, result.every_step)

    sources = tuple(arguments(path.start)[0] for path in operands)
    return Match(value, "attention", sources, emit, mask=found)


def _run(builder: Builder, source: int, steps: tuple[Step, ...]) -> int:
    for step in steps:
        source = step(builder, source)
    return source


def _puts_heads_apart(value: openvino.Output, tokens: tuple[int, ...], heads: int, matches: Matches) -> bool:
    """Whether ``value`` is a Reshape of such tokens (batch, seq, heads * d) to (batch, seq, heads, d)."""
    if kind(value) != "Reshape":
        return False
    expected = (*tokens[:2], heads, tokens[2] // heads)
    return matches.shapes[value] == expected and matches.shapes.tokens(arguments(value)[0]) == tokens


def _path(value: openvino.Output) -> _Path:
    """Follows ``value`` back through Transpose, FakeQuantize per tensor and scaling."""
    order: tuple[int, ...] = (0, 1, 2, 3)
    steps: list[Step] = []
    factor = 1.0
    while True:
        inputs, operation = arguments(value), kind(value)
        if operation == "Transpose" and len(turned := integers(inputs[1]) or ()) == 4:
            order = tuple(turned[axis] for axis in order)
        elif operation == "FakeQuantize" and not isinstance(levels := fake_quantize_levels(value), str):
            steps.insert(0, _levelled(levels.low, levels.high, levels.levels))
        elif (scaled := _scaled(value)) is not None:
            if steps:
                steps.insert(0, _times(scaled[1]))
            else:
                factor *= scaled[1]
            value = scaled[0]
            continue
        else:
            return _Path(value, order, tuple(steps), factor)
        value = inputs[0]


def _scaled(value: openvino.Output) -> tuple[openvino.Output, float] | None:
    """(x, factor) of a product or quotient of x and a single number."""
    if kind(value) not in ("Multiply", "Divide"):
        return None
    operands = split_constant(value)
    factor = None if operands is None else number(operands[1])
    if factor is None or len(operands[1].get_partial_shape()) > 4:
        return None
    if kind(value) == "Multiply":
        return operands[0], factor
    return (operands[0], 1 / factor) if factor and operands[0] == arguments(value)[0] else None


def _levelled(low: float, high: float, levels: int) -> Step:
    return lambda builder, n: builder.alike(n, lambda target: FakeQuantize(n, target, low, high, levels))


def _times(factor: float) -> Step:
    return lambda builder, n: builder.affine(n, factor, None)


def _core(value: openvino.Output) -> _Core | str | None:
    """The attention that computes ``value``; why it is none that the engine has; None if it does not look like one."""
    if kind(value) == "ScaledDotProductAttention":
        return _fused(value)
    if kind(value) != "MatMul":
        return None
    shares, values = arguments(value)
    if kind(shares) == "FakeQuantize" and kind(arguments(shares)[0]) == "Softmax":
        return "the shares of the keys are quantized"
    if kind(shares) != "Softmax" or attribute(shares, "axis") not in (-1, 3) or _transposes(value) != (False, False):
        return None
    scores = _scores(arguments(shares)[0])
    if scores is None:
        return "the scores are no masked product of query and key"
    product, scale, parts = scores
    query, key = arguments(product)
    return _Core(query, key, values, _BY_HEADS if _transposes(product)[1] else _TRANSPOSED, scale, parts)


def _fused(value: openvino.Output) -> _Core | str:
    inputs = arguments(value)
    if attribute(value, "causal"):
        return "causal"
    if len(inputs) > 5:
        return "attention sinks"
    scale = number(inputs[4]) if len(inputs) > 4 else None
    if len(inputs) > 4 and scale is None:
        return "the scale is computed"
    if scale is None:
        depth = inputs[0].get_partial_shape()[len(inputs[0].get_partial_shape()) - 1]
        if depth.is_dynamic:
            return "the size of a head is unknown"
        scale = depth.get_length() ** -0.5
    parts = [Part(each) for each in inputs[3:4]]
    return _Core(*inputs[:3], _BY_HEADS, scale, parts)


def _transposes(product: openvino.Output) -> tuple[bool, bool]:
    return bool(attribute(product, "transpose_a")), bool(attribute(product, "transpose_b"))


def _scores(value: openvino.Output, depth: int = 6) -> tuple[openvino.Output, float, list[Part]] | None:
    """(query @ key, scale, masks) if ``value`` is the product, scaled and then masked."""
    inputs = arguments(value)
    if kind(value) == "MatMul":
        return None if _transposes(value)[0] else (value, 1.0, [])
    if not depth:
        return None
    if (scaled := _scaled(value)) is not None:
        inner = _scores(scaled[0], depth - 1)
        return (inner[0], inner[1] * scaled[1], []) if inner and not inner[2] else None
    if kind(value) == "Add":
        for scores, masking in (inputs, inputs[::-1]):
            if inner := _scores(scores, depth - 1):
                return inner[0], inner[1], [*inner[2], Part(masking)]
    if kind(value) == "Select":
        for scores, fill, when in ((inputs[2], inputs[1], True), (inputs[1], inputs[2], False)):
            low = overwhelming(fill)
            if low is not None and (inner := _scores(scores, depth - 1)):
                return inner[0], inner[1], [*inner[2], Part(inputs[0], low, when)]
    return None
