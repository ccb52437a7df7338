"""Which layers are worth a block-sparse product in TVM, in which blocks, and their weights in that form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optkit.counting.zeros import live_blocks

#: Time for each stored weight, transpositions included, where 1 is that of a weight of a dense product, by the blocks
#: that are offered: as scripts/tvm_products.py measures it, see docs/tvm.md.
COSTS = {(1, 1): 3.1, (1, 4): 3.1, (4, 1): 2.1, (4, 4): 2.1, (16, 1): 2.1, (16, 4): 2.1, (32, 1): 2.0}
#: Of the time of the dense product, what a block-sparse one may take: other CPUs have somewhat other costs.
_WORTH = 0.8


@dataclass(frozen=True)
class PackedLayer:
    """A matrix in block compressed sparse rows (BSR: Saad 2003, Iterative Methods for Sparse Linear Systems, 3.4).

    Attributes:
        shape: (out, in).
        block: rows and columns of a block.
        starts: int32 (out / rows + 1,): where the blocks of each row of blocks begin, and where the last ones end.
        columns: int32 (blocks,): the first input of each block.
        values: float32 (blocks, columns, rows): the blocks, transposed.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    @property
    def form(self) -> str:
        return f"{self.block[0]}x{self.block[1]}"

    @property
    def density(self) -> float:
        """Share of the weights that are stored."""
        return self.values.size / (self.shape[0] * self.shape[1])

    def unpack(self) -> np.ndarray:
        """The matrix (out, in)."""
        (rows, cols), matrix = self.block, np.zeros(self.shape, np.float32)
        for row, (start, end) in enumerate(zip(self.starts, self.starts[1:])):
            for column, values in zip(self.columns[start:end], self.values[start:end]):
                matrix[row * rows : (row + 1) * rows, column : column + cols] = values.T
        return matrix


def pack(weight: np.ndarray) -> PackedLayer | None:
    """The layer in the blocks that should take least time; None where a dense product should take no more.

    Args:
        weight: (out, in), float32.
    """
    alive, (outputs, inputs) = weight != 0, weight.shape

    def cost(block: tuple[int, int]) -> float:
        return COSTS[block] * float(np.mean(live_blocks(alive, *block)))

    tiling = [(rows, cols) for rows, cols in COSTS if not (outputs % rows or inputs % cols)]
    best = min(tiling, key=lambda block: (cost(block), -block[0] * block[1]))
    return pack_blocks(weight, best) if cost(best) < _WORTH else None


def pack_blocks(weight: np.ndarray, block: tuple[int, int]) -> PackedLayer:
    """The layer in blocks of this shape, which tiles it."""
    (outputs, inputs), (rows, cols) = weight.shape, block
    live = live_blocks(weight != 0, rows, cols)
    if not live.any():
        live[0, 0] = True  # arrays without elements cannot be arguments
    tiles = weight.reshape(outputs // rows, rows, inputs // cols, cols).swapaxes(1, 2)
    starts = np.concatenate([[0], np.cumsum(live.sum(1))]).astype(np.int32)
    columns = (np.nonzero(live)[1] * cols).astype(np.int32)
    values = np.ascontiguousarray(tiles[live].swapaxes(1, 2), dtype=np.float32)
    return PackedLayer((outputs, inputs), block, starts, columns, values)
