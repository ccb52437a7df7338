"""What a pruning rule says, without torch: criteria, structures, schedules, rules.

The recipe builds these objects from YAML and the callback takes them as they are, so a rule means the same in both.
``sparsity`` is the share of zeros, always in [0, 1].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args


@dataclass(frozen=True)
class Magnitude:
    """Remove the weights that are smallest in absolute value; a block counts by the sum of its absolute values.

    The strongest simple choice below about 90 % sparsity; it needs no gradients.
    """

    name: ClassVar[str] = "magnitude"
    paper: ClassVar[str] = "Zhu & Gupta 2017, To prune, or not to prune, https://arxiv.org/abs/1710.01878"


@dataclass(frozen=True)
class Movement:
    """Remove the weights that fine-tuning moves towards zero: lowest accumulated -w * dL/dw first, with an exact count.

    To the paper's score ``saliency`` times the accumulated |w * dL/dw| is added, how much a weight matters. The paper's
    alone (0) needs many epochs of a model that has yet to learn the task, and ``regrow``: its movement then outgrows
    the noise. On a model that knows the task already, or in a short training, the sign of -w * dL/dw is noise, largest
    for the weights that matter most; these then go first, and the network does not recover. With the default it stays
    ahead of magnitude at 90 % and above in either case.

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

    It keeps 2 * (``block`` + 1) bytes a matched weight, in memory and in checkpoints (34 at 16: 0.36 GB for the 10.6
    million of MiniLM-L6, 2.9 GB for the 85 million of BERT-base). With MiniLM-L6 on a CPU and batches of 32 a step
    takes 8 % longer, and a change of the masks as long as two steps, as every block is inverted: a larger ``every``
    makes that rare.

    Args:
        block: how many adjacent inputs of an output are taken to act on each other, 1 to 128. For 1xC blocks a multiple
            of C: only then is a block judged as one. Memory grows with it, time at a change of the masks with its
            square, and more of it needs more steps to average over.
        damping: what is added to the diagonal, as a share of its mean over the layer, above 0. Results are much the
            same from 1e-4 to 1e-2; higher values bring it towards magnitude.
        momentum: share of the average that is kept at each optimizer step, in [0, 1). 0.98 looks back about 50 steps.
            Raise it with small batches.
    """

    block: int = 16
    damping: float = 1e-3
    momentum: float = 0.98

    name: ClassVar[str] = "obert"
    paper: ClassVar[str] = "Kurtic et al. 2022, The Optimal BERT Surgeon, https://arxiv.org/abs/2203.07259"

    def __post_init__(self) -> None:
        if not 1 <= self.block <= 128:
            raise ValueError(f"block must be between 1 and 128 inputs, got {self.block}")
        if not 0.0 < self.damping < float("inf"):
            raise ValueError(f"damping must be above 0, got {self.damping}")
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"momentum must be at least 0 and below 1, got {self.momentum}")


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
CRITERIA: dict[str, type] = {c.name: c for c in get_args(Criterion)}
#: Criteria that prune a model in one shot only, and those that only training can feed.
ONE_SHOT, TRAINED = (Reconstruction, FisherSearch), (Movement, SoftMovement)


@dataclass(frozen=True)
class Structure:
    """The group of weights that lives or dies together. ``Structure.parse`` reads the names that recipes use.

    Args:
        rows, cols: of a block, outputs x inputs of a weight (out, in). ``neuron`` takes ``rows`` adjacent neurons as
            one group, and a group of ``n:m`` is 1 x ``cols``.
        kind: ``block``; ``row`` (one output) and ``column`` (one input) of a weight; ``n:m`` (``kept`` of ``cols``
            adjacent inputs stay); ``head`` (an attention head: its rows of query, key and value and its columns of the
            output projection); ``neuron`` (of a feed-forward layer: its row on the way up, gate included, and its
            column on the way down).
        kept: N of ``n:m``.
    """

    rows: int = 1
    cols: int = 1
    kind: Literal["block", "row", "column", "n:m", "head", "neuron"] = "block"
    kept: int = 0

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ValueError(f"a block has at least 1 row and 1 column, got {self.rows}x{self.cols}")
        if self.kind == "n:m" and not 0 < self.kept < self.cols:
            raise ValueError(f"N of N:M is above 0 and below M, got {self.kept}:{self.cols}")

    @classmethod
    def parse(cls, text: str | Structure) -> Structure:
        """Reads ``element``, ``RxC`` (``1x4``, ``32x1`` ...), ``row``, ``column``, ``N:M`` (``2:4`` ...), ``head``,
        ``neuron`` or ``neuron:K`` (K adjacent ones, so that blocks of K inputs stay whole); else raises ValueError.
        """
        if isinstance(text, Structure):
            return text
        if text in ("row", "column", "head", "neuron"):
            return cls(kind=text)
        if text == "element":
            return cls()
        if match := re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", str(text)):
            return cls(int(match[1]), int(match[2]))
        if match := re.fullmatch(r"neuron:([1-9]\d{0,4})", str(text)):
            return cls(rows=int(match[1]), kind="neuron")
        if match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", str(text)):
            return cls(1, int(match[2]), "n:m", int(match[1]))
        raise ValueError(
            f"unknown structure '{text}': write element, rows x columns such as 1x4, row, column, N:M such as 2:4, "
            "head or neuron"
        )

    @property
    def spans_layers(self) -> bool:
        """Whether a group holds weights of several layers."""
        return self.kind in ("head", "neuron")

    @property
    def most(self) -> float:
        """The highest share of zeros that the structure itself can reach, in [0, 1]."""
        return 1.0 - self.kept / self.cols if self.kind == "n:m" else 1.0

    def block(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a block in a weight of ``shape`` (out, in); only for block, row and column."""
        return {"row": (1, shape[1]), "column": (shape[0], 1)}.get(self.kind, (self.rows, self.cols))

    def nests_in(self, coarser: Structure) -> bool:
        """Whether every group of ``coarser`` is made of whole groups of this structure, whatever the weight's shape.

        For heads the size of one matters as well, and is held against the model.
        """
        order = {"head": 0, "neuron": 0, "row": 1, "column": 1, "block": 2, "n:m": 3}
        if self == Structure():
            return coarser != self
        if self == coarser or order[self.kind] < 2 or order[coarser.kind] > min(order[self.kind], 2):
            return False
        return {
            "head": True,
            "neuron": coarser.rows % self.rows == 0 and coarser.rows % self.cols == 0,
            "row": self.rows == 1,
            "column": self.cols == 1,
            "block": coarser.rows % self.rows == 0 and coarser.cols % self.cols == 0,
        }[coarser.kind]

    def __str__(self) -> str:
        if self.kind == "n:m":
            return f"{self.kept}:{self.cols}"
        if self.kind == "neuron" and self.rows > 1:
            return f"neuron:{self.rows}"
        if self.kind != "block":
            return self.kind
        return "element" if (self.rows, self.cols) == (1, 1) else f"{self.rows}x{self.cols}"


@dataclass(frozen=True)
class Span:
    """A length of training: a share of it, a number of optimizer steps, or a number of epochs."""

    value: float
    unit: Literal["share", "steps", "epochs"]

    def __post_init__(self) -> None:
        if self.value < 0 or (self.unit == "share" and self.value > 1):
            raise ValueError(f"'{self}' is not a part of training: write 5%, a number of steps, or 1ep")

    @classmethod
    def parse(cls, value: str | int | float | Span) -> Span:
        """Reads ``"5%"`` and ``0.05`` (shares), ``200`` (optimizer steps), ``"1ep"`` or ``"0.5ep"`` (epochs)."""
        if isinstance(value, Span):
            return value
        if isinstance(value, bool):
            raise ValueError(f"'{value}' is not a part of training: write 5%, a number of steps, or 1ep")
        if isinstance(value, int):
            return cls(value, "steps")
        if isinstance(value, float):
            return cls(value, "share")
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|ep)", str(value).strip())
        if not match:
            raise ValueError(f"'{value}' is not a part of training: write 5%, a number of steps, or 1ep")
        number = float(match[1])
        return cls(number / 100, "share") if match[2] == "%" else cls(number, "epochs")

    def steps(self, total: int, per_epoch: float) -> int:
        """The optimizer step this span ends at, given ``total`` steps of training and ``per_epoch`` steps an epoch."""
        length = {"share": self.value * total, "steps": self.value, "epochs": self.value * per_epoch}[self.unit]
        return round(length)

    def __str__(self) -> str:
        number = f"{self.value * 100:g}%" if self.unit == "share" else f"{self.value:g}"
        return number + "ep" if self.unit == "epochs" else number


SHAPES = ("cubic", "linear", "exponential", "stepwise", "constant")


@dataclass(frozen=True)
class Schedule:
    """Sparsity as a function of the optimizer step: from ``initial`` at ``begin`` to ``to`` at ``end``.

    Args:
        shape: ``cubic`` (fast first, slow last; Zhu & Gupta 2017), ``linear``, ``exponential`` (the same share of what
            is left at every change), ``stepwise`` (``jumps`` equal ones), or ``constant`` (``to`` from ``begin`` on).
        initial: sparsity at ``begin`` (``from`` in a recipe).
        to: sparsity at ``end`` and after.
        begin, end: spans of training; see ``Span.parse`` for what they may be given as.
        every: time between two changes of the masks, a span of at least one step; stepwise and constant change them at
            their jumps alone.
        jumps: of a stepwise schedule, evenly spaced and the last one at ``end``; 4 if None. Fewer leave more training
            to recover in after each. None for the other shapes.
    """

    shape: Literal["cubic", "linear", "exponential", "stepwise", "constant"] = "cubic"
    initial: float = 0.0
    to: float = 0.8
    begin: Span = Span(0.05, "share")
    end: Span = Span(0.7, "share")
    every: Span = Span(20, "steps")
    jumps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", Span.parse(self.begin))
        object.__setattr__(self, "end", Span.parse(self.end))
        object.__setattr__(self, "every", every_of(self.every))
        if self.shape not in SHAPES:
            raise ValueError(f"unknown schedule shape '{self.shape}': one of {', '.join(SHAPES)}")
        if not 0.0 <= self.initial <= self.to < 1.0:
            raise ValueError(f"sparsity must grow within [0, 1), got from {self.initial:g} to {self.to:g}")
        object.__setattr__(self, "jumps", jumps_of(self.shape, self.jumps))


def every_of(every: str | int | float | Span) -> Span:
    """The span between two changes of the masks; raises ValueError if it is none or nothing."""
    span = Span.parse(every)
    if span.value <= 0:
        raise ValueError(f"every must be at least 1 optimizer step, got {every}")
    return span


def jumps_of(shape: str, jumps: int | None) -> int | None:
    """How many jumps a schedule of ``shape`` makes when its rule says ``jumps``; None where the shape has none.

    Raises:
        ValueError: if there are fewer than 1, or the shape takes none.
    """
    if shape != "stepwise":
        if jumps is not None:
            raise ValueError(f"jumps belong to the shape stepwise, and this is {shape}: remove them")
        return None
    if jumps is not None and jumps < 1:
        raise ValueError(f"jumps must be at least 1, got {jumps}")
    return 4 if jumps is None else jumps


@dataclass(frozen=True)
class Rule:
    """Which weights to prune, by what criterion, in which groups, and how fast.

    Args:
        targets: ``encoder_linear`` (every nn.Linear inside the longest repeated ModuleList) or patterns on dotted
            module names: globs whose ``*`` crosses dots, or ``re:`` and a regular expression that matches the whole
            name.
        exclude: patterns of modules to leave alone.
        criterion: which groups go first.
        structure: what a group is; a ``Structure`` or its text (``element``, ``1x4`` ...).
        scope: ``global`` ranks the groups of all matched weights together, ``local`` those of each weight (for heads
            and neurons: of each attention and feed-forward layer) on its own.
        schedule: None exactly when the criterion is ``Frozen``. Under ``n:m`` it ends at 1 - N/M unless it says less.
        regrow: whether a masked weight may return when its score rises again.
        normalize: under global scope, divide scores by their mean absolute value in each layer first, so that no layer
            is emptied or spared only because its scores are of another size.
        floor, ceiling: under global scope, the lowest and highest sparsity of each layer. The floor grows with the
            schedule: it is never more than what the schedule asks for.
        shares: final sparsity of each layer by name, as an allocation has chosen them; ``scope`` is then of no
            account, and the schedule says how far on the way to them the layers are.
        name: how reports call this rule.
    """

    targets: tuple[str, ...] = ("encoder_linear",)
    exclude: tuple[str, ...] = ()
    criterion: Criterion = Magnitude()
    structure: Structure = Structure()
    scope: Literal["global", "local"] = "global"
    schedule: Schedule | None = None
    regrow: bool = False
    name: str = "weights"
    normalize: bool = False
    floor: float = 0.0
    ceiling: float = 1.0
    shares: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        as_tuple = lambda v: (v,) if isinstance(v, str) else tuple(v)  # noqa: E731
        object.__setattr__(self, "targets", as_tuple(self.targets))
        object.__setattr__(self, "exclude", as_tuple(self.exclude))
        object.__setattr__(self, "structure", Structure.parse(self.structure))
        if self.scope not in ("global", "local"):
            raise ValueError(f"scope is global or local, got '{self.scope}'")
        check_grouping(self.criterion, self.structure)
        if isinstance(self.criterion, Frozen):
            if self.schedule is not None:
                raise ValueError("frozen keeps the zeros that are there and takes no schedule: remove it")
        elif self.schedule is None:
            object.__setattr__(self, "schedule", Schedule(to=min(Schedule.to, self.structure.most)))
        if self.schedule is not None:
            check_reach(self.structure, self.schedule.to)
            check_bounds(self.scope, self.schedule.to, self.normalize, self.floor, self.ceiling)


def check_grouping(criterion: Criterion, structure: Structure) -> None:
    """Raises ValueError if ``criterion`` cannot choose groups of ``structure``."""
    if isinstance(criterion, Reconstruction) and structure.spans_layers:
        raise ValueError(f"reconstruction chooses within a layer, and a {structure.kind} spans several: use fisher")
    if isinstance(criterion, FisherSearch) and not structure.spans_layers:
        raise ValueError(f"fisher chooses heads or neurons, not {structure}: use reconstruction, or structure: head")


def check_occasion(criterion: Criterion, *, trains: bool, regrow: bool = False) -> None:
    """Raises ValueError if ``criterion`` cannot prune while a model trains, or in one shot if it does not."""
    one_shot = ", ".join(name for name, c in CRITERIA.items() if c not in TRAINED)
    if trains and isinstance(criterion, ONE_SHOT):
        raise ValueError(f"{criterion.name} prunes in one shot, and this is training: leave `train` out")
    if not trains and isinstance(criterion, TRAINED):
        raise ValueError(f"{criterion.name} has to watch training: write `train`, or use one of {one_shot}")
    if not trains and regrow:
        raise ValueError("weights return in training only: write `train`, or take regrow off")


def check_reach(structure: Structure, to: float) -> None:
    """Raises ValueError if ``structure`` cannot reach the sparsity ``to``."""
    if to > structure.most:
        raise ValueError(f"{structure} reaches a sparsity of {structure.most:g} and no more, `to` is {to:g}")


def check_bounds(scope: str, to: float, normalize: bool, floor: float, ceiling: float) -> None:
    """Raises ValueError if these options of global scope have no meaning or contradict the final sparsity ``to``."""
    if scope != "global" and (normalize or floor > 0.0 or ceiling < 1.0):
        raise ValueError("normalize, floor and ceiling compare layers, and scope local does not: remove them")
    if not 0.0 <= floor <= to <= ceiling <= 1.0:
        raise ValueError(f"the sparsity {to:g} must lie between floor {floor:g} and ceiling {ceiling:g}, within [0, 1]")
