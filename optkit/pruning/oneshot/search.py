"""Which heads or neurons to remove without retraining (Kwon et al. 2022, https://arxiv.org/abs/2204.09656).

Each group gets a mask variable of 1, and the Fisher information of these variables tells what zeros would cost. Its
diagonal settles how many groups each layer loses; within a layer the whole matrix then says which, since two groups
that do the same are not both to go; and what is left is tuned to what the dense model gave. The paper tunes one factor
for each group that is left, here it is all weights of the projection that their outputs go through.

The information is that of the model's outputs (see importance.py), so labels are not needed.

Memory: examples x groups of float32, and the Fisher matrix of one layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from optkit.pruning.binding import BoundRule
from optkit.pruning.oneshot.importance import gradients_of, margins
from optkit.pruning.oneshot.layerwise import Calibration, fit
from optkit.pruning.oneshot.replay import Batch, run
from optkit.pruning.structures import Slices
from optkit.pruning.targets import Site


@torch.no_grad()
def search(
    bound: BoundRule, calibration: Calibration, damping: float, tell: Callable[[int, int], None] = lambda *_: None
) -> None:
    """Prunes the heads or neurons of a rule to its target: sets their masks, and refits what reads from the rest.

    Args:
        damping: share of the mean variance of a projection's inputs that is added to each.
        tell: hears how many layers are done, of how many.
    """
    readers = {_reader(site)[0]: site for site in bound.sites}
    gradients = mask_gradients(calibration.model, calibration.batches, bound.sites)
    alive = bound.alive()
    keeps = bound.choose([g.square().mean(0) for g in gradients], alive, bound.rule.schedule.to)
    for site, keep, gradient, living in zip(bound.sites, keeps, gradients, alive, strict=True):
        keep = rearrange(gradient.t() @ gradient / len(gradient), keep, living)
        for mask, spread in zip(site.masks(), site.grid.spread(keep), strict=True):
            mask.mask &= spread
    done = 0
    for stage, moments in calibration.walk(list(readers)):
        for name in stage:
            layer = calibration.model.get_submodule(name)
            rows = layer.weight.new_ones(layer.out_features, 1, dtype=torch.float32)
            fit(layer, calibration.dense.get_submodule(name), moments, damping, rows)
            tell(done := done + 1, len(readers))


def _reader(site: Site) -> tuple[str, Slices]:
    """The layer that the groups' outputs go through, and which of its columns a group owns."""
    columns = next(part for part in site.grid.slices if part.axis == 1)
    return list(site.layers)[columns.weight], columns


def mask_gradients(model: nn.Module, batches: Sequence[Batch], sites: Sequence[Site]) -> list[Tensor]:
    """The gradient of the model's outputs with respect to each group's mask variable, for each example.

    Args:
        model: in evaluation mode.
        sites: of heads or neurons.

    Returns:
        a tensor (examples, groups) for each site.
    """
    found: list[list[Tensor]] = [[] for _ in sites]

    def see(place: int, count: int, columns: Slices) -> Callable:
        def hook(layer: nn.Module, args: tuple) -> tuple:
            values = args[0] if args[0].requires_grad else args[0].detach().requires_grad_()
            found[place].append(values.new_zeros(len(values), count, dtype=torch.float32))
            own = found[place][-1]

            def add(gradient: Tensor) -> None:
                product = (values.detach() * gradient).float().narrow(-1, columns.offset, count * columns.size)
                product = product.unflatten(-1, (count, columns.size)).sum(-1)
                own.add_(product.sum(dim=tuple(range(1, product.dim() - 1))) if product.dim() > 2 else product)

            values.register_hook(add)
            return (values, *args[1:])

        return hook

    handles, gathered = [], [[] for _ in sites]
    for place, site in enumerate(sites):
        name, columns = _reader(site)
        handles.append(site.layers[name].register_forward_pre_hook(see(place, site.grid.count, columns)))
    generator = torch.Generator().manual_seed(0)
    try:
        with gradients_of(model, {}), torch.enable_grad():
            for batch in batches:
                for calls in found:
                    calls.clear()
                margins(run(model, batch), batch, generator).backward()
                for calls, rows in zip(found, gathered, strict=True):
                    rows.append(torch.stack(calls).sum(0))
    finally:
        for handle in handles:
            handle.remove()
    return [torch.cat(rows) for rows in gathered]


def rearrange(fisher: Tensor, keep: Tensor, living: Tensor) -> Tensor:
    """As many groups as in ``keep``, chosen anew: pairs change places while that lowers z^T F z, z being 1 for those
    that go and 0 for those that stay.

    Args:
        fisher: F (groups, groups).
        keep: bool (groups,), True where a group stays.
        living: bool (groups,), False for groups that went before and cannot stay.
    """
    keep, removed = keep.clone(), ~living
    diagonal = fisher.diagonal()
    for _ in range(int(keep.numel())):
        out, stay = torch.nonzero(~keep & ~removed).flatten(), torch.nonzero(keep).flatten()
        if not len(out) or not len(stay):
            break
        pull = fisher[:, ~keep].sum(1)
        change = (diagonal - 2 * pull)[out][:, None] + (diagonal + 2 * pull)[stay][None, :]
        change -= 2 * fisher[out][:, stay]
        best = int(change.argmin())
        # Rounding must not keep two groups changing places for ever.
        if float(change.view(-1)[best]) >= -1e-6 * float(diagonal.sum()):
            break
        back, away = out[best // len(stay)], stay[best % len(stay)]
        keep[back], keep[away] = True, False
    return keep
