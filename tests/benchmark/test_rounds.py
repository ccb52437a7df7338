"""What comes of rounds, with engines that need no time: the clock moves as they say."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from optkit.benchmark import rounds
from optkit.benchmark.engines.base import Engine
from optkit.timing import LEAST, ratios, spread


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(time, "perf_counter", found)
    return found


class Steady(Engine):
    """Takes ``pace`` seconds for each example of an inference."""

    def __init__(self, clock, pace, requests=1):
        self.clock, self.pace, self.requests, self.seen, self.windows = clock, pace, requests, [], []

    def prepare(self, inputs):
        def infer():
            self.clock.now += self.pace * len(inputs["x"])
            self.seen.append(inputs)

        return infer

    def stream(self, feeds, *, seconds=None, count=None):
        begun = self.clock.now
        numbers = range(count) if count is not None else itertools.count()
        for number in numbers:
            if seconds is not None and self.clock.now - begun >= seconds:
                break
            self.clock.now += self.pace * len(feeds[number % len(feeds)]["x"]) / self.requests
        else:
            number = count
        self.windows.append((number, self.clock.now - begun))
        return number, self.clock.now - begun


def inputs(batch):
    return {"x": np.zeros((batch, 3))}


def test_latency_gives_each_engine_turns_that_last_as_long(clock):
    engines = {"slow": Steady(clock, 0.02), "fast": Steady(clock, 0.001)}
    found = rounds.latency(engines, inputs(2), seconds=1.5)
    # The slow one takes 40 ms: four of it make a turn of 0.16 s, of which there are ten.
    assert [len(own.seconds) for own in found.values()] == [10, 10]
    assert found["slow"].seconds == pytest.approx([0.04] * 10)
    assert found["fast"].seconds == pytest.approx([0.002] * 10)
    assert found["fast"].per_second == pytest.approx(1000.0)
    timed = {name: len(engine.seen) for name, engine in engines.items()}
    assert timed["slow"] == 3 + 10 * 4 and timed["fast"] == pytest.approx(3 + 10 * 80, abs=10)


def test_latency_takes_enough_rounds_for_an_interval(clock):
    found = rounds.latency({"one": Steady(clock, 5.0)}, inputs(1), seconds=0.1)
    assert len(found["one"].seconds) == LEAST


def test_throughput_counts_what_was_done_in_windows_of_equal_time(clock):
    engines = {"alone": Steady(clock, 0.01), "many": Steady(clock, 0.01, requests=4)}
    found = rounds.throughput(engines, inputs(2), seconds=6.0)
    assert found["alone"].per_second == pytest.approx(100.0)
    assert found["many"].per_second == pytest.approx(400.0)
    for engine in engines.values():
        windows = [taken for done, taken in engine.windows if done > 10]
        assert len(windows) == 10 and windows == pytest.approx([0.6] * 10, rel=0.05)


def test_texts_are_the_same_for_all_and_in_order(clock):
    batches = [inputs(size) for size in (4, 1, 3, 2, 4, 1, 2)]
    engines = {"slow": Steady(clock, 0.02), "fast": Steady(clock, 0.01)}
    found, seen = rounds.texts(engines, batches, seconds=0.2)
    assert seen == len(batches)
    orders = []
    for engine in engines.values():
        order = [next(i for i, batch in enumerate(batches) if batch is fed) for fed in engine.seen]
        warm_up = len(order) - LEAST * 5  # each round's first batch is fed once more before
        orders.append(order[warm_up:])
    assert orders[0] == orders[1]
    timed = [number for round_ in range(LEAST) for number in orders[0][5 * round_ + 1 : 5 * round_ + 5]]
    assert timed == [number % len(batches) for number in range(LEAST * 4)]
    fast = found["fast"]
    assert fast.batches == pytest.approx([0.01 * len(batches[number]["x"]) for number in timed])
    assert fast.per_second == pytest.approx(100.0)
    # The slow one takes twice as long for the same texts, however they differ from round to round.
    assert len(set(np.round(fast.seconds, 6))) > 1
    ratio = rounds.figures(found, "slow")["fast"].ratio
    assert (ratio.median, ratio.interval) == (pytest.approx(2.0), pytest.approx((2.0, 2.0)))


def test_only_the_texts_that_are_timed_are_prepared(clock):
    prepared = []

    class Compiled(Steady):
        def prepare(self, batch):
            prepared.append(len(batch["x"]))
            return super().prepare(batch)

    batches = [inputs(2) for _ in range(500)]
    _, seen = rounds.texts({"one": Compiled(clock, 0.05)}, batches, seconds=0.2)
    assert seen < 100 and len(prepared) <= seen + 4
    prepared.clear()
    rounds.texts({"one": Compiled(clock, 0.05)}, batches, seconds=0.2, streamed=True)
    assert len(prepared) == 4


def test_texts_in_flight(clock):
    batches = [inputs(2), inputs(4)]
    engines = {"alone": Steady(clock, 0.01), "many": Steady(clock, 0.01, requests=2)}
    found, seen = rounds.texts(engines, batches, seconds=0.5, streamed=True)
    assert seen == 2 and found["alone"].batches == []
    assert found["alone"].per_second == pytest.approx(100.0) and found["many"].per_second == pytest.approx(200.0)


def test_figures_against_the_reference():
    seconds = {"a": [4.0, 4.4, 3.6, 4.0, 4.2, 3.9], "b": [2.0, 2.2, 1.9, 2.0, 2.0, 2.0]}
    found = rounds.figures({name: rounds.Measured(own, 1.0, []) for name, own in seconds.items()}, "a")
    assert found["a"].ratio is None and not found["a"].noisy
    assert found["b"].ratio == ratios(seconds["a"], seconds["b"])
    told = found["b"].to_dict()
    assert told["milliseconds"] == 2000.0 and told["rounds"] == seconds["b"]
    assert told["ratio"] == [pytest.approx(np.median([4 / 2, 4.4 / 2.2, 3.6 / 1.9, 2, 2.1, 1.95])), 3.6 / 1.9, 2.1]
    assert told["quartiles"] == [1000 * value for value in spread(seconds["b"]).quartiles]
    assert "p99" not in told


def test_percentiles_of_texts():
    own = rounds.Measured([1.0], 1.0, [float(number) for number in range(1, 101)])
    told = rounds.figures({"a": own}, "a")["a"].to_dict()
    assert (told["milliseconds"], told["p90"], told["p99"]) == (50_500.0, 90_000.0, 99_000.0)


def test_difference():
    small, large = np.array([0.25, 0.5]), np.array([1.0, -4.0])
    assert rounds.difference([np.array([1.0, -2.0])], [large]) == 0.5
    assert rounds.difference([np.array([0.75, 0.5]), large], [small, large]) == 0.125
    assert math.isnan(rounds.difference([small, np.array([math.nan, 1.0])], [small, large]))
    assert rounds.difference([np.zeros((2, 3))], [np.zeros((3, 2))]) == math.inf
