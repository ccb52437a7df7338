"""What counting zeros finds: of each linear layer, and of the four totals that the literature knows.

"80 % sparse" has four denominators in the literature, so a report has all four, the first being the headline:
``encoder_linear`` (nn.Linear weights of the encoder's layers, see ``optkit.counting.encoder``), ``linear`` (all
nn.Linear weights), ``matmul_conv`` (all matrix-product and convolution weights) and ``all`` (all parameters).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np

from optkit.counting.encoder import Encoder
from optkit.counting.zeros import block_shares, count, detect_structure
from optkit.errors import OptkitError

DENOMINATORS = ("encoder_linear", "linear", "matmul_conv", "all")


@dataclass(frozen=True)
class Layer:
    """Zeros of one linear layer.

    Attributes:
        name: of the parameter; of the MatMul in an IR that does not say.
        shape: (out, in).
        dtype: stored number type: ``f32``, ``f16``, ``bf16``, ``i8`` ...
        blocks: share of all-zero rows, columns, and blocks of each standard shape that tiles the weight.
        structure: what explains the zeros, see ``optkit.counting.zeros.detect_structure``.
        int8_sparsity: share of zero integers, of a layer whose int8 form is known.
        tagged_sparsity: share of zeros before quantization, as the tags of an IR say.
        original_shape: (out, in) before compaction, None where it took nothing. What it took counts as zeros in
            ``original_sparsity`` and in no other share.
    """

    name: str
    shape: tuple[int, int]
    dtype: str
    zeros: int
    size: int
    blocks: dict[str, float]
    structure: str
    int8_sparsity: float | None = None
    tagged_sparsity: float | None = None
    original_shape: tuple[int, int] | None = None

    @property
    def sparsity(self) -> float:
        return self.zeros / self.size

    @property
    def removed(self) -> int:
        """Weights that compaction took."""
        return prod(self.original_shape) - self.size if self.original_shape else 0

    @property
    def original_sparsity(self) -> float:
        return (self.zeros + self.removed) / (self.size + self.removed)

    @property
    def block_sparsity(self) -> float:
        """Share of all-zero blocks of the layer's own structure."""
        return self.blocks.get(self.structure, self.sparsity)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        shares = {name: getattr(self, name) for name in ("sparsity", "block_sparsity", "original_sparsity")}
        shapes = {"shape": list(self.shape), "original_shape": self.original_shape and list(self.original_shape)}
        return {**asdict(self), **shapes, **shares}


def measure(name: str, array: np.ndarray, dtype: str, extra_blocks: Iterable[str] = ()) -> Layer:
    """The ``Layer`` of a weight ``array`` (out, in).

    Raises:
        OptkitError: if a weight is NaN.
    """
    zeros, size = count_zeros(name, array)
    shares = block_shares(array, extra_blocks)
    return Layer(name, tuple(array.shape), dtype, zeros, size, shares, detect_structure(array, shares))


def count_zeros(name: str, array: np.ndarray) -> tuple[int, int]:
    """(zeros, size) of the parameter ``name``.

    Raises:
        OptkitError: if a number in it is NaN.
    """
    try:
        return count(array)
    except ValueError as error:
        raise OptkitError(f"{name}: {error}: the training diverged, take an earlier checkpoint") from None


@dataclass(frozen=True)
class Report:
    """Sparsity of a model.

    Attributes:
        path: what was read.
        kind: ``checkpoint``, ``ir``, ``onnx``, ``run``, ``sparse folder`` or ``tvm``.
        layers: every linear layer, shared ones once.
        denominators: by the names of ``DENOMINATORS``: ``{zeros, size, sparsity}``, None where the model does not tell.
        notes: what could not be told, in words.
    """

    path: str
    kind: str
    layers: tuple[Layer, ...]
    denominators: dict[str, dict[str, float] | None]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "path": self.path,
            "kind": self.kind,
            "denominators": self.denominators,
            "layers": [layer.to_dict() for layer in self.layers],
            "notes": list(self.notes),
        }


class Totals:
    """Running sums of the denominators, each parameter counted into the groups it belongs to."""

    def __init__(self) -> None:
        self.sums = {name: [0, 0] for name in DENOMINATORS}

    def add(self, groups: Iterable[str], zeros: int, size: int) -> None:
        for group in groups:
            self.sums[group][0] += zeros
            self.sums[group][1] += size

    def add_removed(self, removed: Mapping[str, tuple[int, int]], encoder: Encoder) -> str:
        """Counts linear weights that compaction removed, and says so."""
        for name, shape in removed.items():
            self.add(denominators_of("linear", name in encoder), prod(shape), prod(shape))
        return f"compaction removed {len(removed)} linear weights altogether: they count as zeros"

    def shares(self, known: Iterable[str] = DENOMINATORS) -> dict[str, dict[str, float] | None]:
        return {
            name: {"zeros": zeros, "size": size, "sparsity": zeros / size if size else 0.0} if name in known else None
            for name, (zeros, size) in self.sums.items()
        }


def denominators_of(kind: str, in_encoder: bool) -> list[str]:
    """The totals that a parameter counts in; ``kind`` is ``linear``, ``conv`` or ``other``."""
    groups = {"linear": ["linear", "matmul_conv", "all"], "conv": ["matmul_conv", "all"], "other": ["all"]}[kind]
    return ["encoder_linear", *groups] if kind == "linear" and in_encoder else groups
