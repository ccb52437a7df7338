"""The sparse runtime: pruned int8 models run fast inside OpenVINO, by an extension library with kernels of our own.

``compile_model`` and ``load`` run a model, ``bake`` writes one that other programs run, ``register`` lets other
packages load it, ``plan`` tells what becomes of each layer. Names are imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.lazy import lazy_attributes

if TYPE_CHECKING:
    from optkit.runtime.baking import bake
    from optkit.runtime.compiling import compile_model, explain, load
    from optkit.runtime.extension import available, extension_path, missing_reason
    from optkit.runtime.planning.making import plan
    from optkit.runtime.planning.plan import LayerPlan, Plan
    from optkit.runtime.program import Kernel
    from optkit.runtime.registration import register, unregister

__all__ = [
    "Kernel",
    "LayerPlan",
    "Plan",
    "available",
    "bake",
    "compile_model",
    "explain",
    "extension_path",
    "load",
    "missing_reason",
    "plan",
    "register",
    "unregister",
]

#: The module of each public name.
_NAMES = {
    "compile_model": "optkit.runtime.compiling",
    "explain": "optkit.runtime.compiling",
    "load": "optkit.runtime.compiling",
    "bake": "optkit.runtime.baking",
    "plan": "optkit.runtime.planning",
    "Plan": "optkit.runtime.planning",
    "LayerPlan": "optkit.runtime.planning",
    "Kernel": "optkit.runtime.program",
    "extension_path": "optkit.runtime.extension",
    "available": "optkit.runtime.extension",
    "missing_reason": "optkit.runtime.extension",
    "register": "optkit.runtime.registration",
    "unregister": "optkit.runtime.registration",
}

if not TYPE_CHECKING:  # else a type checker would take every name for a public one
    __getattr__ = lazy_attributes(__name__, _NAMES)
