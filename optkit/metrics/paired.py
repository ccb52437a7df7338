"""How sure the difference of two models' scores on the same examples is, whatever the metric."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from optkit.errors import OptkitError

#: Parts of the examples that are left out in turn, at most.
GROUPS = 20


def paired_error(score: Callable[[Any, Any], float], ours: Any, theirs: Any, references: Any) -> float:
    """The standard error of ``score(ours, references) - score(theirs, references)``, by the grouped jackknife: what the
    difference becomes with each twentieth of the examples left out, see Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 11. Infinite where a score is not defined without one of them.

    Args:
        score: of predictions and references.
        ours, theirs: predictions on the same examples, arrays (examples, ...) or sequences.
        references: likewise, or anything that does not go by examples.
    """
    count = len(ours)
    groups = min(GROUPS, count)
    if groups < 2:
        return math.inf
    differences = []
    for group in range(groups):
        rest = [i for i in range(count) if i % groups != group]
        kept = [_rows(values, rest, count) for values in (ours, theirs, references)]
        try:
            differences.append(score(kept[0], kept[2]) - score(kept[1], kept[2]))
        except (OptkitError, ValueError, ZeroDivisionError):
            return math.inf
    spread = float(np.sum((np.array(differences) - np.mean(differences)) ** 2))
    error = math.sqrt((groups - 1) / groups * spread)
    return error if math.isfinite(error) else math.inf


def _rows(values: Any, rows: list[int], count: int) -> Any:
    if not hasattr(values, "__len__") or len(values) != count:
        return values
    return values[rows] if isinstance(values, np.ndarray) else [values[row] for row in rows]
