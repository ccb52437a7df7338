"""The stages of a run in their order, by name, and what of a run loads torch: it is imported when it is called.

So recipes, arguments and the names of stages are checked before torch is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from optkit.pipeline.context import RunContext
    from optkit.pipeline.stage import Stage
    from optkit.planning.summary import Plan

STAGES = (
    *("plan", "dense", "teacher", "permute", "allocate", "start", "train", "compact", "qat"),
    *("export", "onnx", "sparse", "tvm", "evaluate", "benchmark", "report", "publish"),
)


def load_stages() -> tuple[Stage, ...]:
    """The stages themselves. Their modules import torch."""
    return tuple(import_module(f"optkit.stages.{name}").STAGE for name in STAGES)


def new_context(*arguments: Any, **options: Any) -> RunContext:
    """A ``RunContext`` with all stages; the arguments are those of its class."""
    from optkit.pipeline.context import RunContext

    return RunContext(*arguments, stages=load_stages(), **options)


def resolve_plan(context: RunContext) -> Plan:
    """``optkit.stages.plan.resolve_plan``."""
    from optkit.stages import plan

    return plan.resolve_plan(context)


def connect(train: Mapping[str, Any]) -> None:
    """``optkit.adapters.accelerate.connect``."""
    from optkit.adapters import accelerate

    accelerate.connect(train)
