"""Relative positions in the scores of attention: disentangled attention as exporters write it, and what only looks like
it."""

from __future__ import annotations

import numpy as np
import pytest
from graphs import HIDDEN, axes, fake_quantize, heads_apart, heads_together, scalar
from rewritten import ops, steps, types
from test_attention import BOOLEAN, DEPTH, HEADS, check, qkv

ROWS = 6
LOWEST = np.finfo(np.float32).min


def tokens_of(x):
    """The length of sequences, a single number."""
    return ops.gather(ops.shape_of(x, "i64"), ops.constant(1), ops.constant(0))


def distances(x, first: int = 0):
    """Row less column, (seq, seq)."""
    places = ops.range(ops.constant(np.int64(first)), tokens_of(x), ops.constant(np.int64(1)), "i64")
    return ops.subtract(ops.unsqueeze(places, axes(1)), ops.unsqueeze(places, axes(0)))


def rows_of(distance):
    """Rows of a table as DeBERTa counts them: clamped to those that there are."""
    return ops.clamp(ops.add(distance, ops.constant(np.int64(ROWS // 2))), 0, ROWS - 1)


def buckets(distance):
    """The same, farther tokens sharing rows."""
    far = ops.ceiling(ops.log(ops.add(ops.convert(ops.abs(distance), "f32"), scalar(1.0))))
    signed = ops.multiply(far, ops.convert(ops.sign(distance), "f32"))
    near = ops.less_equal(ops.abs(distance), ops.constant(np.int64(1)))
    return rows_of(ops.select(near, distance, ops.convert(signed, "i64")))


def picked(products, rows):
    """Of products (batch, heads, seq, rows of the table) those that the rows (seq, seq) say."""
    sizes = ops.concat([ops.slice(ops.shape_of(products, "i64"), axes(0), axes(2), axes(1)), ops.shape_of(rows)], 0)
    spread = ops.broadcast(rows, sizes, broadcast_spec="BIDIRECTIONAL")
    return ops.gather_elements(products, ops.convert(spread, "i32"), 3)


def table(graph, heads: int = HEADS):
    return ops.constant(graph.numbers(1, heads, ROWS, DEPTH))


def attended(graph, x, added, mask=None, scale=1.0):
    """Attention to whose scores ``added(query, key)`` is added."""
    query, key, value = (heads_apart(part, HEADS) for part in qkv(graph, x))
    scores = ops.add(ops.multiply(ops.matmul(query, key, False, True), scalar(scale)), added(query, key))
    if mask is not None:
        scores = ops.select(mask, scores, scalar(LOWEST))
    return heads_together(ops.matmul(ops.softmax(scores, -1), value, False, False), HIDDEN)


def of_queries(graph, query, rows):
    return ops.multiply(picked(ops.matmul(query, table(graph), False, True), rows), scalar(0.4))


def of_keys(graph, key, rows):
    return ops.transpose(picked(ops.matmul(key, table(graph), False, True), rows), axes(0, 1, 3, 2))


def one(result, *kinds):
    """Asserts that all is one program that holds the steps ``kinds`` beside linear layers and an activation."""
    found = [name for name in steps(result)[0] if name not in ("Linear", "Activation")]
    assert len(result.programs) == 1 and found == [*kinds]


@pytest.mark.parametrize("rows", [rows_of, buckets])
def test_queries_and_keys_meet_rows_of_tables(rows):
    def make(graph, x, m):
        def added(query, key):
            return ops.add(
                of_queries(graph, query, rows(distances(x))), of_keys(graph, key, rows(ops.negative(distances(x))))
            )

        return attended(graph, x, added, m, 0.3)

    result, model = check(make, BOOLEAN, sizes=((2, 6), (1, 3), (3, 1), (1, 40)))
    one(result, "RelativePositions", "Bias", "RelativePositions", "Bias", "Attention")
    assert not {"GatherElements", "Softmax"} & set(types(model))


@pytest.mark.parametrize("term", ["query", "key"])
def test_one_term_alone(term):
    def make(graph, x):
        rows = rows_of(distances(x))
        return attended(
            graph, x, lambda q, k: of_queries(graph, q, rows) if term == "query" else of_keys(graph, k, rows)
        )

    result, _ = check(make)
    one(result, "RelativePositions", "Attention")
    step = next(step for step in result.programs[0].program.steps if type(step).__name__ == "RelativePositions")
    assert step.of_keys == (term == "key") and step.scale == pytest.approx(1.0 if term == "key" else 0.4)


def test_batch_and_heads_in_one_dimension():
    """As torch.bmm wants them: the table is repeated for each sequence, the scale is computed of a known size."""

    def make(graph, x, m):
        def flat(value):
            return ops.reshape(
                value, ops.concat([axes(-1), ops.reshape(tokens_of(x), axes(1), False), axes(DEPTH)], 0), False
            )

        query, key, value = (flat(heads_apart(part, HEADS)) for part in qkv(graph, x))
        root = ops.sqrt(ops.convert(ops.gather(ops.shape_of(query, "i64"), axes(-1), ops.constant(0)), "f32"))
        key = ops.divide(ops.transpose(key, axes(0, 2, 1)), ops.squeeze(root, axes(0)))
        sequences = ops.divide(ops.gather(ops.shape_of(query, "i64"), axes(0), ops.constant(0)), axes(HEADS))
        many = ops.tile(ops.constant(graph.numbers(HEADS, ROWS, DEPTH)), ops.concat([sequences, axes(1), axes(1)], 0))
        products = ops.matmul(query, many, False, True)
        rows = ops.unsqueeze(rows_of(distances(x)), axes(0))
        seq = ops.reshape(tokens_of(x), axes(1), False)
        spread = ops.broadcast(
            rows,
            ops.concat([ops.gather(ops.shape_of(query, "i64"), axes(0), ops.constant(0)), seq, seq], 0),
            broadcast_spec="BIDIRECTIONAL",
        )
        picked = ops.gather_elements(products, ops.convert(spread, "i32"), -1)
        scores = ops.add(ops.matmul(query, key, False, False), picked)
        scores = ops.reshape(scores, ops.concat([axes(-1, HEADS), seq, seq], 0), False)
        shares = ops.softmax(ops.select(m, scores, scalar(LOWEST)), -1)
        context = ops.matmul(ops.reshape(shares, ops.concat([axes(-1), seq, seq], 0), False), value, False, False)
        return heads_together(ops.reshape(context, ops.concat([axes(-1, HEADS), seq, axes(DEPTH)], 0), False), HIDDEN)

    result, model = check(make, BOOLEAN)
    one(result, "RelativePositions", "Bias", "Attention")
    assert not {"GatherElements", "Softmax", "Tile"} & set(types(model))


def test_contents_are_quantized_as_the_graph_says():
    def make(graph, x):
        def added(query, key):
            return of_keys(graph, fake_quantize(key, -3.0, 3.1), rows_of(distances(x)))

        return attended(graph, x, added)

    result, _ = check(make, tolerance=0.02)
    one(result, "FakeQuantize", "RelativePositions", "Attention")


def unfused(make, why=None, sizes=((2, 6), (1, 3))):
    result, model = check(make, sizes=sizes)
    assert "Softmax" in types(model) or "GatherElements" in types(model)
    if why:
        assert list(result.notes.values()) == [why]


def test_rows_that_depend_on_more_than_the_distance_stay_openvinos():
    def make(graph, x):
        places = ops.range(ops.constant(np.int64(0)), tokens_of(x), ops.constant(np.int64(1)), "i64")
        together = ops.add(ops.unsqueeze(places, axes(1)), ops.unsqueeze(places, axes(0)))
        return attended(graph, x, lambda q, k: of_queries(graph, q, rows_of(together)))

    unfused(make)


def test_a_range_that_begins_elsewhere_stays_openvinos():
    def make(graph, x):
        places = ops.range(ops.constant(np.int64(0)), tokens_of(x), ops.constant(np.int64(1)), "i64")
        later = ops.range(
            ops.constant(np.int64(1)),
            ops.add(tokens_of(x), ops.constant(np.int64(1))),
            ops.constant(np.int64(1)),
            "i64",
        )
        apart = ops.subtract(ops.unsqueeze(places, axes(1)), ops.unsqueeze(later, axes(0)))
        return attended(graph, x, lambda q, k: of_queries(graph, q, rows_of(apart)))

    unfused(make)


def test_rows_that_a_constant_matrix_changes_stay_openvinos():
    def make(graph, x):
        noise = ops.constant(np.arange(36, dtype=np.int64).reshape(6, 6) % 3)
        return attended(graph, x, lambda q, k: of_queries(graph, q, rows_of(ops.add(distances(x), noise))))

    unfused(make, sizes=((2, 6),))


def test_a_table_of_each_sequence_stays_openvinos():
    def make(graph, x):
        means = ops.reduce_mean(x, axes(1, 2), True)
        own = ops.multiply(table(graph), ops.unsqueeze(means, axes(3)))

        def added(query, key):
            return picked(ops.matmul(query, own, False, True), rows_of(distances(x)))

        return attended(graph, x, added)

    unfused(make)


def test_other_tokens_that_meet_the_table_stay_openvinos():
    def make(graph, x):
        def added(query, key):
            return of_queries(graph, ops.multiply(ops.sigmoid(query), query), rows_of(distances(x)))

        return attended(graph, x, added)

    unfused(make, "relative positions are not of the attention's own tokens")


def test_three_terms_are_too_many():
    def make(graph, x):
        rows = rows_of(distances(x))

        def added(query, key):
            two = ops.add(of_queries(graph, query, rows), of_keys(graph, key, rows))
            return ops.add(two, of_queries(graph, query, rows))

        return attended(graph, x, added)

    unfused(make, "more than 2 terms of relative positions")
