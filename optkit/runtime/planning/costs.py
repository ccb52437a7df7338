"""What a linear layer costs by each kernel and in OpenVINO, by a model: figures of a kind of CPU, not of this one.

All are cycles of one core. Quantizing the inputs and storing the outputs is left out: both sides do it.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping

from optkit.runtime import extension
from optkit.runtime.instruction_sets import Rates
from optkit.runtime.program import Kernel

#: Tokens that a kernel works on at a time. It does as much for one, or half of it for no more than half.
LANES = 32
#: Of weights that come from beyond the first-level cache, which is all that counts for a handful of tokens.
BYTES_PER_CYCLE = 8.0
#: OpenVINO's int8 with AMX by the tokens that go through a layer, on the machine of avx512vnni's rates with AMX: 34
#: over the density of 1x4 blocks at which whole models take equally long, on a line through their times at 80 and 95 %.
#: OpenVINO's own profile at 128 tokens says 95, and on an Intel Xeon of 3.7 GHz its multiply-adds a second over those
#: of 1x4 blocks, times 34, are 56 at 16 tokens, 50 at 32, 92 at 128 and 134 at 384. 16 tokens are that machine's, since
#: the models were timed before threads shared a tile.
AMX_INT8 = {16: 56.0, 17: 67.0, 32: 67.0, 128: 92.0, 384: 157.0, 1024: 135.0}


def rates(isa: str, amx: bool = False) -> Rates:
    """Of the kernels for ``isa``, from the library's table (csrc/isa/sets.def).

    Args:
        amx: whether OpenVINO has AMX.

    Raises:
        OptkitError: for an instruction set without a row.
    """
    row = extension.instruction_set(isa)
    return row.rates_with_amx if amx and row.rates_with_amx else row.rates


def amx_int8(tokens: int) -> float:
    """``AMX_INT8`` for ``tokens``, on a line between two that were measured."""
    counts = sorted(AMX_INT8)
    above = bisect.bisect_left(counts, tokens)
    if above in (0, len(counts)):
        return AMX_INT8[counts[min(above, len(counts) - 1)]]
    low, high = counts[above - 1], counts[above]
    return AMX_INT8[low] + (AMX_INT8[high] - AMX_INT8[low]) * (tokens - low) / (high - low)


def stored_weights(shape: tuple[int, int], block4_densities: Mapping[int, float], rows: int) -> float:
    """Weights of a layer of ``shape`` (out, in) in its blocks of ``rows`` outputs x 4 inputs that hold a non-zero."""
    return -(-shape[0] // rows) * rows * (-(-shape[1] // 4) * 4) * block4_densities[rows]


def padded_weights(stored: float, shape: tuple[int, int], rows: int, isa: str) -> float:
    """``stored`` weights in blocks of ``rows`` outputs x 4 inputs with the zeros that fill up a kernel's last step.

    A kernel of ``isa`` that takes several blocks at once leaves half a step empty on average, but a whole row of
    blocks is no longer than its inputs.
    """
    step = extension.instruction_set(isa).together.get(rows, 1)
    per_row = 4 * rows * -(-shape[0] // rows)
    blocks = stored / per_row
    return per_row * min(blocks + (step - 1) / 2, -(-shape[1] // (4 * step)) * step) if blocks else 0.0


def kernel_cost(
    kernel: Kernel,
    *,
    shape: tuple[int, int],
    density: float,
    block4_densities: Mapping[int, float],
    quantized: bool,
    tokens: int,
    isa: str,
    amx: bool,
) -> float:
    """Million cycles of one core for ``tokens`` tokens through a layer of ``shape`` (out, in).

    Args:
        density: share of weights that are not zero.
        block4_densities: share of blocks of so many outputs x 4 inputs that hold one; those are stored whole.
        quantized: whether ``element`` weights are int8; those of ``block4`` always are.
        amx: whether OpenVINO has AMX; for kernels that do not use it, this tells which kind of CPU it is.
    """
    of = rates(isa, amx)
    if kernel.name == "block4":
        stored = stored_weights(shape, block4_densities, kernel.rows)
        weights, rate = padded_weights(stored, shape, kernel.rows, isa), of.block4[kernel.rows]
    else:
        weights = shape[0] * shape[1] * density
        rate = (of.element if quantized else of.single) * (of.tall if kernel.rows >= 4 else 1.0)
    tiles, rest = divmod(tokens, LANES)
    lanes = tiles * LANES + (0 if rest == 0 else LANES // 2 if rest <= LANES // 2 else LANES)
    # Indices of two bytes come along, for each block or each weight.
    width = 1 + 2 / (4 * kernel.rows) if kernel.name == "block4" else 3.0 if quantized else 6.0
    return max(weights * lanes / rate, weights * width / BYTES_PER_CYCLE) / 1e6


def openvino_cost(*, shape: tuple[int, int], quantized: bool, tokens: int, isa: str, amx: bool) -> float:
    """Million cycles of one core for the same layer in OpenVINO, which does not look at zeros."""
    of = rates(isa, amx)
    rate = (amx_int8(tokens) if amx else of.openvino_int8) if quantized else of.openvino_fp32
    weights = shape[0] * shape[1]
    return max(weights * tokens / rate, weights * (1 if quantized else 4) / BYTES_PER_CYCLE) / 1e6
