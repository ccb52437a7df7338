"""Compaction: what pruning emptied leaves the model, which then computes the same with smaller matrices.

A head or neuron goes when it can add nothing but a constant: the columns that its output goes through are zero, or its
value is the same for every token because the rows that make it are zero, in which case the bias behind it takes up the
constant. A layer that has lost all heads and all neurons adds a constant to the residual stream. Where the stream is
not normalised within layers (ViT, ModernBERT) the layer before takes that up, and the layer is removed; a layer that
normalises (BERT and its like) still does that, and stays without its matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.compaction.surgery import Constant, drop_layers, is_cut, keep_heads, keep_neurons
from optkit.pruning.config import Rule
from optkit.pruning.layouts import Group, LayerLayout, Member, layouts
from optkit.pruning.obstacles import adapter_in, obstacles
from optkit.pruning.targets import resolve_targets

#: Model types whose layers add to the residual stream and leave it as it is otherwise.
_ADDING = ("modernbert", "vit")


@dataclass(frozen=True)
class KeptUnits:
    """The units that one layer keeps: ``heads`` by their former numbers, of ``heads_before``; how many ``neurons``."""

    heads: tuple[int, ...]
    heads_before: int
    neurons: int
    neurons_before: int


@dataclass(frozen=True)
class Compaction:
    """What compaction did.

    Attributes:
        layers: by the layer's name in the compacted model.
        dropped: what layers had that were removed altogether, by their names in the uncompacted model.
        reduced: former shape (out, in) of each linear weight that became smaller, by its name in the compacted model.
        removed: former shape of each linear weight that was removed, by its name in the uncompacted model.
    """

    layers: Mapping[str, KeptUnits]
    dropped: Mapping[str, KeptUnits]
    reduced: Mapping[str, tuple[int, int]]
    removed: Mapping[str, tuple[int, int]]

    @property
    def changed(self) -> bool:
        """Whether anything was removed."""
        return bool(self.reduced or self.removed)

    def counts(self) -> dict[str, list[int]]:
        """How many ``heads``, ``neurons`` and ``layers`` are left in the whole model, and how many there were in it."""
        every = [*self.layers.values(), *self.dropped.values()]
        return {
            "heads": [sum(len(r.heads) for r in every), sum(r.heads_before for r in every)],
            "neurons": [sum(r.neurons for r in every), sum(r.neurons_before for r in every)],
            "layers": [len(self.layers), len(every)],
        }


@torch.no_grad()
def compact(model: nn.Module, rules: Rule | Sequence[Rule] = ()) -> Compaction:
    """Removes from ``model``, in place, the heads, neurons and layers that pruning emptied; its outputs stay the same.

    Args:
        model: a transformers encoder whose masks are folded.
        rules: that pruned the model, one or several. Where they prune blocks as well, heads and neurons go in aligned
            runs that leave the blocks whole: four neurons at a time where columns come in blocks of four.

    Raises:
        PruningError: if the architecture is not in the table of layouts, it is a decoder, masks are not folded, or the
            model was compacted before.
    """
    if is_cut(model):
        raise PruningError("the model was compacted before: prune all there is to prune, then compact it once")
    rules = [rules] if isinstance(rules, Rule) else list(rules)
    if getattr(getattr(model, "config", None), "is_decoder", False):
        raise PruningError("compaction is for encoders, and this model is a decoder: its cache knows every head")
    found = layouts(model)
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise PruningError(f"{name} has a parametrization: fold its masks before the model is compacted")
    if unfit := adapter_in(model) or next(iter(obstacles(dict(_linear(model)))), None):
        raise PruningError(unfit)
    shapes = {name: tuple(layer.weight.shape) for name, layer in _linear(model)}
    blocks = _blocks(model, rules)
    remains = {layout.prefix: _compact_layer(model, layout, blocks) for layout in found}
    dropped = _without_effect(model, found)
    renamed = _renumber([layout.prefix for layout in found], dropped)
    removed = tuple(f"{prefix}." for prefix in dropped)
    now = {name: tuple(layer.weight.shape) for name, layer in _linear(model) if not name.startswith(removed)}
    drop_layers(model, dropped)

    def new_name(name: str) -> str:
        old = next((prefix for prefix in renamed if name.startswith(f"{prefix}.")), "")
        return renamed[old] + name[len(old) :] if old else name

    return Compaction(
        layers={renamed[prefix]: left for prefix, left in remains.items() if prefix in renamed},
        dropped={prefix: remains[prefix] for prefix in dropped},
        reduced={f"{new_name(n)}.weight": shapes[n] for n, shape in now.items() if shape != shapes[n]},
        removed={f"{name}.weight": shape for name, shape in shapes.items() if name not in now},
    )


def _blocks(model: nn.Module, rules: Sequence[Rule]) -> dict[str, int]:
    """For each layer that is pruned in blocks, how many rows or columns leave whole blocks behind when they go."""
    found: dict[str, int] = {}
    for rule in rules:
        if rule.structure.tile is not None:
            for name in resolve_targets(model, rule):
                found[name] = lcm(found.get(name, 1), *rule.structure.tile)
    return found


def _compact_layer(model: nn.Module, layout: LayerLayout, blocks: Mapping[str, int]) -> KeptUnits:
    heads, neurons = layout.heads, layout.neurons
    kept_heads, kept_neurons = [], []
    if heads is not None:
        kept_heads = _fold_constants(model, heads, *_constant_heads(model, heads), blocks)
        keep_heads(model, heads, kept_heads)
    if neurons is not None:
        kept_neurons = _fold_constants(model, neurons, *_constant_neurons(model, neurons), blocks)
        keep_neurons(model, neurons, kept_neurons)
    counts = [group.count if group is not None else 0 for group in (heads, neurons)]
    return KeptUnits(tuple(kept_heads), counts[0], len(kept_neurons), counts[1])


def _constant_heads(model: nn.Module, group: Group) -> tuple[Tensor, Tensor]:
    """Which heads have the same value for every token: bool (heads,); and that value (heads, head size).

    Attention weights of a token add up to 1, so a constant value is also what attention makes of it.
    """
    value = group["value"]
    return ~_any(model, value, group.count), _bias(model, value, group.count)


def _constant_neurons(model: nn.Module, group: Group) -> tuple[Tensor, Tensor]:
    """Which neurons have the same activation for every token: bool (neurons,); and that activation (neurons, 1)."""
    activation = model.get_submodule(group.activation)
    up = group["up"]
    constant, value = ~_any(model, up, group.count), activation(_bias(model, up, group.count))
    gates = [member for member in group.members if member.role == "gate"]
    for gate in gates:
        shut, factor = ~_any(model, gate, group.count), _bias(model, gate, group.count)
        zero, off = (value == 0).squeeze(1), (factor == 0).squeeze(1)
        constant, value = (constant & (shut | zero)) | (shut & off), value * factor
    return constant, value


def _fold_constants(
    model: nn.Module, group: Group, constant: Tensor, values: Tensor, blocks: Mapping[str, int]
) -> list[int]:
    """Adds what removable groups contribute to the bias behind them, and returns the groups that stay."""
    member = group.members[-1]
    output = model.get_submodule(member.layer)
    columns = _part(output.weight, member, group.count)  # (out, groups, size)
    closed = ~columns.ne(0).any(dim=2).any(dim=0)
    added = torch.einsum("ogs,gs->go", columns.double(), values.double())
    removed = closed | (constant if output.bias is not None else constant & (added == 0).all(dim=1))
    together = lcm(*(blocks.get(member.layer, 1) for member in group.members))
    removed = _align(removed, lcm(member.size, together) // member.size)
    if output.bias is not None:
        output.bias += added[removed & ~closed].sum(dim=0).to(output.bias)
    return (~removed).nonzero().flatten().tolist()


def _align(removed: Tensor, size: int) -> Tensor:
    """``removed`` (groups,), only where all of an aligned run of ``size`` groups are; runs that do not tile are one."""
    size = len(removed) if len(removed) % size else size
    return removed.view(-1, size).all(dim=1).repeat_interleave(size)


def _any(model: nn.Module, member: Member, count: int) -> Tensor:
    """Which groups hold a weight that is not zero in the rows of ``member``: bool (groups,)."""
    rows = model.get_submodule(member.layer).weight.narrow(0, member.offset, count * member.size)
    return rows.ne(0).any(dim=1).view(count, member.size).any(dim=1)


def _bias(model: nn.Module, member: Member, count: int) -> Tensor:
    """The bias of each row of ``member`` (groups, size), zeros without one."""
    layer = model.get_submodule(member.layer)
    if layer.bias is None:
        return layer.weight.new_zeros(count, member.size)
    return layer.bias.detach().narrow(0, member.offset, count * member.size).view(count, member.size)


def _part(weight: Tensor, member: Member, count: int) -> Tensor:
    return weight.narrow(1, member.offset, count * member.size).unflatten(1, (count, member.size))


def _without_effect(model: nn.Module, found: list[LayerLayout]) -> list[str]:
    """Layers that add a constant, which goes into the bias of the layer before, so that they can be dropped.

    The first layer stays: there is none before it, and ModernBERT's first is made differently from the others. So does
    the last one of a kind of attention, without which transformers refuses the configuration.
    """
    if model.config.model_type not in _ADDING:
        return []
    kinds = list(getattr(model.config, "layer_types", None) or [""] * (len(found) + 1))
    dropped, before = [], None
    for index, layout in enumerate(found):
        ends = [model.get_submodule(group.members[-1].layer) for group in (layout.heads, layout.neurons) if group]
        empty = len(ends) == 2 and all(isinstance(end, Constant) for end in ends)
        if empty and before is not None and kinds.count(kinds[index]) > 1:
            total = sum(end.bias for end in ends if end.bias is not None)
            nothing = not torch.is_tensor(total) or not bool(total.any())
            if nothing or before.bias is not None:
                if not nothing:
                    before.bias += total
                kinds[index] = None
                dropped.append(layout.prefix)
                continue
        before = ends[-1] if ends else before
    return dropped


def _renumber(prefixes: list[str], dropped: list[str]) -> dict[str, str]:
    """The name that each layer that stays has once ``dropped`` are removed."""
    names, taken = {}, 0
    for prefix in prefixes:
        if prefix in dropped:
            taken += 1
            continue
        names[prefix] = prefix
        if taken:
            container, _, index = prefix.rpartition(".")
            names[prefix] = f"{container}.{int(index) - taken}"
    return names


def _linear(model: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
