"""What a student may copy of its teacher beside the logits: hidden states and attention, as pure losses.

Every loss is averaged over the real tokens of an example first, then over the batch: examples count alike whatever
their padding, and accumulated batches add up to a large one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from optkit.errors import PruningError

Layers = Literal["auto", "last"] | Iterable[int] | Mapping[int, int]
_LEAST = 1e-7  # below it a probability counts as this much: half precision rounds to 0, whose logarithm is infinite


@dataclass(frozen=True)
class HiddenDistillation:
    """Hidden states: the mean squared error between layers of the student and of the teacher.

    Jiao et al. 2020, TinyBERT, https://arxiv.org/abs/1909.10351.

    Args:
        weight: of this term in the loss, above 0. The terms of task and logits keep theirs.
        layers: which of the student's layers copy which of the teacher's, see ``layer_pairs``; 0 is the embeddings.
        normalize: compare each token's state after it was brought to mean 0 and variance 1. For a teacher whose states
            are much larger in some layers than in others; it leaves the scale of a state to the student.
    """

    weight: float = 1.0
    layers: Layers = "auto"
    normalize: bool = False

    def __post_init__(self) -> None:
        check_weight("hidden", self.weight)


@dataclass(frozen=True)
class AttentionDistillation:
    """What tokens see in each other: relations of queries, keys and values, or the attention maps themselves.

    ``relations``: Wang et al. 2021, MiniLMv2, https://arxiv.org/abs/2012.15828. They hold for any attention, any width
    and any number of heads, and leave the fast attention kernels on.

    ``maps``: the attention probabilities of each head, as in TinyBERT (https://arxiv.org/abs/1909.10351), compared by
    divergence as in MiniLM (https://arxiv.org/abs/2002.10957). They need as many heads in the student as in the
    teacher, no attention dropout, and the plain attention implementation.

    Args:
        weight: of this term in the loss, above 0.
        layers: which of the student's layers copy which of the teacher's, see ``layer_pairs``. The last alone, as
            MiniLM has it, costs little; ``auto`` is TinyBERT's way.
        of: ``relations`` or ``maps``.
    """

    weight: float = 1.0
    layers: Layers = "last"
    of: Literal["relations", "maps"] = "relations"

    def __post_init__(self) -> None:
        check_weight("attention", self.weight)
        if self.of not in ("relations", "maps"):
            raise ValueError(f"attention is of relations or maps, got '{self.of}'")


def check_weight(name: str, weight: float) -> None:
    """Raises ValueError unless the ``weight`` of the term ``name`` is above 0."""
    if not weight > 0:
        raise ValueError(f"the weight of {name} must be above 0, got {weight:g}: leave {name} out instead")


def layer_pairs(layers: Layers, student: int, teacher: int, *, first: int = 1) -> list[tuple[int, int]]:
    """(student layer, teacher layer) for each layer that copies one; layers count from 1, 0 is the embeddings.

    Args:
        layers: ``auto``: each of the student's layers copies one, layer i layer i * ``teacher`` // ``student``, so
            that the last copies the last; ``last``: that one alone; some of the student's layers, which copy the same
            as under ``auto``; or student layer to teacher layer.
        student, teacher: how many layers each has.
        first: the lowest layer that may be named, 0 or 1.

    Raises:
        PruningError: for a layer that is not there.
    """
    if isinstance(layers, Mapping):
        pairs = [(int(ours), int(theirs)) for ours, theirs in layers.items()]
    else:
        named = {"auto": range(1, student + 1), "last": [student]}
        if isinstance(layers, int) or (isinstance(layers, str) and layers not in named):
            raise PruningError(f"layers are auto, last, a list or a mapping of layers, got {layers!r}")
        chosen = named[layers] if isinstance(layers, str) else layers
        pairs = [(i, i and max(1, i * teacher // student)) for i in chosen]
    for side, last, used in (("student", student, [p[0] for p in pairs]), ("teacher", teacher, [p[1] for p in pairs])):
        wrong = next((layer for layer in used if not first <= layer <= last), None)
        if wrong is not None:
            raise PruningError(f"the {side} has no layer {wrong}: its layers are {first} to {last}")
    if not pairs:
        raise PruningError("no layer is named: write auto, layers of the student, or student layers to teacher layers")
    return pairs


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *, normalize: bool = False) -> Tensor:
    """Mean squared error of hidden states (batch, seq, width), a scalar.

    Args:
        mask: (batch, seq), 1 for real tokens; None when all are.
        normalize: bring each token's state to mean 0 and variance 1 first.
    """
    student, teacher = student.float(), teacher.float()
    if normalize:
        student, teacher = (layer_norm(states, states.shape[-1:]) for states in (student, teacher))
    return over_tokens((student - teacher).square().mean(-1), mask)


def attention_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of attention probabilities (batch, heads, seq, seq), averaged over heads, a scalar.

    Args:
        mask: (batch, seq), 1 for real tokens, both as queries and as keys; None when all are.
    """
    student, teacher = student.float(), teacher.float()
    if mask is not None:
        student, teacher = (maps * mask[:, None, None, :] for maps in (student, teacher))
    divergence = torch.xlogy(teacher, teacher) - teacher * student.clamp_min(_LEAST).log()
    return over_tokens(divergence.sum(-1).mean(1), mask)


def relation_loss(student: Tensor, teacher: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of the relations among the tokens' queries (or keys, or values), a scalar.

    The relations of a head are softmax(x x^T / sqrt(width of the head)): how much each token's vector is like each
    other's.

    Args:
        student, teacher: (batch, seq, width), of widths that ``heads`` divides.
        heads: how many relation heads to split the widths into, whatever heads the models have.
        mask: (batch, seq), 1 for real tokens; None when all are.
    """
    ours, theirs = (_relations(states, heads, mask) for states in (student, teacher))
    return over_tokens((theirs.exp() * (theirs - ours)).sum(-1).mean(1), mask)


def _relations(states: Tensor, heads: int, mask: Tensor | None) -> Tensor:
    """Logarithms of the relations (batch, heads, seq, seq) of ``states`` (batch, seq, width)."""
    split = states.float().unflatten(-1, (heads, -1)).transpose(1, 2)
    scores = split @ split.transpose(-1, -2) / math.sqrt(split.shape[-1])
    if mask is not None:
        # Not -inf: the product with a probability of 0 would be NaN.
        scores = scores.masked_fill(~mask.bool()[:, None, None, :], torch.finfo(scores.dtype).min)
    return scores.log_softmax(-1)


def relation_heads(student: int, teacher: int, heads: int) -> int:
    """How many relation heads to use: the teacher's ``heads`` where they divide both widths, else the most that do."""
    return math.gcd(heads, student, teacher)


def over_tokens(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of ``values`` (batch, seq) over each example's real tokens, then over the batch."""
    if mask is None:
        return values.mean()
    mask = mask.to(values.dtype)
    return ((values * mask).sum(1) / mask.sum(1).clamp_min(1.0)).mean()
