"""Importance is what removing a group costs in a quadratic model of the loss, and what stays makes up for what goes
(oBERT, Kurtic et al. 2022, https://arxiv.org/abs/2203.07259; WoodFisher, Singh & Alistarh 2020,
https://arxiv.org/abs/2004.14340; after Optimal Brain Surgeon, Hassibi & Stork 1992).

The Hessian is the empirical Fisher in blocks of R adjacent outputs x C adjacent inputs (optkit/pruning/fisher.py), here
a moving average over optimizer steps of the outer product of each step's gradient, where the papers gather fresh
gradients at each change of the masks. A group Q inside a Fisher block counts by w_Q^T ((F^-1)_QQ)^-1 w_Q / 2; one that
crosses Fisher blocks (rows, columns, heads, neurons, larger blocks) by the sum over its parts within them.
When masks change, the weights that stay move to the minimum of the quadratic model, all that went from a Fisher block
at once. F is restricted to living weights before it is inverted: what is pruned already stays at zero and takes no
part.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor

from optkit.errors import PruningError
from optkit.pruning import fisher
from optkit.pruning.config.criteria import Obert
from optkit.pruning.criteria.base import Criterion, State


class ObertCriterion(Criterion):
    watches = frozenset({"gradients"})

    config: Obert

    def __init__(self, config: Obert):
        super().__init__(config)
        self._block = config.shape

    def state(self, weight: Tensor) -> State:
        return {"fisher": fisher.empty(_size(weight), self._block, weight.device)}

    def observe(self, state: State, weight: Tensor, gradient: Tensor) -> None:
        fisher.accumulate(state["fisher"], gradient, self._block, self.config.momentum)

    def score(self, weight: Tensor, state: State, index: int) -> Tensor:
        return self.score_jointly(weight, state, index, (1, 1))

    def score_jointly(self, weight: Tensor, state: State, index: int, tile: tuple[int, int]) -> Tensor:
        parts = fisher.parts(self._block, tile, _size(weight))
        weights = fisher.to_blocks(weight.float(), self._block)
        living = weights != 0
        scale = self._scale(state, living)
        scores = torch.zeros_like(weights)
        for chosen, matrices in self._matrices(state, living.any(dim=0), scale):
            scores[:, chosen] = fisher.saliency(
                matrices, weights[:, chosen], living[:, chosen], self.config.damping, parts
            )
        return fisher.from_blocks(scores * scale, _size(weight), self._block)

    def after_mask(self, weight: Tensor, state: State, before: Tensor, keep: Tensor) -> None:
        change = weight.where(keep, 0.0).float() - weight.where(before, 0.0).float()
        change = fisher.to_blocks(change, self._block)
        free = fisher.to_blocks(before & keep, self._block)
        scale = self._scale(state, free)
        moved = torch.zeros_like(change)
        wanted = (change != 0).any(dim=0) & free.any(dim=0)
        for chosen, matrices in self._matrices(state, wanted, scale):
            moved[:, chosen] = fisher.compensation(matrices, change[:, chosen], free[:, chosen], self.config.damping)
        weight += fisher.from_blocks(moved, _size(weight), self._block).to(weight.dtype)

    def _scale(self, state: State, living: Tensor) -> Tensor:
        """The mean diagonal entry over ``living`` weights (B, n). Divided by it the Fisher of a layer is of order 1, so
        damping means the same in every layer, however small its gradients.
        """
        mean = fisher.diagonal(state["fisher"]).where(living, 0.0).sum() / living.sum().clamp(min=1)
        if not bool(torch.isfinite(mean)):
            raise PruningError(
                "obert: gradients held NaN or infinite values: lower the learning rate, or add warmup steps"
            )
        return mean.clamp(min=torch.finfo(mean.dtype).tiny)

    def _matrices(self, state: State, wanted: Tensor, scale: Tensor) -> Iterator[tuple[Tensor | slice, Tensor]]:
        """Where the blocks ``wanted``, bool (n,), are, a few at a time, and their Fisher (B, B, few) over ``scale``."""
        # As many as a core's cache holds, or as a GPU's memory does not notice: 2 and 64 MB.
        entries = 2**19 if wanted.device.type == "cpu" else 2**24
        places = torch.nonzero(wanted).flatten()
        for chosen in places.split(max(entries // prod(self._block) ** 2, 1)) if len(places) else ():
            first, last = int(chosen[0]), int(chosen[-1])
            if last - first == len(chosen) - 1:  # a slice is read as it lies, places are gathered one by one
                chosen = slice(first, last + 1)
            yield chosen, fisher.unpack(state["fisher"][:, chosen] / scale)


def _size(weight: Tensor) -> tuple[int, int]:
    rows, cols = weight.shape
    return rows, cols
