"""One rule bound to the layers it matched: who is scored, what its target means, and the masks that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.config import Rule, Structure, check_occasion
from optkit.pruning.criteria import Criterion, build
from optkit.pruning.criteria.base import GroupCriterion, State
from optkit.pruning.masking import WeightMask
from optkit.pruning.schedules import Steps, resolve
from optkit.pruning.selection import normalize, select_each, select_together, target_count
from optkit.pruning.targets import Site


@dataclass(frozen=True)
class RuleState:
    """How far a rule is: ``pruned`` of ``groups`` groups are pruned, the share ``target`` of its weights is to be zero
    at the end.
    """

    name: str
    structure: Structure
    groups: int
    pruned: int
    target: float
    begin: int
    end: int

    @property
    def sparsity(self) -> float:
        return self.pruned / self.groups * self.structure.max_sparsity

    def facts(self) -> dict[str, Any]:
        """What a run's manifest says of the rule."""
        return {
            "name": self.name,
            "structure": str(self.structure),
            "groups": self.groups,
            "pruned": self.pruned,
            "target": self.target,
        }


def place(rule: Rule, total_steps: int, steps_per_epoch: float) -> Steps | None:
    """The schedule of ``rule`` in a training of ``total_steps`` optimizer steps, None for a rule without one.

    Raises:
        PruningError: if it does not end within the training, prunes before a criterion that watches training has seen
            a step of it, or has a criterion that does not prune in training.
    """
    try:
        check_occasion(rule.criterion, trains=True)
    except ValueError as error:
        raise PruningError(f"rule '{rule.name}': {error}") from None
    if rule.schedule is None:
        return None
    steps = resolve(rule.schedule, total_steps, steps_per_epoch)
    if build(rule.criterion).watches and steps.target(0) > 0:
        raise PruningError(
            f"rule '{rule.name}': {rule.criterion.name} has seen no step when the schedule prunes at step 0: "
            "begin later"
        )
    return steps


class BoundRule:
    """A rule on the sites it matched.

    Args:
        rule: what to prune and how.
        sites: layers whose weights carry a mask each.
    """

    def __init__(self, rule: Rule, sites: Sequence[Site]):
        self.rule, self.sites = rule, list(sites)
        self.criterion: Criterion = build(rule.criterion)
        #: Groups of each site that were pruned before, and stay so.
        self.least = [0] * len(self.sites)
        self.steps: Steps | None = None

    @property
    def layers(self) -> dict[str, nn.Linear]:
        return {name: layer for site in self.sites for name, layer in site.layers.items()}

    @property
    def regrows(self) -> bool:
        """Whether masked weights may return."""
        return self.rule.regrow or self.criterion.revives

    def state(self, mask: WeightMask) -> dict[str, Tensor]:
        """What the criterion accumulated on one weight."""
        return mask.state(self.rule.criterion.name)

    def keep_groups(self) -> None:
        """Lets a criterion of whole groups keep its states: buffers on the first weight of each site."""
        if isinstance(self.criterion, GroupCriterion):
            for site in self.sites:
                weights = [raw.detach().abs().float() for raw in site.raw_weights()]
                magnitudes = site.grid.pool(weights, [mask.mask for mask in site.masks()])
                site.masks()[0].keep_state(self.rule.criterion.name, self.criterion.group_state(magnitudes))

    def observe_groups(self, gradients: dict[int, Tensor]) -> None:
        """Shows them the sites of which all ``gradients`` are there: of effective weights, by the masks' ids."""
        if isinstance(self.criterion, GroupCriterion):
            for site in self.sites:
                found = [gradients.get(id(mask)) for mask in site.masks()]
                if all(gradient is not None for gradient in found):
                    products = [raw.detach().float() * g for raw, g in zip(site.raw_weights(), found, strict=True)]
                    sums = site.grid.total(products), site.grid.total([product.abs() for product in products])
                    alive = site.grid.alive([mask.mask for mask in site.masks()])
                    self.criterion.observe_groups(self.state(site.masks()[0]), *sums, alive)

    def alive(self) -> list[Tensor]:
        """Which groups of each site are not pruned: bool (groups,)."""
        return [site.grid.alive([mask.mask for mask in site.masks()]) for site in self.sites]

    def shares(self, target: float) -> list[float]:
        """The share of each site's groups that is pruned when the schedule asks for the sparsity ``target``."""
        if self.rule.shares:
            final, progress = dict(self.rule.shares), target / self.rule.schedule.to if target else 0.0
            return [final[site.name] * progress / self.rule.structure.max_sparsity for site in self.sites]
        return [target / self.rule.structure.max_sparsity] * len(self.sites)

    @property
    def target(self) -> float:
        """The share of the matched weights that is zero at the end."""
        if not self.rule.shares:
            return self.rule.schedule.to
        groups = [site.grid.count * site.grid.size for site in self.sites]
        shares = self.shares(self.rule.schedule.to)
        return sum(s * n for s, n in zip(shares, groups, strict=True)) / sum(groups) * self.rule.structure.max_sparsity

    def target_groups(self, target: float) -> int:
        """Exactly how many groups are pruned when the schedule asks for the sparsity ``target``."""
        counts = [site.grid.count for site in self.sites]
        if self.rule.scope == "global" and not self.rule.shares:
            return max(target_count(self.shares(target)[0], sum(counts)), sum(self.least))
        each = zip(self.shares(target), counts, self.least, strict=True)
        return sum(max(target_count(share, count), least) for share, count, least in each)

    def freeze(self) -> None:
        """Masks the groups that are zero already."""
        for site in self.sites:
            filled = [layer.weight.detach() != 0 for layer in site.layers.values()]
            kept = site.grid.spread(site.grid.alive(filled))
            for mask, own, spread in zip(site.masks(), filled, kept, strict=True):
                mask.mask &= own | spread

    @torch.no_grad()
    def prune(self, target: float) -> None:
        """Sets the masks to the sparsity ``target``."""
        seen, scores, index = [], [], 0
        for site in self.sites:
            masks = site.masks()
            seen.append([m.free if self.regrows else m.mask.clone() for m in masks])
            scores.append([])
            for raw, mask, living, tile in zip(site.raw_weights(), masks, seen[-1], site.grid.tiles, strict=True):
                # A raw weight under a mask is not in checkpoints, so it must not count after a resume.
                weight = raw.detach().where(living, mask.zero)
                scores[-1].append(self.criterion.score_jointly(weight, self.state(mask), index, tile))
                index += 1
        pooled = [site.grid.pool(*both) for site, both in zip(self.sites, zip(scores, seen), strict=True)]
        living = [site.grid.alive(s) for site, s in zip(self.sites, seen, strict=True)]
        keeps = self.choose(pooled, living, target)
        for site, keep, own_scores, own_seen in zip(self.sites, keeps, scores, seen, strict=True):
            new = site.grid.masks(keep, own_scores, own_seen)
            for raw, mask, kept in zip(site.raw_weights(), site.masks(), new, strict=True):
                self._mask(raw, mask, kept)

    def choose(self, pooled: list[Tensor], living: list[Tensor], target: float) -> list[Tensor]:
        if not isinstance(self.criterion, GroupCriterion):
            return self._count_out(pooled, living, target)
        states = [self.state(site.masks()[0]) for site in self.sites]
        masks = self._count_out([self.criterion.group_score(state) for state in states], living, target)
        if target >= self.rule.schedule.to:
            return masks
        chosen = self._own_choice(states, living, target)
        return [keep if own is None else own for keep, own in zip(masks, chosen, strict=True)]

    def _own_choice(self, states: list[State], living: list[Tensor], target: float) -> list[Tensor | None]:
        """What the criterion chooses at each site, None where it leaves that to counting."""
        shares = self.shares(target)
        if self.rule.shares or self.rule.scope == "local":
            each = zip(states, living, shares, strict=True)
            chosen = [self._choose_among([state], [alive], share) for state, alive, share in each]
            return [own and own[0] for own in chosen]
        own = self._choose_among(states, living, shares[0])
        bounded = self.rule.floor > 0.0 or self.rule.ceiling < 1.0
        return [None] * len(states) if bounded or own is None else own

    def _choose_among(self, states: list[State], living: list[Tensor], share: float) -> list[Tensor] | None:
        """What the criterion chooses of the living groups, ``share`` of all groups being pruned in the end."""
        total, left = sum(alive.numel() for alive in living), sum(int(alive.sum()) for alive in living)
        if left == total:
            return self.criterion.choose(states, share)
        if left == 0:
            return None
        free = [
            {name: value[alive] if value.dim() else value for name, value in state.items()}
            for state, alive in zip(states, living, strict=True)
        ]
        chosen = self.criterion.choose(free, max(target_count(share, total) - (total - left), 0) / left)
        return chosen and [alive.masked_scatter(alive, own) for alive, own in zip(living, chosen, strict=True)]

    def _count_out(self, pooled: list[Tensor], living: list[Tensor], target: float) -> list[Tensor]:
        rule, shares = self.rule, self.shares(target)
        if rule.shares or rule.scope == "local":
            return select_each(pooled, living, shares)
        if len({site.grid.size for site in self.sites}) > 1 and not isinstance(self.criterion, GroupCriterion):
            # Sums over groups of different sizes do not compare, means do.
            pooled = [values / site.grid.size for values, site in zip(pooled, self.sites, strict=True)]
        if rule.normalize:
            pooled = normalize(pooled, living)
        floor = min(rule.floor, target) / rule.structure.max_sparsity
        ceiling = min(rule.ceiling / rule.structure.max_sparsity, 1.0)
        return select_together(pooled, living, shares[0], floor=floor, ceiling=ceiling)

    def _mask(self, raw: nn.Parameter, mask: WeightMask, kept: Tensor) -> None:
        before = mask.mask.clone()
        # Without regrowth the old mask stays in force: a finer rule may have pruned inside a living group.
        mask.mask.copy_((mask.free if self.regrows else before) & kept)
        if not torch.equal(before, mask.mask):
            self.criterion.after_mask(raw.data, self.state(mask), before, mask.mask)
        if not (self.regrows or mask.regrow):
            # As a checkpoint has them: optimizers may go by the size of a weight.
            raw.data.masked_fill_(~mask.mask, 0.0)
