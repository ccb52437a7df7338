"""What a pruning rule says, without torch: criteria, structures, schedules, rules.

The recipe builds these objects from YAML and the callback takes them as they are, so a rule means the same in both.
``sparsity`` is the share of zeros, always in [0, 1].
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal


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

    Suits fine-tuning of a pretrained model to high sparsity (90 % and more), where the pretrained magnitudes say
    little about the new task.

    Args:
        momentum: share of the accumulated score that is kept at each optimizer step, in (0, 1]. 1.0 is the paper's
            plain sum; lower it when training is long, so that early steps are forgotten.
    """

    momentum: float = 1.0

    name: ClassVar[str] = "movement"
    paper: ClassVar[str] = "Sanh et al. 2020, Movement Pruning, https://arxiv.org/abs/2005.07683"

    def __post_init__(self) -> None:
        if not 0.0 < self.momentum <= 1.0:
            raise ValueError(f"momentum must be above 0 and at most 1, got {self.momentum}")


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


Criterion = Magnitude | Movement | Taylor | Random | Frozen
CRITERIA: dict[str, type] = {c.name: c for c in (Magnitude, Movement, Taylor, Random, Frozen)}


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
        every: optimizer steps between two changes of the masks; stepwise and constant change them at their jumps alone.
        jumps: of a stepwise schedule, evenly spaced and the last one at ``end``; 4 if None. Fewer leave more training
            to recover in after each. None for the other shapes.
    """

    shape: Literal["cubic", "linear", "exponential", "stepwise", "constant"] = "cubic"
    initial: float = 0.0
    to: float = 0.8
    begin: Span = Span(0.05, "share")
    end: Span = Span(0.7, "share")
    every: int = 20
    jumps: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "begin", Span.parse(self.begin))
        object.__setattr__(self, "end", Span.parse(self.end))
        if self.shape not in SHAPES:
            raise ValueError(f"unknown schedule shape '{self.shape}': one of {', '.join(SHAPES)}")
        if not 0.0 <= self.initial <= self.to < 1.0:
            raise ValueError(f"sparsity must grow within [0, 1), got from {self.initial:g} to {self.to:g}")
        if self.every < 1:
            raise ValueError(f"every must be at least 1 optimizer step, got {self.every}")
        object.__setattr__(self, "jumps", jumps_of(self.shape, self.jumps))


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
        if isinstance(self.criterion, Frozen):
            if self.schedule is not None:
                raise ValueError("frozen keeps the zeros that are there and takes no schedule: remove it")
        elif self.schedule is None:
            object.__setattr__(self, "schedule", Schedule(to=min(Schedule.to, self.structure.most)))
        if self.schedule is not None:
            check_reach(self.structure, self.schedule.to)
            check_bounds(self.scope, self.schedule.to, self.normalize, self.floor, self.ceiling)


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
