"""The same checkpoint as a tagged ONNX model, int8 where the recipe asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.stages import export, qat

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "onnx", "onnx"


def needed(job: Job) -> bool:
    return "onnx" in job.recipe.export.formats


def key(job: Job) -> str:
    return job.key(exported=export.key(job))


def label(job: Job) -> str:
    """What its scores are called."""
    return "int8 onnx" if job.recipe.quantize else "onnx"


def load(job: Job) -> Any:
    """The model, called as a transformers model is."""
    from optkit.adapters.onnxruntime import OnnxModel

    return export.one_shape(job, OnnxModel(job.path(FOLDER)))


def run(job: Job, stage: Stage) -> None:
    """Adds ``opset`` and ``layers``, the number of linear layers, to the stage's facts."""
    from optkit.export.onnx import export_onnx

    quantize = job.recipe.quantize
    result = export_onnx(
        qat.folder(job),
        stage.folder,
        rules=job.rules,
        calibration=job.calibration(quantize.calibration.samples) if quantize else (),
        quantization=quantize.build() if quantize else None,
        # What accuracy control gave back to fp32, too.
        fp32=job.run.facts(export.NAME).get("quantization", {}).get("fp32", ()),
        shape=export.shape(job),
        recipe_hash=job.recipe.hash(),
        seed=job.recipe.seed,
    )
    stage.facts |= {"opset": result.opset, "layers": len(result.tags.layers)}
