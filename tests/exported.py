"""Exported models called with torch tensors, with optimum-intel or without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

F32 = {"INFERENCE_PRECISION_HINT": "f32"}


def load_ir(folder: Path, config: dict[str, Any] | None = None) -> Any:
    """The IR in ``folder`` as a stage calls it."""
    from optkit.adapters import optimum
    from optkit.pipeline import serving

    return serving.load(folder, optimum.class_for(folder), config=config)
