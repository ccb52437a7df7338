"""One rule: which weights to prune, by what criterion, in which groups, and how fast."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal

from optkit.pruning.config.criteria import (
    CRITERIA,
    ONE_SHOT,
    TRAINED,
    Criterion,
    FisherSearch,
    Frozen,
    Magnitude,
    Reconstruction,
)
from optkit.pruning.config.schedule import Schedule
from optkit.pruning.config.structure import Structure
from optkit.spelling import suggest

#: What ``permute`` may name, with one sentence on each.
PERMUTATIONS = {
    "hidden": "The features of the hidden state, in all matrices, embeddings and LayerNorms alike.",
    "neurons": "The neurons of each feed-forward layer.",
    "head_features": "The features within each head: those of queries with keys, those of values with the projection.",
    "heads": "The heads of each layer.",
}


@dataclass(frozen=True)
class Rule:
    """Which weights to prune, by what criterion, in which groups, and how fast.

    Args:
        targets: ``encoder_linear`` (every nn.Linear in the numbered lists of the encoder's layers) or patterns on
            dotted module names: globs whose ``*`` crosses dots, or ``re:`` and a regular expression that matches the
            whole name.
        exclude: patterns of modules to leave alone.
        criterion: which groups go first; a criterion or its name (``movement``).
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
        permute: what ``optkit.pruning.permute`` may reorder for the blocks of this rule, some of ``PERMUTATIONS``, or
            ``all`` for what the model allows. Pruning itself reorders nothing.
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
    permute: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        as_tuple = lambda v: (v,) if isinstance(v, str) else tuple(v)  # noqa: E731
        object.__setattr__(self, "targets", as_tuple(self.targets))
        object.__setattr__(self, "exclude", as_tuple(self.exclude))
        object.__setattr__(self, "structure", Structure.parse(self.structure))
        object.__setattr__(self, "criterion", _criterion(self.criterion))
        if not self.targets:
            raise ValueError("targets names no layer: write encoder_linear, a glob, or re: and a regular expression")
        if not isinstance(self.schedule, (Schedule, NoneType)):
            raise ValueError(f"schedule is a Schedule, such as Schedule(to=0.8), got {self.schedule!r}")
        if self.scope not in ("global", "local"):
            raise ValueError(f"scope is global or local, got '{self.scope}'")
        object.__setattr__(self, "permute", as_tuple(self.permute))
        check_grouping(self.criterion, self.structure)
        check_permutation(self.permute, self.criterion, self.structure)
        if isinstance(self.criterion, Frozen):
            if self.schedule is not None:
                raise ValueError("frozen keeps the zeros that are there and takes no schedule: remove it")
        elif self.schedule is None:
            object.__setattr__(self, "schedule", Schedule(to=min(Schedule.to, self.structure.max_sparsity)))
        if self.schedule is not None:
            check_reach(self.structure, self.schedule.to)
            check_bounds(self.scope, self.schedule.to, self.normalize, self.floor, self.ceiling)


def _criterion(given: Any) -> Criterion:
    if isinstance(given, str):
        if given not in CRITERIA:
            raise ValueError(
                f"unknown criterion '{given}'{suggest(given, CRITERIA) or ', one of ' + ', '.join(CRITERIA)}"
            )
        return CRITERIA[given]()
    if type(given) not in CRITERIA.values():
        raise ValueError(f"criterion is one such as Movement(), or its name, got {given!r}")
    chosen: Criterion = given
    return chosen


def check_grouping(criterion: Criterion, structure: Structure) -> None:
    """Raises ValueError if ``criterion`` cannot choose groups of ``structure``."""
    if isinstance(criterion, Reconstruction) and structure.spans_layers:
        raise ValueError(f"reconstruction chooses within a layer, and a {structure.kind} spans several: use fisher")
    if isinstance(criterion, FisherSearch) and not structure.spans_layers:
        raise ValueError(f"fisher chooses heads or neurons, not {structure}: use reconstruction, or structure: head")


def check_permutation(kinds: Iterable[str], criterion: Criterion, structure: Structure) -> None:
    """Raises ValueError if ``kinds`` are not some of ``PERMUTATIONS`` or ``all``, or no order helps such a rule."""
    kinds = list(kinds)
    unknown = next((kind for kind in kinds if kind != "all" and kind not in PERMUTATIONS), None)
    if unknown is not None:
        raise ValueError(f"unknown permutation '{unknown}': write all, or some of {', '.join(PERMUTATIONS)}")
    if kinds and isinstance(criterion, Frozen):
        raise ValueError("frozen keeps zeros where they are, so there is nothing to permute: remove permute")
    blocks = structure.kind == "n:m" or (structure.kind in ("block", "neuron") and structure.rows * structure.cols > 1)
    if kinds and not blocks:
        raise ValueError(f"groups of {structure} stay the same in any order: remove permute, or choose blocks")


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
    if to > structure.max_sparsity:
        raise ValueError(f"{structure} reaches a sparsity of {structure.max_sparsity:g} and no more, `to` is {to:g}")


def check_bounds(scope: str, to: float, normalize: bool, floor: float, ceiling: float) -> None:
    """Raises ValueError if these options of global scope have no meaning or contradict the final sparsity ``to``."""
    if scope != "global" and (normalize or floor > 0.0 or ceiling < 1.0):
        raise ValueError("normalize, floor and ceiling compare layers, and scope local does not: remove them")
    if not 0.0 <= floor <= to <= ceiling <= 1.0:
        raise ValueError(f"the sparsity {to:g} must lie between floor {floor:g} and ceiling {ceiling:g}, within [0, 1]")
