"""The backends: what runs which model, one inference at a time or many at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.adapters.onnx import missing as onnx_missing
from optkit.benchmarking.compiled import OpenVino
from optkit.benchmarking.engine import Engine, Setting, Source
from optkit.benchmarking.threaded import OnnxRuntime, Torch
from optkit.errors import OptkitError

#: Backends of the command line, in the order of tables.
BACKENDS = ("torch", "onnxruntime", "openvino", "openvino-int8", "optkit")


def missing(backend: str) -> str | None:
    """Why ``backend`` cannot run here, None if it can."""
    if backend == "onnxruntime":
        return onnx_missing()
    if backend == "optkit":
        from optkit import runtime

        return runtime.missing_reason()
    return None


def load(backend: str, source: Source, setting: Setting) -> Engine:
    """The model in ``source``, loaded and compiled.

    Raises:
        OptkitError: if it cannot be read or compiled.
    """
    if backend == "torch":
        return Torch(_transformers(source.path), setting)
    if backend == "onnxruntime":
        return OnnxRuntime(source.path, setting)
    return OpenVino.of(source.path, setting, sparse=backend == "optkit")


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
