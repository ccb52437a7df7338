"""Timed rounds of engines on the same inputs, and the figures of them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from optkit.benchmark.engines.base import Engine, Inputs
from optkit.timing import LEAST, Spread, by_turns, percentile, ratios, spread, turn

Name = TypeVar("Name", bound=Hashable)
Tell = Callable[[int, int], None]
Call = Callable[[], Any]

#: Seconds of a turn, at least; inferences that it times, at least and at most.
TURN, FEWEST, MOST = 0.05, 3, 1000
#: Batches of texts that a turn takes, at least.
_BATCHES = 4
#: Waves of requests that a turn of throughput takes, at least.
_WAVES = 10
_WARM_UP = 2


@dataclass(frozen=True)
class Measured:
    """The times of one engine.

    Attributes:
        seconds: of an inference in each round; in throughput, of an inference while others are under way.
        per_second: examples that were done in a second.
        batches: seconds of every batch, of texts one batch at a time; else empty.
    """

    seconds: list[float]
    per_second: float
    batches: list[float]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.batches or self.seconds)


def latency(
    engines: Mapping[Name, Engine],
    inputs: Inputs,
    *,
    seconds: float,
    rounds: int | None = None,
    repeats: int | None = None,
    limit: float | None = None,
    tell: Tell | None = None,
) -> dict[Name, Measured]:
    """Each engine alone, turn by turn, on the same ``inputs`` until each had ``seconds``.

    All turns last about as long: a slow engine's a few inferences, a fast one's many, of which the median counts.

    Args:
        rounds: at most; None for as many as ``seconds`` take.
        repeats: timed inferences of every turn instead.
        limit: seconds after which no further round begins, once there are enough for an interval.
    """
    calls = {name: engine.prepare(inputs) for name, engine in engines.items()}
    each = {name: _warm_seconds(call) for name, call in calls.items()}
    slot = max(TURN, (FEWEST + 1) * max(each.values()))
    turns = {
        name: turn(call, repeats=repeats or min(max(int(slot / each[name]) - 1, FEWEST), MOST))
        for name, call in calls.items()
    }
    count = rounds or max(LEAST, math.ceil(seconds / slot))
    taken = by_turns(turns, rounds=count, seconds=limit, least=LEAST, tell=tell)
    return {name: Measured(values, _examples(inputs) / statistics.median(values), []) for name, values in taken.items()}


def throughput(
    engines: Mapping[Name, Engine],
    inputs: Inputs,
    *,
    seconds: float,
    rounds: int | None = None,
    tell: Tell | None = None,
) -> dict[Name, Measured]:
    """Each engine with all its requests in flight, in windows of equal time, as OpenVINO's benchmark_app counts:
    inferences that were done over the time until the last had ended.

    Args:
        rounds: at most; None for as many as ``seconds`` take.
    """
    feeds, waves = [inputs], []
    for engine in engines.values():
        engine.tune(feeds)
        engine.stream(feeds, count=_WARM_UP * engine.requests)
        waves.append(engine.stream(feeds, count=engine.requests)[1])
    slot = max(TURN, seconds / _WAVES, _WAVES * max(waves))

    def window(engine: Engine) -> Callable[[], float]:
        def take() -> float:
            engine.stream(feeds, count=engine.requests)
            done, taken = engine.stream(feeds, seconds=slot)
            return taken / done

        return take

    turns = {name: window(engine) for name, engine in engines.items()}
    taken = by_turns(turns, rounds=rounds or max(LEAST, math.ceil(seconds / slot)), tell=tell)
    return {name: Measured(values, _examples(inputs) / statistics.median(values), []) for name, values in taken.items()}


def texts(
    engines: Mapping[Name, Engine],
    batches: Sequence[Inputs],
    *,
    seconds: float,
    streamed: bool = False,
    tell: Tell | None = None,
) -> tuple[dict[Name, Measured], int]:
    """All engines on the same batches of texts: each round takes the next few of them, from the first again after the
    last, so that a round's times compare although batches differ in length.

    Args:
        streamed: whether requests are in flight together.

    Returns:
        the times of each engine, and how many different batches were timed.
    """
    calls: dict[Name, dict[int, Call]] = {name: {} for name in engines}

    def prepare(indices: Iterable[int]) -> None:  # which takes an inference with some engines
        for name, engine in engines.items():
            calls[name] |= {i: engine.prepare(batches[i]) for i in indices if i not in calls[name]}

    some = [round(i * (len(batches) - 1) / 3) for i in range(4)]
    prepare(some)
    each = {
        name: max(statistics.mean(_warm_seconds(own[i]) for i in dict.fromkeys(some)), 1e-9)
        for name, own in calls.items()
    }
    slowest = max(each.values())
    waves = _WAVES * max(engine.requests for engine in engines.values()) if streamed else _BATCHES
    count = max(waves, math.ceil(TURN / slowest))
    rounds = max(LEAST, math.ceil(seconds / (count * slowest)))
    parts = [[(number * count + i) % len(batches) for i in range(count)] for number in range(rounds)]
    if streamed:
        for engine in engines.values():
            engine.tune([batches[i] for i in parts[0]])
    else:
        prepare(sorted({i for part in parts for i in part}))
    taken_by: dict[Name, list[float]] = {name: [] for name in engines}
    turns = {
        name: _streamed(engine, batches, parts) if streamed else _timed(calls[name], parts, taken_by[name])
        for name, engine in engines.items()
    }
    taken = by_turns(turns, rounds=rounds, tell=tell)
    seen = {i for part in parts for i in part}
    timed = [i for part in parts for i in part]
    examples = statistics.mean(_examples(batches[i]) for i in timed)
    found = {
        name: Measured(values, examples / statistics.mean(taken_by[name] or values), taken_by[name])
        for name, values in taken.items()
    }
    return found, len(seen)


def _timed(calls: Mapping[int, Call], parts: Sequence[Sequence[int]], into: list[float]) -> Callable[[], float]:
    """A turn on the next of ``parts``; seconds of a batch on the mean, and of each ``into`` the list."""
    left = iter(parts)

    def take() -> float:
        part = next(left)
        calls[part[0]]()
        begun = len(into)
        for index in part:
            start = time.perf_counter()
            calls[index]()
            into.append(time.perf_counter() - start)
        return statistics.mean(into[begun:])

    return take


def _streamed(engine: Engine, batches: Sequence[Inputs], parts: Sequence[Sequence[int]]) -> Callable[[], float]:
    left = iter(parts)

    def take() -> float:
        feeds = [batches[index] for index in next(left)]
        engine.stream(feeds, count=engine.requests)
        done, taken = engine.stream(feeds, count=len(feeds))
        return taken / done

    return take


def _warm_seconds(call: Callable[[], Any]) -> float:
    """Seconds of a call that is warm."""
    for _ in range(_WARM_UP):
        call()
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _examples(inputs: Inputs) -> int:
    return len(next(iter(inputs.values())))


@dataclass(frozen=True)
class Figures:
    """The figures of one engine at one shape: times, and how they compare with the reference's.

    Attributes:
        times: seconds of an inference.
        ratio: how many times as fast as the reference; None for the reference, and where there is none.
        alone: whether there is none.
    """

    measured: Measured
    times: Spread
    ratio: Spread | None
    alone: bool = False

    @property
    def noisy(self) -> bool:
        """Whether the ratio, or the times where there is no reference, are unreliable; False for the reference."""
        return self.times.noisy if self.alone else self.ratio is not None and self.ratio.noisy

    def to_dict(self) -> dict[str, Any]:
        """For JSON: milliseconds, ratios, and every round."""
        own, ratio = self.measured, self.ratio
        found: dict[str, Any] = {
            "milliseconds": 1000 * own.median,
            "quartiles": [1000 * value for value in self.times.quartiles],
            "interval": [1000 * value for value in self.times.interval],
            "per_second": own.per_second,
            "ratio": None if ratio is None else [ratio.median, *ratio.interval],
            "ratio_quartiles": None if ratio is None else list(ratio.quartiles),
            "noisy": self.noisy,
            "rounds": own.seconds,
        }
        if own.batches:
            found |= {"p90": 1000 * percentile(own.batches, 0.9), "p99": 1000 * percentile(own.batches, 0.99)}
        return found


def figures(measured: Mapping[Name, Measured], against: Name | None) -> dict[Name, Figures]:
    """Spreads of the times, and of the ratios to ``against``, whose rounds are theirs."""
    reference = None if against is None else measured[against].seconds
    return {
        name: Figures(
            own,
            spread(own.batches or own.seconds),
            None if reference is None or name == against else ratios(reference, own.seconds),
            alone=reference is None,
        )
        for name, own in measured.items()
    }


def difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
    """The largest difference of two models' outputs on some batches, as a share of the largest of ``theirs``; infinite
    for other shapes.
    """
    if [one.shape for one in ours] != [two.shape for two in theirs]:
        return math.inf
    # numpy's maximum of anything with NaN is NaN.
    off = np.max([np.abs(one - two).max() for one, two in zip(ours, theirs, strict=True)])
    return float(off / max(np.max([np.abs(two).max() for two in theirs]), 1e-12))
