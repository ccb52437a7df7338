"""Which axes of which parameters of a model have to be reordered together so that its outputs stay the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optkit.errors import PruningError
from optkit.pruning.config import PERMUTATIONS
from optkit.pruning.layouts import Group, LayerLayout, layouts
from optkit.pruning.permutation.hidden import hidden_axes

#: Name of the space of hidden features; those of a layer are named by its prefix.
HIDDEN = "hidden"
#: Of a head: what turns pairs of its query and key features by their place, or adds a vector of the place to them.
_ROTARY = ("modernbert",)
_PLACES_IN_HEADS = "distance_embedding"
#: Holds a number for each head, for all layers at once.
_SHARED_BIAS = "relative_attention_bias.weight"


@dataclass(frozen=True)
class Axis:
    """Of the parameter ``parameter`` the entries of dimension ``dim`` from ``offset`` on."""

    parameter: str
    dim: int
    offset: int = 0


@dataclass(frozen=True)
class Space:
    """``count`` features that may change places, in all of ``axes`` alike; each stays within its part of ``parts``
    equal ones, such as a head.
    """

    name: str
    count: int
    axes: tuple[Axis, ...]
    parts: int = 1


def spaces(model: nn.Module, kind: str) -> list[Space]:
    """What a permutation of ``kind`` reorders, the model's weights not being looked at.

    Args:
        model: a transformers model, with or without a task head; the meta device suffices.
        kind: one of ``optkit.pruning.config.PERMUTATIONS``. ``heads`` and ``head_features`` have the same spaces.

    Raises:
        PruningError: if the model's layout is not known, or the kind would change its outputs.
    """
    found = layouts(model)
    if kind == "hidden":
        axes = hidden_axes(model, found)
        return [Space(HIDDEN, model.config.hidden_size, tuple(Axis(name, dim) for name, dim in axes))]
    if kind == "neurons":
        return [
            Space(space_name(layout, "neurons"), layout.neurons.count, _axes(model, layout.neurons))
            for layout in found
            if layout.neurons is not None
        ]
    if kind == "heads" and any(name.endswith(_SHARED_BIAS) for name, _ in model.named_parameters()):
        raise PruningError("all layers share one bias of relative positions for each head, so heads keep their places")
    pairs = kind == "heads" or not _has_positions_in_heads(model)
    return [
        Space(space_name(layout, name), group.count * group["query"].size, _axes(model, group, roles), group.count)
        for layout in found
        if (group := layout.heads) is not None
        for name, roles in (("query", ("query", "key", "position")), ("value", ("value", "output")))
        if name == "value" or pairs
    ]


def space_name(layout: LayerLayout, features: str) -> str:
    """Name of the space of a layer's ``neurons``, ``query`` features (with those of its keys) or ``value`` features."""
    return f"{layout.prefix}.{features}"


def allowed_kinds(model: nn.Module, wanted: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Which of the kinds ``wanted`` keep the outputs of ``model``, and of the others why they do not, by kind."""
    kinds, refused = [], {}
    for kind in PERMUTATIONS:
        if kind in wanted or "all" in wanted:
            try:
                spaces(model, kind)
                kinds.append(kind)
            except PruningError as error:
                refused[kind] = str(error)
    return kinds, refused


@torch.no_grad()
def reorder(model: nn.Module, space: Space, order: Tensor) -> None:
    """Puts the features ``order`` (count,), int64, into the places 0, 1, ...: in all axes of ``space``, in place.

    Raises:
        PruningError: if the order is none of this space.
    """
    if order.shape != (space.count,) or not torch.equal(order.sort().values.cpu(), torch.arange(space.count)):
        raise PruningError(f"{space.name}: not an order of its {space.count} features")
    seen = set()
    for axis in space.axes:
        parameter = model.get_parameter(axis.parameter)
        if (id(parameter), axis.dim, axis.offset) not in seen:  # once, whatever names a shared one has
            reorder_axis(parameter, axis, order)
        seen.add((id(parameter), axis.dim, axis.offset))


def reorder_axis(values: Tensor, axis: Axis, order: Tensor) -> None:
    """The same in one tensor, of the shape of the axis' parameter."""
    part = values.narrow(axis.dim, axis.offset, len(order))
    part.copy_(part.index_select(axis.dim, order.to(values.device)))


def _axes(model: nn.Module, group: Group, roles: Sequence[str] | None = None) -> tuple[Axis, ...]:
    axes = []
    for member in group.members:
        if roles is None or member.role in roles:
            axes.append(Axis(f"{member.layer}.weight", member.axis, member.offset))
            if member.axis == 0 and model.get_submodule(member.layer).bias is not None:
                axes.append(Axis(f"{member.layer}.bias", 0, member.offset))
    return tuple(axes)


def _has_positions_in_heads(model: nn.Module) -> bool:
    names: Mapping[str, nn.Module] = dict(model.named_modules())
    return model.config.model_type in _ROTARY or any(name.endswith(_PLACES_IN_HEADS) for name in names)
