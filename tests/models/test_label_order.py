"""An order of outputs is found where it answers far better, and a weak or random head is not accused."""

from __future__ import annotations

import numpy as np
import pytest

from optkit.models.label_order import find_order


def answers(rng, labels, count, order, right):
    """Ids of ``count`` labels, and outputs of a classifier whose output for a label is ``order``'s, right so often."""
    truth = rng.integers(0, labels, count)
    guessed = np.where(rng.random(count) < right, truth, rng.integers(0, labels, count))
    return truth, np.asarray(order)[guessed]


@pytest.mark.parametrize("order", [[1, 0], [2, 0, 1], [0, 2, 1, 3], list(range(1, 20)) + [0]])
def test_a_good_classifier_in_another_order_is_found(order):
    rng = np.random.default_rng(0)
    truth, predicted = answers(rng, len(order), 256, order, 0.9)
    found = find_order(truth, predicted, np.arange(256), len(order))
    assert found.order == order and found.right > 0.8 and found.now < found.right - 0.2


def test_several_labels_at_once():
    rng = np.random.default_rng(0)
    truth = (rng.random((200, 3)) < 0.3).astype(np.int64)
    predicted = np.where(rng.random(truth.shape) < 0.95, truth, 1 - truth)
    found = find_order(truth, predicted[:, [1, 2, 0]], np.arange(200), 3, several=True)
    assert found.order == [2, 0, 1]
    assert find_order(truth, predicted, np.arange(200), 3, several=True) is None


def test_words_of_a_sentence_belong_together():
    rng = np.random.default_rng(0)
    truth, predicted = answers(rng, 3, 900, [0, 2, 1], 0.95)
    truth[rng.random(900) < 0.5] = 0
    predicted = np.where(truth == 0, 0, predicted)
    found = find_order(truth, predicted, np.repeat(np.arange(90), 10), 3)
    assert found is None or found.order == [0, 2, 1]


@pytest.mark.parametrize("labels", [2, 3, 77, 150])
@pytest.mark.parametrize("right", [0.0, 0.1, 0.4])
def test_weak_and_random_heads_are_not_accused(labels, right):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        truth, predicted = answers(rng, labels, max(256, 4 * labels), range(labels), right)
        assert find_order(truth, predicted, np.arange(len(truth)), labels) is None


def test_a_constant_answer_is_no_order():
    """It meets the commonest label under some order, whatever it means."""
    truth = np.random.default_rng(0).permutation([0] * 200 + [1] * 30 + [2] * 26)
    assert find_order(truth, np.ones(256, np.int64), np.arange(256), 3) is None


def test_too_few_examples_tell_nothing():
    truth = np.arange(12) % 2
    assert find_order(truth, 1 - truth, np.arange(12) // 2, 2) is None
    assert find_order(truth[:1], truth[:1], np.arange(1), 2) is None
