"""Why weights of a model cannot be masked as they are, and what to do first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.masking import WeightMask

_NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def adapter_in(model: nn.Module) -> str | None:
    """Why a model that carries adapters of peft is not pruned, None for one without.

    Merging adds a dense product to the weights below an adapter, which fills their zeros, and what peft saves of a
    model is its adapters alone, without masks.
    """
    for name, module in model.named_modules():
        if any(base.__module__.partition(".")[0] == "peft" for base in type(module).__mro__):
            where = f"{name} is" if name else "the model is"
            return (
                f"{where} a {type(module).__name__} of peft, and merging an adapter fills the zeros below it: merge it "
                "first, model = model.merge_and_unload(), and prune the merged model"
            )
    return None


def obstacles(layers: Mapping[str, nn.Linear]) -> list[str]:
    """Why weights of ``layers``, by name, cannot be masked, a line for each kind; the meta device suffices."""
    found: dict[str, list[str]] = {}
    for name, layer in layers.items():
        if (why := _obstacle(layer)) is not None:
            found.setdefault(why, []).append(name)
    more = {why: f" (and {len(names) - 1} more)" if len(names) > 1 else "" for why, names in found.items()}
    return [f"{names[0]}.weight{more[why]} {why}" for why, names in found.items()]


def require_loaded(layers: Mapping[str, nn.Linear]) -> None:
    """Raises PruningError if a weight of ``layers`` holds no numbers."""
    for name, layer in layers.items():
        if layer.weight.is_meta:
            raise PruningError(
                f"{name}.weight is on the meta device, as offloaded ones are: load the model whole, without device_map"
            )


def _obstacle(layer: nn.Linear) -> str | None:
    if parametrize.is_parametrized(layer, "weight"):
        if any(isinstance(each, WeightMask) for each in layer.parametrizations.weight):
            return (
                "has a mask already: fold the earlier masks, or take them off with Pruner.remove() (of a training that "
                "failed: callback.pruner.remove()), or load the model afresh"
            )
        return (
            "is parametrized: call torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight') for it, or load "
            "the model afresh"
        )
    if "weight" not in layer._parameters:
        return f"is computed from {_parts(layer)}: call {_undo(layer)} for it, or load the model afresh"
    weight = layer.weight
    if isinstance(weight, nn.parameter.UninitializedParameter):
        return "has no shape yet: run the model once on a batch"
    kind = type(weight.data) if type(weight) is nn.Parameter else type(weight)
    if kind not in (Tensor, nn.Parameter) or weight.dtype not in _NUMBERS:
        what = str(weight.dtype).removeprefix("torch.")
        stored = what if weight.dtype not in _NUMBERS else f"a {kind.__name__}"
        return f"is stored as {stored}, not in floating point: prune the model before it is quantized or split"
    return None


def _parts(layer: nn.Linear) -> str:
    names = [name for name in (*layer._parameters, *layer._buffers) if name.startswith("weight_")]
    return " and ".join(names) or "other tensors"


def _undo(layer: nn.Linear) -> str:
    """The call of torch that makes the weight of ``layer`` a parameter again."""
    if "weight_mask" in layer._buffers:
        return "torch.nn.utils.prune.remove(layer, 'weight')"
    if "weight_g" in layer._parameters:
        return "torch.nn.utils.remove_weight_norm(layer)"
    return "torch.nn.utils.remove_spectral_norm(layer)"
