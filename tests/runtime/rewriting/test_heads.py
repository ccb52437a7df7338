"""What stands between an attention and its layers, by heads: rotary embeddings, norms, shared keys and values, layers of
which query, key and value are parts; and what only looks like it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from graphs import HIDDEN, Graph, axes, fake_quantize, heads_apart, heads_together, scalar
from rewritten import ELEMENT, difference, kernels_of, ops, rewrite_here, steps, types

HEADS = 3
DEPTH = HIDDEN // HEADS
SIZES = ((2, 6), (1, 9))


def check(make, depth=DEPTH, tolerance=1e-5):
    """The rewrite, and the rewritten model, of ``make`` between linear layers; its second and third arguments are
    tables, (1, seq, ``depth``) each, inputs of the model.
    """
    built = []
    for _ in range(2):
        graph = Graph()
        x = graph.tokens()
        tables = [graph.tokens((1, -1, depth)) for _ in range(2)]
        built.append((graph, graph.model(graph.linear(make(graph, ops.relu(graph.linear(x)), *tables)))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    feeds = []
    for batch, seq in SIZES:
        feed = {"input_0": graph.numbers(batch, seq, HIDDEN)}
        feeds.append(feed | {f"input_{i}": graph.numbers(1, seq, depth) for i in (1, 2)})
    assert difference(original, model, *feeds) < tolerance
    return result, model


def negated(x):
    return ops.multiply(x, scalar(-1.0))


def cut(x, start, stop, step=1):
    return ops.slice(x, axes(start), axes(stop), axes(step), axes(3))


def halves(x, size=DEPTH, *, first=(0, None), swap=False, negate=negated, axis=-1):
    """``concat(-x[size / 2:], x[:size / 2])``, or nearly so."""
    low, high = cut(x, first[0], first[1] or size // 2), cut(x, size // 2, size)
    parts = [negate(low), high] if swap else [negate(high), low]
    return ops.concat(parts, axis)


def split_halves(x, size=DEPTH):
    low, high = ops.split(x, ops.constant(-1), 2).outputs()
    return ops.concat([ops.negative(high), low], -1)


def neighbours(x, size=DEPTH, *, odd=(1, 0)):
    big = np.iinfo(np.int64).max
    parts = [cut(x, start, big, 2) for start in odd]
    parts = [ops.unsqueeze(part, axes(-1)) for part in (negated(parts[0]), parts[1])]
    return ops.reshape(ops.concat(parts, -1), axes(0, HEADS, 0, size), True)


def rotated(x, cosines, sines, turn=halves, axis=1):
    cosines, sines = (ops.unsqueeze(table, axes(axis)) for table in (cosines, sines))
    return ops.add(ops.multiply(x, cosines), ops.multiply(turn(x), sines))


def attended(graph, x, change):
    """Attention of three layers; ``change`` is called with query and key by heads."""
    query, key, value = (heads_apart(graph.linear(x), HEADS) for _ in range(3))
    context = ops.scaled_dot_product_attention(change(query), change(key), value)
    return heads_together(context, HIDDEN)


def rotary_attention(graph, x, cosines, sines, turn=halves):
    return attended(graph, x, lambda part: rotated(part, cosines, sines, turn))


def found(result, kind):
    return [step for placed in result.programs for step in placed.program.steps if type(step).__name__ == kind]


@pytest.mark.parametrize("turn", [halves, split_halves, neighbours])
def test_rotary(turn):
    result, model = check(partial(rotary_attention, turn=turn))
    assert len(result.programs) == 1
    rotations = found(result, "Rotary")
    assert [(step.heads, step.interleaved) for step in rotations] == [(HEADS, turn is neighbours)] * 2
    # One pair of tables for both, which the graph's nodes make.
    assert rotations[0].cosines == rotations[1].cosines and rotations[0].sines == rotations[1].sines
    assert not {"ScaledDotProductAttention", "Concat", "Transpose"} & set(types(model))


def test_rotary_before_the_heads_are_moved():
    def make(graph, x, cosines, sines):
        def part():
            apart = ops.reshape(graph.linear(x), axes(0, 0, HEADS, DEPTH), True)
            return ops.transpose(rotated(apart, cosines, sines, axis=2), axes(0, 2, 1, 3))

        context = ops.scaled_dot_product_attention(part(), part(), heads_apart(graph.linear(x), HEADS))
        return heads_together(context, HIDDEN)

    result, _ = check(make)
    assert len(result.programs) == 1 and len(found(result, "Rotary")) == 2


def test_halves_at_computed_places():
    def turn(x):
        size = ops.gather(ops.shape_of(x, "i64"), ops.constant(3), ops.constant(0))
        half = ops.reshape(ops.floor(ops.divide(size, ops.constant(np.int64(2)))), axes(-1), False)
        low = ops.slice(x, axes(0), half, axes(1), axes(3))
        return ops.concat([negated(ops.slice(x, half, axes(np.iinfo(np.int64).max), axes(1), axes(3))), low], -1)

    result, _ = check(partial(rotary_attention, turn=turn))
    assert len(found(result, "Rotary")) == 2


def test_tables_that_are_made_anew_for_each_are_read_once():
    def make(graph, x, cosines, sines):
        def change(part):
            return rotated(part, *(ops.sin(ops.multiply(table, scalar(2.0))) for table in (cosines, sines)))

        return attended(graph, x, change)

    result, _ = check(make)
    assert len(found(result, "Rotary")) == 2
    assert len(result.programs[0].program.inputs) == 3


def test_a_table_of_each_sequence():
    built = []
    for _ in range(2):
        graph = Graph()
        x, cosines, sines = graph.tokens(), graph.tokens((-1, -1, DEPTH)), graph.tokens((-1, -1, DEPTH))
        built.append((graph, graph.model(graph.linear(rotary_attention(graph, x, cosines, sines)))))
    (graph, model), (_, original) = built
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert len(found(result, "Rotary")) == 2
    assert difference(original, model, graph.feed(3, 7)) < 1e-5


@pytest.mark.parametrize(
    "turn",
    [
        lambda x: halves(x, negate=lambda part: ops.multiply(part, scalar(-2.0))),
        lambda x: halves(x, swap=True),
        lambda x: halves(x, first=(1, DEPTH // 2 + 1)),
        lambda x: halves(ops.multiply(x, scalar(0.5))),
        lambda x: neighbours(x, odd=(0, 1)),
        lambda x: ops.concat([negated(cut(x, 2, DEPTH)), cut(x, 0, 2)], -1),
    ],
    ids=["twice", "other half", "shifted", "of another", "even ones", "unequal halves"],
)
def test_what_is_no_rotation(turn):
    result, model = check(partial(rotary_attention, turn=turn))
    assert not found(result, "Rotary") and "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["query, key or value is not made of tokens like the result"]


def test_a_table_of_heads_is_no_table_of_positions():
    def make(graph, x, cosines, sines):
        by_head = [ops.constant(graph.numbers(1, HEADS, 1, DEPTH)) for _ in range(2)]
        table = [ops.multiply(ops.unsqueeze(each, axes(1)), one) for each, one in zip((cosines, sines), by_head)]
        return attended(
            graph, x, lambda part: ops.add(ops.multiply(part, table[0]), ops.multiply(halves(part), table[1]))
        )

    result, model = check(make)
    assert not found(result, "Rotary") and "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["a rotary embedding's table does not fit (batch or 1, seq, d)"]


# Norms by heads


def normal(x, axis=3):
    mean = ops.reduce_mean(ops.power(x, scalar(2.0)), axes(axis), True)
    return ops.multiply(x, ops.divide(scalar(1.0), ops.sqrt(ops.add(mean, scalar(1e-6)))))


def test_norms_of_heads_before_a_rotation():
    def make(graph, x, cosines, sines):
        gain = ops.constant(graph.numbers(1, 1, 1, DEPTH))
        return attended(graph, x, lambda part: rotated(ops.multiply(gain, normal(part)), cosines, sines))

    result, _ = check(make)
    norms = found(result, "RMSNorm")
    assert [step.heads for step in norms] == [HEADS] * 2 and norms[0].gamma.shape == (HIDDEN,)
    assert len(found(result, "Rotary")) == 2 and not found(result, "Affine")


def test_a_norm_of_tokens_is_none_of_heads():
    result, model = check(lambda graph, x, *tables: attended(graph, x, partial(normal, axis=2)))
    assert not found(result, "RMSNorm") and "ScaledDotProductAttention" in types(model)


def test_what_is_done_before_a_quantizer_stays_before_it():
    def make(graph, x, cosines, sines):
        def change(part):
            return fake_quantize(rotated(ops.multiply(part, scalar(0.25)), cosines, sines), -1.0, 1.1)

        return attended(graph, x, change)

    result, _ = check(make, tolerance=0.02)
    found_steps = sum(steps(result), [])
    assert len(result.programs) == 1 and found_steps.count("FakeQuantize") == 2
    assert found(result, "Attention")[0].scale == pytest.approx(DEPTH**-0.5)


# Shared keys and values


def repeated(x, times, heads, order=lambda x: x):
    """(batch, heads * times, seq, d) from (batch, heads, seq, d)."""
    sizes = ops.shape_of(x, "i64")
    batch, seq = (ops.gather(sizes, axes(i), ops.constant(0)) for i in (0, 2))
    wide = ops.concat([batch, axes(heads), axes(times), seq, axes(DEPTH)], 0)
    apart = order(ops.broadcast(ops.unsqueeze(x, axes(2)), wide))
    return ops.reshape(apart, axes(0, heads * times, -1, DEPTH), True)


def grouped(graph, x, key_heads, **options):
    query = heads_apart(graph.linear(x, 4 * DEPTH), 4)
    key, value = (heads_apart(graph.linear(x, key_heads * DEPTH), key_heads) for _ in range(2))
    key, value = (repeated(part, 4 // key_heads, key_heads, **options) for part in (key, value))
    return heads_together(ops.scaled_dot_product_attention(query, key, value), 4 * DEPTH)


@pytest.mark.parametrize("key_heads", [1, 2])
def test_heads_that_share_keys_and_values(key_heads):
    result, model = check(lambda graph, x, *tables: grouped(graph, x, key_heads))
    step = found(result, "Attention")[0]
    assert (step.heads, step.key_heads) == (4, key_heads)
    assert not {"Broadcast", "ScaledDotProductAttention"} & set(types(model))


def test_keys_that_other_heads_share_are_openvinos():
    """As torch's ``repeat`` does it: heads 0, 1, 0, 1 where ``repeat_interleave`` gives 0, 0, 1, 1."""

    def tiled(x):
        return ops.transpose(x, axes(0, 2, 1, 3, 4))

    result, model = check(lambda graph, x, *tables: grouped(graph, x, 2, order=tiled))
    assert not found(result, "Attention") and "ScaledDotProductAttention" in types(model)


def test_keys_and_values_shared_otherwise_are_openvinos():
    def make(graph, x, *tables):
        query = heads_apart(graph.linear(x, 4 * DEPTH), 4)
        key, value = heads_apart(graph.linear(x, DEPTH), 1), heads_apart(graph.linear(x, 2 * DEPTH), 2)
        key, value = repeated(key, 4, 1), repeated(value, 2, 2)
        return heads_together(ops.scaled_dot_product_attention(query, key, value), 4 * DEPTH)

    result, model = check(make)
    assert "ScaledDotProductAttention" in types(model)
    assert list(result.notes.values()) == ["heads do not share keys and values alike"]


# Query, key and value as parts of one layer's outputs, by an axis of their own


def parts_by_split(apart, axis):
    return [ops.squeeze(part, axes(axis)) for part in ops.split(apart, ops.constant(axis), 3).outputs()]


def parts_by_gather(apart, axis):
    return [ops.gather(apart, ops.constant(i), ops.constant(axis)) for i in (0, 1, -1)]


def of_one_layer(graph, x, take, shape=(3, HEADS, DEPTH), axis=2):
    apart = ops.reshape(graph.linear(x, 3 * HIDDEN), axes(0, 0, *shape), True)
    query, key, value = (ops.transpose(part, axes(0, 2, 1, 3)) for part in take(apart, axis))
    return heads_together(ops.scaled_dot_product_attention(query, key, value), HIDDEN)


@pytest.mark.parametrize("axis", [2, -3])
@pytest.mark.parametrize("take", [parts_by_split, parts_by_gather])
def test_three_layers_in_one_by_an_axis_of_their_own(take, axis):
    result, model = check(lambda graph, x, *tables: of_one_layer(graph, x, take, axis=axis))
    assert len(result.programs) == 1 and found(result, "Attention")[0].heads == HEADS
    assert not {"Split", "VariadicSplit", "Gather"} & set(types(model))


def test_parts_within_each_head_are_openvinos():
    result, model = check(lambda graph, x, *tables: of_one_layer(graph, x, parts_by_split, (HEADS, 3, DEPTH), axis=3))
    assert not found(result, "Attention") and "ScaledDotProductAttention" in types(model)
