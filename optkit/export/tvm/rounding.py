"""What int8 products compute, in torch: weights and inputs rounded as they are, multiplied in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from optkit.export.tvm.packing import PackedLayer


@contextmanager
def rounded(model: torch.nn.Module, packed: Mapping[str, PackedLayer]) -> Iterator[None]:
    """Lets the layers of ``packed`` that are in int8 compute with rounded numbers; all others compute as they are."""
    with ExitStack() as stack:
        for name, module in model.named_modules():
            layer = packed.get(f"{name}.weight")
            if layer is not None and layer.scales is not None:
                stack.enter_context(_replaced(module.weight, torch.from_numpy(layer.unpack())))
                stack.callback(module.register_forward_pre_hook(_round_inputs).remove)
        yield


@contextmanager
def _replaced(weight: torch.nn.Parameter, by: torch.Tensor) -> Iterator[None]:
    before, weight.data = weight.data, by
    try:
        yield
    finally:
        weight.data = before


def _round_inputs(_: torch.nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    inputs, *others = arguments
    largest = inputs.abs().amax(-1, keepdim=True).clamp(min=1e-30)
    return (torch.round(inputs * (127 / largest)) * (largest / 127), *others)
