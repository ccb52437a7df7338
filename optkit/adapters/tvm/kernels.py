"""Products with block-sparse matrices in TensorIR, TVM's language of loops (Feng et al. 2022, arXiv 2207.04296).

A matrix is in block compressed sparse rows (BSR, as in Saad 2003, Iterative Methods for Sparse Linear Systems, 3.4).
Tokens are the lanes of a vector: a task keeps the outputs of a row of blocks for some vectors of tokens in registers
and walks over the blocks, each of whose inputs is loaded once and multiplied by the block's weights of all outputs.
Inputs and outputs are therefore (features, tokens): whoever writes or reads them transposes on the way.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T


def _accumulators(lanes: int) -> int:
    """Vectors that a task adds up in, of the 32 (or, with fewer than 16 lanes, 16) that a core of x86-64 has: what is
    left is for the inputs.
    """
    return 16 if lanes == 16 else 8


def lanes_for(tokens: int, width: int) -> int:
    """float32 numbers of a vector: at most ``width``, and a divisor of ``tokens``."""
    return max(lanes for lanes in (1, 2, 4, 8, 16) if lanes <= width and tokens % lanes == 0)


def outputs_for(rows: int, lanes: int) -> int:
    """Outputs of a block that a task keeps at a time, a divisor of ``rows``: taller blocks are taken in slices, as not
    all of their outputs fit into registers.
    """
    return max(part for part in range(1, min(rows, _accumulators(lanes)) + 1) if rows % part == 0)


def vectors_for(tokens: int, lanes: int, rows: int) -> int:
    """Vectors of tokens that a task keeps for each of ``rows`` outputs."""
    most = max(_accumulators(lanes) // rows, 1)
    return max(count for count in range(1, most + 1) if (tokens // lanes) % count == 0)


def block_sparse_product(*, tokens: int, shape: tuple[int, int], block: tuple[int, int], width: int) -> Any:
    """A PrimFunc that multiplies: outputs (out, tokens) = matrix (out, in) x inputs (in, tokens) + bias (out,).

    Its arguments are inputs, ``starts`` (out / rows + 1,) and ``columns`` (blocks,) as int32, values (blocks, columns,
    rows), bias and outputs; ``columns`` holds the first input of each block, and the blocks of row ``r`` are those from
    ``starts[r]`` to ``starts[r + 1]``.

    Args:
        tokens: columns of inputs and outputs.
        shape: (out, in) of the matrix.
        block: rows and columns of a block.
        width: float32 numbers of the CPU's widest vector.
    """
    (outputs, inputs), (rows, cols) = shape, block
    lanes = lanes_for(tokens, width)
    held = outputs_for(rows, lanes)
    slices = rows // held
    vectors = vectors_for(tokens, lanes, held)
    panel = vectors * lanes
    panels, tasks = tokens // panel, outputs // rows

    @T.prim_func(private=True, s_tir=True)
    def product(
        x: T.Buffer((inputs, tokens), "float32"),
        starts: T.Buffer((tasks + 1,), "int32"),
        columns_: T.handle,
        values_: T.handle,
        bias: T.Buffer((outputs,), "float32"),
        y: T.Buffer((outputs, tokens), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        blocks = T.int64()
        columns = T.match_buffer(columns_, (blocks,), "int32")
        values = T.match_buffer(values_, (blocks, cols, rows), "float32")
        for number in T.parallel(panels * tasks):
            with T.sblock("product"):
                task = T.axis.spatial(panels * tasks, number)
                T.reads(
                    x[0:inputs, 0:tokens], starts[0 : tasks + 1], columns[0:blocks], values[0:blocks, 0:cols, 0:rows]
                )
                T.writes(y[0:outputs, 0:tokens])
                for part in range(slices):
                    sums = T.alloc_buffer((held * panel,), "float32", scope="local")
                    for row in T.unroll(held):
                        for vector in T.unroll(vectors):
                            for lane in T.vectorized(lanes):
                                sums[row * panel + vector * lanes + lane] = bias[
                                    task % tasks * rows + part * held + row
                                ]
                    for at in range(starts[task % tasks], starts[task % tasks + 1]):
                        for col in T.unroll(cols):
                            for row in T.unroll(held):
                                for vector in T.unroll(vectors):
                                    for lane in T.vectorized(lanes):
                                        sums[row * panel + vector * lanes + lane] = (
                                            sums[row * panel + vector * lanes + lane]
                                            + values[at, col, part * held + row]
                                            * x[columns[at] + col, task // tasks * panel + vector * lanes + lane]
                                        )
                    for row in T.unroll(held):
                        for vector in T.unroll(vectors):
                            for lane in T.vectorized(lanes):
                                y[
                                    task % tasks * rows + part * held + row,
                                    task // tasks * panel + vector * lanes + lane,
                                ] = sums[row * panel + vector * lanes + lane]

    return product


def transposition(*, rows: int, columns: int, lanes: int) -> Any:
    """A PrimFunc that transposes (rows, columns) in tiles of ``lanes`` x ``lanes``, which divide both: a tile is read
    and written in whole vectors, and turned in registers.
    """
    across = columns // lanes
    tiles = rows // lanes * across

    @T.prim_func(private=True, s_tir=True)
    def transpose(x: T.Buffer((rows, columns), "float32"), y: T.Buffer((columns, rows), "float32")):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        for number in T.parallel(tiles):
            with T.sblock("transpose"):
                at = T.axis.spatial(tiles, number)
                T.reads(x[0:rows, 0:columns])
                T.writes(y[0:columns, 0:rows])
                tile = T.alloc_buffer((lanes * lanes,), "float32", scope="local")
                for row in T.unroll(lanes):
                    for lane in T.vectorized(lanes):
                        tile[row * lanes + lane] = x[at // across * lanes + row, at % across * lanes + lane]
                for column in T.unroll(lanes):
                    for lane in T.vectorized(lanes):
                        y[at % across * lanes + column, at // across * lanes + lane] = tile[lane * lanes + column]

    return transpose
