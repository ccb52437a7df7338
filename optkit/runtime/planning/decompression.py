"""OpenVINO's own sparse path, for int8 on CPUs with AMX: one threshold for the whole model, and layers that it breaks.

A layer whose share of zeros reaches the threshold is kept packed in memory and unpacked at each use. Layers of exactly
64x64 go wrong: the process ends with a segmentation fault, or the first answer is empty and later ones are wrong
numbers (OpenVINO 2026.4.1 on Emerald Rapids). OpenVINO reports nothing, so models with such layers are kept away from
this path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from optkit.ir.tags import BROKEN_SHAPE
from optkit.runtime.rewriting.sites import LinearSite

RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
#: OpenVINO counts zeros itself, so a share that lies so close below the threshold may reach it.
SLACK = 0.01


def threshold(config: Mapping[Any, Any]) -> float:
    """The share of zeros that ``config`` gives OpenVINO as the threshold; 1, which is off, where it gives none."""
    for name, value in config.items():
        if str(name) == RATE:
            try:
                return float(value)
            except (TypeError, ValueError):
                return 1.0  # OpenVINO refuses it, in words of its own
    return 1.0


def broken_layer(sites: Iterable[LinearSite], rate: float) -> str | None:
    """The first layer that this path would break at the threshold ``rate``, None if there is none."""
    if rate >= 1:
        return None
    broken = (site.matmul for site in sites if tuple(site.shape) == BROKEN_SHAPE and 1 - site.density >= rate - SLACK)
    return next(broken, None)
