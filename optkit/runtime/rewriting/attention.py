"""Self-attention over heads: ScaledDotProductAttention, or the MatMuls and the Softmax that it stands for.

Query, key and value are tokens (batch, seq, heads * d) that Reshape and Transpose bring to (batch, heads, seq, d), and
the result goes back the same way. What is done to single numbers in between moves before or after the attention.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from optkit.runtime.program import Attention, Bias, RelativePositions
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.graph import arguments, attribute, constant, kind, number, scaled, split_constant
from optkit.runtime.rewriting.heads import Path, path
from optkit.runtime.rewriting.masks import Masking, Part, masking, overwhelming
from optkit.runtime.rewriting.matches import Match, Matches
from optkit.runtime.rewriting.relative import MAX_TERMS, Term, term

if TYPE_CHECKING:
    import openvino

_BY_HEADS = (0, 2, 1, 3)
_TRANSPOSED = (0, 2, 3, 1)
_MAX_HEADS = 1024
_OTHERS = "relative positions are not of the attention's own tokens"


@dataclass(frozen=True)
class _Core:
    """``softmax(query @ key * scale + masks) @ value``, each (batch, heads, seq, d), of one scale or one for each
    head.
    """

    query: openvino.Output
    key: openvino.Output
    value: openvino.Output
    key_order: tuple[int, ...]
    scale: float | np.ndarray
    parts: list[Part]


def attention(value: openvino.Output, matches: Matches) -> Match | None:
    """The Reshape that puts the heads of an attention side by side again."""
    data, shape = arguments(value)[0], matches.shapes[value]
    result = path(data, matches.shapes)
    if len(shape) != 3 or isinstance(result, str) or result.order != _BY_HEADS or result.tables or result.repeats != 1:
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
    operands = []
    for each, order in zip((core.query, core.key, core.value), (_BY_HEADS, core.key_order, _BY_HEADS)):
        found = path(each, matches.shapes)
        if isinstance(found, str):
            return _refused(result.start, found, matches)
        if found.order != order or not _puts_heads_apart(found, shape, heads, matches):
            return _refused(result.start, "query, key or value is not made of tokens like the result", matches)
        operands.append(found)
    if operands[0].repeats != 1 or operands[1].repeats != operands[2].repeats:
        return _refused(result.start, "heads do not share keys and values alike", matches)
    if isinstance(core.scale, np.ndarray) and len(core.scale) != heads:
        return _refused(result.start, "the scale of the scores is neither one number nor one for each head", matches)
    parts, terms = _told_apart(core.parts, shape[1], matches)
    if len(terms) > MAX_TERMS:
        return _refused(result.start, f"more than {MAX_TERMS} terms of relative positions", matches)
    for each in terms:
        content = path(each.content, matches.shapes)
        if not isinstance(content, Path) or content.order != _BY_HEADS or content.repeats != 1:
            return _refused(result.start, _OTHERS, matches)
        if not _puts_heads_apart(content, shape, heads, matches):
            return _refused(result.start, _OTHERS, matches)
        operands.append(content)
    masked = masking(parts, (shape[0], heads, shape[1], shape[1]), matches.shapes)
    if isinstance(masked, str):
        return _refused(result.start, masked, matches)
    return _match(value, masked, operands, terms, result, heads, shape[2], core.scale)


def _told_apart(parts: list[Part], length: int, matches: Matches) -> tuple[list[Part], list[Term]]:
    """The parts that are masks, and the relative positions that are summands of others."""
    masks: list[Part] = []
    terms: list[Term] = []
    for part in parts:
        summands = [part.value] if part.fill is None else []
        found: list[Term] = []
        rest: list[Part] = []
        while summands:
            value = summands.pop()
            if (one := term(value, matches.shapes, matches.distances, length)) is not None:
                found.append(one)
            elif kind(value) == "Add":
                summands += arguments(value)
            else:
                rest.append(Part(value))
        masks += rest if found else [part]
        terms += found
    return masks, terms


def _refused(core: openvino.Output, why: str, matches: Matches) -> None:
    matches.notes[core.get_node().get_friendly_name()] = why


def _match(
    value: openvino.Output,
    masked: Masking,
    operands: list[Path],
    terms: list[Term],
    result: Path,
    heads: int,
    features: int,
    scale: float | np.ndarray,
) -> Match:
    """The attention of query, key and value, and of the contents of ``terms``, which are ``operands`` in this order."""
    scale = scale * operands[0].factor * operands[1].factor
    key_heads = heads // operands[1].repeats
    result = replace(result, heads=heads)  # its steps are by head, and it has no tokens that tell how many there are
    tables = tuple(table for each in operands for table in each.tables)

    def emit(builder: Builder, n: list[int]) -> int:
        given, numbers, made = n[len(operands) :], n[len(operands) + 2 * len(terms) :], []
        for each, source in zip(operands, n):
            count = len(each.tables)
            # Those of query and key are in the scale already.
            made.append(each.emit(builder, source, numbers[:count], scaled=each is operands[2]))
            numbers = numbers[count:]
        by_head = isinstance(scale, np.ndarray)
        if by_head:
            made[0] = builder.affine(made[0], np.repeat(scale, features // heads), None)
        mask = numbers[0] if masked.mask else None
        for i, each in enumerate(terms):
            factor = each.scale * operands[3 + i].factor
            own = _relative(builder, made[3 + i], given[2 * i : 2 * i + 2], heads, factor, each.of_keys)
            mask = own if mask is None else _bias(builder, mask, own)

        def step(target: int) -> Attention:
            reach = masked.window.left, masked.window.right
            return Attention(*made[:3], mask, target, heads, 1.0 if by_head else scale, key_heads, *reach)

        return result.emit(builder, builder.alike(made[0], step), [], scaled=True)

    sources = tuple(each.tokens for each in operands)
    given = tuple(each for term in terms for each in (term.table, term.places))
    return Match(value, "attention", sources, emit, mask=masked.mask, tables=tables, given=given)


def _relative(builder: Builder, content: int, given: list[int], heads: int, scale: float, of_keys: bool) -> int:
    return builder.step(0, lambda target: RelativePositions(content, *given, target, heads, scale, of_keys))


def _bias(builder: Builder, left: int, right: int) -> int:
    return builder.step(0, lambda target: Bias(left, right, target))


def _puts_heads_apart(operand: Path, tokens: tuple[int, ...], heads: int, matches: Matches) -> bool:
    """Whether ``operand`` is made of such tokens (batch, seq, heads * d), or of fewer heads that it repeats."""
    if operand.tokens is None or operand.heads * operand.repeats != heads:
        return False
    return matches.shapes.tokens(operand.tokens) == (*tokens[:2], operand.heads * (tokens[2] // heads))


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


def _scaled_by_head(value: openvino.Output) -> tuple[openvino.Output, np.ndarray] | None:
    """(x, factors) of a product of x (batch, heads, seq, seq) and a number for each head."""
    operands = split_constant(value) if kind(value) == "Multiply" else None
    if operands is None or len(operands[0].get_partial_shape()) != 4:
        return None
    factors = constant(operands[1], _MAX_HEADS)
    if factors is None or factors.ndim < 3 or factors.size != factors.shape[-3] or not np.isfinite(factors).all():
        return None
    return operands[0], factors.astype(np.float32).reshape(-1)


def _scores(value: openvino.Output, depth: int = 6) -> tuple[openvino.Output, float | np.ndarray, list[Part]] | None:
    """(query @ key, scale, masks) if ``value`` is the product, scaled, by head perhaps, and then masked."""
    inputs = arguments(value)
    if kind(value) == "MatMul":
        return None if _transposes(value)[0] else (value, 1.0, [])
    if not depth:
        return None
    if (found := scaled(value) or _scaled_by_head(value)) is not None:
        inner = _scores(found[0], depth - 1)
        return (inner[0], inner[1] * found[1], []) if inner and not inner[2] else None
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
