"""optkit: prune a Hugging Face model while it is fine-tuned, quantize it to int8, export an OpenVINO IR.

Names are imported on first use, so that ``import optkit`` and ``optkit --help`` load neither torch nor OpenVINO.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "run": "optkit.pipeline.runner",
    "bench": "optkit.benchmark.bench",
    "load_recipe": "optkit.recipe",
    "sparsity": "optkit.counting.sparsity",
    "Quantization": "optkit.quantization.config",
    "export_openvino": "optkit.export.openvino",
    "quantize": "optkit.interop.quantize",
    "compile_model": "optkit.runtime",
    "bake": "optkit.runtime",
    "push": "optkit.hub.publishing",
    "pull": "optkit.hub.publishing",
    "load_compact": "optkit.pruning.compaction.checkpoint",
    "export_onnx": "optkit.export.onnx",
    "pack_sparse": "optkit.export.sparse_folder",
    "unpack_sparse": "optkit.export.sparse_folder",
    "load_sparse": "optkit.export.sparse_folder",
    "PruningCallback": "optkit.pruning.callback",
    "DistillationMixin": "optkit.pruning.distillation.mixin",
    "OptkitError": "optkit.errors",
}

__all__ = sorted(("__version__", *_NAMES))


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'optkit' has no attribute '{name}'")
    return getattr(import_module(_NAMES[name]), name)
