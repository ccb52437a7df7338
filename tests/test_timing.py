"""Turns and their order, and the figures that come of them, computed another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binom

from optkit import timing


def turns_of(*names, values=None):
    """Turns that write down when they were taken, and return counting numbers."""
    order = []
    numbers = itertools.count()

    def take(name):
        order.append(name)
        return float(next(numbers))

    return order, {name: (lambda name=name: take(name)) for name in names}


def test_each_round_begins_one_further():
    order, turns = turns_of("a", "b", "c")
    told = []
    taken = timing.by_turns(turns, rounds=4, tell=lambda *said: told.append(said))
    assert "".join(order) == "abc bca cab abc".replace(" ", "")
    assert taken == {"a": [0.0, 5.0, 7.0, 9.0], "b": [1.0, 3.0, 8.0, 10.0], "c": [2.0, 4.0, 6.0, 11.0]}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_rounds_that_warm_up_do_not_count():
    order, turns = turns_of("a", "b")
    assert timing.by_turns(turns, rounds=1, warm_up=2) == {"a": [4.0], "b": [5.0]}
    assert len(order) == 6


def test_time_ends_the_rounds_but_not_before_the_least(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    _, turns = turns_of("a")
    assert len(timing.by_turns(turns, rounds=100, seconds=1.5, least=2)["a"]) == 3
    assert len(timing.by_turns(turns, rounds=100, seconds=0.5, least=6)["a"]) == 6
    assert len(timing.by_turns(turns, rounds=4, seconds=1e9, least=6)["a"]) == 4


def test_a_turn_is_the_median_of_its_calls_but_for_the_first(monkeypatch):
    # Each call takes what the clock moves between two looks at it: 5, 1 and 3 seconds.
    looks = iter([0.0, 5.0, 10.0, 11.0, 20.0, 23.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(looks))
    called = []
    assert timing.turn(lambda: called.append(1), repeats=3)() == 3.0
    assert len(called) == 4


@pytest.mark.parametrize("count", [6, 7, 10, 20, 37, 100, 1001])
def test_the_interval_holds_the_median_in_95_of_100_cases_and_is_the_narrowest(count):
    values = np.random.default_rng(count).permutation(count).astype(float)
    low, high = timing.median_interval(values.tolist())
    # Values are their own ranks; below the median lie as many as of `count` coins show heads.
    assert low == count - 1 - high
    rank = int(low) + 1
    assert 1 - 2 * binom.cdf(rank - 1, count, 0.5) >= 0.95
    assert rank == (count + 1) // 2 or 1 - 2 * binom.cdf(rank, count, 0.5) < 0.95


def test_few_values_give_their_ends_and_count_as_noisy():
    found = timing.spread([3.0, 3.0, 3.0])
    assert (found.median, found.interval, found.count, found.noisy) == (3.0, (3.0, 3.0), 3, True)
    assert not timing.spread([3.0] * timing.LEAST).noisy
    assert timing.spread([2.0]) == timing.Spread(2.0, (2.0, 2.0), (2.0, 2.0), 1)


def test_spread_by_numpy():
    values = np.random.default_rng(0).normal(10, 1, 21).tolist()
    found = timing.spread(values)
    assert found.median == pytest.approx(np.median(values))
    assert found.quartiles == pytest.approx(tuple(np.quantile(values, [0.25, 0.75])))
    assert found.interval == (sorted(values)[5], sorted(values)[-6])
    assert found.noisy == bool(np.subtract(*np.quantile(values, [0.75, 0.25])) > 0.1 * np.median(values))


def test_ratios_are_of_the_same_round():
    # Each round is slower than the one before, for both alike: the ratio does not move.
    reference, own = [4.0, 8.0, 12.0, 16.0, 20.0, 24.0], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]
    found = timing.ratios(reference, own)
    assert (found.median, found.interval, found.noisy) == (2.0, (2.0, 2.0), False)
    shaken = timing.ratios(reference, [2.0, 4.0, 6.0, 8.0, 5.0, 24.0])
    assert shaken.median == 2.0 and shaken.interval == (1.0, 4.0) and shaken.noisy


def test_quartiles_a_tenth_apart_are_noisy():
    assert not timing.spread([10.0, 10.0, 10.0, 10.9, 10.9, 10.9]).noisy
    assert timing.spread([10.0, 10.0, 10.0, 11.2, 11.2, 11.2]).noisy


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.9, 90), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_percentile(share, expected):
    assert timing.percentile(list(range(100, 0, -1)), share) == expected
