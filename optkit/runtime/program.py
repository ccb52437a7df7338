"""What a rewritten part of a graph computes: a straight line of steps over tokens, and its packed form inside an IR.

A ``Program`` takes activations (tokens x features, float32) and computes others from them. Every step but attention
treats each token by itself, so the engine (csrc/) runs a run of steps over one tile of tokens after another, in cache,
and only attention waits for the whole sequence. The packed form is a block of bytes that the engine validates when the
model is loaded (packing.py). Packing knows nothing of instruction sets: weights are stored
as their non-zero blocks, and the engine lays them out for the CPU that it finds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Outputs of a block.
HEIGHTS = (1, 2, 4, 8, 16, 32)
ACTIVATIONS = {"gelu_erf": 1, "gelu_tanh": 2, "relu": 3, "tanh": 4, "sigmoid": 5, "silu": 6}


@dataclass(frozen=True)
class Kernel:
    """How a linear layer is packed and computed.

    Attributes:
        name: ``block4``: int8 blocks of ``rows`` outputs x 4 inputs, the grain of 8-bit dot products; a dense layer is
            one whose blocks are all there. ``element``: blocks of ``rows`` outputs x 1 input, int8 or float32.
        rows: outputs of a block: 1, 2, 4, 8, 16 or 32.
    """

    name: str
    rows: int = 1

    @property
    def columns(self) -> int:
        return 4 if self.name == "block4" else 1

    def __str__(self) -> str:
        return self.name if self.rows == 1 else f"{self.name} of {self.rows}x{self.columns}"


@dataclass(frozen=True, eq=False)
class PackedWeights:
    """A weight matrix (out, in) as its non-zero blocks of ``rows`` outputs x ``columns`` inputs, group by group.

    Attributes:
        shape: (out, in) of the matrix.
        rows: outputs of a block: 1, 2, 4, 8, 16 or 32. The last row group is padded with zeros.
        columns: inputs of a block: 4 (``block4``) or 1 (``element``). The last block column is padded with zeros.
        pointers: uint32 (groups + 1,): where each row group's blocks begin.
        indices: uint16 (blocks,): block column of each block, ascending within a row group.
        values: int8 or float32 (blocks, rows, columns).
    """

    shape: tuple[int, int]
    rows: int
    columns: int
    pointers: np.ndarray
    indices: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, eq=False)
class Quantization:
    """How activations become u8: ``q = round((x * channel_scale - low) * 255 / (high - low))``, clamped to 0..255.

    Attributes:
        low, high: range of FakeQuantize with 256 levels (its input and output ranges equal). Both None for dynamic
            quantization: each token's own range (0 always inside) at run time.
        channel_scale: float32 (in,): factors of SmoothQuant, applied before; None for none.
    """

    low: float | None
    high: float | None
    channel_scale: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Linear:
    """``target = weights @ source * scales + bias``. With int8 weights the source is quantized first; with float32
    weights ``quantization`` is None.

    Attributes:
        scales: float32 (out,) of int8 weights; None for float32 weights.
        bias: float32 (out,) or None.
    """

    source: int
    target: int
    weights: PackedWeights
    scales: np.ndarray | None
    bias: np.ndarray | None
    quantization: Quantization | None


@dataclass(frozen=True, eq=False)
class Activation:
    """``target = kind(source)``, see ACTIVATIONS."""

    source: int
    target: int
    kind: str


@dataclass(frozen=True, eq=False)
class Affine:
    """``target = source * scale + shift``, each float32 (features,) or None."""

    source: int
    target: int
    scale: np.ndarray | None
    shift: np.ndarray | None


@dataclass(frozen=True, eq=False)
class FakeQuantize:
    """OpenVINO's FakeQuantize per tensor: clamp to low..high, round to ``levels`` steps, back to float."""

    source: int
    target: int
    low: float
    high: float
    levels: int = 256


@dataclass(frozen=True, eq=False)
class Add:
    """``target = left + right``."""

    left: int
    right: int
    target: int


@dataclass(frozen=True, eq=False)
class Multiply:
    """``target = left * right``."""

    left: int
    right: int
    target: int


@dataclass(frozen=True, eq=False)
class LayerNorm:
    """Over the features of each token: ``(x - mean) / sqrt(variance + epsilon) * gamma + beta``; both may be None."""

    source: int
    target: int
    gamma: np.ndarray | None
    beta: np.ndarray | None
    epsilon: float


@dataclass(frozen=True, eq=False)
class RMSNorm:
    """Over the features of each head of each token: ``x / sqrt(mean(x^2) + epsilon) * gamma`` (Zhang and Sennrich 2019,
    https://arxiv.org/abs/1910.07467).

    Attributes:
        gamma: float32 (features,) or None.
        heads: that divide the features; 1 for a norm over all of them.
    """

    source: int
    target: int
    gamma: np.ndarray | None
    epsilon: float
    heads: int = 1


@dataclass(frozen=True, eq=False)
class Rotary:
    """Pairs of features of each head turned by angles that depend on the token's position: ``target = source *
    cosines + turned * sines``, where -x[j] and x[i] take the places of a pair's x[i] and x[j] in ``turned`` (Su et al.
    2021, https://arxiv.org/abs/2104.09864).

    Attributes:
        source: (batch, seq, heads * d).
        cosines, sines: (batch or 1, seq, d), of an input.
        interleaved: whether features 2i and 2i + 1 are a pair, else i and i + d / 2.
    """

    source: int
    cosines: int
    sines: int
    target: int
    heads: int
    interleaved: bool


@dataclass(frozen=True, eq=False)
class Attention:
    """``softmax(query @ key^T * scale + mask) @ value`` per sequence and head; feature ``h * d + i`` is head h's i-th.

    Attributes:
        query: (batch, seq, heads * d).
        key, value: (batch, seq, key_heads * d).
        mask: an input of kind mask, (batch or 1, heads or 1, seq or 1, seq or 1), boolean (True takes part) or float32
            (added), or what RelativePositions or Bias make; None for none. A query all of whose keys a boolean mask
            leaves out gets zeros.
        heads: that divide the features.
        scale: of the scores before the mask.
        key_heads: that divide ``heads``: each serves so many of them, one after the other (Ainslie et al. 2023,
            https://arxiv.org/abs/2305.13245). None for as many as heads.
        before, behind: how far from a query the keys lie that it sees, in tokens; None for any distance. A query sees
            keys that this and the mask both leave in; one without keys gets zeros.
    """

    query: int
    key: int
    value: int
    mask: int | None
    target: int
    heads: int
    scale: float
    key_heads: int | None = None
    before: int | None = None
    behind: int | None = None


@dataclass(frozen=True, eq=False)
class RelativePositions:
    """A mask of real numbers that depends on what queries or keys hold, and on how far they are apart: ``scale`` times
    the product of each query, or key, and a row of a table. Query i and key j take row ``places[i - j]``, as in
    disentangled attention (He et al. 2021, https://arxiv.org/abs/2006.03654).

    Attributes:
        content: (batch, seq, heads * d), the queries, or the keys.
        table: an input of kind table, (1, heads, rows, d).
        places: an input of kind places, integers (1, 1, 1, 2 * seq - 1): a row for each distance from 1 - seq up.
        target: of kind mask.
        of_keys: whether the content is keys.
    """

    content: int
    table: int
    places: int
    target: int
    heads: int
    scale: float
    of_keys: bool


@dataclass(frozen=True, eq=False)
class Bias:
    """The sum of two masks; at most two that are inputs and two of relative positions in all."""

    left: int
    right: int
    target: int


Step = (
    Linear
    | Activation
    | Affine
    | FakeQuantize
    | Add
    | Multiply
    | LayerNorm
    | RMSNorm
    | Rotary
    | Attention
    | RelativePositions
    | Bias
)


@dataclass
class Program:
    """Values are numbered; each has so many features, 0 for a mask. Each value is an input or one step's target.

    Attributes:
        features: of each value, by its number; 0 marks a mask, or a table of relative positions or its places.
        inputs: values that the op's inputs give, in order.
        outputs: values that the op returns, in order.
        steps: in an order in which each source is computed before it is used.
    """

    features: list[int] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def value(self, features: int) -> int:
        """A new value of so many features."""
        self.features.append(features)
        return len(self.features) - 1
