"""Masks of positions: causal ones and windows become distances in the program; others stay masks. All compute the same."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import axes, scalar
from rewritten import ops, types
from test_attention import BIAS, BOOLEAN, attention_of, check, mask_shape, sdpa, softmax_attention

LONG, SHORT = (2, 41), (1, 3)


def counted(x, start=0, step=1):
    """(queries, keys): positions of the tokens of x, (1, 1, seq, 1) and (1, 1, 1, seq)."""
    seq = ops.gather(ops.shape_of(x, "i64"), ops.constant(1), ops.constant(0))
    places = ops.range(ops.constant(np.int64(start)), seq, ops.constant(np.int64(step)), "i64")
    return ops.unsqueeze(places, axes(0, 1, 3)), ops.unsqueeze(places, axes(0, 1, 2))


def whole(number):
    return ops.constant(np.array([number], np.int64))


def distance(queries, keys):
    return ops.abs(ops.subtract(queries, keys))


WINDOWS = {
    "keys before": (lambda q, k: ops.less_equal(k, q), (None, 0)),
    "before, turned": (lambda q, k: ops.greater_equal(q, k), (None, 0)),
    "keys behind": (lambda q, k: ops.less_equal(q, k), (0, None)),
    "not far before": (lambda q, k: ops.greater(k, ops.subtract(q, whole(7))), (6, None)),
    "around": (lambda q, k: ops.less_equal(distance(q, k), whole(5)), (5, 5)),
    "closer": (lambda q, k: ops.greater(whole(5), distance(k, q)), (4, 4)),
    "in 32 bits": (lambda q, k: ops.less_equal(ops.convert(k, "i32"), ops.convert(q, "i32")), (None, 0)),
    # As the other numbers of a step it is written with numbers, but it is no value's.
    "farther than there are values": (lambda q, k: ops.less_equal(distance(q, k), whole(30)), (30, 30)),
    "some before": (
        lambda q, k: ops.logical_and(ops.less_equal(k, q), ops.greater(k, ops.subtract(q, whole(4)))),
        (3, 0),
    ),
}


def window_of(result):
    step = attention_of(result)
    return step.before, step.behind


def select(condition, low=-65504.0):
    return ops.select(condition, scalar(0.0), scalar(low))


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name):
    make, wanted = WINDOWS[name]
    result, model = check(lambda graph, x: sdpa(graph, x, make(*counted(x))), sizes=(LONG, SHORT))
    assert window_of(result) == wanted and attention_of(result).mask is None
    assert "Range" not in types(model)


FORMS = {
    "boolean": lambda graph, x, mask: sdpa(graph, x, mask),
    "added": lambda graph, x, mask: sdpa(graph, x, select(mask)),
    "added to scores": lambda graph, x, mask: softmax_attention(graph, x, lambda scores: ops.add(scores, select(mask))),
    "scores replaced": lambda graph, x, mask: softmax_attention(
        graph, x, lambda scores: ops.select(mask, scores, scalar(np.finfo(np.float32).min))
    ),
    "scores replaced where not": lambda graph, x, mask: softmax_attention(
        graph, x, lambda scores: ops.select(ops.logical_not(mask), scalar(np.finfo(np.float32).min), scores)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_window_beside_a_mask_of_keys(form):
    def make(graph, x, mask):
        return FORMS[form](graph, x, ops.logical_and(ops.less_equal(distance(*counted(x)), whole(4)), mask))

    # Where padding ends a sequence, its queries' windows may hold nothing else: what these see nobody asks.
    result, model = check(
        make, (lambda batch, seq: np.ones((batch, 1, 1, seq), bool), bool, (-1, 1, 1, -1)), sizes=(LONG,)
    )
    assert window_of(result) == (4, 4)
    assert mask_shape(result) == [None, 1, 1, None]
    assert not {"Range", "Select"} & set(types(model))


def test_a_causal_mask_beside_padding_at_the_end():
    def make(graph, x, mask):
        return sdpa(graph, x, ops.logical_and(mask, ops.less_equal(*reversed(counted(x)))))

    result, _ = check(make, BOOLEAN, sizes=((3, 40), SHORT))
    assert window_of(result) == (None, 0) and mask_shape(result) == [None, 1, 1, None]


def test_a_window_beside_a_bias():
    def make(graph, x, bias):
        return softmax_attention(
            graph, x, lambda scores: ops.add(ops.add(scores, bias), select(ops.less_equal(*reversed(counted(x)))))
        )

    result, _ = check(make, BIAS, sizes=(LONG, SHORT))
    assert window_of(result) == (None, 0) and attention_of(result).mask is not None


MISSES = {
    "half as far": lambda q, k: ops.less_equal(k, ops.divide(q, whole(2))),
    "the same chunk": lambda q, k: ops.equal(ops.divide(k, whole(4)), ops.divide(q, whole(4))),
    "a sum": lambda q, k: ops.less_equal(ops.abs(ops.add(q, k)), whole(60)),
    "off the middle": lambda q, k: ops.less_equal(distance(ops.add(q, whole(2)), k), whole(5)),
    "not too far for any": lambda q, k: ops.less_equal(distance(q, k), whole(2**40)),
    "far": lambda q, k: ops.greater_equal(distance(q, k), whole(0)),
    "either": lambda q, k: ops.logical_or(ops.less_equal(k, q), ops.less_equal(k, ops.add(q, whole(3)))),
}


@pytest.mark.parametrize("name", MISSES)
def test_other_masks_of_positions_stay_masks(name):
    result, _ = check(lambda graph, x: sdpa(graph, x, MISSES[name](*counted(x))), sizes=(LONG, SHORT))
    assert window_of(result) == (None, None) and attention_of(result).mask is not None


def test_positions_of_every_second_token_are_no_positions():
    def make(graph, x):
        seq = ops.gather(ops.shape_of(x, "i64"), ops.constant(1), ops.constant(0))
        far = ops.multiply(seq, ops.constant(np.int64(2)))
        places = ops.range(ops.constant(np.int64(0)), far, ops.constant(np.int64(2)), "i64")
        keys, (queries, _) = ops.unsqueeze(places, axes(0, 1, 2)), counted(x)
        return sdpa(graph, x, ops.less_equal(keys, queries))

    result, _ = check(make, sizes=(LONG, SHORT))
    assert window_of(result) == (None, None)


def test_what_is_left_out_by_little_is_no_window():
    def make(graph, x):
        return sdpa(graph, x, select(ops.less_equal(*reversed(counted(x))), low=-5.0))

    result, _ = check(make, sizes=(LONG, SHORT))
    assert window_of(result) == (None, None) and attention_of(result).mask is not None
