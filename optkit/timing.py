"""Times things by turns, so that whatever else the machine does is shared alike, and says how far the figures scatter.

The median of times is told with a confidence interval that assumes nothing of how they are distributed, since times of
computers have long tails: order statistics bound it (Le Boudec, "Performance Evaluation of Computer and Communication
Systems", 2010, theorem 2.1). What such figures need besides: Hoefler and Belli, "Scientific Benchmarking of Parallel
Computing Systems", SC 2015, https://doi.org/10.1145/2807591.2807644.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Name = TypeVar("Name", bound=Hashable)

#: The fewest rounds whose least and greatest hold the median in 95 of 100 cases: 1 - 2 / 2**6 is 0.97.
LEAST = 6
#: Quartiles, or an interval, further apart than this share of the median say too little.
NOISY = 0.1


def by_turns(
    turns: Mapping[Name, Callable[[], float]],
    *,
    rounds: int,
    seconds: float | None = None,
    least: int = 1,
    warm_up: int = 0,
    tell: Callable[[int, int], None] | None = None,
) -> dict[Name, list[float]]:
    """What each of ``turns`` returned in each round; a round calls all of them once, and begins one further each time.

    Args:
        rounds: at most.
        seconds: after which no further round begins, once there are ``least``; None for all ``rounds``.
        warm_up: rounds before, that do not count.
        tell: hears how many rounds are done, and of how many.
    """
    names, begun = list(turns), time.perf_counter()
    taken: dict[Name, list[float]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        first = number % len(names) if names else 0
        for name in names[first:] + names[:first]:
            value = turns[name]()
            if number >= 0:
                taken[name].append(value)
        if number < 0:
            continue
        if tell is not None:
            tell(number + 1, rounds)
        if seconds is not None and number + 1 >= least and time.perf_counter() - begun > seconds:
            break
    return taken


def turn(run: Callable[[], object], *, repeats: int = 1) -> Callable[[], float]:
    """A turn of ``run``: the median seconds of ``repeats`` calls, after one that brings it back into the caches."""

    def take() -> float:
        run()
        found = []
        for _ in range(repeats):
            begun = time.perf_counter()
            run()
            found.append(time.perf_counter() - begun)
        return statistics.median(found)

    return take


@dataclass(frozen=True)
class Spread:
    """The median of some values, and how far it can be trusted.

    Attributes:
        interval: of 95 % confidence for the median; of fewer than ``LEAST`` values the least and the greatest.
        quartiles: between which lies the middle half of the values.
        count: of values.
    """

    median: float
    interval: tuple[float, float]
    quartiles: tuple[float, float]
    count: int

    @property
    def noisy(self) -> bool:
        """Whether the median tells little: the values are too few, or too far apart."""
        ends = (self.interval, self.quartiles)
        return self.count < LEAST or any(high - low > NOISY * abs(self.median) for low, high in ends)


def spread(values: Sequence[float]) -> Spread:
    """Median, interval and quartiles of one value or more."""
    return Spread(statistics.median(values), median_interval(values), quartiles(values), len(values))


def ratios(reference: Sequence[float], own: Sequence[float]) -> Spread:
    """How many times as fast as ``reference``: its time over the ``own`` one, round by round."""
    return spread([theirs / ours for theirs, ours in zip(reference, own, strict=True)])


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile, interpolated between values."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """The k-th least and the k-th greatest value, for the largest k that leaves the median between them in 95 of 100
    cases. As many values lie below the median as heads turn up in tosses of a coin, whatever the distribution.
    """
    ordered, count = sorted(values), len(values)
    rank, tosses, below = 0, 1, 0  # tosses: with exactly `rank` heads; below: with that many or fewer
    while rank < count // 2:
        below += tosses
        if 40 * below > 2**count:  # 1 - 2 * below / 2**count < 0.95
            break
        rank += 1
        tosses = tosses * (count - rank + 1) // rank
    lowest = max(rank, 1)
    return ordered[lowest - 1], ordered[count - lowest]


def percentile(values: Sequence[float], share: float) -> float:
    """The least of ``values`` that ``share`` of them do not exceed, such as 0.99."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
