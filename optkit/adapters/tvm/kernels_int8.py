"""Block-sparse products in int8, by the instruction of AVX-512 VNNI that adds up products of four pairs of bytes.

As in ``optkit.adapters.tvm.kernels`` tokens are the lanes of a vector. A lane holds four inputs of its token, as bytes
in an int32; four weights of an output are an int32 that all lanes are multiplied by. Sums are exact. Weights have a
scale for each output, inputs one for each token, which is computed of the inputs.
"""

from __future__ import annotations

from typing import Any

from tvm.script import tirx as T

from optkit.adapters.tvm.kernels import outputs_for, vectors_for

#: Tokens of a vector, inputs of a lane, and what is added to inputs, as the instruction takes them without a sign.
LANES, GROUP, ZERO = 16, 4, 128


def quantization(*, tokens: int, inputs: int) -> Any:
    """A PrimFunc that quantizes inputs (in, tokens): its outputs are int32 (in / 4, tokens), four bytes in each, and
    the scales (tokens,) by which a token's numbers are divided.
    """
    groups, panels = inputs // GROUP, tokens // LANES

    @T.prim_func(private=True, s_tir=True)
    def quantize(
        x: T.Buffer((inputs, tokens), "float32"),
        packed: T.Buffer((groups, tokens), "int32"),
        scales: T.Buffer((tokens,), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        for number in T.parallel(panels):
            with T.sblock("quantize"):
                panel = T.axis.spatial(panels, number)
                T.reads(x[0:inputs, 0:tokens])
                T.writes(packed[0:groups, 0:tokens], scales[0:tokens])
                largest = T.alloc_buffer((LANES,), "float32", scope="local")
                factors = T.alloc_buffer((LANES,), "float32", scope="local")
                for lane in T.vectorized(LANES):
                    largest[lane] = T.float32(1e-30)
                for row in range(inputs):
                    for lane in T.vectorized(LANES):
                        largest[lane] = T.max(largest[lane], T.fabs(x[row, panel * LANES + lane]))
                for lane in T.vectorized(LANES):
                    scales[panel * LANES + lane] = largest[lane] / T.float32(127)
                    factors[lane] = T.float32(127) / largest[lane]
                for group in range(groups):
                    for lane in T.vectorized(LANES):
                        packed[group, panel * LANES + lane] = (
                            _byte(x[group * GROUP, panel * LANES + lane] * factors[lane])
                            | _byte(x[group * GROUP + 1, panel * LANES + lane] * factors[lane]) << 8
                            | _byte(x[group * GROUP + 2, panel * LANES + lane] * factors[lane]) << 16
                            | _byte(x[group * GROUP + 3, panel * LANES + lane] * factors[lane]) << 24
                        )

    return quantize


def _byte(number: Any) -> Any:
    return T.Cast("int32", T.nearbyint(number)) + ZERO


def block_sparse_product_int8(*, tokens: int, shape: tuple[int, int], block: tuple[int, int]) -> Any:
    """A PrimFunc that multiplies: outputs (out, tokens) = matrix (out, in) x inputs (in, tokens) + bias (out,).

    Its arguments are inputs as ``quantization`` packs them; ``starts`` (out / rows + 1,) and ``columns`` (blocks,) as
    int32, values int32 (blocks, columns / 4, rows), four weights in each; scales and offsets (out,) of the outputs; the
    tokens' scales, bias and outputs. ``columns`` holds the first four inputs of each block, counted in fours.

    Args:
        tokens: a multiple of 16.
        shape: (out, in) of the matrix.
        block: rows and columns of a block; the columns are a multiple of 4.
    """
    (outputs, inputs), (rows, cols) = shape, block
    groups, across = inputs // GROUP, cols // GROUP
    held = outputs_for(rows, LANES)
    slices = rows // held
    vectors = vectors_for(tokens, LANES, held)
    panel = vectors * LANES
    panels, tasks = tokens // panel, outputs // rows

    @T.prim_func(private=True, s_tir=True)
    def product(
        x: T.Buffer((groups, tokens), "int32"),
        starts: T.Buffer((tasks + 1,), "int32"),
        columns_: T.handle,
        values_: T.handle,
        scales: T.Buffer((outputs,), "float32"),
        offsets: T.Buffer((outputs,), "float32"),
        token_scales: T.Buffer((tokens,), "float32"),
        bias: T.Buffer((outputs,), "float32"),
        y: T.Buffer((outputs, tokens), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "tirx.is_scheduled": True, "op_pattern": 8})
        blocks = T.int64()
        columns = T.match_buffer(columns_, (blocks,), "int32")
        values = T.match_buffer(values_, (blocks, across, rows), "int32")
        for number in T.parallel(panels * tasks):
            with T.sblock("product"):
                task = T.axis.spatial(panels * tasks, number)
                T.reads(
                    x[0:groups, 0:tokens],
                    starts[0 : tasks + 1],
                    columns[0:blocks],
                    values[0:blocks, 0:across, 0:rows],
                    scales[0:outputs],
                    offsets[0:outputs],
                    token_scales[0:tokens],
                    bias[0:outputs],
                )
                T.writes(y[0:outputs, 0:tokens])
                for part in range(slices):
                    sums = T.alloc_buffer((held * panel,), "int32", scope="local")
                    for row in T.unroll(held):
                        for vector in T.unroll(vectors):
                            for lane in T.vectorized(LANES):
                                sums[row * panel + vector * LANES + lane] = 0
                    for at in range(starts[task % tasks], starts[task % tasks + 1]):
                        for col in T.unroll(across):
                            for row in T.unroll(held):
                                for vector in T.unroll(vectors):
                                    sums[T.ramp(row * panel + vector * LANES, 1, LANES)] = T.call_llvm_pure_intrin(
                                        "llvm.x86.avx512.vpdpbusd.512",
                                        sums[T.ramp(row * panel + vector * LANES, 1, LANES)],
                                        T.reinterpret(
                                            x[
                                                columns[at] + col,
                                                T.ramp(task // tasks * panel + vector * LANES, 1, LANES),
                                            ],
                                            dtype="uint8x64",
                                        ),
                                        T.reinterpret(
                                            T.broadcast(values[at, col, part * held + row], LANES), dtype="int8x64"
                                        ),
                                        dtype="int32x16",
                                    )
                    for row in T.unroll(held):
                        for vector in T.unroll(vectors):
                            for lane in T.vectorized(LANES):
                                y[
                                    task % tasks * rows + part * held + row,
                                    task // tasks * panel + vector * LANES + lane,
                                ] = (
                                    T.Cast("float32", sums[row * panel + vector * LANES + lane])
                                    * scales[task % tasks * rows + part * held + row]
                                    + offsets[task % tasks * rows + part * held + row]
                                ) * token_scales[task // tasks * panel + vector * LANES + lane] + bias[
                                    task % tasks * rows + part * held + row
                                ]

    return product
