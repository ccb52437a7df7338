"""Orders of a model's features for the blocks that rules prune in, found and applied."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.config import ONE_SHOT, PERMUTATIONS, Frozen, Magnitude, Rule, Wanda
from optkit.pruning.criteria import build
from optkit.pruning.oneshot.one_shot import importance_scores
from optkit.pruning.permutation.scores import RuleScores
from optkit.pruning.permutation.search import Term, improve
from optkit.pruning.permutation.spaces import Space, allowed_kinds, reorder, spaces
from optkit.pruning.targets import resolve_rules, resolve_targets

#: Orders of one space depend on those of the others: all of them take turns so often.
_ROUNDS = 2
#: Of one order against the blocks that stay then; what it has to win for another.
_REFINEMENTS, _LEAST = 3, 1e-4


@dataclass(frozen=True)
class Permutation:
    """How the features of a model were reordered.

    Attributes:
        orders: by space (``hidden``; ``<layer>.neurons``, ``<layer>.query`` for queries with keys, ``<layer>.value``):
            which feature of before stands at each place, (features,), int64.
        kept: by the rule's name, the share of its scores in the blocks that would stay, before and after.
    """

    orders: Mapping[str, Tensor]
    kept: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def apply(self, model: nn.Module) -> None:
        """Reorders the features of ``model``, one of the same layout as that the orders were found for, in place.

        Raises:
            PruningError: if it has another layout, or masks.
        """
        if any(parametrize.is_parametrized(module, "weight") for module in model.modules()):
            raise PruningError("the model has masks already: permute it before it is pruned")
        known = {
            s.name: s for kind in ("heads", "head_features", "neurons", "hidden") for s in _spaces_or_none(model, kind)
        }
        unknown = next((name for name in self.orders if name not in known), None)
        if unknown is not None:
            raise PruningError(f"{type(model).__name__} has no features {unknown} that a permutation could reorder")
        for name, order in self.orders.items():
            reorder(model, known[name], order)

    def inverse(self, space: str) -> Tensor | None:
        """The order that puts the features of ``space`` back where they were; None where they never moved."""
        order = self.orders.get(space)
        return None if order is None else torch.argsort(order)

    def save(self, path: Path) -> None:
        """Writes the orders as safetensors."""
        from safetensors.torch import save_file

        save_file({name: order.cpu().contiguous() for name, order in self.orders.items()}, path)

    @classmethod
    def load(cls, path: Path) -> Permutation:
        """Reads what ``save`` wrote."""
        from safetensors.torch import load_file

        return cls(load_file(path))


def _spaces_or_none(model: nn.Module, kind: str) -> list[Space]:
    try:
        return spaces(model, kind)
    except PruningError:
        return []


def permutation_problems(model: nn.Module, rules: Sequence[Rule]) -> tuple[list[tuple[int, str]], list[str]]:
    """What of ``permute`` in ``rules`` the model does not allow (the meta device suffices).

    Returns:
        every problem as (index of the rule, one line); and, for rules that permute ``all``, what stays in order.
    """
    problems, notes = [], []
    for index, rule in enumerate(rules):
        if not rule.permute:
            continue
        kinds, refused = allowed_kinds(model, rule.permute)
        lines = [f"{kind}: {reason}" for kind, reason in refused.items()]
        if len(refused) > 1 and len(set(refused.values())) == 1:  # the model as a whole is not known
            lines = list(set(refused.values()))
        if "all" in rule.permute and kinds:
            notes += [f"rule '{rule.name}' leaves in order {line}" for line in lines if line not in notes]
        else:
            problems += [(index, line) for line in dict.fromkeys(lines)]
        moved = {axis.parameter for kind in kinds for space in spaces(model, kind) for axis in space.axes}
        problems += [(index, text) for text in _fixed_blocks(model, rules, moved)]
    return problems, list(dict.fromkeys(notes))


def _fixed_blocks(model: nn.Module, rules: Sequence[Rule], moved: set[str]) -> list[str]:
    """Why rules that keep blocks of zeros where they are forbid that the parameters ``moved`` are reordered."""
    found = []
    for rule, sites in zip(rules, resolve_rules(model, rules)[0], strict=True):
        blocks = rule.structure.kind == "n:m" or rule.structure.rows * rule.structure.cols > 1
        names = [f"{name}.weight" for site in sites for name in site.layers]
        shared = next((name for name in names if name in moved), None)
        if isinstance(rule.criterion, Frozen) and blocks and shared is not None:
            found.append(f"rule '{rule.name}' keeps blocks of zeros in {shared}, which another order would break up")
    return found


def permute(
    model: nn.Module,
    rules: Rule | Sequence[Rule],
    *,
    batches: Sequence[Mapping[str, Any]] | None = None,
    loss: Callable[[Any, Mapping[str, Any]], Tensor] | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Permutation:
    """Reorders the features of ``model`` so that blocks hold weights of like importance; its outputs stay the same, to
    rounding. Call it before masks are there: before the Trainer is built with a ``PruningCallback``, or before
    ``one_shot``.

    Orders are found for the blocks and the final sparsity of the rules that have ``permute``, see
    ``optkit.pruning.permutation.search`` for how and after whom. Under a global scope the layers' scores count as they
    are, otherwise relative to their mean in each layer.

    Args:
        model: a transformers model of a known layout; changed in place.
        rules: the rules that will prune it.
        batches: calibration data as ``one_shot`` takes them. With them each weight counts by the rule's own criterion
            (by the square of ``wanda`` under ``reconstruction`` and ``fisher``, which have no such scores); else by its
            magnitude.
        loss: as ``one_shot`` takes it.
        seed: of the search; the same orders come out for the same seed, weights and batches.
        on_progress: called with how many orders were looked for, and their total.

    Raises:
        PruningError: if the model's layout is not known, an order that a rule names would change its outputs, it has
            masks already, or the rules cannot be applied to it.
    """
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    problems = [text for _, text in permutation_problems(model, rules)[0]]
    problems += [text for _, text in resolve_rules(model, rules)[1]]
    if problems:
        raise PruningError("; ".join(problems))
    scored = _scored(model, rules, batches, loss)
    before = {own.rule.name: own.kept() for own in scored}
    known = {kind: spaces(model, kind) for kind in PERMUTATIONS if any(kind in own.kinds for own in scored)}
    steps = [(kind, group) for kind, found in known.items() for group in _together(kind, found)]
    orders: dict[str, Tensor] = {}
    generator, total = torch.Generator().manual_seed(seed), _ROUNDS * len(steps)
    for number in range(_ROUNDS):
        for own in scored:
            own.settle()
        for done, (kind, group) in enumerate(steps, 1 + number * len(steps)):
            order = _find(kind, group, [own for own in scored if kind in own.kinds], scored, generator)
            for space in group if order is not None else ():
                earlier = orders.get(space.name)
                orders[space.name] = order if earlier is None else earlier[order]
            on_progress(done, total)
    orders = {name: order.cpu() for name, order in orders.items() if not bool((order.diff() == 1).all())}
    kept = {own.rule.name: (before[own.rule.name], own.kept()) for own in scored}
    found = Permutation(orders, kept)
    found.apply(model)
    return found


def _together(kind: str, found: Sequence[Space]) -> list[list[Space]]:
    """Spaces that take one order: for heads the features of queries and those of values of a layer."""
    if kind != "heads":
        return [[space] for space in found]
    return [[query, value] for query, value in zip(found[::2], found[1::2], strict=True)]


def _find(
    kind: str, group: Sequence[Space], concerned: Sequence[RuleScores], scored: Sequence[RuleScores], generator: Any
) -> Tensor | None:
    """An order of the spaces of ``group`` that is worth more to the rules ``concerned``, None if there is none; the
    scores of all rules are put into it.
    """
    first = group[0]
    unit = first.count // first.parts if kind == "heads" else 1
    found = None
    for _ in range(_REFINEMENTS):
        terms = [term for own in concerned for space in group for term in own.terms(space, unit=unit)]
        if not terms:
            break
        before = _worth(concerned, group)
        order = _flat(improve(_merge(terms), generator), unit)
        for own in scored:
            for space in group:
                own.reorder(space, order)
        # Other blocks stay than those the search went by, so what it won may be lost again.
        gain = _worth(concerned, group) - before
        if gain <= 0.0:
            for own in scored:
                for space in group:
                    own.reorder(space, torch.argsort(order))
            break
        found = order if found is None else found[order]
        if gain <= _LEAST * abs(before) or all(term.kept for term in terms):  # of N:M the same stay
            break
    return found


def _worth(concerned: Sequence[RuleScores], group: Sequence[Space]) -> float:
    return sum(own.worth(space) for own in concerned for space in group)


def _flat(order: Tensor, unit: int) -> Tensor:
    """An order within each part, or of units, (parts, n), as one of single features (features,)."""
    parts, features = order.shape
    order = (order + features * torch.arange(parts, device=order.device)[:, None]).flatten()
    return (order[:, None] * unit + torch.arange(unit, device=order.device)).flatten()


def _merge(terms: Sequence[Term]) -> list[Term]:
    """Terms of equal blocks as one."""
    merged: dict[tuple[int, int], list[Term]] = {}
    for term in terms:
        merged.setdefault((term.size, term.kept), []).append(term)
    return [
        Term(
            torch.cat([term.values for term in own], dim=2),
            size,
            kept,
            None if kept else torch.cat([term.thresholds for term in own]),
        )
        for (size, kept), own in merged.items()
    ]


def _scored(
    model: nn.Module,
    rules: Sequence[Rule],
    batches: Sequence[Mapping[str, Any]] | None,
    loss: Callable[[Any, Mapping[str, Any]], Tensor] | None,
) -> list[RuleScores]:
    """The scores of the rules that permute."""
    permuting = [rule for rule in rules if rule.permute]
    if batches is not None:
        criteria = [replace(r, criterion=Wanda()) if isinstance(r.criterion, ONE_SHOT) else r for r in permuting]
        scores = [
            # Their outputs change by squares.
            {name: s.square() for name, s in own.items()} if isinstance(rule.criterion, ONE_SHOT) else own
            for rule, own in zip(permuting, importance_scores(model, criteria, batches, loss=loss), strict=True)
        ]
    else:
        magnitude = build(Magnitude())
        scores = [
            {
                name: magnitude.score(layer.weight.detach(), {}, 0)
                for name, layer in resolve_targets(model, rule).items()
            }
            for rule in permuting
        ]
    matched = resolve_rules(model, permuting)[0]
    return [
        RuleScores(
            rule, sites, {n: own[n].clone() for s in sites for n in s.layers}, allowed_kinds(model, rule.permute)[0]
        )
        for rule, sites, own in zip(permuting, matched, scores, strict=True)
    ]
