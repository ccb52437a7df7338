"""Whether a classifier's outputs mean the labels of the data in another order than they are numbered in.

What a classifier answers under the right order of its outputs is far better than any constant answer. So an order is
sought on one half of the examples and has to hold on the other: it takes at least half of what lies between the best
constant answer and all right, and is better than the order by number beyond chance. A head that was never trained, or
learned little, stays near a constant answer whatever the order, and is not accused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom

#: How often a head without a better order may be taken for one that has it.
_CHANCE = 1e-4


@dataclass(frozen=True)
class Reordered:
    """An order of outputs that answers the data.

    Attributes:
        order: the output for each label.
        right, now: share of right answers by it, and by the outputs' numbers.
    """

    order: list[int]
    right: float
    now: float


def find_order(
    truth: np.ndarray, predicted: np.ndarray, example: np.ndarray, labels: int, *, several: bool = False
) -> Reordered | None:
    """The order of ``labels`` outputs that answers far better than the order by number; None if there is none.

    Args:
        truth, predicted: ids of labels and of outputs (answers,); with ``several`` 0 or 1 for each, (answers, labels).
        example: the number of the example that each answer belongs to (answers,), examples in order of chance.
    """
    halves = example % 2 == 0, example % 2 == 1
    if not all(half.any() for half in halves):
        return None
    order = _best(truth[halves[0]], predicted[halves[0]], labels, several)
    truth, predicted = truth[halves[1]], predicted[halves[1]]
    right, now = (_right(truth, predicted, each, several) for each in (order, np.arange(labels)))
    shares = truth.mean(0) if several else np.bincount(truth, minlength=labels) / len(truth)
    constant = float(np.maximum(shares, 1 - shares).mean() if several else shares.max())
    if right.mean() < (1 + constant) / 2 or not _beyond_chance(int((right & ~now).sum()), int((now & ~right).sum())):
        return None
    return Reordered(order.tolist(), float(right.mean()), float(now.mean()))


def _best(truth: np.ndarray, predicted: np.ndarray, labels: int, several: bool) -> np.ndarray:
    if several:
        alike = truth[:, :, None] == predicted[:, None, :]
        agreeing = alike.sum(0).astype(float)
    else:
        agreeing = np.zeros((labels, labels))
        np.add.at(agreeing, (truth, predicted), 1)
    # Labels that nothing is known of stay where they are.
    return linear_sum_assignment(agreeing + 1e-6 * np.eye(labels), maximize=True)[1]


def _right(truth: np.ndarray, predicted: np.ndarray, order: np.ndarray, several: bool) -> np.ndarray:
    return (truth == predicted[:, order]).ravel() if several else order[truth] == predicted


def _beyond_chance(gained: int, lost: int) -> bool:
    """Whether answers that one order gains and another loses are other than a coin would divide them (sign test)."""
    return bool(gained) and float(binom.sf(gained - 1, gained + lost, 0.5)) < _CHANCE
