"""Apache TVM: models of transformers as compiled libraries, dense or with block-sparse layers.

Whatever imports TVM is in this folder, and is imported on first use: the package is an extra, ``optkit[tvm]``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from optkit.lazy import lazy_attributes

if TYPE_CHECKING:
    from optkit.adapters.tvm.building import build, cpu_target, describe, has_vnni, vector_width
    from optkit.adapters.tvm.library import Library, save, set_threads, tensors
    from optkit.adapters.tvm.program import trace
    from optkit.adapters.tvm.rewriting import rewrite
    from optkit.adapters.tvm.tuning import tune

__all__ = [
    "Library",
    "build",
    "cpu_target",
    "describe",
    "has_vnni",
    "missing",
    "rewrite",
    "save",
    "set_threads",
    "tensors",
    "trace",
    "tune",
    "vector_width",
]

_NAMES = {
    **dict.fromkeys(("build", "cpu_target", "describe", "has_vnni", "vector_width"), "optkit.adapters.tvm.building"),
    **dict.fromkeys(("Library", "save", "set_threads", "tensors"), "optkit.adapters.tvm.library"),
    "rewrite": "optkit.adapters.tvm.rewriting",
    "trace": "optkit.adapters.tvm.program",
    "tune": "optkit.adapters.tvm.tuning",
}


def missing() -> str | None:
    """Why TVM cannot be used here, in a line; None where it can."""
    if find_spec("tvm") is None:
        return "apache-tvm is not installed: pip install 'optkit[tvm]'"
    return None


if not TYPE_CHECKING:
    __getattr__ = lazy_attributes(__name__, _NAMES)
