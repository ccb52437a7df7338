"""Attention in the forms in which exporters write it, its masks, and what only looks like it."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HIDDEN, Graph, axes, fake_quantize, heads_apart, heads_together, scalar
from rewritten import BLOCK4, ELEMENT, difference, kernels_of, ops, rewrite_here, steps, types

from optkit.runtime.rewriting import sites

HEADS, DEPTH = 3, HIDDEN // 3
LONG, SHORT = (2, 6), (1, 3)


def qkv(graph, x, width=HIDDEN):
    return [graph.linear(x, width) for _ in range(3)]


def sdpa(graph, x, mask=None, scale=None, causal=False, change=lambda part, name: part):
    query, key, value = (
        change(heads_apart(part, HEADS), name) for part, name in zip(qkv(graph, x), ("query", "key", "value"))
    )
    extra = [each for each in (mask, scale and scalar(scale)) if each is not None]
    context = ops.scaled_dot_product_attention(query, key, value, *extra, causal=causal)
    return heads_together(change(context, "context"), HIDDEN)


def softmax_attention(
    graph,
    x,
    masked=lambda scores: scores,
    key="transposed",
    scaled=lambda scores: ops.divide(scores, scalar(DEPTH**0.5)),
    query_scale=None,
    shares=lambda shares: shares,
):
    parts = qkv(graph, x)
    query = heads_apart(parts[0], HEADS)
    if query_scale:
        query = ops.multiply(query, scalar(query_scale))
    if key == "flag":
        scores = ops.matmul(query, heads_apart(parts[1], HEADS), False, True)
    elif key == "transposed":
        scores = ops.matmul(query, heads_apart(parts[1], HEADS, (0, 2, 3, 1)), False, False)
    else:
        turned = ops.transpose(heads_apart(parts[1], HEADS), axes(0, 1, 3, 2))
        scores = ops.matmul(query, turned, False, False)
    probabilities = shares(ops.softmax(masked(scaled(scores)), -1))
    return heads_together(ops.matmul(probabilities, heads_apart(parts[2], HEADS), False, False), HIDDEN)


def check(make, mask=None, shape=(-1, -1, HIDDEN), sizes=(LONG, SHORT), tolerance=1e-5):
    """The rewrite, and the rewritten model, of ``make`` between linear layers.

    Args:
        mask: (numbers for batch and seq, its type and shape), the second input, if there is one.
    """
    built = []
    for _ in range(2):
        graph = Graph()
        x = graph.tokens(shape)
        second = () if mask is None else (graph.tokens(mask[2], mask[1]),)
        attended = make(graph, ops.relu(graph.linear(x)), *second)
        built.append((graph, graph.model(graph.linear(attended))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    feeds = []
    for batch, seq in sizes:
        feed = {"input_0": graph.numbers(batch, seq, HIDDEN)}
        feeds.append(feed if mask is None else {**feed, "input_1": mask[0](batch, seq)})
    assert difference(original, model, *feeds) < tolerance
    return result, model


def names(model):
    return [site.matmul for site in sites(model)]


def keys(batch, seq):
    """Which keys take part: a different number in each sequence, always the first."""
    return np.arange(seq) < np.maximum(seq - 2 * np.arange(batch)[:, None], 1)


BOOLEAN = (lambda batch, seq: keys(batch, seq)[:, None, None], bool, (-1, 1, 1, -1))
FLOAT = (
    lambda batch, seq: np.where(keys(batch, seq), 0, -1e4)[:, None, None].astype(np.float32),
    np.float32,
    (-1, 1, 1, -1),
)
BIAS = (lambda batch, seq: np.sin(np.arange(HEADS * seq * seq)).reshape(1, HEADS, seq, seq).astype(np.float32),) + (
    np.float32,
    (1, HEADS, -1, -1),
)
FLAT = (lambda batch, seq: np.cos(np.arange(seq * seq)).reshape(seq, seq).astype(np.float32), np.float32, (-1, -1))

ONE = ["Linear", "Activation", "Linear", "Linear", "Linear", "Attention", "Linear"]


def attention_of(result):
    assert steps(result) == [ONE]
    return next(step for step in result.programs[0].program.steps if type(step).__name__ == "Attention")


def test_without_mask():
    result, model = check(sdpa)
    step = attention_of(result)
    assert (step.heads, step.mask, step.scale) == (HEADS, None, pytest.approx(DEPTH**-0.5))
    assert not {"ScaledDotProductAttention", "Transpose", "Reshape"} & set(types(model))


def _gained(graph, part):
    return ops.multiply(part, ops.constant(graph.numbers(1, 1, 1, DEPTH)))


def _normalised(graph, part):
    squares = ops.reduce_mean(ops.multiply(part, part), axes(3), True)
    return ops.multiply(part, ops.power(ops.add(squares, scalar(1e-6)), scalar(-0.5)))


@pytest.mark.parametrize(("changed", "step"), [(_gained, "Affine"), (_normalised, "RMSNorm")])
def test_what_is_done_by_head_to_the_result(changed, step):
    result, _ = check(
        lambda graph, x: sdpa(graph, x, change=lambda part, name: changed(graph, part) if name == "context" else part)
    )
    assert steps(result) == [[*ONE[:-1], step, ONE[-1]]]


@pytest.mark.parametrize("mask", [BOOLEAN, FLOAT, BIAS, FLAT], ids=["boolean", "float", "bias", "two dimensions"])
def test_masks_of_the_fused_form(mask):
    result, _ = check(lambda graph, x, m: sdpa(graph, x, m, 0.4), mask)
    step = attention_of(result)
    assert step.scale == pytest.approx(0.4) and step.mask is not None


def test_a_mask_of_zero_is_none():
    result, _ = check(lambda graph, x: sdpa(graph, x, scalar(0.0), 0.4))
    assert attention_of(result).mask is None


def mask_shape(result):
    """Of the mask that the node reads: its sizes, None where they are not known."""
    placed = result.programs[0]
    position = next(i for i, value in enumerate(placed.program.inputs) if placed.program.features[value] == 0)
    shape = placed.node.input_value(position).get_partial_shape()
    return [size.get_length() if size.is_static else None for size in shape]


def test_a_mask_is_not_repeated():
    def make(graph, x, m):
        sizes = ops.shape_of(x, "i64")
        batch, seq = (ops.gather(sizes, axes(i), ops.constant(0)) for i in (0, 1))
        spread = ops.broadcast(m, ops.concat([batch, axes(1), seq, seq], 0), broadcast_spec="BIDIRECTIONAL")
        return sdpa(graph, x, spread)

    result, model = check(make, BOOLEAN)
    assert attention_of(result).mask is not None
    assert mask_shape(result) == [None, 1, 1, None]
    assert "Broadcast" not in types(model)


def test_a_mask_that_tests_positions_to_be_at_least_zero():
    def make(graph, x, m):
        seq = ops.gather(ops.shape_of(x, "i64"), ops.constant(1), ops.constant(0))
        places = ops.unsqueeze(ops.range(ops.constant(0), seq, ops.constant(1), "i64"), axes(0, 1, 3))
        inside = ops.greater_equal(places, ops.constant(np.int64(0)))
        return sdpa(graph, x, ops.logical_and(inside, m))

    result, model = check(make, BOOLEAN)
    assert mask_shape(result) == [None, 1, 1, None]
    assert "GreaterEqual" not in types(model)


def test_a_mask_that_tests_for_something_else_is_kept():
    def make(graph, x, m):
        seq = ops.gather(ops.shape_of(x, "i64"), ops.constant(1), ops.constant(0))
        places = ops.unsqueeze(ops.range(ops.constant(0), seq, ops.constant(1), "i64"), axes(0, 1, 3))
        return sdpa(graph, x, ops.logical_and(ops.greater_equal(places, ops.constant(np.int64(1))), m))

    # Rows without any key are the engine's own business: the first row, here.
    graph = Graph()
    x = graph.tokens()
    m = graph.tokens((-1, 1, 1, -1), bool)
    model = graph.model(graph.linear(make(graph, ops.relu(graph.linear(x)), m)))
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert mask_shape(result) == [None, 1, None, None]
    assert "GreaterEqual" in types(model)


def test_a_mask_that_asks_the_program_for_its_size_does_not_part_it():
    def make(graph, x, m):
        hidden = graph.linear(x)  # whose size is the input's
        seq = ops.gather(ops.shape_of(hidden, "i64"), axes(1), ops.constant(0))
        spread = ops.broadcast(m, ops.concat([axes(1), axes(1), seq, seq], 0), broadcast_spec="BIDIRECTIONAL")
        return sdpa(graph, hidden, ops.add(spread, spread))

    result, _ = check(make, FLOAT)
    assert len(result.programs) == 1


@pytest.mark.parametrize("key", ["flag", "transposed", "twice"])
def test_the_form_with_a_softmax(key):
    result, model = check(lambda graph, x: softmax_attention(graph, x, key=key))
    assert attention_of(result).scale == pytest.approx(DEPTH**-0.5)
    assert "Softmax" not in types(model)


@pytest.mark.parametrize("mask", [FLOAT, BIAS, FLAT], ids=["float", "bias", "two dimensions"])
def test_masks_of_the_form_with_a_softmax(mask):
    result, _ = check(lambda graph, x, m: softmax_attention(graph, x, lambda scores: ops.add(m, scores)), mask)
    assert attention_of(result).mask is not None


def test_two_masks_are_added():
    def make(graph, x, m):
        bias = ops.constant(np.abs(graph.numbers(1, HEADS, 1, 1)))
        return softmax_attention(graph, x, lambda scores: ops.add(ops.add(scores, ops.multiply(m, bias)), m))

    result, _ = check(make, FLOAT)
    assert mask_shape(result) == [None, HEADS, 1, None]


@pytest.mark.parametrize("when", [True, False])
def test_scores_that_are_replaced(when):
    fill = scalar(np.finfo(np.float32).min)

    def make(graph, x, m):
        if when:
            return softmax_attention(graph, x, lambda scores: ops.select(ops.logical_not(m), fill, scores))
        return softmax_attention(graph, x, lambda scores: ops.select(m, scores, fill))

    result, _ = check(make, BOOLEAN)
    assert attention_of(result).mask is not None


def test_scores_replaced_by_little_are_openvinos():
    def make(graph, x, m):
        return softmax_attention(graph, x, lambda scores: ops.select(m, scores, scalar(-2.0)))

    result, model = check(make, BOOLEAN)
    assert "Softmax" in types(model)
    assert list(result.notes.values()) == ["the scores are no masked product of query and key"]


def test_a_query_scaled_beforehand():
    result, _ = check(lambda graph, x: softmax_attention(graph, x, scaled=lambda scores: scores, query_scale=0.25))
    assert attention_of(result).scale == pytest.approx(0.25)


def test_a_mask_that_is_scaled_is_openvinos():
    def make(graph, x, m):
        return softmax_attention(graph, x, lambda scores: ops.multiply(ops.add(scores, m), scalar(0.5)))

    for shape in ((-1, -1, HIDDEN), (*LONG, HIDDEN)):
        _, model = check(make, FLOAT, shape, (LONG,))
        assert "Softmax" in types(model)


def test_a_mask_of_queries_is_openvinos():
    def queries(batch, seq):
        return keys(batch, seq)[:, None, :, None] | np.ones((1, 1, 1, 1), bool)

    result, model = check(sdpa, (queries, bool, (-1, 1, -1, 1)))
    assert "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["a mask of shape [?,1,?,1] does not fit (batch, heads, seq, seq)"]


@pytest.mark.parametrize("odd", ["query", "key", "value", "result"])
def test_heads_and_tokens_are_told_apart_where_they_are_as_many(odd):
    def make(graph, x):
        orders = {name: (0, 1, 2, 3) if name == odd else (0, 2, 1, 3) for name in ("query", "key", "value")}
        parts = [heads_apart(part, HEADS, order) for part, order in zip(qkv(graph, x), orders.values())]
        context = ops.scaled_dot_product_attention(*parts)
        turned = context if odd == "result" else ops.transpose(context, axes(0, 2, 1, 3))
        return ops.reshape(turned, axes(0, 0, HIDDEN), True)

    _, model = check(make, shape=(-1, HEADS, HIDDEN), sizes=((2, HEADS),))
    assert "ScaledDotProductAttention" in types(model)


@pytest.mark.parametrize("high", [1.1, 1.2])
def test_a_result_that_is_quantized_before_the_heads_are_put_together(high):
    built = []
    for _ in range(2):
        graph = Graph()
        attended = sdpa(
            graph, graph.tokens(), change=lambda x, name: fake_quantize(x, -1, 1.1) if name == "context" else x
        )
        # NNCF leaves it there; the layer's own is the same or, made by someone else, another.
        x = attended if high == 1.1 else fake_quantize(attended, -1, high)
        built.append((graph, graph.model(ops.matmul(x, graph.int8_weight(8, HIDDEN), False, True))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, {site: BLOCK4 if i == 3 else ELEMENT for i, site in enumerate(names(model))})
    assert steps(result)[0].count("FakeQuantize") == (high != 1.1)
    assert difference(original, model, graph.feed(2, 5)) < 0.02


def test_what_is_done_to_single_numbers_moves_out():
    def change(part, name):
        limits = {"query": (-2.0, 2.1), "context": (-1.0, 1.1)}.get(name)
        part = part if limits is None else fake_quantize(part, *limits)
        return ops.multiply(part, scalar(1.5)) if name in ("query", "value") else part

    result, _ = check(lambda graph, x: sdpa(graph, x, change=change), tolerance=0.02)
    found = steps(result)[0]
    assert found.count("FakeQuantize") == 2 and found.count("Affine") == 1 and found.count("Attention") == 1
    step = next(step for step in result.programs[0].program.steps if type(step).__name__ == "Attention")
    assert step.scale == pytest.approx(1.5 * DEPTH**-0.5)


def test_quantized_shares_are_openvinos():
    result, model = check(
        lambda graph, x: softmax_attention(graph, x, shares=lambda shares: fake_quantize(shares, 0.0, 1.0)),
        tolerance=0.02,
    )
    assert "Softmax" in types(model)
    assert list(result.notes.values()) == ["the shares of the keys are quantized"]


def test_causal_attention_is_openvinos():
    result, model = check(lambda graph, x: sdpa(graph, x, causal=True))
    assert "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["causal"]


def test_attention_to_other_tokens_is_openvinos():
    graph = Graph()
    x, y = graph.tokens(), graph.tokens()
    parts = [graph.linear(x), graph.linear(y), graph.linear(y)]
    context = ops.scaled_dot_product_attention(*(heads_apart(part, HEADS) for part in parts))
    model = graph.model(graph.linear(heads_together(context, HIDDEN)))
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["query, key or value is not made of tokens like the result"]


def test_attention_without_linear_layers_around_is_openvinos():
    built = []
    for _ in range(2):
        graph = Graph()
        x = graph.tokens()
        built.append((graph, graph.model(graph.linear(sdpa(graph, graph.linear(x, name="first")), name="last"))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, {name: ELEMENT for name in ("first", "last")})
    assert [len(placed.layers) for placed in result.programs] == [1, 1]
    assert "ScaledDotProductAttention" in types(model)
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


def test_attention_can_be_left_to_openvino():
    graph = Graph()
    model = graph.model(graph.linear(sdpa(graph, graph.tokens())))
    result = rewrite_here(model, kernels_of(model, ELEMENT), attention=False)
    assert "ScaledDotProductAttention" in types(model)
    assert [len(placed.layers) for placed in result.programs] == [3, 1]


def test_heads_split_by_computed_sizes():
    def apart(x, sizes, transpose=(0, 2, 1, 3)):
        batch, seq = (ops.gather(sizes, axes(i), ops.constant(0)) for i in (0, 1))
        pattern = ops.concat([batch, seq, axes(HEADS), axes(-1)], 0)
        return ops.transpose(ops.reshape(x, pattern, False), axes(*transpose))

    def make(graph, x):
        parts = qkv(graph, x)
        sizes = [ops.shape_of(part, "i64") for part in parts]
        context = ops.scaled_dot_product_attention(*(apart(*pair) for pair in zip(parts, sizes)))
        turned = ops.transpose(context, axes(0, 2, 1, 3))
        leading = ops.slice(ops.shape_of(turned, "i64"), axes(0), axes(2), axes(1))
        return ops.reshape(turned, ops.concat([leading, axes(HIDDEN)], 0), False)

    result, model = check(make)
    assert attention_of(result).heads == HEADS
    assert "ShapeOf" not in types(model)


def test_three_layers_in_one():
    def make(graph, x):
        parts = ops.split(graph.linear(x, 3 * HIDDEN), ops.constant(-1), 3).outputs()
        context = ops.scaled_dot_product_attention(*(heads_apart(ops.relu(part), HEADS) for part in parts))
        return heads_together(context, HIDDEN)

    result, model = check(make)
    assert steps(result)[0].count("Attention") == 1 and len(result.programs) == 1
    assert "Split" not in types(model)
