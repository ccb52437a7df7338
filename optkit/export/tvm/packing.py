"""Which layers are worth a block-sparse product in TVM, in which blocks, and their weights in that form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from optkit.counting.zeros import live_blocks

#: Time for each stored weight, transpositions included, where 1 is that of a weight of a dense product, by the blocks
#: that are offered: as scripts/tvm_products.py measures it, see docs/tvm.md.
COSTS = {(1, 1): 3.1, (1, 4): 2.9, (4, 1): 1.7, (4, 4): 1.7, (16, 1): 1.8, (16, 4): 1.7, (32, 1): 1.6}
#: The same of products in int8, whose blocks are of four inputs of an output.
INT8_COSTS = {(1, 4): 1.3, (4, 4): 1.1, (16, 4): 1.0}
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
        values: float32 (blocks, columns, rows): the blocks, transposed. In int8: int32 (blocks, columns / 4, rows),
            four weights in each, and ``columns`` count in fours.
        scales: of int8, float32 (out,): what an output's weights are multiplied by; None in float32.
    """

    shape: tuple[int, int]
    block: tuple[int, int]
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    scales: np.ndarray | None = None

    @property
    def form(self) -> str:
        return f"{self.block[0]}x{self.block[1]}" + (" int8" if self.scales is not None else "")

    @property
    def density(self) -> float:
        """Share of the weights that are stored."""
        return len(self.columns) * self.block[0] * self.block[1] / (self.shape[0] * self.shape[1])

    @property
    def offsets(self) -> np.ndarray:
        """In int8, float32 (out,): what a sum has too much, as 128 is added to every input, times its scale."""
        weights = np.ones(1, np.float32) if self.scales is None else self.scales
        return -128 * self._integers().astype(np.int64).sum(1).astype(np.float32) * weights

    def unpack(self) -> np.ndarray:
        """The matrix (out, in), float32."""
        return self._integers() if self.scales is None else self._integers() * self.scales[:, None]

    def _integers(self) -> np.ndarray:
        """The matrix (out, in) as it is stored, without scales."""
        (rows, cols), matrix = self.block, np.zeros(self.shape, np.float32)
        columns, values = self.columns, self.values
        if self.scales is not None:  # (blocks, columns / 4, rows, 4)
            columns = columns * 4
            values = values[..., None].view(np.int8).swapaxes(2, 3).reshape(len(values), cols, rows)
        for row, (start, end) in enumerate(zip(self.starts, self.starts[1:])):
            for column, block in zip(columns[start:end], values[start:end]):
                matrix[row * rows : (row + 1) * rows, column : column + cols] = block.T
        return matrix


def pack(weight: np.ndarray, *, int8: bool = False) -> PackedLayer | None:
    """The layer in the blocks that should take least time; None where a dense product should take no more.

    Args:
        weight: (out, in), float32.
        int8: whether its products are to be in int8.
    """
    costs = INT8_COSTS if int8 else COSTS
    alive, (outputs, inputs) = weight != 0, weight.shape

    def cost(block: tuple[int, int]) -> float:
        return costs[block] * float(np.mean(live_blocks(alive, *block)))

    tiling = [(rows, cols) for rows, cols in costs if not (outputs % rows or inputs % cols)]
    best = min(tiling, key=lambda block: (cost(block), -block[0] * block[1]), default=None)
    if best is None or cost(best) >= _WORTH:
        return None
    return quantized(pack_blocks(weight, best)) if int8 else pack_blocks(weight, best)


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


def quantized(layer: PackedLayer) -> PackedLayer:
    """A float32 layer, whose blocks are of a multiple of four columns, in int8: symmetric, a scale for each output."""
    (rows, cols), (outputs, _) = layer.block, layer.shape
    largest = np.abs(layer.unpack()).max(1)
    scales = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    of_blocks = np.repeat(scales.reshape(outputs // rows, rows), np.diff(layer.starts), axis=0)
    integers = np.rint(layer.values / of_blocks[:, None, :]).astype(np.int8)  # (blocks, columns, rows)
    fours = np.ascontiguousarray(integers.reshape(-1, cols // 4, 4, rows).swapaxes(2, 3))
    columns = (layer.columns // 4).astype(np.int32)
    return PackedLayer(layer.shape, layer.block, layer.starts, columns, fours.view(np.int32)[..., 0], scales)
