"""Times the engines by optkit's benchmark."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from runtime_bench.engines import ENGINES, FP32, Setting, reference, start, variant_of
from runtime_bench.machine import exact_int8
from runtime_bench.models import DENSE, Case

from optkit.benchmark.measure import Candidate, Workload, measure
from optkit.benchmark.options import BenchmarkOptions
from optkit.benchmark.result import BenchmarkResult, LeftOut
from optkit.progress import Reporter


def compare(
    runs: Sequence[tuple[str, Case]],
    shapes: Sequence[Setting],
    setting: Setting,
    *,
    rounds: int,
    repeats: int,
    left_out: Sequence[LeftOut],
    command: str,
) -> BenchmarkResult:
    """Times engines on the models of cases at each of ``shapes``.

    Ratios are against ``reference()`` on the dense model, and ``over_plain`` against its fp32 IR in OpenVINO; ``runs``
    holds both.
    """
    shared = setting.shared()
    options = BenchmarkOptions(
        threads=shared.threads, mode=shared.mode, streams=shared.streams, rounds=rounds, repeats=repeats, loads=False
    )
    return measure(
        [_candidate(engine, case, setting, [name for name, _ in runs]) for engine, case in runs],
        [Workload((shape.batch, shape.seq), [shape.inputs()], seq=shape.seq) for shape in shapes],
        options,
        reference=list(runs).index((reference(), DENSE)),
        plain=list(runs).index((FP32, DENSE)),
        left_out=left_out,
        command=command,
        reporter=Reporter(),
    )


def _candidate(engine: str, case: Case, setting: Setting, engines: Sequence[str]) -> Candidate:
    return Candidate(
        variant_of(engine, case),
        ENGINES[engine],
        lambda at: start(engine, case, replace(setting, batch=at.shape[0], seq=at.shape[1])),
        same_as=_same_as(engine, case, setting, engines),
        path=case,
        for_one_shape=setting.static or engine == "tvm",
    )


def _same_as(engine: str, case: Case, setting: Setting, engines: Sequence[str]) -> Hashable:
    """optkit's logits are compared with plain OpenVINO's on the same int8 IR, in f32 where that is run, and no others;
    not where OpenVINO has no VNNI to use for weights in the full range: its sums may saturate there, which makes it no
    reference.
    """
    reference = "openvino-int8-f32" if "openvino-int8-f32" in engines else "openvino-int8"
    exact = exact_int8() or setting.weight_range == "half"
    return case if exact and engine in (reference, "optkit") else (engine, case)
