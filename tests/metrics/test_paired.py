"""The standard error of a difference of scores, against what it is for a mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from optkit.errors import OptkitError
from optkit.metrics.paired import paired_error


def accuracy(found, references):
    return float(np.mean(np.asarray(found) == np.asarray(references)))


def test_of_a_mean_it_is_the_standard_error_of_the_mean():
    rng = np.random.default_rng(0)
    ours, theirs, right = (rng.integers(0, 2, 20) for _ in range(3))
    each = (ours == right).astype(float) - (theirs == right)
    assert paired_error(accuracy, ours, theirs, right) == pytest.approx(each.std(ddof=1) / math.sqrt(20))
    as_lists = paired_error(accuracy, list(ours), list(theirs), list(right))
    assert as_lists == pytest.approx(paired_error(accuracy, ours, theirs, right))


def test_of_many_examples_it_is_nearly_that():
    rng = np.random.default_rng(1)
    right = rng.integers(0, 2, 1000)
    ours, theirs = (np.where(rng.random(1000) < share, right, 1 - right) for share in (0.95, 0.9))
    each = (ours == right).astype(float) - (theirs == right)
    # Twenty groups know their own spread to within a third or so.
    assert paired_error(accuracy, ours, theirs, right) == pytest.approx(each.std() / math.sqrt(1000), rel=0.4)
    assert paired_error(accuracy, ours, ours, right) == 0


def test_where_it_is_not_known_it_is_infinite():
    def undefined(found, references):
        raise OptkitError("all labels are alike")

    one = np.array([1])
    assert paired_error(accuracy, one, one, one) == math.inf
    two = np.array([1, 0])
    assert paired_error(undefined, two, two, two) == math.inf
    assert paired_error(lambda found, _: math.nan, two, two, two) == math.inf


def test_references_that_do_not_go_by_examples_are_given_whole():
    two = np.array([1.0, 0.0])
    assert paired_error(lambda found, references: len(references) + found.mean(), two, two + 1, ()) == pytest.approx(0)
