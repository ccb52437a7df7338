"""Graphs that mean the same are brought to one form, and others are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HIDDEN, Graph, axes, heads_apart, heads_together, scalar
from rewritten import ELEMENT, difference, kernels_of, ops, ov, rewrite_here, types
from test_attention import DEPTH, HEADS, attention_of, check, qkv

from optkit.runtime.rewriting.canonical import simplify

WINDOWS, SEQ = 2, 4


def windowed(graph, x, mask, parts=None):
    """Attention over (images * windows, seq, features) with a mask (1, windows, 1, seq, seq), as Swin has it."""
    query, key, value = (heads_apart(part, HEADS) for part in qkv(graph, x))
    scores = ops.multiply(ops.matmul(query, key, False, True), scalar(DEPTH**-0.5))
    split = ops.reshape(scores, axes(*(parts or (-1, WINDOWS, HEADS, SEQ, SEQ))), False)
    together = ops.reshape(ops.add(split, mask), axes(-1, HEADS, SEQ, SEQ), False)
    return heads_together(ops.matmul(ops.softmax(together, -1), value, False, False), HIDDEN)


def test_a_mask_of_windows():
    def make(graph, x):
        return windowed(graph, x, ops.constant(graph.numbers(1, WINDOWS, 1, SEQ, SEQ)))

    result, _ = check(make, shape=(-1, SEQ, HIDDEN), sizes=((WINDOWS, SEQ), (2 * WINDOWS, SEQ)))
    assert attention_of(result).mask is not None


def test_heads_and_windows_that_change_places_stay_openvinos():
    def make(graph, x):
        mask = ops.constant(graph.numbers(1, HEADS, 1, SEQ, SEQ))
        return windowed(graph, x, mask, parts=(-1, HEADS, WINDOWS, SEQ, SEQ))

    _, model = check(make, shape=(-1, SEQ, HIDDEN), sizes=((WINDOWS, SEQ),))
    assert "Softmax" in types(model)


def test_a_mask_of_images_stays_openvinos():
    def make(graph, x):
        return windowed(graph, x, ops.constant(graph.numbers(2, WINDOWS, 1, SEQ, SEQ)))

    _, model = check(make, shape=(-1, SEQ, HIDDEN), sizes=((2 * WINDOWS, SEQ),))
    assert "Softmax" in types(model)


def branched(same: bool, passes_on: bool = True):
    """A model that asks by an If whether two lengths differ, of one input or of two."""
    graph = Graph()
    x, y = graph.tokens(), graph.tokens()
    left, right = (
        ops.gather(ops.shape_of(each, "i64"), ops.constant(1), ops.constant(0)) for each in (x, x if same else y)
    )
    hidden = graph.linear(x)
    given = [ops.parameter([-1, -1, HIDDEN], np.float32) for _ in range(2)]
    then = ov.Model([ops.result(ops.negative(given[0]))], [given[0]], "then")
    other = ov.Model([ops.result(ops.relu(given[1]) if not passes_on else given[1])], [given[1]], "other")
    choice = ov.opset8.if_op(ops.not_equal(left, right).output(0))
    choice.set_then_body(then)
    choice.set_else_body(other)
    choice.set_input(hidden.output(0), given[0], given[1])
    chosen = choice.set_output(then.results[0], other.results[0])
    return graph, graph.model(graph.linear(ops.relu(chosen)), ops.relu(y))


def test_a_condition_that_a_size_meets_itself_in_is_decided():
    (graph, model), (_, original) = branched(same=True), branched(same=True)
    result = rewrite_here(model, kernels_of(model, ELEMENT))
    assert len(result.programs) == 1 and "If" not in types(model)
    assert difference(original, model, graph.feed(2, 5)) < 1e-5


@pytest.mark.parametrize(("same", "passes_on"), [(False, True), (True, False)])
def test_other_conditions_stay(same, passes_on):
    _, model = branched(same, passes_on)
    simplify(model)
    assert "If" in types(model)
