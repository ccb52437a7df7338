"""Tables of times: what they say, how they read back, and how measured times become one."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from optkit.errors import PruningError
from optkit.pruning.allocation.costs import CostTable, LayerCosts, falling

SQUARE, FEED_FORWARD = ((8, 8),), ((32, 8), (8, 32))
TABLE = CostTable(
    structure="1x4",
    int8=True,
    batch=1,
    seq=128,
    threads=2,
    cpu="one",
    dense=1000.0,
    unpruned=500.0,
    rest=-5.0,
    sparsities=(0.0, 0.5, 0.9),
    layers=(LayerCosts(SQUARE, (30.0, 20.0, 10.0)), LayerCosts(FEED_FORWARD, (200.0, 120.0, 40.0))),
)


def test_times_lie_on_straight_lines_between_those_of_the_table():
    assert TABLE.of(FEED_FORWARD, (0.0, 0.25, 0.9, 0.99)) == pytest.approx((200.0, 160.0, 40.0, 40.0))
    with pytest.raises(PruningError, match="no layer of 8x9, only 8x8, 32x8 \\+ 8x32: measure it for this model"):
        TABLE.of(((8, 9),), (0.0,))


def test_speedup_and_budget_are_of_the_whole_model():
    assert TABLE.budget(4.0) == 255.0 and TABLE.speedup(255.0) == 4.0


def test_a_table_reads_back():
    assert CostTable.from_json(TABLE.to_json()) == TABLE


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 2, "expected format 1"),
        ("more", 1, "expected format 1 with the keys"),
        ("structure", 4, "structure is 4"),
        ("int8", 1, "int8 is 1"),
        ("batch", 0, "batch is 0"),
        ("threads", True, "threads is true"),
        ("dense", 0.0, "dense is 0.0"),
        ("dense", float("nan"), "dense is NaN"),
        ("unpruned", -1.0, "unpruned is -1.0"),
        ("rest", "1", 'rest is "1"'),
        ("sparsities", [0.0], "sparsities is"),
        ("sparsities", [0.1, 0.5, 0.9], "sparsities is"),
        ("sparsities", [0.0, 0.9, 0.5], "sparsities is"),
        ("sparsities", [0.0, 0.5, 1.5], "sparsities is"),
        ("layers", [], "layers is"),
        ("layers", [{"shapes": [[8, 8]], "microseconds": [1.0]}], "a layer needs its shapes"),
        ("layers", [{"shapes": [8], "microseconds": [1.0, 1.0, 1.0]}], "a layer needs its shapes"),
        ("layers", [{"shapes": [[8, 8]], "microseconds": [1.0, -1.0, 1.0]}], "a layer needs its shapes"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(key, value, said):
    data = json.loads(TABLE.to_json()) | {key: value}
    with pytest.raises(PruningError, match="no table of costs: ") as caught:
        CostTable.from_json(json.dumps(data))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "{}"])
def test_what_is_no_json_object_is_refused(text):
    with pytest.raises(PruningError, match="no table of costs"):
        CostTable.from_json(text)


def test_times_that_rise_are_levelled_and_no_other_falling_sequence_is_nearer():
    assert falling([9.0, 5.0, 7.0, 3.0, 3.0, 4.0]) == pytest.approx([9.0, 6.0, 6.0, 10 / 3, 10 / 3, 10 / 3])
    rng = np.random.default_rng(0)
    values = rng.random(6)
    found = np.array(falling(values.tolist()))
    assert all(a >= b for a, b in pairwise(found))
    for _ in range(300):
        other = np.sort(found + rng.normal(0, 0.05, 6))[::-1]
        assert ((found - values) ** 2).sum() <= ((other - values) ** 2).sum()
