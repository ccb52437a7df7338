"""Latency of the dense model in torch and in OpenVINO, of the pruned one in torch, and of the IR in OpenVINO and on
optkit's sparse runtime.

All take the same inputs by turns, on as many threads, and the median counts. Turns share whatever else the machine
does, so ratios within one run mean more than the milliseconds. OpenVINO computes at its default precision, as it is
served; where that is not f32, plain OpenVINO is timed with the f32 hint as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit import runtime
from optkit.allocation import choice, trials
from optkit.allocation.curves import reference as reference_model
from optkit.benchmark.engines.base import Engine, Setting, Source
from optkit.benchmark.engines.loader import load
from optkit.benchmark.engines.openvino import OpenVino
from optkit.benchmark.engines.torch import Torch
from optkit.benchmark.measure import Candidate, Workload, measure
from optkit.benchmark.options import BenchmarkOptions
from optkit.benchmark.result import BenchmarkResult, LeftOut
from optkit.errors import ExportError, UsageError
from optkit.ir import precision
from optkit.ir.io import find_xml
from optkit.machine import describe, versions
from optkit.models import load_model
from optkit.pipeline import baseline, serving
from optkit.pipeline.stage import Stage
from optkit.pruning.compaction.checkpoint import load_compact
from optkit.report.prices import load_prices
from optkit.stages import compact, dense, export, train, tvm
from optkit.variant import DENSE, PRUNED, Variant

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel

NAME = "benchmark"
#: Timed turns of each engine, at most; seconds after which no further turn begins, once there are enough for an
#: interval; and inferences of a turn.
ROUNDS, LONGEST, REPEATS = 20, 30.0, 3
_TVM = Variant("pruned", "fp32", "tvm")
#: Packages whose versions decide how fast a model is on what the recipe's backends name.
_PACKAGES = {
    "torch": ("torch", "transformers"),
    "openvino": ("openvino",),
    "optkit": ("openvino", "optkit"),
    "tvm": ("apache-tvm",),
}


def is_needed(context: RunContext) -> bool:
    return context.recipe.benchmark is not None


def key(context: RunContext) -> str:
    """Times are of one machine: its CPU, threads and the versions of what is timed are parts of the key."""
    spec, machine = context.identity.get("benchmark"), describe()
    # Other prices change what times cost, and no time.
    spec = spec and {name: value for name, value in spec.items() if name != "prices"}
    parts = {"exported": export.key(context), "dense": dense.key(context), "runtime": serving.times_runtime(context)}
    parts |= {"cpu": [machine["cpu"], machine["instruction_sets"]], "threads": torch.get_num_threads()}
    backends = context.recipe.benchmark.backends if context.recipe.benchmark else ()
    if "tvm" in backends:
        parts |= {"tvm": tvm.key(context)}
    if context.recipe.evaluate.baseline != "auto":  # else it follows from what the exported model was made of
        parts |= {"baseline": context.identity["evaluate"]["baseline"]}
    packages = sorted({package for backend in backends for package in _PACKAGES[backend]})
    parts |= {"versions": {name: own for name, own in versions(packages).items() if name != "python"}}
    # What is timed is what was scored. Earlier releases timed with the f32 hint.
    return context.key(benchmark=spec, **parts, plan=serving.kept_plan(context), precision="default")


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
    """Adds a ``BenchmarkResult`` with a shape for each batch and length.

    Ratios are against the dense model in OpenVINO, or in torch, and ``over_plain`` against the exported one in
    OpenVINO.
    """
    output.facts |= _measure(context, output.folder).to_dict()


def _measure(context: RunContext, folder: Path) -> BenchmarkResult:
    """Times what the recipe's backends run.

    Args:
        folder: for files that are needed meanwhile.

    Raises:
        OptkitError: if a model cannot be loaded, or the dense one, which a rule's speedup is against, not exported.
    """
    candidates, left_out = _candidates(context, folder)
    variants = [candidate.variant for candidate in candidates]
    options = BenchmarkOptions(
        threads=torch.get_num_threads(), rounds=ROUNDS, repeats=REPEATS, limit=LONGEST, loads=False
    )
    variant = serving.exported_variant(context)
    return measure(
        candidates,
        _workloads(context),
        options,
        reference=next((variants.index(own) for own in (DENSE.on("openvino"), DENSE) if own in variants), None),
        plain=variants.index(variant) if variant in variants else None,
        left_out=left_out,
        reporter=context.reporter,
    )


def _workloads(context: RunContext) -> list[Workload]:
    found = []
    for batch in context.recipe.benchmark.batch:
        for seq in context.data.lengths:
            tensors = context.task.dummy_inputs(context.data.tokenizer, batch, seq, context.recipe.seed)
            inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
            sizes = next(iter(inputs.values())).shape[1:]
            planned = (batch, context.task.sequence(context.data.tokenizer, seq))
            text = len(sizes) == 1
            pixels = None if text else " x ".join(map(str, sizes))
            found.append(Workload(planned, [inputs], seq=sizes[0] if text else None, pixels=pixels))
    return found


def _candidates(context: RunContext, folder: Path) -> tuple[list[Candidate], list[LeftOut]]:
    """What the recipe's backends run, in the order of tables, and which of it cannot be timed, with the reason."""
    backends, left_out, found = set(context.recipe.benchmark.backends), [], []
    variant, xml = serving.exported_variant(context), find_xml(context.path(export.FOLDER))
    on_optkit = variant.on("optkit")
    if "optkit" in backends and not serving.times_runtime(context):
        left_out.append(LeftOut(variant=on_optkit, why=runtime.missing_reason()))
    compared = baseline.load(context) if {"torch", "openvino"} & backends else None
    if "torch" in backends and compared is not None:
        found.append(_torch(DENSE, compared[0]))
    required = choice.by_latency(context) is not None
    reference = reference_model(context) if required else None  # what its speedup is against
    if reference is None and compared is not None and "openvino" in backends:
        reference = compared[0]
    if reference is not None:
        try:
            trials.dense_ir(context, reference, folder)
        except ExportError as error:
            if required:
                raise
            left_out.append(LeftOut(variant=DENSE.on("openvino"), why=str(error)))
        else:
            found += _openvino(context, DENSE.on("openvino"), find_xml(folder))
    if "torch" in backends:
        found.append(_torch(PRUNED, load_model(context.path(train.FOLDER), context.data.head, seed=0)))
        if compact.folder(context) != context.path(train.FOLDER):
            found.append(_torch(Variant("compact", "fp32", "torch"), load_compact(compact.folder(context))))
    if "openvino" in backends:
        found += _openvino(context, variant, xml)
    if "tvm" in backends:
        compiled = Source("tvm", context.path(tvm.FOLDER))
        found.append(_candidate(_TVM, lambda setting: load(_TVM, compiled, setting)))
    if serving.times_runtime(context):
        found.append(_candidate(on_optkit, lambda setting: _on_runtime(context, xml, setting)))
    return found, left_out


def _candidate(variant: Variant, load: Callable[[Setting], Engine]) -> Candidate:
    return Candidate(variant, variant.label, load, same_as=(variant.model, variant.precision))


def _torch(variant: Variant, model: Any) -> Candidate:
    return _candidate(variant, lambda setting: Torch(model, setting))


def _openvino(context: RunContext, variant: Variant, xml: Path) -> list[Candidate]:
    """An IR in plain OpenVINO, and with the f32 hint where f32 is not its default and the recipe asks for OpenVINO."""
    hinted = precision.default_precision() != "f32" and "openvino" in context.recipe.benchmark.backends
    return [
        _candidate(own, lambda setting, own=own: load(own, Source("ir", xml), setting))
        for own in (variant, *([variant.hinted()] if hinted else []))
    ]


def _on_runtime(context: RunContext, xml: Path, setting: Setting) -> Engine:
    return OpenVino.from_file(xml, setting, sparse=True, plan=serving.plan(context, setting.shape))


STAGE = Stage(NAME, key, run, is_needed=is_needed, problems=problems)
