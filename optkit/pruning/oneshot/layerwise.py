"""Walks through a model and prunes its linear layers one after the other, each so that its outputs stay what they were.

Each layer sees what the pruned layers before it give, and aims at what the dense model gives: so it also makes up for
their losses. Tokens count by how much the model's outputs feel them. Under a global scope the layers' sparsities are
settled first: every group's loss, by the weights as they are then, in units of change of the model's outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.binding import BoundRule
from optkit.pruning.masking import mask_of, raw_of
from optkit.pruning.oneshot.importance import Importance, importances, token_weights
from optkit.pruning.oneshot.moments import Moments
from optkit.pruning.oneshot.reconstruction import best_dense, choose, damp, refit, saliency
from optkit.pruning.oneshot.replay import Batch, Replay
from optkit.pruning.selection import select_each
from optkit.pruning.targets import Site, longest_list

#: How fast the loss of a layer outgrows the sum of its groups', see ``marginal``.
_JOINT = 0.3


@dataclass
class Calibration:
    """What one-shot methods work with.

    Args:
        model: the model that is pruned, in evaluation mode.
        dense: a copy of it from before.
        batches: inputs by name, labels if there are any; on the model's device.
    """

    model: nn.Module
    dense: nn.Module
    batches: Sequence[Batch]
    _felt: dict[str, Importance] = field(default_factory=dict)

    def felt(self, names: Sequence[str]) -> dict[str, Importance]:
        """How much the dense model's outputs feel each of the layers ``names``."""
        missing = [name for name in names if name not in self._felt]
        if missing:
            layers = {name: self.dense.get_submodule(name) for name in missing}
            self._felt |= importances(self.dense, self.batches, layers)
        return {name: self._felt[name] for name in names}

    def walk(self, names: Sequence[str]) -> Iterator[tuple[list[str], Moments]]:
        """The layers ``names`` stage by stage, with the moments of their inputs; what the caller changes in the model's
        layers shows in later stages.
        """
        replays = [_replay(model, self.batches, names) for model in (self.model, self.dense)]
        felt = self.felt(names)
        try:
            for stage in replays[0].stages:
                moments = Moments()
                weights = token_weights([felt[name] for name in stage])
                for x, y, w in zip(*(replay.inputs(stage) for replay in replays), weights, strict=True):
                    moments.add(x, y, w)
                if not moments.tokens:
                    raise PruningError(f"no token of the batches reaches {stage[0]}: exclude it")
                yield stage, moments.finish()
        finally:
            for replay in replays:
                replay.close()


def _replay(model: nn.Module, batches: Sequence[Batch], names: Sequence[str]) -> Replay:
    prefix = longest_list(model)
    repeated = list(model.get_submodule(prefix)) if prefix else []
    return Replay(model, batches, {name: model.get_submodule(name) for name in names}, repeated)


@torch.no_grad()
def reconstruct(
    bound: BoundRule, calibration: Calibration, damping: float, tell: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Prunes the layers of a rule to its target: sets their masks, weights and biases.

    Args:
        damping: share of the mean variance of a layer's inputs that is added to each.
        tell: hears how many layers are done, of how many.
    """
    sites = {site.name: site for site in bound.sites}
    shares = dict(zip(sites, bound.shares(bound.rule.schedule.to), strict=True))
    total = len(sites)
    if bound.rule.scope == "global" and not bound.rule.shares and max(shares.values()) < 1.0:
        shares, total = _allocate(bound, calibration, damping, lambda done: tell(done, 2 * len(sites))), 2 * total
    done = total - len(sites)
    for stage, moments in calibration.walk(list(sites)):
        for name in stage:
            site, layer = sites[name], calibration.model.get_submodule(name)
            rows = calibration.felt([name])[name].rows().sqrt()[:, None]
            nearest = _nearest(site, mask_of(layer).mask.clone(), shares[name])
            fit(layer, calibration.dense.get_submodule(name), moments, damping, rows, nearest)
            tell(done := done + 1, total)


def fit(
    layer: nn.Linear,
    dense: nn.Linear,
    moments: Moments,
    damping: float,
    rows: Tensor,
    nearest: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Gives a masked layer the weights and the bias whose outputs come nearest to those of its ``dense`` original.

    Args:
        moments: of its inputs.
        rows: square roots of the importance of each output, (out, 1).
        nearest: as ``choose`` takes it; None to keep the mask that there is.
    """
    mask, central = mask_of(layer), layer.bias is not None
    weight = dense.weight.float()
    hessian, ridge = damp(moments.covariance(central=central), damping)
    target = best_dense(weight, hessian, moments.cross(central=central), ridge) * rows
    if nearest is None:
        values = refit(target, hessian, mask.mask, target)
    else:
        keep, start = choose(target, hessian, nearest)
        values = refit(target, hessian, keep, start)
        mask.mask.copy_(keep)
    values = values / rows
    raw_of(layer).data.copy_(values)
    if central:
        layer.bias.data.copy_(dense.bias.float() + weight @ moments.dense_mean - values @ moments.mean)


def _nearest(site: Site, living: Tensor, share: float) -> Callable[[Tensor], Tensor]:
    """The mask (out, in) of ``share`` of the site's groups pruned, those with the smallest sums of squares."""
    alive = [site.grid.alive([living])]

    def nearest(squares: Tensor) -> Tensor:
        keep = select_each([site.grid.pool([squares], [living])], alive, [share])[0]
        return site.grid.masks(keep, [squares], [living])[0] & living

    return nearest


def marginal(losses: Tensor) -> Tensor:
    """What each group adds to its layer's loss when it goes after all that lose less.

    Groups lose more together than the sum of what each loses alone, ``losses`` (groups,), since they can no longer
    stand in for each other. Of MiniLM's layers a share s of the groups lost the sum times (1 - s)^-0.2 to (1 - s)^-0.5.
    """
    ordered, order = losses.double().clamp(min=0.0).sort(stable=True)
    removed = (torch.arange(len(losses), dtype=ordered.dtype, device=losses.device) + 0.5) / len(losses)
    together = ordered.cumsum(0) * (1.0 - removed) ** -_JOINT
    return torch.empty_like(ordered).scatter(0, order, together.diff(prepend=together.new_zeros(1)))


def _allocate(
    bound: BoundRule, calibration: Calibration, damping: float, tell: Callable[[int], None]
) -> Mapping[str, float]:
    """The share of groups to prune of each site, by name, when those of all sites are ranked together."""
    sites, pooled, done = {site.name: site for site in bound.sites}, {}, 0
    for stage, moments in calibration.walk(list(sites)):
        for name in stage:
            layer, site = calibration.model.get_submodule(name), sites[name]
            hessian, _ = damp(moments.covariance(central=layer.bias is not None), damping)
            losses = saliency(layer.weight.float(), hessian, site.grid.tiles[0][1])
            losses = losses * calibration.felt([name])[name].outputs[:, None]
            pooled[name] = marginal(site.grid.pool([losses], [mask_of(layer).mask]))
            tell(done := done + 1)
    keeps = bound.choose([pooled[name] for name in sites], bound.alive(), bound.rule.schedule.to)
    return {name: float((~keep).sum()) / keep.numel() for name, keep in zip(sites, keeps, strict=True)}
