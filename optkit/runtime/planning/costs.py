"""What a linear layer costs by each kernel and in OpenVINO, by a model: figures of a kind of CPU, not of this one.

All are cycles of one core. Quantizing the inputs and storing the outputs is left out: both sides do it.
"""

from __future__ import annotations

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
#: OpenVINO's int8 with AMX, not measured: 1024 a cycle at most, of which an encoder's layers leave less than half.
AMX_INT8 = 400.0


def rates(isa: str) -> Rates:
    """Of the kernels for ``isa``; of those for AVX2 where a new one is not in the table yet."""
    return RATES.get(isa, RATES["avx2"])


def kernel_cost(
    kernel: Kernel,
    *,
    shape: tuple[int, int],
    density: float,
    block4_density: float,
    quantized: bool,
    tokens: int,
    isa: str,
) -> float:
    """Million cycles of one core for ``tokens`` tokens through a layer of ``shape`` (out, in).

    Args:
        quantized: whether ``element`` weights are int8; those of ``block4`` always are.
    """
    of = rates(isa)
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
    of = rates(isa)
    rate = (AMX_INT8 if amx else of.openvino_int8) if quantized else of.openvino_fp32
    weights = shape[0] * shape[1]
    return max(weights * tokens / rate, weights * (1 if quantized else 4) / BYTES_PER_CYCLE) / 1e6
