"""Graphs of a few nodes, made by hand."""

from __future__ import annotations

import numpy as np
from rewritten import ops, ov

HIDDEN = 24


class Graph:
    """Parameters, results and linear layers in one place; every number is random, the same every time."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.parameters: list = []

    def numbers(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (self.rng.normal(size=shape) * scale).astype(np.float32)

    def tokens(self, shape=(-1, -1, HIDDEN), dtype=np.float32):
        """An input."""
        self.parameters.append(ops.parameter(list(shape), dtype, name=f"input_{len(self.parameters)}"))
        return self.parameters[-1]

    def linear(self, x, out: int = HIDDEN, name: str | None = None, *, bias: bool = True, weight=None):
        """A float32 linear layer."""
        if weight is None:
            weight = ops.constant(self.numbers(out, _features(x), scale=0.3))
        product = ops.matmul(x, weight, False, True, name=name)
        return ops.add(product, ops.constant(self.numbers(out))) if bias else product

    def quantized(self, x, out: int = HIDDEN, name: str | None = None, *, low=-4.0, high=4.1, smooth=None, levels=256):
        """An int8 linear layer as NNCF makes it."""
        if smooth is not None:
            x = ops.multiply(x, ops.constant(smooth))
        x = fake_quantize(x, low, high, levels)
        return ops.matmul(x, self.int8_weight(out, _features(x)), False, True, name=name)

    def int8_weight(self, out: int, features: int):
        """``i8 -> Convert -> Multiply``, in half the range: OpenVINO's own layers are then exact without VNNI, too."""
        values = self.rng.integers(-63, 64, (out, features)).astype(np.int8)
        scales = self.rng.uniform(0.5, 1.5, (out, 1)).astype(np.float32) / 250
        return ops.multiply(ops.convert(ops.constant(values), "f32"), ops.constant(scales))

    def model(self, *results):
        """The model that returns ``results``."""
        return ov.Model([ops.result(each) for each in results], self.parameters, "graph")

    def feed(self, *shape: int) -> dict[str, np.ndarray]:
        """Numbers for each float32 input, unknown sizes as in ``shape`` at the same place."""
        feed = {}
        for parameter in self.parameters:
            sizes = zip(parameter.get_partial_shape(), shape)
            known = [own.get_length() if own.is_static else size for own, size in sizes]
            feed[parameter.get_friendly_name()] = self.numbers(*known, HIDDEN)[..., : _features(parameter)]
        return feed


def fake_quantize(x, low, high, levels: int = 256):
    """FakeQuantize whose input and output ranges are one."""
    limits = [ops.constant(np.asarray(limit, np.float32)) for limit in (low, high, low, high)]
    return ops.fake_quantize(x, *limits, levels)


def axes(*numbers: int):
    return ops.constant(np.array(numbers, np.int64))


def scalar(number: float):
    return ops.constant(np.float32(number))


def layer_norm(graph: Graph, x):
    """MVN, gamma and beta."""
    normal = ops.mvn(x, axes(-1), True, 1e-6, "inside_sqrt")
    scaled = ops.multiply(normal, ops.constant(graph.numbers(1, 1, _features(x))))
    return ops.add(scaled, ops.constant(graph.numbers(1, 1, _features(x))))


def heads_apart(x, heads: int, order=(0, 2, 1, 3)):
    """(batch, heads, seq, d), or in another order, from (batch, seq, heads * d)."""
    apart = ops.reshape(x, axes(0, 0, heads, _features(x) // heads), True)
    return ops.transpose(apart, axes(*order))


def heads_together(x, features: int):
    """(batch, seq, features) from (batch, heads, seq, d)."""
    return ops.reshape(ops.transpose(x, axes(0, 2, 1, 3)), axes(0, 0, features), True)


def _features(x) -> int:
    shape = x.get_output_partial_shape(0)
    return shape[len(shape) - 1].get_length()
