"""int8 of an OpenVINO model as a recipe asks for it: which layers, how, and how much may be lost.

The engine is NNCF (``adapters.nncf``); here is what to ask of it, in names of torch modules, and the loop around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optkit.adapters import nncf
from optkit.errors import ExportError
from optkit.progress import SILENT, Reporter
from optkit.quantization.config import Quantization
from optkit.quantization.operations import check_finite, operations, select
from optkit.quantization.sensitivity import Sensitivity, measure_sensitivity
from optkit.quantization.smoothing import Smoothing, choose

if TYPE_CHECKING:
    import openvino

#: Points that two sums of the same scores may lie apart.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Control:
    """What accuracy control did.

    Attributes:
        limit: points that may be lost.
        reference: score of the fp32 model, in [0, 1].
        before: points lost with everything quantized that the options allow.
        after: points lost by the result.
        tried: how many quantized models were made and scored.
    """

    limit: float
    reference: float
    before: float
    after: float
    tried: int


@dataclass(frozen=True)
class Quantized:
    """A quantized model and what is to be said of it.

    Attributes:
        model: int8.
        fp32: modules that stayed fp32, those that were ``ignored`` first. As ``ignored`` they give this very model.
        control: None without ``max_drop``.
        sensitivity: None where it was neither asked for nor needed.
        smoothing: how SmoothQuant's strength was found; None where it was given.
    """

    model: openvino.Model
    fp32: tuple[str, ...] = ()
    control: Control | None = None
    sensitivity: Sensitivity | None = None
    smoothing: Smoothing | None = None


def quantize(
    model: openvino.Model,
    samples: Sequence[Mapping[str, Any]],
    quantization: Quantization,
    *,
    parameters: Mapping[str, str] | None = None,
    score: Callable[[openvino.Model], float] | None = None,
    reporter: Reporter = SILENT,
) -> Quantized:
    """An int8 copy of ``model`` as ``quantization`` says.

    Args:
        model: fp32.
        samples: tokenised inputs by name, unpadded, each fed as a batch of one; all are used.
        parameters: the checkpoint's parameter by the MatMul's name, as ``ir.layers.map_parameters`` gives it; other
            operations are known by the module that their name tells.
        score: of a model, in [0, 1], the higher the better; ``max_drop`` needs it.
        reporter: hears of each thing that takes time, and how far it is.

    Raises:
        ExportError: if there are no samples, they lack an input, a weight is NaN, a pattern matches nothing, NNCF
            fails, or nothing keeps ``max_drop``.
    """
    if quantization.max_drop is not None and score is None:
        raise ExportError("max_drop needs something that scores a model: give `evaluate`, or leave max_drop out")
    check_finite(model)
    of_modules = operations(model, parameters or {}, weights_only=quantization.weights_only)
    ignored = select(quantization.ignored, of_modules)

    def made(quantization: Quantization, modules: Collection[str] = ignored) -> openvino.Model:
        names = [name for module in modules for name in of_modules[module]]
        with reporter.task("calibrating") as bar:
            return nncf.quantize_int8(model, samples, quantization=quantization, ignored=names, tell=bar.advance)

    first, quantization, smoothing = choose(model, samples, quantization, made, reporter)
    table = None

    def measured() -> Sensitivity:
        nonlocal table
        if table is None:
            with reporter.task("sensitivity of layers") as bar:
                more: dict[str, Any] = {"parameters": parameters, "tell": bar.advance}
                table = measure_sensitivity(model, samples, quantization, **more)
        return table

    if quantization.sensitivity:
        measured()
    if quantization.max_drop is None or score is None:
        return Quantized(first, tuple(ignored), None, table, smoothing)
    reference = score(model)
    lost = lambda candidate: 100.0 * (reference - score(candidate))  # noqa: E731
    before = lost(first)
    control = Control(quantization.max_drop, reference, before, before, 1)
    reporter.say(f"  int8 loses {before:.2f} points, {quantization.max_drop:g} are allowed")
    if before <= quantization.max_drop + _ROUNDING:
        return Quantized(first, tuple(ignored), control, table, smoothing)
    ranking = [layer.module for layer in measured().layers]
    result, back, after, tried = _within(
        quantization.max_drop, ranking, lambda modules: made(quantization, [*ignored, *modules]), lost, reporter
    )
    control = replace(control, after=after, tried=1 + tried)
    return Quantized(result, (*ignored, *back), control, table, smoothing)


def _within(
    limit: float,
    ranking: Sequence[str],
    made: Callable[[Sequence[str]], openvino.Model],
    lost: Callable[[openvino.Model], float],
    reporter: Reporter,
) -> tuple[openvino.Model, list[str], float, int]:
    """The fewest of the first of ``ranking`` in fp32 with which ``limit`` is kept: 1, 2, 4 ... until it is, then
    halving what lies between. None in fp32 is known to be too few.

    Returns:
        the model, those modules, the points that it loses, and how many models were tried.

    Raises:
        ExportError: if not even all of them suffice.
    """
    tried: dict[int, float] = {}
    found: tuple[openvino.Model, int] | None = None
    too_few, count = 0, min(1, len(ranking))
    while found is None or found[1] - too_few > 1:
        candidate = made(ranking[:count])
        tried[count] = lost(candidate)
        reporter.say(f"  {count} of {len(ranking)} layers in fp32: {tried[count]:.2f} points lost")
        if tried[count] <= limit + _ROUNDING:
            found = (candidate, count)
        elif count == len(ranking):
            raise ExportError(
                f"max_drop: {tried[count]:.2f} points are lost even with every layer in fp32, {limit:g} are allowed: "
                "is the score the same at each call?"
            )
        else:
            too_few = count
        count = min(2 * max(count, 1), len(ranking)) if found is None else (too_few + found[1]) // 2
    return found[0], list(ranking[: found[1]]), tried[found[1]], len(tried)
