"""The scores of the weights that one rule matches, and what an order of features means for its blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from optkit.pruning.config import Rule
from optkit.pruning.permutation.search import Term
from optkit.pruning.permutation.spaces import Axis, Space, reorder_axis
from optkit.pruning.selection import target_count
from optkit.pruning.structures import GroupedAcrossLayers
from optkit.pruning.targets import Site


class RuleScores:
    """What one rule's weights count by, in the order that its features are in now.

    Args:
        rule: one with ``permute``.
        sites: what it matched.
        scores: the importance of each weight (out, in), by the layer's name.
        kinds: of permutations that are allowed for its blocks.
    """

    def __init__(self, rule: Rule, sites: Sequence[Site], scores: Mapping[str, Tensor], kinds: Sequence[str]):
        self.rule, self.sites, self.kinds = rule, list(sites), list(kinds)
        # Where layers do not compete, one with large scores is not worth more than the others.
        self._apart = rule.scope == "local" or bool(rule.shares)
        relative = self._apart or rule.normalize
        self._scores = {
            name: values.float() / (values.float().abs().mean().clamp(min=1e-30) if relative else 1.0)
            for name, values in scores.items()
        }
        shares = dict(rule.shares)
        most = rule.structure.max_sparsity
        self._pruned = [shares.get(site.name, rule.schedule.to) / most for site in self.sites]
        self._common: Tensor | None = None

    def reorder(self, space: Space, order: Tensor) -> None:
        """Puts the features of ``space`` into ``order``."""
        for axis, name in self._weights(space):
            reorder_axis(self._scores[name], axis, order)

    def kept(self) -> float:
        """The share of all scores in the groups that would stay."""
        total = sum(float(values.sum(dtype=torch.float64)) for values in self._scores.values())
        if self.rule.structure.kind == "n:m":
            return 1.0 - sum(float(self._pool(site).sum(dtype=torch.float64)) for site in self.sites) / total
        if self._apart:
            return sum(self._best(site, share) for site, share in zip(self.sites, self._pruned, strict=True)) / total
        pooled = torch.cat([self._pool(site) for site in self.sites])
        return float(pooled.topk(self._count(len(pooled), self._pruned[0])).values.sum(dtype=torch.float64)) / total

    def settle(self) -> None:
        """Fixes the sum above which blocks stay, where those of all layers compete, until it is called again."""
        if not self._apart and self.rule.structure.kind != "n:m":
            self._common = _threshold(torch.cat([self._pool(site) for site in self.sites]), self._pruned[0])

    def worth(self, space: Space) -> float:
        """What the layers that ``space`` touches hold, as far as its order decides that."""
        touched = {name for _, name in self._weights(space)}
        found = 0.0
        for site, share in zip(self.sites, self._pruned, strict=True):
            if not touched.isdisjoint(site.layers):
                if self.rule.structure.kind == "n:m":
                    found -= float(self._pool(site).sum(dtype=torch.float64))
                elif self._apart:
                    found += self._best(site, share)
                else:
                    found += float((self._pool(site) - self._common).clamp_(min=0.0).sum(dtype=torch.float64))
        return found

    def terms(self, space: Space, *, unit: int = 1) -> list[Term]:
        """What an order of ``space`` means for its matrices; empty where it means nothing.

        Args:
            unit: how many adjacent features move together, all of a part being free to go anywhere if it is not 1.
        """
        if self.rule.structure.kind == "neuron":
            return self._neuron_terms(space)
        terms = []
        for axis, name in self._weights(space):
            site, share = self._site_of(name)
            values = self._scores[name]
            size, extent, kept = self._block(values.shape, axis.dim)
            parts = 1 if unit > 1 else space.parts
            if size % unit or (space.count // parts) % size or axis.offset % size or size <= unit:
                continue  # whole blocks at any order, or blocks that parts cannot fill
            values = values if axis.dim == 0 else values.t()
            values = values.unflatten(1, (-1, extent)).sum(dim=2) if extent > 1 else values
            values = values[axis.offset : axis.offset + space.count]
            values = values.unflatten(0, (-1, unit)).sum(dim=1) if unit > 1 else values
            values = values.reshape(parts, -1, values.shape[1]).contiguous()
            thresholds = None
            if not kept:
                least = _threshold(self._pool(site), share) if self._apart else self._common
                thresholds = least.expand(values.shape[2])
            terms.append(Term(values, size // unit, kept, thresholds))
        return terms

    def _neuron_terms(self, space: Space) -> list[Term]:
        touched = {name for _, name in self._weights(space)}
        for site, share in zip(self.sites, self._pruned, strict=True):
            if set(site.layers) == touched and self.rule.structure.rows > 1:
                each = [self._scores[a_name] for _, a_name in self._weights(space)]
                axes = [axis for axis, _ in self._weights(space)]
                rows = [
                    values.narrow(axis.dim, axis.offset, space.count).sum(dim=1 - axis.dim)
                    for axis, values in zip(axes, each, strict=True)
                ]
                least = _threshold(self._pool(site), share) if self._apart else self._common
                values = torch.stack(rows).sum(dim=0)[None, :, None]
                return [Term(values, self.rule.structure.rows, 0, least.expand(1))]
        return []

    def _block(self, shape: Sequence[int], dim: int) -> tuple[int, int, int]:
        """Along ``dim`` the size of a block, its extent along the other dimension, and N of N:M."""
        structure = self.rule.structure
        if structure.kind == "n:m":
            return (structure.cols, 1, structure.kept) if dim == 1 else (1, 1, 0)
        rows, cols = structure.block((shape[0], shape[1]))
        return (rows, cols, 0) if dim == 0 else (cols, rows, 0)

    def _weights(self, space: Space) -> list[tuple[Axis, str]]:
        """The axes of ``space`` in weights of this rule, and their layers."""
        named = [(axis, axis.parameter.removesuffix(".weight")) for axis in space.axes]
        return [(axis, name) for axis, name in named if name in self._scores]

    def _site_of(self, name: str) -> tuple[Site, float]:
        return next(pair for pair in zip(self.sites, self._pruned, strict=True) if name in pair[0].layers)

    def _pool(self, site: Site) -> Tensor:
        values = [self._scores[name] for name in site.layers]
        if isinstance(site.grid, GroupedAcrossLayers):
            return site.grid.total(values)
        return site.grid.pool(values, [torch.ones_like(v, dtype=torch.bool) for v in values])

    def _best(self, site: Site, share: float) -> float:
        pooled = self._pool(site)
        return float(pooled.topk(self._count(len(pooled), share)).values.sum(dtype=torch.float64))

    @staticmethod
    def _count(groups: int, share: float) -> int:
        return groups - target_count(share, groups)


def _threshold(pooled: Tensor, share: float) -> Tensor:
    """The lowest of the sums (groups,) that stay; infinite where none does."""
    pruned = target_count(share, len(pooled))
    return pooled.kthvalue(pruned + 1).values if pruned < len(pooled) else pooled.new_tensor(torch.inf)
