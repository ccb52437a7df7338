"""Exports a checkpoint for the backends that cannot load it: as fp32 or int8 ONNX, an fp32 IR, or for CTranslate2."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from optkit.benchmark.backend_support import EXPORTS, RunnableModel
from optkit.benchmark.engines.base import Inputs, Source
from optkit.progress import Reporter


def export(model: RunnableModel, folder: Path, reporter: Reporter, samples: Sequence[Inputs] = ()) -> Source:
    """The files that ``model``'s backend loads: its source, or an export of it in ``folder``, which backends share
    that load the same.

    Args:
        samples: inputs for the ranges of int8.

    Raises:
        OptkitError: if the checkpoint cannot be exported.
    """
    if not model.exported:
        return model.source
    return _export(EXPORTS[model.backend], model.source.path, folder, samples, lambda: _say(model, reporter))


def _say(model: RunnableModel, reporter: Reporter) -> None:
    reporter.say(f"exporting {model.source.path} for {model.backend}")


def _export(kind: str, checkpoint: Path, folder: Path, samples: Sequence[Inputs], say: Callable[[], None]) -> Source:
    from optkit.adapters import ctranslate2, onnxruntime, optimum
    from optkit.adapters.onnx_package import MODEL_FILE as ONNX_FILE
    from optkit.export import conversion
    from optkit.export.onnx import export_onnx
    from optkit.ir.io import MODEL_FILE

    output = folder / f"{hashlib.sha256(str(checkpoint.resolve()).encode()).hexdigest()[:16]}-{kind}"
    made = {"onnx": output / ONNX_FILE, "ir": output / MODEL_FILE, "ctranslate2": output}
    source = Source("onnx" if kind.startswith("onnx") else kind, made.get(kind, output / ONNX_FILE))
    if source.path.exists():
        return source
    if kind.startswith("onnx-"):  # int8 of the fp32 model
        plain = _export("onnx", checkpoint, folder, samples, say)
        say()
        output.mkdir()
        onnxruntime.quantize(plain.path, source.path, samples if kind == "onnx-int8" else None)
        return source
    say()
    if kind == "ctranslate2":
        ctranslate2.convert(checkpoint, output)
        return source
    output.mkdir()
    if kind == "onnx":
        export_onnx(checkpoint, output)
    else:
        conversion.convert(checkpoint, output, task=optimum.export_task(optimum.class_for(checkpoint)))
    return source
