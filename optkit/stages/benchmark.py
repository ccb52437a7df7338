"""Latency of the dense model in torch and in OpenVINO, of the pruned one in torch, and of the IR in OpenVINO and on
optkit's sparse runtime.

All take the same inputs by turns, on as many threads, and the median counts. Turns share whatever else the machine
does, so ratios within one run mean more than the milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.errors import ExportError
from optkit.stages import allocate, compact, dense, export, train, trials

if TYPE_CHECKING:
    from optkit.benchmarking.engine import Engine
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "benchmark", None
#: Timed turns of each engine, at most, after two that warm up; seconds after which no further turn begins, once there
#: are enough for an interval; and inferences of a turn.
ROUNDS, LONGEST, REPEATS, WARM_UP = 20, 30.0, 3, 1


def needed(job: Job) -> bool:
    return job.recipe.benchmark is not None


def key(job: Job) -> str:
    asked = job.identity.get("benchmark")
    # Other prices change what times cost, and no time.
    asked = asked and {name: value for name, value in asked.items() if name != "prices"}
    return job.key(benchmark=asked, exported=export.key(job), dense=dense.key(job), runtime=uses_runtime(job))


def uses_runtime(job: Job) -> bool:
    """Whether the recipe measures the sparse runtime, and it is there."""
    from optkit.runtime import available

    spec = job.recipe.benchmark
    return spec is not None and "optkit" in spec.backends and available()


def run(job: Job, stage: Stage) -> None:
    """Adds ``rows``, one for each batch and seq (None for images, of so many ``pixels``): each engine's median
    ``milliseconds`` and their ``quartiles``, and how many times as fast as ``against`` it is, ``ratios`` with their
    95 % intervals, of which ``noisy`` names those that tell little; and ``skipped``: backends with the reason.

    Where the sparse runtime runs, ``runtime`` says in a sentence what it took, planned for the first batch and seq.
    ``machine`` says what else went on there.
    """
    import torch

    from optkit import runtime
    from optkit.benchmarking.machine import Watch

    spec, watch = job.recipe.benchmark, Watch()
    skipped = {}
    if "optkit" in spec.backends and not uses_runtime(job):
        skipped["optkit"] = runtime.missing_reason()
    engines = _engines(job, stage, skipped)
    rows, rounds = [], []
    for batch in spec.batch:
        for seq in spec.seq:
            made = job.task.made_up(job.tokenizer, batch, seq, job.recipe.seed)
            inputs = {name: tensor.numpy() for name, tensor in made.items()}
            with job.reporter.task("benchmark") as task:
                found, count = _row(engines, inputs, lambda done, total: task.advance(done, total, {"rounds": done}))
            sizes = next(iter(inputs.values())).shape[1:]
            size = {"seq": sizes[0]} if len(sizes) == 1 else {"seq": None, "pixels": " x ".join(map(str, sizes))}
            rows.append({"batch": batch, **size, **found})
            rounds.append(count)
    stage.facts |= {"rows": rows, "skipped": skipped, "threads": torch.get_num_threads(), "rounds": min(rounds)}
    stage.facts["machine"] = watch.facts()


def _row(engines: dict[str, Engine], inputs: dict[str, Any], tell: Any) -> tuple[dict[str, Any], int]:
    """The figures of one shape, and of how many rounds they are."""
    from optkit.reporting.speed import DENSE
    from optkit.timing import LEAST, by_turns, ratios, spread, turn

    turns = {name: turn(engine.ready(inputs), repeats=REPEATS) for name, engine in engines.items()}
    limits = {"rounds": ROUNDS, "seconds": LONGEST, "least": LEAST, "warm_up": WARM_UP}
    taken = by_turns(turns, **limits, tell=tell)
    times = {name: spread(values) for name, values in taken.items()}
    against = next((name for name in DENSE if name in taken), None)
    gains = {} if against is None else {n: ratios(taken[against], v) for n, v in taken.items() if n != against}
    judged = gains if against is not None else times
    found = {
        "milliseconds": {name: round(1000 * own.median, 3) for name, own in times.items()},
        "quartiles": {name: [round(1000 * value, 4) for value in own.quartiles] for name, own in times.items()},
        "against": against,
        "ratios": {n: [round(value, 4) for value in (own.median, *own.interval)] for n, own in gains.items()},
        "noisy": [name for name, own in judged.items() if own.noisy],
    }
    return found, max((own.count for own in times.values()), default=0)


def _engines(job: Job, stage: Stage, skipped: dict[str, str]) -> dict[str, Engine]:
    """What the recipe's backends run, by the name that a report calls it; the sentence on optkit's plan goes to the
    stage's facts, and why the dense model is not in OpenVINO to ``skipped``.
    """
    import torch

    from optkit.benchmarking.compiled import OpenVino
    from optkit.benchmarking.engine import Setting
    from optkit.benchmarking.threaded import Torch
    from optkit.ir.io import find_xml
    from optkit.models import load_model
    from optkit.pruning.compaction.checkpoint import load_compact

    spec, threads = job.recipe.benchmark, torch.get_num_threads()
    shape = (spec.batch[0], job.task.sequence(job.tokenizer, spec.seq[0]))
    setting, exported = Setting(threads, shape=shape), find_xml(job.path(export.FOLDER))
    kind = "int8 " if job.recipe.quantize else ""
    engines: dict[str, Engine] = {}
    baseline = dense.load(job) if {"torch", "openvino"} & set(spec.backends) else None
    if "torch" in spec.backends and baseline is not None:
        engines["dense torch"] = Torch(baseline[0], setting)
    required = allocate.by_latency(job) is not None
    reference = allocate.reference(job) if required else None  # what its speedup is against
    if reference is None and baseline is not None and "openvino" in spec.backends:
        reference = baseline[0]
    if reference is not None:
        try:
            trials.dense_ir(job, reference, stage.folder)
        except ExportError as error:
            if required:
                raise
            skipped["dense openvino"] = str(error)
        else:
            engines["dense openvino"] = OpenVino.of(find_xml(stage.folder), setting)
    if "torch" in spec.backends:
        engines["pruned torch"] = Torch(load_model(job.path(train.FOLDER), job.head, seed=0), setting)
        if compact.folder(job) != job.path(train.FOLDER):
            engines["compact torch"] = Torch(load_compact(compact.folder(job)), setting)
    if "openvino" in spec.backends:
        engines[f"{kind}openvino"] = OpenVino.of(exported, setting)
    if uses_runtime(job):
        sparse = OpenVino.of(exported, setting, sparse=True)
        engines[f"{kind}optkit"] = sparse
        stage.facts["runtime"] = sparse.plan.reason
    return engines
