"""Says what a Program computes together with each of its linear layers."""

from __future__ import annotations

from collections.abc import Mapping

from optkit.runtime.program import (
    Activation,
    Add,
    Affine,
    Attention,
    Bias,
    FakeQuantize,
    LayerNorm,
    Linear,
    Multiply,
    Program,
    RelativePositions,
    RMSNorm,
    Rotary,
    Step,
)
from optkit.runtime.rewriting.building import sources

_NAMES = {
    Add: "residual",
    Affine: "affine",
    Attention: "attention",
    Bias: "bias of scores",
    FakeQuantize: "fake_quantize",
    LayerNorm: "layer_norm",
    Multiply: "product",
    RMSNorm: "rms_norm",
    Rotary: "rotary",
    RelativePositions: "relative_positions",
}


def fused(program: Program, layers: Mapping[int, str]) -> dict[str, tuple[str, ...]]:
    """What is computed together with each layer, by its name.

    Args:
        layers: names of the layers by the targets of their steps.
    """
    readers: dict[int, list[Step]] = {}
    for step in program.steps:
        for source in sources(step):
            readers.setdefault(source, []).append(step)
    found: dict[str, dict[str, None]] = {}
    for step in program.steps:
        if isinstance(step, Linear):
            beside = [each for each in readers[step.source] if isinstance(each, Linear)]
            names = ["shared input"] * (len(beside) > 1) + ["bias"] * (step.bias is not None)
            names += _following(step.target, readers, program.outputs)
            found.setdefault(layers[step.target], {}).update(dict.fromkeys(names))
    return {name: tuple(names) for name, names in found.items()}


def _following(value: int, readers: Mapping[int, list[Step]], outputs: list[int]) -> list[str]:
    """The steps that work on ``value`` and on nothing else in turn, up to the next linear layer or attention."""
    names = []
    while value not in outputs and len(readers.get(value, [])) == 1 and not isinstance(readers[value][0], Linear):
        step = readers[value][0]
        names.append(step.kind if isinstance(step, Activation) else _NAMES[type(step)])
        if isinstance(step, Attention):
            break
        value = step.target
    return names
