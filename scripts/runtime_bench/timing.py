"""Times engines by turns in one process, and says how far the figures scatter."""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from runtime_bench.engines import REFERENCE, Runner, Setting, queue
from runtime_bench.machine import exact_int8

# Quartiles of a ratio that lie further apart than this share of it say too little.
NOISY = 0.1


def quartiles(values: list[float]) -> list[float]:
    """Lower and upper quartile."""
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [low, high]


def by_turns(turns: dict[tuple, Callable[[], float]], rounds: int, label: str) -> dict[tuple, list[float]]:
    """Calls each of ``turns`` once a round, beginning one further each time, and returns what they returned."""
    names = list(turns)
    taken: dict[tuple, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            taken[name].append(turns[name]())
        if sys.stderr.isatty() or number + 1 == rounds:
            end = "\n" if number + 1 == rounds else "\r"
            print(f"{label}: round {number + 1} of {rounds}", end=end, file=sys.stderr, flush=True)
    return taken


def latency_turn(runner: Runner, repeats: int) -> Callable[[], float]:
    """A turn: one inference that brings the model back into the caches, then the median seconds of ``repeats``."""

    def turn() -> float:
        runner.infer()
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            runner.infer()
            seconds.append(time.perf_counter() - begun)
        return statistics.median(seconds)

    return turn


def throughput_turn(runner: Runner, setting: Setting, repeats: int) -> Callable[[], float]:
    """A turn: seconds for each inference while every stream has its next request waiting."""
    requests = queue(runner.compiled, setting)
    count = 2 * len(requests) * repeats

    def turn() -> float:
        for _ in range(len(requests)):
            requests.start_async()
        requests.wait_all()
        begun = time.perf_counter()
        for _ in range(count):
            requests.start_async()
        requests.wait_all()
        return (time.perf_counter() - begun) / count

    return turn


def compare(runners: list[Runner], setting: Setting, rounds: int, repeats: int) -> dict:
    """The figures of one shape; ratios are of the reference's seconds to the engine's in the same round."""
    turns = {}
    for runner in runners:
        streamed = setting.streams > 1
        turns[runner.engine, runner.case] = (
            throughput_turn(runner, setting, repeats) if streamed else latency_turn(runner, repeats)
        )
    for turn in turns.values():
        turn()
    label = f"{setting.batch} x {setting.seq} tokens, {setting.streams} stream{'s' * (setting.streams > 1)}"
    taken = by_turns(turns, rounds, label)
    reference = taken[REFERENCE]
    rows = []
    plans = {(runner.engine, runner.case): runner.plan for runner in runners}
    for (engine, case), seconds in taken.items():
        ratios = [ours / theirs for ours, theirs in zip(reference, seconds)]
        ratio, low_high = statistics.median(ratios), quartiles(ratios)
        rows.append(
            {
                "engine": engine,
                "case": str(case),
                "milliseconds": 1e3 * statistics.median(seconds),
                "milliseconds_quartiles": [1e3 * value for value in quartiles(seconds)],
                "samples_per_second": setting.batch / statistics.median(seconds),
                "ratio": ratio,
                "ratio_quartiles": low_high,
                "noisy": low_high[1] - low_high[0] > NOISY * ratio,
                "seconds": seconds,
                "layers": layers(plans[engine, case]),
            }
        )
    return {
        "batch": setting.batch,
        "seq": setting.seq,
        "streams": setting.streams,
        "rows": rows,
        "differences": differences(runners),
    }


def layers(plan: Any) -> dict[str, int] | None:
    """How many linear layers optkit's plan gives to each kernel, and to OpenVINO."""
    if plan is None:
        return None
    kernels = [layer.kernel for layer in plan.layers]
    names = ["OpenVINO" if kernel is None else f"{kernel.name}x{kernel.rows}" for kernel in kernels]
    return dict(Counter(names).most_common())


def differences(runners: list[Runner]) -> dict[str, float]:
    """By case, optkit's logits from plain OpenVINO's on the same int8 IR: the largest difference, over the largest.

    Empty where OpenVINO has no VNNI to use: its sums may saturate there, which makes it no reference.
    """
    if not exact_int8():
        return {}
    logits = {(runner.engine, runner.case): np.array(runner.infer()) for runner in runners}
    found = {}
    for (engine, case), ours in logits.items():
        theirs = logits.get(("openvino-int8", case))
        if engine == "optkit" and theirs is not None:
            found[str(case)] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    return found
