"""How the exported model is served, which is how it is scored and timed: by which runtime and plan, with which
configuration, and which of its scores a drop is judged by.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from optkit import runtime
from optkit.adapters import optimum
from optkit.benchmark.engines.base import Setting
from optkit.cpu import int8_saturates
from optkit.errors import OptkitError
from optkit.ir.io import find_xml, read_model
from optkit.ir.shapes import OneShape
from optkit.ir.torch_model import TorchModel
from optkit.pipeline.run_folder import digest
from optkit.recipe.export import DYNAMIC
from optkit.runtime.loading import compile_for_cpu, new_core
from optkit.variant import Variant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from optkit.pipeline.context import RunContext
    from optkit.runtime import Plan

#: The exported model in the run.
FOLDER = "openvino"
#: The plan that is scored and timed, beside the predictions that were made with it.
PLAN = "runtime_plan.json"


def exported_shape(context: RunContext) -> tuple[int, int] | None:
    """Batch and length that the exported model takes; None for any."""
    shapes = context.recipe.export.shapes
    return None if shapes == DYNAMIC else (shapes.batch, shapes.seq)


def load(
    folder: Path, ov_class: str, *, plan: str | Plan | None = None, config: Mapping[str, Any] | None = None
) -> Any:
    """The exported model in ``folder``, called with torch tensors by name: as ``ov_class`` of optimum-intel, which is
    how it is served, or without it where that is not installed.

    Args:
        plan: of the sparse runtime; None for plain OpenVINO.
        config: OpenVINO's.
    """
    options = {} if config is None else {"ov_config": dict(config)}
    if optimum.missing() is None:
        if plan is None:
            return optimum.load(folder, ov_class, compile_model=partial(compile_for_cpu, new_core()), **options)
        return runtime.load(folder, plan=plan, ov_class=ov_class, **options)
    config = {"PERFORMANCE_HINT": "LATENCY", **(config or {})}  # optimum-intel's default
    if plan is None:
        return TorchModel(compile_for_cpu(new_core(), read_model(folder), config))
    return TorchModel(runtime.compile_model(folder, config, plan=plan))


def one_shape(context: RunContext, model: Any) -> Any:
    """``model``, called with batches of any size and length even where it was exported for one."""
    fixed = exported_shape(context)
    padding = {"input_ids": getattr(context.data.tokenizer, "pad_token_id", None) or 0}
    return model if fixed is None else OneShape(model, *fixed, padding)


def times_runtime(context: RunContext) -> bool:
    """Whether the recipe measures the sparse runtime, and it is there."""
    spec = context.recipe.benchmark
    return spec is not None and "optkit" in spec.backends and runtime.available()


def full_range(context: RunContext) -> bool:
    """Whether int8 products use the weights' full range, which OpenVINO's sums overflow with on CPUs without VNNI."""
    quantize = context.recipe.quantize
    return quantize is not None and quantize.method == "int8" and quantize.weight_range == "full"


def is_judged_on_runtime(context: RunContext) -> bool:
    """Whether accuracy is judged on the sparse runtime: the recipe says so, or int8 sums overflow in this CPU's
    OpenVINO.
    """
    quantize = context.recipe.quantize
    by_recipe = quantize is not None and quantize.accuracy_backend == "optkit"
    return (by_recipe or (full_range(context) and int8_saturates())) and runtime.available()


def cannot_be_judged(context: RunContext) -> bool:
    """Whether int8 sums overflow in this CPU's OpenVINO, and the sparse runtime, which is exact, is missing."""
    return full_range(context) and int8_saturates() and not runtime.available()


def exported_variant(context: RunContext) -> Variant:
    """The exported IR in plain OpenVINO."""
    quantize = context.recipe.quantize
    return Variant("pruned", quantize.method if quantize is not None else "fp32", "openvino")


def judged_variant(context: RunContext) -> Variant:
    """The variant that a drop is of."""
    variant = exported_variant(context)
    return variant.on("optkit") if is_judged_on_runtime(context) else variant


def plan_identity(context: RunContext) -> dict[str, Any] | None:
    """What decides which plan is made: the ``mode`` and the ``shape`` (batch, tokens); None where none is."""
    if not times_runtime(context) and not is_judged_on_runtime(context):
        return None
    spec, fixed = context.recipe.benchmark, exported_shape(context)
    shape = (spec.batch[0], context.data.lengths[0]) if spec is not None else fixed or (1, 128)
    return {"mode": "measured" if times_runtime(context) else "static", "shape": list(shape)}


def config(precision: str | None = None) -> dict[str, Any]:
    """OpenVINO's configuration in scoring and timing; ``precision`` None is the default of the CPU."""
    return Setting(torch.get_num_threads(), precision=precision).config()


def plan(context: RunContext, shape: tuple[int, int] | None = None) -> Plan:
    """The runtime's plan for the exported model: the one beside the predictions, where it was made for this very model
    and shape, so that what is scored is what is timed; else a new one.

    Args:
        shape: (batch, tokens); the first that is timed if None.
    """
    identity = plan_identity(context)
    batch, seq = identity["shape"]
    first = (batch, context.task.sequence(context.data.tokenizer, seq))
    shape = shape or first
    if shape == first and context.run.facts("evaluate").get("plan_of") == plan_of(context):
        try:
            return runtime.Plan.from_json((context.path("predictions") / PLAN).read_text(encoding="utf-8"))
        except (OSError, OptkitError):
            pass
    return runtime.plan(find_xml(context.path(FOLDER)), identity["mode"], config=config(), shape=shape)


def kept_plan(context: RunContext) -> str | None:
    """Digest of the plan that was scored; None where none was."""
    file = context.path("predictions") / PLAN
    return digest(file.read_text(encoding="utf-8")) if times_runtime(context) and file.is_file() else None


def plan_of(context: RunContext) -> dict[str, Any]:
    """What a plan that is kept was made for."""
    return {"exported": context.run.entry("export")["key"]} | (plan_identity(context) or {})
