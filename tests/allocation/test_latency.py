"""The search for a choice that is measured to be fast enough, on a machine that is a formula."""

from __future__ import annotations

import random

import pytest

from optkit.allocation.latency import ATTEMPTS, NEAR, Choice, fast_enough
from optkit.errors import PruningError
from optkit.pruning.allocation.costs import CostTable, LayerCosts

#: A model of 1,000 us dense whose layers take 0 to 400 us besides 100 us of rest; the less, the more is lost.
TABLE = CostTable(
    "1x4", True, 1, 128, 2, "one", 1000.0, 500.0, 100.0, (0.0, 0.9), (LayerCosts(((8, 8),), (400.0, 0.0)),)
)
ENDS = (0.0, 400.0)


def within(budget):
    return Choice([round(400 - budget)], budget, loss=400 - budget)


def search(speedup, timed, ends=ENDS):
    asked = []

    def clock(counts):
        asked.append(400 - counts[0])
        return timed(asked[-1], len(asked))

    return fast_enough(speedup, TABLE, within, clock, ends), asked


def test_a_table_that_is_right_is_asked_once():
    found, asked = search(4.0, lambda layers, _: 1000 / (100 + layers))
    assert asked == [150] and (found.speedup, found.attempts, found.microseconds) == (4.0, 1, 150.0)


@pytest.mark.parametrize("factor", [0.7, 1.4])
def test_one_that_errs_by_a_factor_is_asked_twice(factor):
    found, asked = search(4.0, lambda layers, _: 1000 / (100 + layers) / factor)
    assert 4.0 <= found.speedup <= NEAR * 4.0 and found.attempts == len(asked) == 2
    assert (asked[1] > asked[0]) == (factor < 1)


def test_what_lies_between_layers_is_found_with_a_few_more():
    # Beyond what the table knows there are 60 us, which no factor is.
    found, asked = search(4.0, lambda layers, _: 1000 / (160 + layers))
    assert 4.0 <= found.speedup <= NEAR * 4.0 and len(asked) <= 4


@pytest.mark.parametrize("disturbed", [1, 2, 3])
def test_one_disturbed_measurement_costs_attempts_and_no_accuracy(disturbed):
    def timed(layers, attempt):
        return 1000 / (160 + layers) / (1.5 if attempt == disturbed else 1.0)

    found, _ = search(4.0, timed)
    assert 4.0 <= found.speedup <= NEAR * 4.0


@pytest.mark.parametrize("seed", range(20))
def test_a_clock_that_scatters_gives_no_more_than_it_must(seed):
    noise = random.Random(seed)
    found, asked = search(4.0, lambda layers, _: noise.gauss(1, 0.03) * 1000 / (130 + layers))
    assert found.speedup >= 4.0 and len(asked) <= ATTEMPTS
    assert 80 <= found.microseconds <= 150


def test_of_choices_that_are_too_fast_the_one_with_the_least_loss_is_kept():
    # The machine knows two speeds only, both too fast by far.
    found, asked = search(4.0, lambda layers, _: 8.0 if layers < 300 else 5.0)
    assert found.speedup == 5.0 and found.loss == min(400 - layers for layers in asked) == 0.0


def test_the_last_attempt_is_the_fastest_choice_if_none_was_fast_enough():
    found, asked = search(4.0, lambda layers, _: 4.5 if layers == 0 else 3.9)
    assert (asked[-1], found.speedup, len(asked)) == (0, 4.5, ATTEMPTS)


def test_what_the_fastest_choice_does_not_reach_is_refused_in_a_line():
    calls = []
    with pytest.raises(PruningError, match="^a speedup of 9 cannot be reached: 6.25 was measured at most, with every"):
        search(9.0, lambda layers, _: calls.append(layers) or 1000 / (160 + layers))
    assert calls == [round(1000 / 9 - 100), 0, 0]
