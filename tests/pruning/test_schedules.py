"""Targets at chosen steps, worked out by hand."""

from __future__ import annotations

import pytest

from optkit.errors import PruningError
from optkit.pruning.config import SHAPES, Schedule
from optkit.pruning.schedules import resolve


def steps(total: int = 100, per_epoch: float = 50, **schedule):
    return resolve(Schedule(**schedule), total, per_epoch)


@pytest.mark.parametrize(
    ("shape", "table"),
    [
        # 0.8 - 0.8 * (1 - progress)^3 at progress 0, 1/4 ... 1
        ("cubic", [(10, 0.0), (20, 0.4625), (30, 0.7), (40, 0.7875), (50, 0.8)]),
        ("linear", [(10, 0.0), (20, 0.2), (30, 0.4), (40, 0.6), (50, 0.8)]),
        # the density falls from 1 to 0.2 geometrically
        ("exponential", [(10, 0.0), (20, 1 - 0.2**0.25), (30, 1 - 0.2**0.5), (40, 1 - 0.2**0.75), (50, 0.8)]),
        ("stepwise", [(10, 0.0), (20, 0.2), (30, 0.4), (40, 0.6), (50, 0.8)]),
        ("constant", [(10, 0.8)]),
    ],
)
def test_the_table_of_each_shape(shape, table):
    made = steps(shape=shape, to=0.8, begin=10, end=50, every=10).table()
    assert [step for step, _ in made] == [step for step, _ in table]
    assert [target for _, target in made] == pytest.approx([target for _, target in table], abs=1e-12)
    assert made[-1][1] == 0.8


def test_linear_starts_from_its_initial_sparsity():
    made = steps(shape="linear", initial=0.5, to=0.7, begin=0, end=40, every=20)
    assert made.table() == [(0, 0.5), (20, pytest.approx(0.6)), (40, 0.7)]


def test_exponential_removes_the_same_share_of_what_is_left_at_every_change():
    table = steps(shape="exponential", initial=0.2, to=0.95, begin=0, end=100, every=10).table()
    left = [1 - target for _, target in table]
    assert len(table) == 11 and (table[0][1], table[-1][1]) == (0.2, 0.95)
    assert [after / before for before, after in zip(left, left[1:])] == pytest.approx([(0.05 / 0.8) ** 0.1] * 10)


def test_rounding_takes_exponential_no_further_than_its_target():
    # Two numbers so near each other that the formula alone lands above the second at step 4.
    made = steps(shape="exponential", initial=0.35715168259026275, to=0.35715168259026286, begin=0, end=5, every=1)
    assert max(target for _, target in made.table()) == 0.35715168259026286


@pytest.mark.parametrize(
    ("jumps", "end", "table"),
    [
        (1, 10, [(0, 0.2), (10, 0.6)]),
        (2, 11, [(0, 0.2), (6, 0.4), (11, 0.6)]),
        (3, 10, [(0, 0.2), (4, 1 / 3), (7, 7 / 15), (10, 0.6)]),
        (5, 2, [(0, 0.2), (1, 0.36), (2, 0.6)]),
    ],
)
def test_stepwise_jumps_evenly_whatever_every_says(jumps, end, table):
    made = steps(shape="stepwise", initial=0.2, to=0.6, begin=0, end=end, every=3, jumps=jumps).table()
    assert made == [(step, pytest.approx(target)) for step, target in table] and made[-1][1] == 0.6


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("initial", [0.1, 1 / 3])
@pytest.mark.parametrize(("begin", "end", "every"), [(0, 100, 7), (3, 98, 20), (5, 5, 1), (0, 1, 20), (10, 29, 100)])
def test_targets_change_only_where_masks_do_and_end_exactly(shape, initial, begin, end, every):
    made = steps(shape=shape, initial=initial, to=1 / 3, begin=begin, end=end, every=every)
    table = dict(made.table())
    held = 0.0
    for step in range(101):
        assert made.changes_at(step) is (step in table)
        assert made.target(step) >= held
        held = table.get(step, held)
        assert made.target(step) == held
    assert held == 1 / 3


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [("10%", "70%", (20, 140)), (7, 93, (7, 93)), ("0.5ep", "2ep", (25, 100)), (0.05, "1ep", (10, 50))],
)
def test_shares_steps_and_epochs(begin, end, expected):
    made = steps(total=200, begin=begin, end=end)
    assert (made.begin, made.end) == expected


def test_a_schedule_that_ends_after_training_is_refused():
    with pytest.raises(PruningError, match="the schedule ends at step 101, after the training's last step 100"):
        steps(begin=0, end=101)


def test_a_schedule_that_begins_after_its_end_is_refused():
    with pytest.raises(PruningError, match="the schedule begins at step 60, after its end at step 50"):
        steps(begin=60, end="1ep")


def test_a_constant_schedule_ends_where_it_begins():
    made = steps(shape="constant", to=0.6, begin=5, end="100%")
    assert (made.end, made.target(4), made.target(5), made.target(100)) == (5, 0.0, 0.6, 0.6)


@pytest.mark.parametrize(
    ("every", "changes"), [("10%", [10, 20, 30, 40]), ("0.5ep", [10, 22, 34, 40]), (25, [10, 35, 40])]
)
def test_the_time_between_changes_is_a_span(every, changes):
    made = resolve(Schedule(shape="linear", begin=10, end=40, every=every), 100, 24)
    assert [step for step, _ in made.table()] == changes
