"""What a linear layer costs by each kernel and in OpenVINO, by a model: figures of a kind of CPU, not of this one.

All are cycles of one core. Quantizing the inputs and storing the outputs is left out: both sides do it.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

from optkit.runtime.program import Kernel

#: Tokens that a kernel works on at a time. It does as much for one, or half of it for no more than half.
LANES = 32
#: Of weights that come from beyond the first-level cache, which is all that counts for a handful of tokens.
BYTES_PER_CYCLE = 8.0


@dataclass(frozen=True)
class Rates:
    """Multiply-adds per cycle of one core, ours on stored weights, OpenVINO's on all.

    Attributes:
        block4, element: int8.
        single: ``element`` with float32 weights.
        openvino_int8, openvino_fp32: oneDNN's dense products.
        tall: what ``element`` gains from blocks of at least 4 outputs, which share the loads of activations.
    """

    block4: float
    element: float
    single: float
    openvino_int8: float
    openvino_fp32: float
    tall: float


# avx2 and avx512vnni: measured on AMD Zen 4 at 3.65 GHz, ours on BERT-base's layers at 80 to 95 % with the panel in
# cache, OpenVINO's from its profile of BERT-base, held to AVX2 for avx2. avxvnni: put between the two, not measured.
RATES = {
    "scalar": Rates(1.0, 1.0, 1.0, openvino_int8=6.0, openvino_fp32=6.0, tall=1.0),
    "avx2": Rates(27.0, 19.0, 8.0, openvino_int8=13.0, openvino_fp32=14.0, tall=1.0),
    "avxvnni": Rates(35.0, 24.0, 8.0, openvino_int8=46.0, openvino_fp32=14.0, tall=1.5),
    "avx512vnni": Rates(38.0, 24.0, 9.0, openvino_int8=46.0, openvino_fp32=14.0, tall=1.8),
}
# avx512vnni on a CPU with AMX, which OpenVINO uses: two threads of an Intel Xeon (Emerald Rapids) at 2.2 GHz, BERT-
# base. block4 by the profile at 90 % of 1x4, 1 x 128. element by the density at which its whole models would take as
# long as OpenVINO's, at the five shapes of AMX_INT8. openvino_fp32 is bfloat16, OpenVINO's default there: its whole
# model less what int8 spends outside of products. single and tall were not measured and are those of Zen 4.
AMX_RATES = Rates(34.0, 10.8, 9.0, openvino_int8=92.0, openvino_fp32=59.0, tall=1.8)
#: OpenVINO's int8 with AMX by the tokens that go through a layer, on the machine of ``AMX_RATES``: 34 over the
#: density of 1x4 blocks at which whole models take equally long, on a line through their times at 80 and 95 %. Up to
#: 16 tokens the kernels have work for one thread only. OpenVINO's own profile at 128 tokens says 95.
AMX_INT8 = {16: 123.0, 17: 67.0, 32: 67.0, 128: 92.0, 384: 157.0, 1024: 135.0}


def rates(isa: str, amx: bool = False) -> Rates:
    """Of the kernels for ``isa``; of those for AVX2 where a new one is not in the table yet.

    Args:
        amx: whether OpenVINO has AMX.
    """
    return AMX_RATES if amx and isa == "avx512vnni" else RATES.get(isa, RATES["avx2"])


def amx_int8(tokens: int) -> float:
    """``AMX_INT8`` for ``tokens``, on a line between two that were measured."""
    counts = sorted(AMX_INT8)
    above = bisect.bisect_left(counts, tokens)
    if above in (0, len(counts)):
        return AMX_INT8[counts[min(above, len(counts) - 1)]]
    low, high = counts[above - 1], counts[above]
    return AMX_INT8[low] + (AMX_INT8[high] - AMX_INT8[low]) * (tokens - low) / (high - low)


def kernel_cost(
    kernel: Kernel,
    *,
    shape: tuple[int, int],
    density: float,
    block4_density: float,
    quantized: bool,
    tokens: int,
    isa: str,
    amx: bool,
) -> float:
    """Million cycles of one core for ``tokens`` tokens through a layer of ``shape`` (out, in).

    Args:
        quantized: whether ``element`` weights are int8; those of ``block4`` always are.
        amx: whether the CPU has AMX, which the kernels do not use: it tells which kind of CPU it is.
    """
    of = rates(isa, amx)
    if kernel.name == "block4":
        stored, rate = block4_density, of.block4
    else:
        stored, rate = density, (of.element if quantized else of.single) * (of.tall if kernel.rows >= 4 else 1.0)
    weights = shape[0] * shape[1] * stored
    tiles, rest = divmod(tokens, LANES)
    lanes = tiles * LANES + (0 if rest == 0 else LANES // 2 if rest <= LANES // 2 else LANES)
    # Indices of two bytes come along, for each block or each weight.
    width = 1.5 if kernel.name == "block4" else 3.0 if quantized else 6.0
    return max(weights * lanes / rate, weights * width / BYTES_PER_CYCLE) / 1e6


def openvino_cost(*, shape: tuple[int, int], quantized: bool, tokens: int, isa: str, amx: bool) -> float:
    """Million cycles of one core for the same layer in OpenVINO, which does not look at zeros."""
    of = rates(isa, amx)
    rate = (amx_int8(tokens) if amx else of.openvino_int8) if quantized else of.openvino_fp32
    weights = shape[0] * shape[1]
    return max(weights * tokens / rate, weights * (1 if quantized else 4) / BYTES_PER_CYCLE) / 1e6
