"""Makes a Program step by step, and folds a step into the one before where that computes the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

import numpy as np

from optkit.runtime.program import (
    Add,
    Affine,
    Attention,
    Bias,
    FakeQuantize,
    LayerNorm,
    Linear,
    Multiply,
    PackedWeights,
    Program,
    Quantization,
    RelativePositions,
    RMSNorm,
    Rotary,
    Step,
)

_VALUES = (
    *("source", "left", "right", "cosines", "sines", "query", "key", "value", "mask", "content", "table", "places"),
    "target",
)


@dataclass
class Builder:
    """A Program in the making. Values are numbered as they are made; ``finish`` leaves out those of no use.

    Attributes:
        inputs: values that are given.
        shared: values that not only the next step reads, so that nothing may be folded into the steps that make them.
        layers: names of linear layers by their targets.
    """

    inputs: list[int] = field(default_factory=list)
    shared: set[int] = field(default_factory=set)
    layers: dict[int, str] = field(default_factory=dict)
    _features: list[int] = field(default_factory=list)
    _steps: dict[int, Step] = field(default_factory=dict)

    def input(self, features: int) -> int:
        """A new value that is given; a mask if it has no features."""
        self.inputs.append(self._value(features))
        return self.inputs[-1]

    def step(self, features: int, make: Callable[[int], Step]) -> int:
        """Adds the step that ``make`` returns for its target, a new value, and returns that."""
        target = self._value(features)
        self._steps[target] = make(target)
        return target

    def alike(self, source: int, make: Callable[[int], Step]) -> int:
        """``step`` for as many features as ``source`` has."""
        return self.step(self._features[source], make)

    def affine(self, source: int, scale: np.ndarray | float | None, shift: np.ndarray | None) -> int:
        """``source * scale + shift``, as bias of a linear layer or gamma and beta of a LayerNorm where it is one."""
        if isinstance(scale, float):
            scale = np.full(self._features[source], scale, np.float32)
        made = None if source in self.shared else self._steps.get(source)
        folded = None if made is None else _with_affine(made, scale, shift)
        if folded is None:
            return self.alike(source, lambda target: Affine(source, target, scale, shift))
        self._steps[source] = folded
        return source

    def linear(
        self,
        source: int,
        weights: PackedWeights,
        scales: np.ndarray | None,
        quantization: Quantization | None,
        name: str,
    ) -> int:
        """A linear layer without bias. It reads what a FakeQuantize of its own range was made from."""
        made = self._steps.get(source)
        if isinstance(made, FakeQuantize) and quantization is not None and _same_levels(made, quantization):
            source = made.source
        target = self.step(weights.shape[0], lambda target: Linear(source, target, weights, scales, None, quantization))
        self.layers[target] = name
        return target

    def finish(self, outputs: list[int]) -> Program:
        """The Program that returns ``outputs``; ``layers`` follows its numbers."""
        live = set(outputs)
        for step in reversed(self._steps.values()):
            if step.target in live:
                live.update(sources(step))
        kept = [value for value in range(len(self._features)) if value in live]
        number = {value: i for i, value in enumerate(kept)}
        self.layers = {number[value]: name for value, name in self.layers.items() if value in live}
        return Program(
            features=[self._features[value] for value in kept],
            inputs=[number[value] for value in self.inputs],
            outputs=[number[value] for value in outputs],
            steps=[_renumbered(step, number) for step in self._steps.values() if step.target in live],
        )

    def _value(self, features: int) -> int:
        self._features.append(features)
        return len(self._features) - 1


def sources(step: Step) -> tuple[int, ...]:
    """The values that ``step`` reads."""
    match step:
        case Add() | Multiply() | Bias():
            return step.left, step.right
        case Rotary():
            return step.source, step.cosines, step.sines
        case RelativePositions():
            return step.content, step.table, step.places
        case Attention(mask=None):
            return step.query, step.key, step.value
        case Attention():
            return step.query, step.key, step.value, step.mask
    return (step.source,)


def _renumbered(step: Step, number: dict[int, int]) -> Step:
    names = [each.name for each in fields(step) if each.name in _VALUES and getattr(step, each.name) is not None]
    return replace(step, **{name: number[getattr(step, name)] for name in names})


def _same_levels(step: FakeQuantize, quantization: Quantization) -> bool:
    own = (quantization.low, quantization.high, 256)
    return quantization.channel_scale is None and (step.low, step.high, step.levels) == own


def _with_affine(step: Step, scale: np.ndarray | None, shift: np.ndarray | None) -> Step | None:
    """``step`` with ``* scale + shift`` after it, if it can do that itself."""
    match step:
        case Linear() if scale is None:
            return replace(step, bias=_sum(step.bias, shift))
        case LayerNorm():
            return replace(step, gamma=_product(step.gamma, scale), beta=_sum(_scaled(step.beta, scale), shift))
        case RMSNorm() if shift is None:
            return replace(step, gamma=_product(step.gamma, scale))
        case Affine():
            return replace(step, scale=_product(step.scale, scale), shift=_sum(_scaled(step.shift, scale), shift))
    return None


def _product(left: np.ndarray | None, right: np.ndarray | None) -> np.ndarray | None:
    return right if left is None else left if right is None else left * right


def _scaled(left: np.ndarray | None, scale: np.ndarray | None) -> np.ndarray | None:
    return left if left is None or scale is None else left * scale


def _sum(left: np.ndarray | None, right: np.ndarray | None) -> np.ndarray | None:
    return right if left is None else left if right is None else left + right
