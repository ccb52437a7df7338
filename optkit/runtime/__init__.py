"""The sparse runtime: pruned int8 models run fast inside OpenVINO, by an extension library with kernels of our own.

``compile_model`` and ``load`` run a model, ``bake`` writes one that other programs run, ``plan`` tells what becomes of
each layer. Names are imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optkit.runtime.baking import bake
    from optkit.runtime.compiling import compile_model, explain, load
    from optkit.runtime.extension import available, extension_path, missing_reason
    from optkit.runtime.planning.making import plan
    from optkit.runtime.planning.plan import LayerPlan, Plan
    from optkit.runtime.program import Kernel

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
]

#: The module of each public name.
_NAMES = {
    "compile_model": "compiling",
    "explain": "compiling",
    "load": "compiling",
    "bake": "baking",
    "plan": "planning",
    "Plan": "planning",
    "LayerPlan": "planning",
    "Kernel": "program",
    "extension_path": "extension",
    "available": "extension",
    "missing_reason": "extension",
}

if not TYPE_CHECKING:  # else a type checker would take every name for a public one

    def __getattr__(name: str) -> Any:
        if name not in _NAMES:
            raise AttributeError(f"module 'optkit.runtime' has no attribute '{name}'")
        value = getattr(import_module(f"optkit.runtime.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
