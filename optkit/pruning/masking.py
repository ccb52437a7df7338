"""Masks on single weights, as parametrizations that are part of the forward pass.

Each pruned weight gets a parametrization that zeroes what its mask removes, so neither weight decay nor an optimizer's
momentum can bring a weight back. A state dict taken at any time holds the masked weight under its own name, and beside
it the mask and what the criteria accumulated: it loads as a plain dense model, and, loaded into a model with the same
rules attached, continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class WeightMask(nn.Module):
    """Parametrization of one weight (out, in): keeps it where ``mask`` is True, is 0.0 elsewhere.

    Args:
        weight: what is masked.
        regrow: whether masked weights may return, so that their raw values and gradients have to be kept.
    """

    mask: Tensor

    def __init__(self, weight: Tensor, *, regrow: bool):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("zero", torch.zeros((), dtype=weight.dtype, device=weight.device), persistent=False)
        self.regrow = regrow
        self.collects = False  #: whether gradients of masked weights are collected, too
        self._states: dict[str, list[str]] = {}
        self._effective_gradient: Tensor | None = None

    def forward(self, weight: Tensor) -> Tensor:
        # where, not weight * mask: the product leaves -0.0 behind, and NaN where a masked weight overflowed.
        masked = torch.where(self.mask, weight, self.zero)
        if self.collects and masked.requires_grad:
            masked.register_hook(self._collect)
        return masked

    def has_state(self, criterion: str) -> bool:
        return criterion in self._states

    def keep_state(self, criterion: str, tensors: dict[str, Tensor]) -> None:
        """Makes ``tensors`` of a criterion buffers, so that they are saved and move with the model."""
        self._states[criterion] = list(tensors)
        for name, tensor in tensors.items():
            self.register_buffer(f"{criterion}_{name}", tensor)

    def state(self, criterion: str) -> dict[str, Tensor]:
        """What ``keep_state`` was given, as it is now."""
        return {name: self._buffers[f"{criterion}_{name}"] for name in self._states[criterion]}

    def saved(self) -> list[str]:
        """Names of the buffers that a checkpoint holds beside the weight."""
        return [name for name in self._buffers if name not in self._non_persistent_buffers_set]

    def _collect(self, gradient: Tensor) -> None:
        collected = self._effective_gradient
        self._effective_gradient = gradient.detach().clone() if collected is None else collected.add_(gradient)

    def take_gradient(self) -> Tensor | None:
        """What the hook collected since the last call (out, in), None where nothing may regrow."""
        collected, self._effective_gradient = self._effective_gradient, None
        return collected


def attach(layer: nn.Linear, *, regrow: bool) -> tuple[WeightMask, list]:
    """Masks the weight of ``layer``; returns the mask, and the handles of the hooks that care for its checkpoints."""
    mask = WeightMask(layer.weight.detach(), regrow=regrow)
    # unsafe skips a trial forward that would only check shape and dtype, which torch.where keeps.
    parametrize.register_parametrization(layer, "weight", mask, unsafe=True)
    return mask, [
        layer.register_state_dict_post_hook(_save_masked),
        layer.register_load_state_dict_pre_hook(_load_masked),
    ]


def mask_of(layer: nn.Linear) -> WeightMask:
    """The mask that ``attach`` put on a layer."""
    return layer.parametrizations.weight[0]


def raw_of(layer: nn.Linear) -> nn.Parameter:
    """The weight (out, in) under the mask, which the optimizer changes."""
    return layer.parametrizations.weight.original


def detach(layer: nn.Linear) -> Tensor:
    """Makes the masked weight of ``layer`` an ordinary one again, and returns what the mask was (out, in)."""
    mask = mask_of(layer).mask
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return mask


def effective_gradients(masks: Sequence[WeightMask], raw: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the masked weights (out, in), unscaled and clipped as ``raw``, those that reached the parameters.

    Without regrowth only living weights matter, and there both gradients are the same. With it, what the hooks
    collected differs from ``raw`` by one factor (loss scale, clipping), the same for all weights, read off where both
    are known; so it holds for a weight that is wholly masked, too.
    """
    collected = [mask.take_gradient() for mask in masks]
    energy, overlap = 0.0, 0.0
    for mask, gradient, clipped in zip(masks, collected, raw, strict=True):
        if gradient is not None:
            known = torch.where(mask.mask, gradient, mask.zero).float()
            energy, overlap = energy + (known * known).sum(), overlap + (known * clipped).sum()
    if not torch.is_tensor(energy):
        return list(raw)
    factor = torch.where(energy > 0, overlap / energy, 1.0)
    return [r if g is None else g * factor.to(g.device, g.dtype) for g, r in zip(collected, raw, strict=True)]


def _save_masked(module: nn.Module, state: dict, prefix: str, local_metadata: dict) -> None:
    inner, mask = f"{prefix}parametrizations.weight.", mask_of(module)
    raw = state.pop(f"{inner}original")
    kept = {name: state.pop(f"{inner}0.{name}") for name in mask.saved()}
    zero = torch.zeros((), dtype=raw.dtype, device=raw.device)
    state[f"{prefix}weight"] = torch.where(kept["mask"], raw, zero)
    state.update({f"{prefix}weight_{name}": tensor for name, tensor in kept.items()})
    if mask.regrow:
        state[f"{prefix}weight_raw"] = raw


def _load_masked(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    inner = f"{prefix}parametrizations.weight."
    weight, raw = state.pop(f"{prefix}weight", None), state.pop(f"{prefix}weight_raw", None)
    names = {"original": raw if raw is not None else weight}
    names |= {f"0.{name}": state.pop(f"{prefix}weight_{name}", None) for name in mask_of(module).saved()}
    state.update({inner + name: value for name, value in names.items() if value is not None})
