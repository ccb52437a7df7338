"""Masks on single weights, as parametrizations that are part of the forward pass.

Each pruned weight gets a parametrization that zeroes what its mask removes, so neither weight decay nor an optimizer's
momentum can bring a weight back. A state dict taken at any time holds the masked weight under its own name, and beside
it the mask and what the criteria accumulated: it loads as a plain dense model, and, loaded into a model with the same
rules attached, continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.pruning import parallel


class WeightMask(nn.Module):
    """Parametrization of one weight (out, in): keeps it where ``mask`` is True, is 0.0 elsewhere.

    Args:
        weight: what is masked.
        regrow: whether masked weights may return, so that their raw values and gradients have to be kept.
    """

    mask: Tensor
    held: Tensor
    gradient: Tensor

    def __init__(self, weight: Tensor, *, regrow: bool):
        super().__init__()
        self.register_buffer("mask", torch.ones_like(weight, dtype=torch.bool))
        self.register_buffer("zero", torch.zeros((), dtype=weight.dtype, device=weight.device), persistent=False)
        self.regrow = regrow
        self._states: dict[str, list[str]] = {}
        self._bits: tuple[Tensor, int, Tensor] | None = None  # of which mask, at which version of it, what bits

    def forward(self, weight: Tensor) -> Tensor:
        # Not weight * mask: the product leaves -0.0 behind, and NaN where a masked weight overflowed.
        if weight.is_cpu and not torch.compiler.is_compiling() and not self.mask.is_inference():
            masked = _And.apply(weight, self._mask_bits(weight.dtype))
        else:
            masked = torch.where(self.mask, weight, self.zero)
        return _Collect.apply(masked, self.gradient) if self.collects and masked.requires_grad else masked

    def _mask_bits(self, dtype: torch.dtype) -> Tensor:
        """The mask as integers as wide as ``dtype``, all ones or all zeros; made anew once the mask has changed."""
        mask, version, bits = self._bits or (None, 0, None)
        if mask is not self.mask or version != self.mask._version or bits.dtype != _BITS[dtype.itemsize]:
            bits = self.mask.to(_BITS[dtype.itemsize]).neg_()
            self._bits = self.mask, self.mask._version, bits
        return bits

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        # A model that is made half as precise keeps what criteria added up: in float16 their sums become 0 or infinite.
        kept = {f"{criterion}_{name}" for criterion, names in self._states.items() for name in names}
        before = {name: self._buffers[name] for name in kept}
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            if self._buffers[name].dtype != tensor.dtype:
                self._buffers[name] = tensor.to(self._buffers[name].device)
        return self

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

    def buffer_names(self) -> list[str]:
        """Names of the buffers that a checkpoint holds beside the weight."""
        return [name for name in self._buffers if name not in self._non_persistent_buffers_set]

    def hold(self, zeros: Tensor) -> None:
        """Masks the weights where ``zeros`` (out, in) is True; for good, even where others may return."""
        self.mask &= ~zeros
        if self.regrow:
            self.register_buffer("held", zeros)

    @property
    def free(self) -> Tensor:
        """Where weights may be alive, bool (out, in): everywhere but where ``hold`` said."""
        return ~self.held if "held" in self._buffers else torch.ones_like(self.mask)

    def collect_gradients(self) -> None:
        """Has each backward pass add the masked weight's gradient (out, in) to the buffer ``gradient``."""
        if not self.collects:
            self.register_buffer("gradient", torch.zeros_like(self.mask, dtype=self.zero.dtype), persistent=False)

    def forget_gradients(self) -> None:
        """Empties ``gradient`` where there is one."""
        if self.collects:
            self.gradient.zero_()

    @property
    def collects(self) -> bool:
        return "gradient" in self._buffers


#: The integers of as many bytes.
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class _And(torch.autograd.Function):
    """Keeps weights, and their gradients, where ``bits`` are ones, and makes them 0.0 where these are zeros.

    It gives what ``torch.where`` does; on CPUs that takes six times as long, a tenth of a training step of MiniLM-L6.
    """

    @staticmethod
    def forward(weight: Tensor, bits: Tensor) -> Tensor:
        return (weight.view(bits.dtype) & bits).view(weight.dtype)

    @staticmethod
    def setup_context(ctx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        _, ctx.bits = inputs

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return _And.apply(gradient, ctx.bits), None


class _Collect(torch.autograd.Function):
    """Adds the gradient of what passes to a buffer. A tensor hook would do, if torch.compile took it into its graph."""

    @staticmethod
    def forward(ctx, weight: Tensor, collected: Tensor) -> Tensor:
        ctx.collected = collected
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.collected.add_(gradient)
        return gradient, None


def lay_out(model: nn.Module) -> None:
    """Makes weights of linear layers contiguous, in place: grouping views them, and sums go in the order of memory."""
    for layer in model.modules():
        weight = layer._parameters.get("weight") if isinstance(layer, nn.Linear) else None
        if type(weight) is nn.Parameter and weight.layout == torch.strided and not weight.is_contiguous():
            weight.data = weight.data.contiguous()


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


def has_mask(layer: nn.Linear) -> bool:
    return parametrize.is_parametrized(layer, "weight") and isinstance(layer.parametrizations.weight[0], WeightMask)


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

    Without regrowth only living weights matter, and there both gradients are the same. With it, what was collected
    differs from ``raw`` by one factor (loss scale, clipping), the same for all weights, read off where both are known;
    so it holds for a weight that is wholly masked, too. Several processes average what they collected, as DDP averages
    what reaches the parameters. It is forgotten then.
    """
    collecting = list({id(mask): mask for mask in masks if mask.collects}.values())
    if not collecting:
        return list(raw)
    if parallel.processes() > 1:
        parallel.average([mask.gradient for mask in collecting])
    energy, overlap = 0.0, 0.0
    for mask, clipped in zip(masks, raw, strict=True):
        if mask.collects:
            # ``clipped`` is 0.0 where a weight is masked, so that only living weights enter.
            known = clipped.float().reshape(-1)
            energy, overlap = energy + known.dot(known), overlap + known.dot(mask.gradient.float().reshape(-1))
    factor = torch.where(overlap != 0, energy / overlap, 1.0)
    found = [m.gradient * factor.to(g.device, g.dtype) if m.collects else g for m, g in zip(masks, raw, strict=True)]
    for mask in collecting:
        mask.forget_gradients()
    return found


def _save_masked(module: nn.Module, state: dict, prefix: str, local_metadata: dict) -> None:
    inner, mask = f"{prefix}parametrizations.weight.", mask_of(module)
    raw = state.pop(f"{inner}original")
    kept = {name: state.pop(f"{inner}0.{name}") for name in mask.buffer_names()}
    zero = torch.zeros((), dtype=raw.dtype, device=raw.device)
    state[f"{prefix}weight"] = torch.where(kept["mask"], raw, zero)
    state.update({f"{prefix}weight_{name}": tensor for name, tensor in kept.items()})
    if mask.regrow:
        state[f"{prefix}weight_raw"] = raw


def _load_masked(module: nn.Module, state: dict, prefix: str, *_: object) -> None:
    inner = f"{prefix}parametrizations.weight."
    weight, raw = state.pop(f"{prefix}weight", None), state.pop(f"{prefix}weight_raw", None)
    names = {"original": raw if raw is not None else weight}
    names |= {f"0.{name}": state.pop(f"{prefix}weight_{name}", None) for name in mask_of(module).buffer_names()}
    state.update({inner + name: value for name, value in names.items() if value is not None})
