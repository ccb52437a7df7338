"""Latency of the dense model in torch and in OpenVINO, of the pruned one in torch, and of the IR in OpenVINO and on
optkit's sparse runtime.

All take the same inputs by turns, on as many threads, and the median counts. Turns share whatever else the machine
does, so ratios within one run mean more than the milliseconds. OpenVINO computes at its default precision, as it is
served; where that is not f32, plain OpenVINO is timed with the f32 hint as well.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit import runtime
from optkit.allocation import choice, trials
from optkit.allocation.curves import reference as reference_model
from optkit.benchmark.compiled import OpenVino
from optkit.benchmark.engine import Setting
from optkit.benchmark.machine import Watch
from optkit.benchmark.threaded import Torch
from optkit.errors import ExportError, UsageError
from optkit.ir import precision
from optkit.ir.io import find_xml
from optkit.models import load_model
from optkit.pipeline import baseline, serving
from optkit.pipeline.stage import Stage
from optkit.pruning.compaction.checkpoint import load_compact
from optkit.report.prices import load_prices
from optkit.report.speed import DENSE, PLAIN
from optkit.stages import compact, dense, export, train
from optkit.timing import LEAST, by_turns, ratios, spread, turn

if TYPE_CHECKING:
    from optkit.benchmark.engine import Engine
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME = "benchmark"
#: Timed turns of each engine, at most, after two that warm up; seconds after which no further turn begins, once there
#: are enough for an interval; and inferences of a turn.
ROUNDS, LONGEST, REPEATS, WARM_UP = 20, 30.0, 3, 1


def needed(context: RunContext) -> bool:
    return context.recipe.benchmark is not None


def key(context: RunContext) -> str:
    asked = context.identity.get("benchmark")
    # Other prices change what times cost, and no time.
    asked = asked and {name: value for name, value in asked.items() if name != "prices"}
    parts = {"exported": export.key(context), "dense": dense.key(context), "runtime": serving.times_runtime(context)}
    # What is timed is what was scored. Earlier releases timed with the f32 hint.
    return context.key(benchmark=asked, **parts, plan=serving.kept_plan(context), precision="default")


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Lengths that the recipe asks for and the model cannot take, and what is wrong with its prices, a line each.

    Lengths that the recipe leaves out are cut to what the model takes.
    """
    spec, longest, found = context.recipe.benchmark, context.data.longest, []
    if spec is not None and spec.seq is not None and longest is not None:
        found += [
            f"benchmark.seq: {seq} is more than the {longest} tokens the model takes"
            for seq in spec.seq
            if seq > longest
        ]
    if spec is not None and spec.prices:
        try:
            load_prices(Path(spec.prices))
        except UsageError as error:
            found += error.problems
    return found


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``rows``, one for each batch and seq (None for images, of so many ``pixels``): each engine's median
    ``milliseconds`` and their ``quartiles``, and how many times as fast as ``against`` it is, ``ratios`` with their
    95 % intervals, of which ``noisy`` names those that tell little; ``over_plain`` has the ratios to ``plain``, the
    exported model in OpenVINO; and ``skipped``: backends with the reason.

    ``precision`` is the one that OpenVINO computed in where no engine's name says another. Where the sparse runtime
    runs, ``runtime`` says in a sentence what it took, planned for the first batch and seq. ``machine`` says what else
    went on there.
    """
    spec, watch = context.recipe.benchmark, Watch()
    skipped = {}
    if "optkit" in spec.backends and not serving.times_runtime(context):
        skipped["optkit"] = runtime.missing_reason()
    engines = _engines(context, output, skipped)
    rows, rounds = [], []
    for batch in spec.batch:
        for seq in context.data.lengths:
            made = context.task.dummy_inputs(context.data.tokenizer, batch, seq, context.recipe.seed)
            inputs = {name: tensor.numpy() for name, tensor in made.items()}
            with context.reporter.task("benchmark") as task:
                found, count = _row(engines, inputs, lambda done, total: task.advance(done, total, {"rounds": done}))
            sizes = next(iter(inputs.values())).shape[1:]
            size = {"seq": sizes[0]} if len(sizes) == 1 else {"seq": None, "pixels": " x ".join(map(str, sizes))}
            rows.append({"batch": batch, **size, **found})
            rounds.append(count)
    output.facts |= {"rows": rows, "skipped": skipped, "threads": torch.get_num_threads(), "rounds": min(rounds)}
    output.facts |= {"machine": watch.facts(), "precision": precision.default_precision()}


def _row(engines: dict[str, Engine], inputs: dict[str, Any], tell: Any) -> tuple[dict[str, Any], int]:
    """The figures of one shape, and of how many rounds they are."""
    turns = {name: turn(engine.ready(inputs), repeats=REPEATS) for name, engine in engines.items()}
    limits = {"rounds": ROUNDS, "seconds": LONGEST, "least": LEAST, "warm_up": WARM_UP}
    taken = by_turns(turns, **limits, tell=tell)
    times = {name: spread(values) for name, values in taken.items()}
    against = next((name for name in DENSE if name in taken), None)
    gains = {} if against is None else {n: ratios(taken[against], v) for n, v in taken.items() if n != against}
    plain = next((name for name in PLAIN if name in taken), None)
    over = {} if plain is None else {n: ratios(taken[plain], v) for n, v in taken.items() if n != plain}
    judged = gains if against is not None else times
    found = {
        "milliseconds": {name: round(1000 * own.median, 3) for name, own in times.items()},
        "quartiles": {name: [round(1000 * value, 4) for value in own.quartiles] for name, own in times.items()},
        "against": against,
        "ratios": {n: [round(value, 4) for value in (own.median, *own.interval)] for n, own in gains.items()},
        "plain": plain,
        "over_plain": {n: [round(value, 4) for value in (own.median, *own.interval)] for n, own in over.items()},
        "noisy": [name for name, own in judged.items() if own.noisy],
    }
    return found, max((own.count for own in times.values()), default=0)


def _engines(context: RunContext, output: StageOutput, skipped: dict[str, str]) -> dict[str, Engine]:
    """What the recipe's backends run, by the name that a report calls it; the sentence on optkit's plan goes to the
    stage's facts, and why the dense model is not in OpenVINO to ``skipped``.
    """
    spec, threads = context.recipe.benchmark, torch.get_num_threads()
    setting, exported = Setting(threads), find_xml(context.path(export.FOLDER))
    # Where f32 is not what OpenVINO computes in by default, it is timed beside.
    hinted = (
        replace(setting, precision="f32")
        if precision.default_precision() != "f32" and "openvino" in spec.backends
        else None
    )
    kind = "int8 " if context.recipe.quantize else ""
    engines: dict[str, Engine] = {}

    def openvino(name: str, xml: Path) -> dict[str, Engine]:
        settings = {name: setting} | ({f"{name} f32": hinted} if hinted else {})
        return {each: OpenVino.of(xml, own) for each, own in settings.items()}

    compared = baseline.load(context) if {"torch", "openvino"} & set(spec.backends) else None
    if "torch" in spec.backends and compared is not None:
        engines["dense torch"] = Torch(compared[0], setting)
    required = choice.by_latency(context) is not None
    reference = reference_model(context) if required else None  # what its speedup is against
    if reference is None and compared is not None and "openvino" in spec.backends:
        reference = compared[0]
    if reference is not None:
        try:
            trials.dense_ir(context, reference, output.folder)
        except ExportError as error:
            if required:
                raise
            skipped["dense openvino"] = str(error)
        else:
            engines |= openvino("dense openvino", find_xml(output.folder))
    if "torch" in spec.backends:
        engines["pruned torch"] = Torch(load_model(context.path(train.FOLDER), context.data.head, seed=0), setting)
        if compact.folder(context) != context.path(train.FOLDER):
            engines["compact torch"] = Torch(load_compact(compact.folder(context)), setting)
    if "openvino" in spec.backends:
        engines |= openvino(f"{kind}openvino", exported)
    if serving.times_runtime(context):
        sparse = OpenVino.of(exported, setting, sparse=True, plan=serving.plan(context))
        engines[f"{kind}optkit"] = sparse
        output.facts["runtime"] = sparse.plan.reason
    return engines


STAGE = Stage(NAME, key, run, needed=needed, problems=problems)
