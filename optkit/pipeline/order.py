"""The stages of a run in their order, by name, so that the command line can check one without loading torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optkit.pipeline.stage import Stage

STAGES = (
    *("plan", "dense", "teacher", "allocate", "train", "compact", "qat"),
    *("export", "onnx", "sparse", "evaluate", "benchmark", "report", "publish"),
)


def load_stages() -> tuple[Stage, ...]:
    """The stages themselves. Their modules import torch."""
    return tuple(import_module(f"optkit.stages.{name}").STAGE for name in STAGES)
