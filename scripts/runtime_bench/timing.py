"""Times engines by turns in one process, and says how far the figures scatter."""

from __future__ import annotations

import statistics
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

from runtime_bench.engines import REFERENCE, Runner, Setting
from runtime_bench.machine import exact_int8

from optkit.benchmark.rounds import difference
from optkit.timing import NOISY, by_turns, quartiles, turn


def throughput_turn(runner: Runner, inputs: Any, repeats: int) -> Callable[[], float]:
    """A turn: seconds for each inference while every stream has its next request waiting."""
    engine, feeds = runner.running, [inputs]

    def take() -> float:
        engine.stream(feeds, count=engine.requests)
        done, taken = engine.stream(feeds, count=4 * engine.requests * repeats)
        return taken / done

    return take


def progress(label: str) -> Callable[[int, int], None]:
    """Says how many rounds are done: each on a terminal, the last elsewhere."""

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty() or done == total:
            end = "\n" if done == total else "\r"
            print(f"{label}: round {done} of {total}", end=end, file=sys.stderr, flush=True)

    return tell


def compare(runners: list[Runner], setting: Setting, rounds: int, repeats: int) -> dict:
    """The figures of one shape; ratios are of the reference's seconds to the engine's in the same round."""
    inputs = setting.inputs()
    turns = {
        (runner.engine, runner.case): throughput_turn(runner, inputs, repeats)
        if setting.streams > 1
        else turn(runner.running.ready(inputs), repeats=repeats)
        for runner in runners
    }
    label = f"{setting.batch} x {setting.seq} tokens, {setting.streams} stream{'s' * (setting.streams > 1)}"
    taken = by_turns(turns, rounds=rounds, warm_up=1, tell=progress(label))
    reference = taken[REFERENCE]
    rows = []
    plans = {(runner.engine, runner.case): runner.running.plan for runner in runners}
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
                "ratio_quartiles": list(low_high),
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
        "differences": differences(runners, inputs),
    }


def layers(plan: Any) -> dict[str, int] | None:
    """How many linear layers optkit's plan gives to each kernel, and to OpenVINO."""
    if plan is None:
        return None
    kernels = [layer.kernel for layer in plan.layers]
    names = ["OpenVINO" if kernel is None else f"{kernel.name}x{kernel.rows}" for kernel in kernels]
    return dict(Counter(names).most_common())


def differences(runners: list[Runner], inputs: Any) -> dict[str, float]:
    """By case, optkit's logits from plain OpenVINO's on the same int8 IR, in f32 where that was run: the largest
    difference, over the largest.

    Empty where OpenVINO has no VNNI to use: its sums may saturate there, which makes it no reference.
    """
    if not exact_int8():
        return {}
    logits = {(runner.engine, runner.case): runner.running.logits(inputs) for runner in runners}
    found = {}
    for (engine, case), ours in logits.items():
        theirs = logits.get(("openvino-int8-f32", case), logits.get(("openvino-int8", case)))
        if engine == "optkit" and theirs is not None:
            found[str(case)] = difference(ours, theirs)
    return found
