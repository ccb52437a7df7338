"""What can decide which weights go: the parameters of every criterion, with its paper and when it helps."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import ClassVar, get_args


@dataclass(frozen=True)
class Magnitude:
    """Remove the weights that are smallest in absolute value; a block counts by the sum of its absolute values.

    The simplest: no gradients, no state. Criteria that see gradients lose half as much: after 1,500 steps with a
    teacher, MiniLM-L6 on SST-2 in 1x4 blocks loses 3.8 points of accuracy at 80 % and 5.8 at 90 %, with ``movement``
    1.7 and 3.0 (docs/accuracy.md).
    """

    name: ClassVar[str] = "magnitude"
    paper: ClassVar[str] = "Zhu & Gupta 2017, To prune, or not to prune, https://arxiv.org/abs/1710.01878"


@dataclass(frozen=True)
class Movement:
    """Remove the weights that fine-tuning moves towards zero: lowest accumulated -w * dL/dw first, with an exact count.

    To the paper's score ``saliency`` times the accumulated |w * dL/dw| is added, how much a weight matters. The paper's
    alone (0) is for many epochs of a model that has yet to learn the task, with ``regrow``. On a model that knows the
    task already the sign of -w * dL/dw is mostly noise, largest for the weights that matter most; these then go first,
    and the network does not recover. There the default does better than magnitude: MiniLM-L6 on SST-2 in 1x4 blocks
    loses 1.7 points of accuracy at 80 % and 3.0 at 90 %, after 1,500 steps with a teacher; with magnitude 3.8 and 5.8
    (docs/accuracy.md).

    Args:
        momentum: share of the accumulated score that is kept at each optimizer step, in (0, 1]. 1.0 is the paper's
            plain sum; lower it when training is long, so that early steps are forgotten.
        saliency: weight of |w * dL/dw| beside -w * dL/dw, at least 0. Above 1 every step counts for a weight, one that
            moves it away from zero (``saliency`` + 1) / (``saliency`` - 1) times as much as one that moves it towards
            zero. Raise it when training is shorter than some hundred steps; much above 10 only ``taylor`` is left.
    """

    momentum: float = 1.0
    saliency: float = 2.0

    name: ClassVar[str] = "movement"
    paper: ClassVar[str] = "Sanh et al. 2020, Movement Pruning, https://arxiv.org/abs/2005.07683"

    def __post_init__(self) -> None:
        check_movement(self.momentum, self.saliency)


def check_movement(momentum: float, saliency: float) -> None:
    """Raises ValueError if movement cannot be accumulated with these."""
    if not 0.0 < momentum <= 1.0:
        raise ValueError(f"momentum must be above 0 and at most 1, got {momentum}")
    if not 0.0 <= saliency < float("inf"):
        raise ValueError(f"saliency must be at least 0, got {saliency}")


@dataclass(frozen=True)
class Taylor:
    """Remove the weights whose loss is felt least, to first order: lowest moving average of |w * dL/dw| first.

    A block counts by the sum of its absolute values: the most that its removal can change the loss to first order. The
    paper squares the joint sum over a group instead, where a weight that raises the loss hides one that lowers it.

    Unlike movement it asks what a weight does now rather than where training took it, so it holds from the first step
    on. With ``momentum`` 0 and a constant schedule that begins at step 1 it is SNIP (Lee et al. 2019,
    https://arxiv.org/abs/1810.02340): one look at the gradients of one batch, then the whole cut.

    Args:
        momentum: share of the average that is kept at each optimizer step, in [0, 1). The average looks back about
            1 / (1 - momentum) steps. 0.9 is ten of them: enough to average batches, and half of what lies between two
            changes of the masks by default, so that scores are of the network as the last change left it. Raise it
            with small batches or a larger ``every``.
    """

    momentum: float = 0.9

    name: ClassVar[str] = "taylor"
    paper: ClassVar[str] = (
        "Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, https://arxiv.org/abs/1906.10771"
    )

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")


@dataclass(frozen=True)
class SoftMovement:
    """Learn a score for each group; the group lives while its sigmoid reaches a threshold, and may return.

    A penalty pushes all scores down, as hard as a controller finds it takes for the share of pruned groups to follow
    the schedule; where that share is off by more than 1 % groups are counted out instead, and at the end of the
    schedule they always are, so the target is met exactly.

    Args:
        saliency: weight of |w * dL/dw| beside -w * dL/dw in the scores of living groups, at least 0; see ``Movement``.
        momentum: share of what scores have gained that is kept at each optimizer step, in (0, 1]. 1.0 is the mean over
            all steps so far; lower it when training is long, so that early steps are forgotten.
        head_start: how many optimizer steps the magnitudes of the start model count for, at least 0; 0 is the paper's
            start, all alike. Lower it for a model that has not learned the task yet, whose magnitudes say little.
        threshold: of the sigmoid, in (0, 1).
    """

    saliency: float = 2.0
    momentum: float = 1.0
    head_start: float = 20.0
    threshold: float = 0.5

    name: ClassVar[str] = "soft_movement"
    paper: ClassVar[str] = (
        "Sanh et al. 2020, Movement Pruning, https://arxiv.org/abs/2005.07683; in blocks: Lagunas et al. 2021, "
        "https://arxiv.org/abs/2109.04838"
    )

    def __post_init__(self) -> None:
        check_movement(self.momentum, self.saliency)
        if not 0.0 <= self.head_start < float("inf"):
            raise ValueError(f"head_start must be at least 0, got {self.head_start}")
        if not 0.0 < self.threshold < 1.0:
            raise ValueError(f"threshold must be above 0 and below 1, got {self.threshold}")


@dataclass(frozen=True)
class Wanda:
    """Remove the weights that add least to an output: lowest |w| times the size of its input first.

    The size of an input channel is its root mean square over the tokens of the last steps, padding left out where the
    model is given an attention mask. The paper ranks the weights of each output on their own, which is what structure
    ``n:m`` does; of the scopes ``local`` comes nearest to it. Under ``global`` scope set ``normalize``, as the inputs
    of layers differ in size.

    Args:
        momentum: share of the average that is kept at each optimizer step, in (0, 1). 0.9 looks back about ten steps,
            which with any usual batch are some thousands of tokens.
    """

    momentum: float = 0.9

    name: ClassVar[str] = "wanda"
    paper: ClassVar[str] = (
        "Sun et al. 2023, A Simple and Effective Pruning Approach for LLMs, https://arxiv.org/abs/2306.11695"
    )

    def __post_init__(self) -> None:
        if not 0.0 < self.momentum < 1.0:
            raise ValueError(f"momentum must be above 0 and below 1, got {self.momentum}")


@dataclass(frozen=True)
class Obert:
    """Remove what costs least in a second-order model of the loss, and let the weights that stay make up for it.

    For masks that change in few large jumps, and for blocks, whose weights are judged together: MiniLM-L6 fine-tuned on
    SST-2 and cut to 50 % in 1x4 blocks at one stroke rises in loss by a quarter of what it does with magnitude.

    It keeps 2 * (B + 1) bytes a matched weight, in memory and in checkpoints, B being the weights of a ``block`` (34 at
    16: 0.36 GB for the 10.6 million of MiniLM-L6, 2.9 GB for the 85 million of BERT-base; 130 at 64: 1.4 and 11 GB).
    With MiniLM-L6 on a CPU, batches of 32 and masks that
    change every 20 steps, a step takes 1.2 to 1.5 times as long until the schedule ends. A change of the masks takes as
    long as two steps, as every block is inverted: a larger ``every`` makes that rare.

    Args:
        block: which weights are taken to act on each other: that many adjacent inputs of an output, or ``RxC``, C
            adjacent inputs of R adjacent outputs; 1 to 128 weights. A block of the structure is judged as one where
            these are multiples of its rows and columns, and makes up for its removal by the rest of them: with 4x4
            blocks 4x4 judges each as one and leaves nothing to make up for it, 4x16 does both. Memory grows with B,
            time at a change of the masks with its square, and more of it needs more steps to average over.
        damping: what is added to the diagonal, as a share of its mean over the layer, above 0. Results are much the
            same from 1e-4 to 1e-2; higher values bring it towards magnitude.
        momentum: share of the average that is kept at each optimizer step, in [0, 1). 0.98 looks back about 50 steps.
            Raise it with small batches.
    """

    block: int | str = 16
    damping: float = 1e-3
    momentum: float = 0.98

    name: ClassVar[str] = "obert"
    paper: ClassVar[str] = "Kurtic et al. 2022, The Optimal BERT Surgeon, https://arxiv.org/abs/2203.07259"

    def __post_init__(self) -> None:
        if not 1 <= prod(self.shape) <= 128:
            raise ValueError(f"block must hold between 1 and 128 weights, got {self.block}")
        if not 0.0 < self.damping < float("inf"):
            raise ValueError(f"damping must be above 0, got {self.damping}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of a block."""
        found = re.fullmatch(r"(?:(\d+)x)?(\d+)", str(self.block), re.ASCII)
        if not found:
            raise ValueError(f"block must be a number of inputs or RxC, such as 16 or 4x16, got {self.block}")
        return int(found[1] or 1), int(found[2])


@dataclass(frozen=True)
class Random:
    """Remove weights at random, in an order fixed from the start: the control that other criteria have to beat.

    Weights and training play no part, so the same seed prunes the same weights of every model of one shape.

    Args:
        seed: 0 or more; other seeds give other orders. It is the rule's own, apart from the seed of the training.
    """

    seed: int = 0

    name: ClassVar[str] = "random"
    paper: ClassVar[str] = (
        "Liu et al. 2022, The Unreasonable Effectiveness of Random Pruning, https://arxiv.org/abs/2202.02643"
    )

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")


@dataclass(frozen=True)
class Frozen:
    """Keep the zeros that the model already has, and add none: fine-tune a sparse model without filling it again."""

    name: ClassVar[str] = "frozen"
    paper: ClassVar[str] = "Zafrir et al. 2021, Prune Once for All, https://arxiv.org/abs/2111.05754"


@dataclass(frozen=True)
class Reconstruction:
    """Remove what the layers' outputs miss least, and refit what stays to calibration data: in one shot, untrained.

    For a model that is fine-tuned already, in minutes and from a few hundred examples without labels. Layers are pruned
    one after the other, each to give again what the dense model gives. Under global scope layers that the model's
    outputs feel little are pruned most, which is worth more than all the rest; with ``scope: local`` it is ALPS. Not
    for heads and neurons: see ``fisher``.

    It holds a copy of the model, the outputs of one transformer layer for all examples, and a few matrices of inputs x
    inputs for one linear layer: for BERT-base and 512 sentences less than 1 GB beside the model.

    Args:
        damping: what is added to the variance of each input, as a share of its mean over the layer, above 0. Raise it
            with few or short examples, to hold weights nearer to what they were.
    """

    damping: float = 0.01

    name: ClassVar[str] = "reconstruction"
    paper: ClassVar[str] = "Meng et al. 2024, ALPS, https://arxiv.org/abs/2406.07831"

    def __post_init__(self) -> None:
        _check_damping(self.damping)


@dataclass(frozen=True)
class FisherSearch:
    """Remove the heads or neurons that the outputs feel least, and refit what reads from the others: in one shot.

    For a model that is fine-tuned already, or before other rules: it chooses by the Fisher information of a mask
    variable for each head and neuron, in a minute and from a few hundred examples without labels.

    It holds what ``reconstruction`` holds, and 4 bytes for each group and example.

    Args:
        damping: as for ``reconstruction``.
    """

    damping: float = 0.01

    name: ClassVar[str] = "fisher"
    paper: ClassVar[str] = (
        "Kwon et al. 2022, A Fast Post-Training Pruning Framework for Transformers, https://arxiv.org/abs/2204.09656"
    )

    def __post_init__(self) -> None:
        _check_damping(self.damping)


def _check_damping(damping: float) -> None:
    if not 0.0 < damping < float("inf"):
        raise ValueError(f"damping must be above 0, got {damping}")


Criterion = (
    Magnitude | Movement | SoftMovement | Taylor | Wanda | Obert | Random | Frozen | Reconstruction | FisherSearch
)
CRITERIA: dict[str, type[Criterion]] = {c.name: c for c in get_args(Criterion)}
#: Criteria that prune a model in one shot only, and those that only training can feed.
ONE_SHOT, TRAINED = (Reconstruction, FisherSearch), (Movement, SoftMovement)
