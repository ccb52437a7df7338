"""Parameters that training leaves as they are, named by patterns on modules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from optkit.pruning.targets import matches
from optkit.spelling import suggest

if TYPE_CHECKING:
    from torch import nn


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Takes the parameters of every module that one of ``patterns`` covers out of the training of ``model``."""
    for name, module in model.named_modules():
        if _is_covered(name, patterns):
            module.requires_grad_(False)


def problems(model: nn.Module, patterns: Sequence[str], pruned: Iterable[str]) -> list[str]:
    """Why ``patterns`` cannot be frozen, a line each: they cover no module, one that is ``pruned``, or the whole.

    Args:
        model: on any device; the meta device suffices.
        pruned: names of the layers that are pruned, whose criteria watch their weights learn.
    """
    names = [name for name, module in model.named_modules() if name and next(module.parameters(), None) is not None]
    found = [
        f"'{pattern}' covers no module that has parameters{suggest(pattern.strip('*.'), names)}"
        for pattern in patterns
        if not any(matches(pattern, name) for name in names)
    ]
    frozen = [name for name in names if _is_covered(name, patterns)]
    inside = [layer for layer in pruned if any(layer == name or layer.startswith(f"{name}.") for name in frozen)]
    if inside:
        found.append(f"{inside[0]} is pruned while it is trained: exclude it there, or do not freeze it")
    still = {id(parameter) for name in frozen for parameter in model.get_submodule(name).parameters()}
    if all(id(parameter) in still for parameter in model.parameters()):
        found.append("leaves no parameter to train")
    return found


def _is_covered(name: str, patterns: Sequence[str]) -> bool:
    return bool(name) and any(matches(pattern, name) for pattern in patterns)
