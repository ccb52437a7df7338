"""Takes heads, neurons and whole layers out of a model by making its modules smaller. What may go, ``compaction`` says.

Every parameter that stays keeps its name. Weights are not looked at, so a model without numbers (on the meta device) is
cut alike, which is how a compacted checkpoint finds the shapes to load into.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.layouts import Group, LayerLayout, layouts

_MARK = "_optkit_cut"


class Constant(nn.Module):
    """A projection that has no inputs left: its bias (out,), whatever comes in. Without one, a zero of no shape."""

    def __init__(self, bias: Tensor | None):
        super().__init__()
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.new_zeros(()) if self.bias is None else self.bias


class _NoNeurons(nn.Module):
    """In place of the way up to no neurons: a few numbers for the activation to work on, which nothing reads."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs[..., :2]


class _NoHeads(nn.Module):
    """In place of attention without heads whose projection, a ``Constant``, lies outside of it."""

    def forward(self, hidden_states: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        return hidden_states, None


class _ProjectionOnly(nn.Module):
    """In place of attention without heads that holds its projection, and ALBERT's LayerNorm behind it, itself."""

    def __init__(self, name: str, projection: Constant, norm: nn.Module | None):
        super().__init__()
        self.add_module(name, projection)
        self.add_module("LayerNorm", norm)
        self._name = name

    def forward(self, hidden_states: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
        projected = getattr(self, self._name)(hidden_states)
        return projected if self.LayerNorm is None else self.LayerNorm(hidden_states + projected), None


def is_cut(model: nn.Module) -> bool:
    """Whether heads or neurons were taken out of ``model``, whose config then does not tell its shapes any more."""
    return getattr(model, _MARK, False)


def keep_heads(model: nn.Module, group: Group, kept: Sequence[int]) -> None:
    """Removes every head of an attention layer but those of ``kept``, in ascending order."""
    if len(kept) == group.count:
        return
    setattr(model, _MARK, True)
    output = group["output"].layer
    attention_name = group["query"].layer.rpartition(".")[0]
    attention = model.get_submodule(attention_name)
    if not kept:
        projection = Constant(model.get_submodule(output).bias)
        inside = output.startswith(f"{attention_name}.")
        if inside:
            name = output.rpartition(".")[2]
            _replace(model, attention_name, _ProjectionOnly(name, projection, getattr(attention, "LayerNorm", None)))
        else:
            _replace(model, output, projection)
            _replace(model, attention_name, _NoHeads())
        return
    _keep(model, group, kept)
    for name, value in (("num_attention_heads", 1), ("n_heads", 1), ("all_head_size", group["output"].size)):
        if hasattr(attention, name):
            setattr(attention, name, len(kept) * value)
    if model.config.model_type == "mpnet":
        # One bias for all heads of all layers, which the encoder hands to each.
        attention.register_buffer("kept_heads", torch.tensor(kept, device=_device(model, output)), persistent=False)
        attention.register_forward_pre_hook(_own_position_bias, with_kwargs=True)


def _own_position_bias(attention: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    arguments = dict(zip(("hidden_states", "attention_mask", "position_bias"), args)) | kwargs
    if arguments.get("position_bias") is not None:
        arguments["position_bias"] = arguments["position_bias"].index_select(1, attention.kept_heads)
    return (), arguments


def keep_neurons(model: nn.Module, group: Group, kept: Sequence[int]) -> None:
    """Removes every neuron of a feed-forward layer but those of ``kept``, in ascending order."""
    if len(kept) == group.count:
        return
    setattr(model, _MARK, True)
    if kept:
        _keep(model, group, kept)
        return
    down = group["down"].layer
    _replace(model, group["up"].layer, _NoNeurons())
    _replace(model, down, Constant(model.get_submodule(down).bias))


def drop_layers(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Removes whole layers, which then have to do nothing, and tells the model's config."""
    for prefix in sorted(prefixes, key=lambda name: int(name.rpartition(".")[2]), reverse=True):
        container, _, index = prefix.rpartition(".")
        del model.get_submodule(container)[int(index)]
        model.config.num_hidden_layers -= 1
        if getattr(model.config, "layer_types", None):
            types = list(model.config.layer_types)
            del types[int(index)]
            model.config.layer_types = types


def cut(model: nn.Module, kept: dict[str, tuple[Sequence[int], int]]) -> None:
    """Leaves the heads (indices) and as many neurons in each layer, by prefix, as ``kept`` says.

    Raises:
        PruningError: if the model has no such layer, or fewer heads or neurons in it.
    """
    found: dict[str, LayerLayout] = {layout.prefix: layout for layout in layouts(model)}
    for prefix, (heads, neurons) in kept.items():
        layout = found.get(prefix)
        if layout is None or not _possible(heads, layout.heads.count) or not 0 <= neurons <= layout.neurons.count:
            raise PruningError(f"{prefix}: no layer of this model that can keep heads {heads} and {neurons} neurons")
        keep_heads(model, layout.heads, list(heads))
        keep_neurons(model, layout.neurons, range(neurons))


def _possible(heads: Sequence[int], count: int) -> bool:
    return list(heads) == sorted(set(heads)) and all(0 <= head < count for head in heads)


def _keep(model: nn.Module, group: Group, kept: Sequence[int]) -> None:
    index: dict[tuple[str, int], list[int]] = {}
    for member in sorted(group.members, key=lambda member: member.offset):
        starts = (member.offset + g * member.size for g in kept)
        lines = index.setdefault((member.layer, member.axis), [])
        lines += [start + i for start in starts for i in range(member.size)]
    for (name, axis), lines in index.items():
        layer = model.get_submodule(name)
        picked = torch.tensor(lines, device=layer.weight.device)
        layer.weight = _pick(layer.weight, axis, picked)
        if axis == 0:
            layer.out_features = len(lines)
            layer.bias = None if layer.bias is None else _pick(layer.bias, 0, picked)
        else:
            layer.in_features = len(lines)


def _pick(parameter: nn.Parameter, axis: int, lines: Tensor) -> nn.Parameter:
    return nn.Parameter(parameter.detach().index_select(axis, lines), requires_grad=parameter.requires_grad)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module.train(model.training))


def _device(model: nn.Module, layer: str) -> torch.device:
    return model.get_submodule(layer).weight.device
