"""Loads a model onto the engine of a variant. Libraries are imported here, when their engine is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from optkit.adapters.ctranslate2 import CHECKPOINT
from optkit.benchmark.engines.base import Engine, Setting, Source
from optkit.variant import Variant


def load(variant: Variant, source: Source, setting: Setting) -> Engine:
    """Loads and compiles the files of ``source`` as ``variant`` says.

    Raises:
        OptkitError: if they cannot be read or compiled.
    """
    if variant.engine in ("torch", "torch-compile"):
        from optkit.benchmark.engines.torch import CompiledTorch, Torch

        model = _transformers_model(source.path)
        if variant.engine == "torch":
            return Torch(model, setting)
        return CompiledTorch(model, setting, bf16=variant.precision == "bf16")
    if variant.engine == "onnxruntime":
        from optkit.benchmark.engines.onnxruntime import OnnxRuntime

        return OnnxRuntime(source.path, setting)
    if variant.engine == "ctranslate2":
        from optkit.benchmark.engines.ctranslate2 import Ctranslate2

        return Ctranslate2(source.path, _transformers_model(source.path / CHECKPOINT), setting)
    if variant.engine == "tvm":
        from optkit.benchmark.engines.tvm import Tvm

        return Tvm(source.path, setting)
    from optkit.benchmark.engines.openvino import OpenVino

    if variant.f32_hint:
        setting = replace(setting, precision="f32")
    return OpenVino.from_file(source.path, setting, sparse=variant.engine == "optkit")


def _transformers_model(folder: Path) -> Any:
    from optkit.adapters import library_errors
    from optkit.pruning.compaction.checkpoint import load_compact

    with library_errors(f"{folder}: transformers cannot load it"):
        return load_compact(folder).float()
