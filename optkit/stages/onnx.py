"""The same checkpoint as a tagged ONNX model, int8 where the recipe asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optkit.adapters import onnx_package
from optkit.adapters.onnxruntime import OnnxModel
from optkit.export import trial
from optkit.export.onnx import export_onnx
from optkit.pipeline import serving
from optkit.pipeline.stage import Stage
from optkit.stages import export, qat

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput
    from optkit.pipeline.stage import ResolvedModel
    from optkit.quantization.config import Quantization

NAME, FOLDER = "onnx", "onnx"


def is_needed(context: RunContext) -> bool:
    return "onnx" in context.recipe.export.formats


def key(context: RunContext) -> str:
    return context.key(exported=export.key(context))


def problems(context: RunContext, resolved: ResolvedModel) -> list[str]:
    """Why no ONNX model can be written, a line at most."""
    if not is_needed(context):
        return []
    problem = onnx_package.missing()
    if problem is None and context.exports:
        config = resolved.model.config
        why = trial.onnx_problem(config, context.data.head.auto_class)
        problem = why and f"{config.model_type}: {why}"
    return [] if problem is None else [f"export.formats: onnx: {problem}"]


def load(context: RunContext) -> Any:
    """The model, called as a transformers model is."""
    return serving.one_shape(context, OnnxModel(context.path(FOLDER)))


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``opset`` and ``layers``, the number of linear layers, to the stage's facts."""
    quantize = context.recipe.quantize
    result = export_onnx(
        qat.folder(context),
        output.folder,
        rules=context.recipe.build_rules(),
        calibration=context.data.calibration(quantize.calibration.samples) if quantize else (),
        quantization=_quantization(context),
        # What accuracy control gave back to fp32, too.
        fp32=_found(context).get("fp32", ()),
        shape=serving.exported_shape(context),
        recipe_hash=context.recipe.hash(),
        seed=context.recipe.seed,
    )
    output.facts |= {"opset": result.opset, "layers": len(result.tags.layers)}


def _found(context: RunContext) -> dict[str, Any]:
    """What the quantization of the IR found, see ``stages.export``."""
    return context.run.facts(export.NAME).get("quantization", {})


def _quantization(context: RunContext) -> Quantization | None:
    """The recipe's, with the strength of SmoothQuant that was found for the IR."""
    if context.recipe.quantize is None:
        return None
    smoothing = _found(context).get("smoothing")
    quantization = context.recipe.quantize.build()
    return replace(quantization, smooth_quant=smoothing["strength"]) if smoothing else quantization


STAGE = Stage(NAME, key, run, folder=FOLDER, is_needed=is_needed, problems=problems)
