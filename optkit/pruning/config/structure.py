"""What a group of weights is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from optkit.deprecation import warn_once

#: One sentence on each structure, by the form of its name in a recipe: ``Structure.parse`` reads them.
STRUCTURES = {
    "element": "Single weights: the highest accuracy, and the hardest to make fast.",
    "RxC": "Blocks of R outputs x C inputs (1x4, 4x4, 16x4, 32x1 ...). int8 kernels read 4 inputs at once: 1x4 is the "
    "finest that they are fast on, and on some CPUs blocks up to 32x4 are faster.",
    "row": "Whole outputs of a weight.",
    "column": "Whole inputs of a weight.",
    "N:M": "Of M adjacent inputs of an output N stay (2:4 ...).",
    "head": "Attention heads: their rows of query, key and value, and their columns of the output projection.",
    "neuron": "Neurons of feed-forward layers, or with neuron:K groups of K adjacent ones.",
}


@dataclass(frozen=True)
class Structure:
    """The group of weights that lives or dies together. ``Structure.parse`` reads the names that recipes use.

    Args:
        rows, cols: of a block, outputs x inputs of a weight (out, in). ``neuron`` takes ``rows`` adjacent neurons as
            one group, and a group of ``n:m`` is 1 x ``cols``.
        kind: ``block``; ``row`` (one output) and ``column`` (one input) of a weight; ``n:m`` (``kept`` of ``cols``
            adjacent inputs stay); ``head`` (an attention head: its rows of query, key and value and its columns of the
            output projection); ``neuron`` (of a feed-forward layer: its row on the way up, gate included, and its
            column on the way down).
        kept: N of ``n:m``.
    """

    rows: int = 1
    cols: int = 1
    kind: Literal["block", "row", "column", "n:m", "head", "neuron"] = "block"
    kept: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(f"a block has at least 1 row and 1 column, got {self.rows}x{self.cols}")
        if self.kind == "n:m" and not 0 < self.kept < self.cols:
            raise ValueError(f"N of N:M is above 0 and below M, got {self.kept}:{self.cols}")

    @classmethod
    def parse(cls, text: str | Structure) -> Structure:
        """Reads ``element``, ``RxC`` (``1x4``, ``16x4`` ...), ``row``, ``column``, ``N:M`` (``2:4`` ...), ``head``,
        ``neuron`` or ``neuron:K`` (K adjacent ones, so that blocks of K inputs stay whole); else raises ValueError.
        """
        if isinstance(text, Structure):
            return text
        if text in ("row", "column", "head", "neuron"):
            return cls(kind=text)
        if text == "element":
            return cls()
        if match := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(text)):
            return cls(int(match[1]), int(match[2]))
        if match := re.fullmatch(r"neuron:([1-9]\d{0,4})", str(text)):
            return cls(rows=int(match[1]), kind="neuron")
        if match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", str(text)):
            return cls(1, int(match[2]), "n:m", int(match[1]))
        raise ValueError(
            f"unknown structure '{text}': write element, rows x columns such as 1x4, row, column, N:M such as 2:4, "
            "head or neuron"
        )

    @property
    def spans_layers(self) -> bool:
        """Whether a group holds weights of several layers."""
        return self.kind in ("head", "neuron")

    @property
    def max_sparsity(self) -> float:
        """The highest share of zeros that the structure itself can reach, in [0, 1]."""
        return 1.0 - self.kept / self.cols if self.kind == "n:m" else 1.0

    @property
    def most(self) -> float:
        """Former name of ``max_sparsity``."""
        warn_once("Structure.most is deprecated: use Structure.max_sparsity instead")
        return self.max_sparsity

    @property
    def tile(self) -> tuple[int, int] | None:
        """Rows and columns that hold whole groups when they are removed together; None where each may go by itself."""
        return None if self.kind in ("row", "column", "head", "neuron") else (self.rows, self.cols)

    def block(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a block in a weight of ``shape`` (out, in); only for block, row and column."""
        return {"row": (1, shape[1]), "column": (shape[0], 1)}.get(self.kind, (self.rows, self.cols))

    def nests_in(self, coarser: Structure) -> bool:
        """Whether every group of ``coarser`` is made of whole groups of this structure, whatever the weight's shape.

        For heads the size of one matters as well, and is held against the model.
        """
        # The higher, the finer: 3 is finer than any block but a single element.
        order = {"head": 0, "neuron": 0, "row": 1, "column": 1, "block": 2, "n:m": 3}
        if self == Structure():
            return coarser != self
        if self == coarser or order[self.kind] < 2 or order[coarser.kind] > min(order[self.kind], 2):
            return False
        return {
            "head": True,
            "neuron": coarser.rows % self.rows == 0 and coarser.rows % self.cols == 0,
            "row": self.rows == 1,
            "column": self.cols == 1,
            "block": coarser.rows % self.rows == 0 and coarser.cols % self.cols == 0,
        }[coarser.kind]

    def __str__(self) -> str:
        if self.kind == "n:m":
            return f"{self.kept}:{self.cols}"
        if self.kind == "neuron" and self.rows > 1:
            return f"neuron:{self.rows}"
        if self.kind != "block":
            return self.kind
        return "element" if (self.rows, self.cols) == (1, 1) else f"{self.rows}x{self.cols}"
