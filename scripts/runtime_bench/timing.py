"""Times engines by the benchmark of optkit, and adds what each plan gave to whom."""

from __future__ import annotations

from collections import Counter
from typing import Any

from runtime_bench.engines import REFERENCE, VARIANTS, Runner, Setting
from runtime_bench.machine import exact_int8
from runtime_bench.models import DENSE

from optkit.benchmark.measure import Candidate, Workload, measure
from optkit.benchmark.options import BenchmarkOptions
from optkit.benchmark.rounds import difference
from optkit.progress import Reporter


def compare(runners: list[Runner], setting: Setting, rounds: int, repeats: int) -> dict:
    """The figures of one shape; ratios are of the reference's seconds to the engine's in the same round."""
    shared, inputs = setting.shared(), setting.inputs()
    options = BenchmarkOptions(
        threads=shared.threads, mode=shared.mode, streams=shared.streams, rounds=rounds, repeats=repeats, loads=False
    )
    result = measure(
        [_candidate(runner) for runner in runners],
        [Workload((setting.batch, setting.seq), [inputs], seq=setting.seq)],
        options,
        reference=[(runner.engine, runner.case) for runner in runners].index(REFERENCE),
        reporter=Reporter(),
    )
    rows = []
    for runner, row in zip(runners, result.shapes[0].rows, strict=True):
        rows.append(
            {
                "engine": runner.engine,
                "case": str(runner.case),
                "milliseconds": row.milliseconds,
                "milliseconds_quartiles": row.quartiles,
                "samples_per_second": row.per_second,
                "ratio": row.ratio[0] if row.ratio else 1.0,
                "ratio_quartiles": row.ratio_quartiles or [1.0, 1.0],
                "noisy": row.noisy,
                "seconds": row.rounds,
                "layers": layers(runner.running.plan),
            }
        )
    return {
        "batch": setting.batch,
        "seq": setting.seq,
        "streams": setting.streams,
        "rows": rows,
        "differences": differences(runners, inputs),
    }


def _candidate(runner: Runner) -> Candidate:
    variant = VARIANTS[runner.engine].variant("dense" if runner.case == DENSE else "pruned")
    # The model of each case is another one.
    return Candidate(variant, f"{runner.engine}, {runner.case}", lambda _: runner.running, same_as=id(runner))


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
