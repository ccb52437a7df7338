"""Inputs to time a model with: of a shape that is asked for where the model leaves it open."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from optkit.ir.shapes import image_shape

if TYPE_CHECKING:
    import openvino


def input_shapes(model: openvino.Model, shape: tuple[int, int]) -> list[list[int]]:
    """Static shapes of the model's inputs for ``shape`` (batch, length); sizes that the model fixes stay."""
    batch, length = shape
    found = []
    for port in model.inputs:
        partial = port.get_partial_shape()
        if partial.rank.is_dynamic:
            found.append([batch, length])
            continue
        wanted = [batch] + (image_shape(model, port)[1:] if len(partial) == 4 else [length] * (len(partial) - 1))
        found.append([size.get_length() if size.is_static else use for size, use in zip(partial, wanted)])
    return found


def feeds(model: openvino.Model, shape: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """An array for each input: masks of ones, segments of zeros, positions, tokens at random, numbers around 0."""
    rng = np.random.default_rng(seed)
    return [_feed(port, sizes, rng) for port, sizes in zip(model.inputs, input_shapes(model, shape))]


def _feed(port: openvino.Output, sizes: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    dtype = np.dtype(port.get_element_type().to_dtype())
    name = " ".join(sorted(port.get_names())).lower()
    if dtype.kind == "b" or "mask" in name:
        return np.ones(sizes, dtype)
    if dtype.kind == "f":
        return rng.normal(size=sizes).astype(dtype)
    if "type" in name or "segment" in name:
        return np.zeros(sizes, dtype)
    if "position" in name:
        return np.broadcast_to(np.arange(sizes[-1], dtype=dtype), sizes).copy()
    return rng.integers(1, 100, sizes).astype(dtype)


def described(model: openvino.Model, shape: tuple[int, int]) -> str:
    """``shape`` in words: 1 x 128 tokens, or 1 x 3 x 224 x 224 pixels."""
    images = [sizes for sizes in input_shapes(model, shape) if len(sizes) == 4]
    return " x ".join(map(str, images[0] if images else shape)) + (" pixels" if images else " tokens")


def tokens_of(model: openvino.Model, shape: tuple[int, int]) -> dict[str, int]:
    """How many tokens go through each MatMul at ``shape``; empty if the model cannot take it."""
    fixed = model.clone()
    try:
        fixed.reshape(dict(zip(fixed.inputs, map(list, input_shapes(model, shape)))))
    except RuntimeError:
        return {}
    found = {}
    for node in fixed.get_ops():
        if node.get_type_name() == "MatMul" and node.get_output_partial_shape(0).is_static:
            found[node.get_friendly_name()] = max(prod(node.get_output_shape(0)[:-1]), 1)
    return found
