"""Layers to plan for, with nothing in them but what plans look at."""

from __future__ import annotations

import numpy as np

from optkit.runtime import Kernel
from optkit.runtime.program import HEIGHTS, Quantization
from optkit.runtime.rewriting.sites import LinearSite

BLOCK4, ELEMENT = Kernel("block4"), Kernel("element")


def block4(rows: int) -> Kernel:
    return Kernel("block4", rows)


def block4_densities(block4: float, rows: int = 1) -> dict[int, float]:
    """Of a layer whose zeros come in blocks of ``rows`` outputs x 4 inputs, by chance, so that ``block4`` are left."""
    return {height: 1 - (1 - block4) ** max(height // rows, 1) for height in HEIGHTS}


def site(
    name="a", shape=(768, 768), density=0.1, block4=None, rows=1, quantized=True, problem="", tall=1
) -> LinearSite:
    """A layer.

    Args:
        rows: of its zeros' blocks of one input.
        block4: share of its blocks of ``tall`` outputs x 4 inputs that are left; ``density`` if they are whole.
    """
    values = np.broadcast_to(np.int8(1) if quantized else np.float32(1), shape)
    quantization = Quantization(-1.0, 1.0) if quantized else None
    block4 = density if block4 is None else block4
    densities = block4_densities(block4, tall)
    return LinearSite(name, shape, values, None, quantization, density, densities, rows, not problem, problem)
