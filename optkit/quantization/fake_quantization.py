"""int8 simulated in the linear layers of a torch model, so that it can be fine-tuned for what quantization will do.

Weights and activations are rounded as they will be and gradients pass the rounding as if it were not there
(straight-through: Jacob et al. 2018, https://arxiv.org/abs/1712.05877). Weights are symmetric with a scale for each
output channel, which follows them while they learn; activations have one range for a layer, measured once before. As
SmoothQuant does (Xiao et al. 2023, https://arxiv.org/abs/2211.10438), each input channel is divided by a factor that
the weights are multiplied with. What is zero at the beginning stays zero, exactly: it is masked in the forward pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.pruning.targets import linear_layers, matches

#: Steps of the positive weights, and of the activations: 8 bits.
FULL_RANGE, HALF_RANGE, LEVELS = 127.0, 63.5, 255
#: Bounds of smoothing factors, as NNCF has them: below at this quantile of a layer's factors.
_QUANTILE, _LARGEST = 0.1, 100.0


class FakeQuantizedWeight(nn.Module):
    """A parametrization that rounds a weight (out, in) to symmetric int8, its zeros kept.

    Args:
        weight: as it is now; where it is zero it stays zero.
        smooth: factors (in,) that the inputs are divided by.
        levels: the largest integer.
    """

    def __init__(self, weight: Tensor, smooth: Tensor, levels: float):
        super().__init__()
        self.levels = levels
        self.register_buffer("mask", weight.detach() != 0)
        self.register_buffer("smooth", smooth.clone())

    def masked(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, torch.zeros_like(weight))

    def forward(self, weight: Tensor) -> Tensor:
        scaled = self.masked(weight) * self.smooth
        scale = scaled.detach().abs().amax(1, keepdim=True).clamp_min(1e-12) / self.levels
        return _through(scaled, (scaled / scale).round() * scale) / self.smooth


class FakeQuantizedInput:
    """A forward pre-hook that rounds a linear layer's input (..., in) to asymmetric int8 of one range.

    Args:
        low, high: the range of the smoothed input; 0 is taken in.
        weight: the layer's parametrization, which holds the factors on the model's device.
    """

    def __init__(self, low: float, high: float, weight: FakeQuantizedWeight):
        low, high = min(low, 0.0), max(high, 0.0)
        self.step = max(high - low, 1e-12) / LEVELS
        self.zero = round(-low / self.step)
        self.weight = weight

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        scaled = inputs[0] / self.weight.smooth
        clipped = scaled.clamp(-self.zero * self.step, (LEVELS - self.zero) * self.step)
        rounded = (clipped / self.step).round() * self.step
        return (_through(clipped, rounded) * self.weight.smooth, *inputs[1:])


def _through(value: Tensor, rounded: Tensor) -> Tensor:
    """``rounded`` with the gradient of ``value``."""
    return value + (rounded - value).detach()


class FakeQuantization:
    """Simulates int8 in every linear layer of ``model`` until ``fold`` takes it off again.

    Args:
        model: plain, its zeros in place.
        batches: inputs by name that ranges are measured on, without padding.
        half_range: whether weights use half of their range.
        smooth_quant: strength alpha, None for no smoothing.
        ignored: patterns on names of layers that are left as they are.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Mapping[str, Any]],
        *,
        half_range: bool,
        smooth_quant: float | None,
        ignored: Sequence[str] = (),
    ):
        layers = linear_layers(model)
        self.layers = {n: layer for n, layer in layers.items() if not any(matches(p, n) for p in ignored)}
        self._hooks = []
        levels = HALF_RANGE if half_range else FULL_RANGE
        for name, (low, high) in _observe(model, self.layers, batches).items():
            layer = self.layers[name]
            smooth = _factors(torch.maximum(-low, high), layer.weight.detach(), smooth_quant)
            quantized = FakeQuantizedWeight(layer.weight, smooth, levels)
            parametrize.register_parametrization(layer, "weight", quantized)
            inputs = FakeQuantizedInput(float((low / smooth).min()), float((high / smooth).max()), quantized)
            self._hooks.append(layer.register_forward_pre_hook(inputs))

    def fold(self) -> None:
        """Leaves plain layers with the learned weights, in floating point; what was zero is zero."""
        for hook in self._hooks:
            hook.remove()
        for layer in self.layers.values():
            if not parametrize.is_parametrized(layer, "weight"):
                continue
            quantized = layer.parametrizations.weight[0]
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
            with torch.no_grad():
                layer.weight.copy_(quantized.masked(layer.weight))


def _observe(
    model: nn.Module, layers: Mapping[str, nn.Linear], batches: Iterable[Mapping[str, Any]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """The least and the greatest value (in,) of each input channel of each layer that the batches reach."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def watch(name: str) -> Any:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            rows = inputs[0].detach().reshape(-1, inputs[0].shape[-1])
            low, high = rows.amin(0), rows.amax(0)
            if name in found:
                low, high = torch.minimum(low, found[name][0]), torch.maximum(high, found[name][1])
            found[name] = (low, high)

        return see

    hooks = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                model(**batch)
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return found


def _factors(activations: Tensor, weight: Tensor, alpha: float | None) -> Tensor:
    """SmoothQuant's factors (in,) from the largest inputs (in,) and a weight (out, in)."""
    if alpha is None:
        return torch.ones_like(activations)
    weights = weight.abs().amax(0)
    factors = activations.abs().pow(alpha) / (weights.pow(1 - alpha) + torch.finfo(weights.dtype).eps)
    lowest = float(torch.quantile(factors, _QUANTILE).clamp(1e-5, _LARGEST))
    return factors.clamp(lowest, _LARGEST)
