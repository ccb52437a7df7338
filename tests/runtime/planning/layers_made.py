"""Layers to plan for, with nothing in them but what plans look at."""

from __future__ import annotations

import numpy as np

from optkit.runtime import Kernel
from optkit.runtime.program import Quantization
from optkit.runtime.rewriting.sites import LinearSite

BLOCK4, ELEMENT = Kernel("block4"), Kernel("element")


def site(name="a", shape=(768, 768), density=0.1, block4=None, rows=1, quantized=True, problem="") -> LinearSite:
    values = np.broadcast_to(np.int8(1) if quantized else np.float32(1), shape)
    quantization = Quantization(-1.0, 1.0) if quantized else None
    block4 = density if block4 is None else block4
    return LinearSite(name, shape, values, None, quantization, density, block4, rows, not problem, problem)
