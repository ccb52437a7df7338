"""What criteria watch while a model trains: the inputs of layers in each pass, the gradients before each step."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from optkit.errors import PruningError
from optkit.pruning import parallel
from optkit.pruning.binding import BoundRule
from optkit.pruning.masking import WeightMask, effective_gradients, mask_of, raw_of
from optkit.pruning.targets import roots


class Observer:
    """Feeds the states that criteria keep on the weights of a model.

    Attributes:
        steps: optimizer steps whose gradients criteria saw since the training began.
    """

    def __init__(self) -> None:
        self.steps = 0
        #: Who feeds the state of a criterion on a weight; rules that nest may share one.
        self._watched: list[tuple[BoundRule, nn.Linear]] = []
        self._hooks: list[RemovableHandle] = []
        self._real: Tensor | None = None  # which tokens are no padding: bool (batch, length)
        self._outermost: nn.Module | None = None  # of the modules that are given the mask
        # Ids of masks whose weights got a gradient, and of those that got one that is not all zero.
        self._given, self._seen = set[int](), set[int]()

    def watch(self, bound: BoundRule, layer: nn.Linear) -> None:
        """Shows the rule's criterion what it watches of ``layer``, whose mask keeps its state."""
        if bound.criterion.watches:
            self._watched.append((bound, layer))
        if "inputs" in bound.criterion.watches:
            self._hooks.append(layer.register_forward_pre_hook(partial(self._see_inputs, bound)))

    def watch_padding(self, model: nn.Module) -> None:
        """Leaves padded tokens out of the inputs, where any criterion watches those; to be called after ``watch``."""
        if any("inputs" in bound.criterion.watches for bound, _ in self._watched):
            # A model of another package, such as sentence-transformers', may take it in another form and hand it to
            # the models within by name.
            within = [model.get_submodule(root.removesuffix(".")) for root in roots(model) if root]
            for each in (model, *within):
                self._hooks.append(each.register_forward_pre_hook(self._see_padding, with_kwargs=True))
            self._outermost = model

    def _see_padding(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 2:
            self._real = mask.bool()
        elif model is self._outermost:
            self._real = None

    @torch.no_grad()
    def _see_inputs(self, bound: BoundRule, layer: nn.Linear, args: tuple[Any, ...]) -> None:
        if not layer.training:
            return
        inputs, real = args[0].detach(), self._real
        count = inputs.shape[:-1].numel()
        if real is not None and inputs.shape[:-1] == real.shape:
            # Cleared and not cut out, which would make shapes depend on values and torch.compile give up.
            inputs, count = inputs.masked_fill(~real.unsqueeze(-1), 0.0), real.sum()
        bound.criterion.observe_inputs(bound.state(mask_of(layer)), inputs.reshape(-1, inputs.shape[-1]), count)

    @torch.no_grad()
    def observe(self, rules: Sequence[BoundRule], *, skip_nonfinite: bool) -> None:
        """Shows criteria the gradients of an optimizer step, see ``Pruner.observe``."""
        if parallel.processes() > 1:
            # At each step and not only when masks change: a checkpoint holds what one process has.
            parallel.average([state[name] for state, names in self._reduced_states() for name in names])
        watched = [
            (bound, mask_of(layer), raw_of(layer))
            for bound, layer in self._watched
            if "gradients" in bound.criterion.watches and raw_of(layer).grad is not None
        ]
        gradients = effective_gradients([mask for _, mask, _ in watched], [raw.grad for *_, raw in watched])
        self.steps += 1
        self._look_at([mask for _, mask, _ in watched], gradients)
        # Where one is infinite clipping has cleared all others: none of the step's is worth anything.
        if skip_nonfinite and not _finite(gradients):
            return
        for (bound, mask, raw), gradient in zip(watched, gradients, strict=True):
            bound.criterion.observe(bound.state(mask), raw, gradient)
        shown = {id(mask): gradient for (_, mask, _), gradient in zip(watched, gradients, strict=True)}
        for bound in rules:
            bound.observe_groups(shown)

    def _look_at(self, masks: Sequence[WeightMask], gradients: Sequence[Tensor]) -> None:
        """Notes which weights got a gradient, and which of these one that is not all zero."""
        self._given.update(map(id, masks))
        new = [(mask, g) for mask, g in zip(masks, gradients, strict=True) if id(mask) not in self._seen]
        if new:
            found = torch.stack([gradient.any() for _, gradient in new]).tolist()  # the device is asked once
            self._seen.update(id(mask) for (mask, _), any_there in zip(new, found, strict=True) if any_there)

    def _reduced_states(self) -> list[tuple[dict[str, Tensor], tuple[str, ...]]]:
        """States of which each process has gathered its own part, and their names."""
        return [
            (bound.state(mask_of(layer)), bound.criterion.reduced)
            for bound, layer in self._watched
            if bound.criterion.reduced
        ]

    def forget_gradients(self) -> None:
        """Drops what masks collected of gradients, once no mask will change any more."""
        for _, layer in self._watched:
            mask_of(layer).forget_gradients()

    def go_on(self) -> None:
        """Takes for seen what an earlier part of the training saw, which states tell."""
        watched = ((bound, mask_of(layer)) for bound, layer in self._watched)
        self._seen.update(id(mask) for bound, mask in watched if _holds_anything(bound.state(mask)))
        self._given |= self._seen

    def check_seen(self, bound: BoundRule) -> None:
        """Raises PruningError if a rule goes by gradients or inputs, and one of its weights got none so far."""
        if not bound.criterion.watches:
            return
        masks = {name: mask_of(layer) for name, layer in bound.layers.items()}
        what = ".weight got no gradient"
        if bound.criterion.by_gradients:
            # A weight of which a part was pruned was looked at then, and one that is masked as a whole gets zeros.
            unseen = [name for name, mask in masks.items() if id(mask) not in self._given and _is_whole(mask)]
            if not unseen and any(id(mask) in self._seen for mask in masks.values()):
                # Of layers that are called and get no token. All get zeros where a model is its own teacher.
                what = ".weight got gradients of zeros alone"
                unseen = [name for name, mask in masks.items() if id(mask) not in self._seen and _is_whole(mask)]
        else:
            what = " got no input in training (a loop of your own has to call model.train())"
            unseen = [name for name, mask in masks.items() if not _holds_anything(bound.state(mask))]
        if unseen:
            raise PruningError(
                f"rule '{bound.rule.name}': {unseen[0]}{what}, and {bound.rule.criterion.name} goes by that: exclude "
                "it, or take magnitude"
            )

    def remove(self) -> None:
        """Takes the hooks off the model."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()


def _is_whole(mask: WeightMask) -> bool:
    return bool(mask.mask.all())


def _holds_anything(state: dict[str, Tensor]) -> bool:
    return any(bool(tensor.any()) for tensor in state.values())


def _finite(tensors: Sequence[Tensor]) -> bool:
    # One answer of the device for all of them.
    sums = [tensor.sum().float().to(tensors[0].device) for tensor in tensors]
    return not sums or bool(torch.stack(sums).isfinite().all())
