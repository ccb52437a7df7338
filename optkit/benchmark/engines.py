"""The backends: what runs which model, one inference at a time or many at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from optkit.adapters import ctranslate2
from optkit.adapters.onnx_package import missing as onnx_missing
from optkit.benchmark.compiled import OpenVino
from optkit.benchmark.engine import Engine, Setting, Source
from optkit.benchmark.threaded import CompiledTorch, Ctranslate2, OnnxRuntime, Torch, compiler_missing
from optkit.errors import OptkitError
from optkit.ir.precision import default_precision

#: Backends of the command line, in the order of tables.
BACKENDS = (
    *("torch", "torch-compile", "torch-compile-bf16"),
    *("onnxruntime", "onnxruntime-int8", "onnxruntime-int8-dynamic", "ctranslate2-int8"),
    *("openvino", "openvino-f32", "openvino-int8", "openvino-int8-f32", "optkit"),
)
#: What compiles anew for each model, for half a minute and longer: measured where it is named.
SLOW_TO_LOAD = ("torch-compile", "torch-compile-bf16")
#: OpenVINO with the f32 hint: measured by itself where that is not the default.
HINTED = ("openvino-f32", "openvino-int8-f32")
#: What makes int8 of an fp32 model by its own default settings.
QUANTIZING = ("onnxruntime-int8", "onnxruntime-int8-dynamic", "ctranslate2-int8")


def not_by_default(backend: str) -> str | None:
    """Why ``backend`` is not measured unless it is named; None if it is."""
    if backend in SLOW_TO_LOAD:
        return "it compiles for half a minute or longer: name it with --backends"
    if backend in HINTED and default_precision() == "f32":
        return "f32 is OpenVINO's default precision on this CPU"
    return None


def exact(backend: str) -> bool:
    """Whether a backend computes an fp32 model in fp32."""
    if backend in ("openvino", "optkit"):
        return default_precision() == "f32"
    return backend not in (*QUANTIZING, "torch-compile-bf16")


def missing(backend: str) -> str | None:
    """Why ``backend`` cannot run here, None if it can."""
    if backend.startswith("onnxruntime"):
        return onnx_missing()
    if backend == "ctranslate2-int8":
        return ctranslate2.missing()
    if backend in SLOW_TO_LOAD:
        return compiler_missing()
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
    if backend in SLOW_TO_LOAD:
        return CompiledTorch(_transformers(source.path), setting, bf16=backend.endswith("bf16"))
    if backend.startswith("onnxruntime"):
        return OnnxRuntime(source.path, setting)
    if backend == "ctranslate2-int8":
        return Ctranslate2(source.path, _transformers(source.path / ctranslate2.CHECKPOINT), setting)
    if backend in HINTED:
        setting = replace(setting, precision="f32")
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
