"""Latency of the dense model in torch, the pruned one in torch, the IR in OpenVINO and on optkit's sparse runtime.

All take the same inputs by turns, and the median counts. Turns share whatever else the machine does, so ratios within
one run mean more than the milliseconds.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from optkit.stages import allocate, compact, costs, dense, export, train

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "benchmark", None
#: Timed turns of each engine, after two that warm up; and seconds after which no further turn begins.
ROUNDS, LONGEST = 20, 30.0


def needed(job: Job) -> bool:
    return job.recipe.benchmark is not None


def key(job: Job) -> str:
    return job.key("benchmark", exported=export.key(job), dense=dense.key(job), runtime=uses_runtime(job))


def uses_runtime(job: Job) -> bool:
    """Whether the recipe measures the sparse runtime, and it is there."""
    from optkit.runtime import available

    spec = job.recipe.benchmark
    return spec is not None and "optkit" in spec.backends and available()


def run(job: Job, stage: Stage) -> None:
    """Adds ``rows``: batch, seq (None for images, of so many ``pixels``) and each engine's median milliseconds; and
    ``skipped``: backends with the reason.

    Where the sparse runtime runs, ``runtime`` says in a sentence what it took, planned for the first batch and seq.
    """
    import torch

    from optkit import runtime
    from optkit.adapters import optimum
    from optkit.models import load_model
    from optkit.pruning.compact_checkpoint import load_compact
    from optkit.runtime.planning.timing import by_turns

    spec = job.recipe.benchmark
    engines: dict[str, Any] = {}
    skipped = {}
    if "torch" in spec.backends:
        baseline = dense.load(job)
        if baseline is not None:
            engines["dense torch"] = baseline[0].eval()
        engines["pruned torch"] = load_model(job.path(train.FOLDER), job.head, seed=0).eval()
        if compact.folder(job) != job.path(train.FOLDER):
            engines["compact torch"] = load_compact(compact.folder(job))
    if "openvino" in spec.backends:
        engines["int8 openvino" if job.recipe.quantize else "openvino"] = optimum.load(
            job.path(export.FOLDER), job.task.ov_class
        )
    if allocate.by_latency(job) is not None:
        # What its speedup is against.
        costs.dense_ir(job, allocate.reference(job), stage.folder)
        options = {"ov_config": costs.DENSE_CONFIG}
        engines["dense openvino"] = optimum.load(stage.folder, job.task.ov_class, **options)
    if uses_runtime(job):
        # Compiled as optimum-intel does, whose choice of a hint the plan has to be made with.
        config, folder = {"PERFORMANCE_HINT": "LATENCY"}, job.path(export.FOLDER)
        shape = (spec.batch[0], job.task.sequence(job.tokenizer, spec.seq[0]))
        plan = runtime.plan(folder, "measured", config=config, shape=shape)
        engines["int8 optkit" if job.recipe.quantize else "optkit"] = runtime.load(
            folder, plan=plan, ov_class=job.task.ov_class, ov_config=config
        )
        stage.facts["runtime"] = plan.reason
    elif "optkit" in spec.backends:
        skipped["optkit"] = runtime.missing_reason()
    rows = []
    for batch in spec.batch:
        for seq in spec.seq:
            inputs = job.task.made_up(job.tokenizer, batch, seq, job.recipe.seed)
            calls = {name: partial(model, **inputs) for name, model in engines.items()}
            with torch.inference_mode():
                medians = by_turns(calls, rounds=ROUNDS, seconds=LONGEST)
            milliseconds = {name: round(median, 3) for name, median in medians.items()}
            sizes = next(iter(inputs.values())).shape[1:]
            size = {"seq": sizes[0]} if len(sizes) == 1 else {"seq": None, "pixels": " x ".join(map(str, sizes))}
            rows.append({"batch": batch, **size, "milliseconds": milliseconds})
    stage.facts |= {"rows": rows, "skipped": skipped, "threads": torch.get_num_threads(), "rounds": ROUNDS}
