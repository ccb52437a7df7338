"""Which strength of SmoothQuant suits a model, told by the outputs.

SmoothQuant divides what an activation has too much of and multiplies the weights that read it. Where pruning has left a
row few weights, one of them can become so large that nothing remains of the others in 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optkit.adapters import nncf
from optkit.progress import SILENT, Reporter
from optkit.quantization.config import AUTO, STRENGTH, Quantization
from optkit.quantization.differences import SAMPLES, Reference

if TYPE_CHECKING:
    import openvino

#: Error of the outputs above which other strengths are tried, as a share of what they are.
NEAR = 0.08
#: What is tried then; None is none.
_OTHERS = (0.75, 0.5, None)


@dataclass(frozen=True)
class Trial:
    """A strength that was tried.

    Attributes:
        strength: alpha, None for no smoothing.
        error: of the outputs: root mean square of the difference over that of the fp32 outputs.
    """

    strength: float | None
    error: float


@dataclass(frozen=True)
class Smoothing:
    """What was chosen, ``strength``, and what was tried, ``STRENGTH`` first."""

    strength: float | None
    trials: tuple[Trial, ...]


def choose(
    model: openvino.Model,
    samples: Sequence[Mapping[str, Any]],
    quantization: Quantization,
    made: Callable[[Quantization], openvino.Model],
    reporter: Reporter = SILENT,
) -> tuple[openvino.Model, Quantization, Smoothing | None]:
    """The quantized model, ``quantization`` with a strength in the place of ``auto``, and what was tried for it.

    ``STRENGTH`` is taken where the outputs on the first ``SAMPLES`` calibration samples are off by no more than
    ``NEAR``; else the strength, or none, whose outputs are off least.

    Args:
        model: fp32.
        samples: what ``made`` calibrates by.
        made: quantizes ``model``.
        reporter: is told if another strength is taken.
    """
    if quantization.smooth_quant != AUTO:
        return made(quantization), quantization, None
    chosen = replace(quantization, smooth_quant=STRENGTH)
    found = made(chosen)
    reference = Reference(model, nncf.feeds(model, samples[:SAMPLES]))
    error = reference.error(found)
    trials = [Trial(chosen.strength, error)]
    for strength in _OTHERS if error > NEAR else ():
        other = replace(quantization, smooth_quant=strength)
        candidate = made(other)
        trials.append(Trial(strength, reference.error(candidate)))
        if trials[-1].error < error:
            found, chosen, error = candidate, other, trials[-1].error
    if chosen.smooth_quant != STRENGTH:
        said = "without SmoothQuant" if chosen.smooth_quant is None else f"with SmoothQuant {chosen.smooth_quant:g}"
        reporter.say(f"  int8 {said}: outputs are off by {error:.0%}, with {STRENGTH:g} by {trials[0].error:.0%}")
    return found, chosen, Smoothing(chosen.strength, tuple(trials))
