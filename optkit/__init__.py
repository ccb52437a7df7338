"""optkit: prune a Hugging Face model while it is fine-tuned, quantize it to int8, export an OpenVINO IR.

Every verb of the command line is a function of the same name here, but ``list`` and ``compile`` are
``list_registered`` and ``compile_tvm``, so that ``from optkit import *`` leaves Python's own alone. Names are imported
on first use, so that ``import optkit`` and ``optkit --help`` load neither torch nor OpenVINO.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.lazy import lazy_attributes

__version__ = "0.1.0"

if TYPE_CHECKING:
    from optkit.benchmark.bench import bench
    from optkit.benchmark.options import BenchmarkOptions
    from optkit.counting.sparsity import sparsity
    from optkit.errors import OptkitError, RecipeError, UsageError
    from optkit.experiments.compare import compare
    from optkit.experiments.cost import cost
    from optkit.experiments.pareto import pareto
    from optkit.experiments.sweep import sweep
    from optkit.export.onnx import export_onnx, read_onnx_tags
    from optkit.export.openvino import export_openvino
    from optkit.export.sparse_folder import pack_sparse, unpack_sparse
    from optkit.export.sparse_folder.loading import load_sparse
    from optkit.export.tvm.compile import compile_tvm
    from optkit.export.tvm.model import TvmModel
    from optkit.hub.pull import pull
    from optkit.hub.push import push
    from optkit.interop.inspect import inspect
    from optkit.interop.quantize import quantize
    from optkit.ir.tags import read_tags
    from optkit.pipeline.runner import enforce_max_drop, run
    from optkit.pipeline.validate import validate
    from optkit.progress import Reporter
    from optkit.pruning.callback import PruningCallback
    from optkit.pruning.compaction.checkpoint import load_compact
    from optkit.pruning.distillation.mixin import DistillationMixin
    from optkit.quantization.config import Quantization
    from optkit.quantization.quantize import quantize as quantize_model
    from optkit.quantization.sensitivity import measure_sensitivity
    from optkit.recipe import load_recipe
    from optkit.recipe.json_schema import recipe_schema as schema
    from optkit.registry import entries as list_registered
    from optkit.report import render_html
    from optkit.runtime import bake, compile_model
    from optkit.runtime.doctor import examine as doctor
    from optkit.serving.launch import serve

__all__ = [
    "BenchmarkOptions",
    "DistillationMixin",
    "OptkitError",
    "PruningCallback",
    "Quantization",
    "RecipeError",
    "Reporter",
    "TvmModel",
    "UsageError",
    "__version__",
    "bake",
    "bench",
    "compare",
    "compile_model",
    "compile_tvm",
    "cost",
    "doctor",
    "enforce_max_drop",
    "export_onnx",
    "export_openvino",
    "inspect",
    "list_registered",
    "load_compact",
    "load_recipe",
    "load_sparse",
    "measure_sensitivity",
    "pack_sparse",
    "pareto",
    "pull",
    "push",
    "quantize",
    "quantize_model",
    "read_onnx_tags",
    "read_tags",
    "render_html",
    "run",
    "schema",
    "serve",
    "sparsity",
    "sweep",
    "unpack_sparse",
    "validate",
]

#: The module of each public name, with ``:attribute`` where it has another name there.
_NAMES = {
    # Verbs of the command line.
    "run": "optkit.pipeline.runner",
    "validate": "optkit.pipeline.validate",
    "quantize": "optkit.interop.quantize",
    "inspect": "optkit.interop.inspect",
    "bake": "optkit.runtime",
    "bench": "optkit.benchmark.bench",
    "compare": "optkit.experiments.compare",
    "sweep": "optkit.experiments.sweep",
    "pareto": "optkit.experiments.pareto",
    "cost": "optkit.experiments.cost",
    "push": "optkit.hub.push",
    "pull": "optkit.hub.pull",
    "serve": "optkit.serving.launch",
    "doctor": "optkit.runtime.doctor:examine",
    "list_registered": "optkit.registry:entries",
    "compile_tvm": "optkit.export.tvm.compile",
    "schema": "optkit.recipe.json_schema:recipe_schema",
    # What they are made of.
    "load_recipe": "optkit.recipe",
    "enforce_max_drop": "optkit.pipeline.runner",
    "sparsity": "optkit.counting.sparsity",
    "read_tags": "optkit.ir.tags",
    "read_onnx_tags": "optkit.export.onnx",
    "render_html": "optkit.report",
    "BenchmarkOptions": "optkit.benchmark.options",
    "Quantization": "optkit.quantization.config",
    "quantize_model": "optkit.quantization.quantize:quantize",
    "measure_sensitivity": "optkit.quantization.sensitivity",
    "export_openvino": "optkit.export.openvino",
    "export_onnx": "optkit.export.onnx",
    "compile_model": "optkit.runtime",
    "TvmModel": "optkit.export.tvm.model",
    "load_compact": "optkit.pruning.compaction.checkpoint",
    "pack_sparse": "optkit.export.sparse_folder",
    "unpack_sparse": "optkit.export.sparse_folder",
    "load_sparse": "optkit.export.sparse_folder.loading",
    "PruningCallback": "optkit.pruning.callback",
    "DistillationMixin": "optkit.pruning.distillation.mixin",
    "Reporter": "optkit.progress",
    "OptkitError": "optkit.errors",
    "UsageError": "optkit.errors",
    "RecipeError": "optkit.errors",
}

if not TYPE_CHECKING:  # else a type checker would take every name for a public one
    __getattr__ = lazy_attributes(__name__, _NAMES, former={"list": "list_registered"})
