"""Loads a model onto the engine of a variant."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from optkit.adapters import ctranslate2
from optkit.benchmark.compiled import OpenVino
from optkit.benchmark.engine import Engine, Setting, Source
from optkit.benchmark.threaded import CompiledTorch, Ctranslate2, OnnxRuntime, Torch
from optkit.errors import OptkitError
from optkit.variant import Variant


def load(variant: Variant, source: Source, setting: Setting) -> Engine:
    """The files of ``source``, loaded and compiled as ``variant`` says.

    Raises:
        OptkitError: if they cannot be read or compiled.
    """
    if variant.engine == "torch":
        return Torch(_transformers(source.path), setting)
    if variant.engine == "torch-compile":
        return CompiledTorch(_transformers(source.path), setting, bf16=variant.precision == "bf16")
    if variant.engine == "onnxruntime":
        return OnnxRuntime(source.path, setting)
    if variant.engine == "ctranslate2":
        return Ctranslate2(source.path, _transformers(source.path / ctranslate2.CHECKPOINT), setting)
    if variant.f32_hint:
        setting = replace(setting, precision="f32")
    return OpenVino.of(source.path, setting, sparse=variant.engine == "optkit")


def _transformers(folder: Path) -> Any:
    from optkit.adapters import quiet, reason
    from optkit.pruning.compaction.checkpoint import load_compact

    with quiet():
        try:
            return load_compact(folder).float()
        except OptkitError:
            raise
        except Exception as error:  # whatever transformers finds wrong with it
            raise OptkitError(f"{folder}: transformers cannot load it: {reason(error)}") from error
