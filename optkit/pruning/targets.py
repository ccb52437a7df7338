"""Which linear layers a rule means: named groups and patterns, resolved on a model (the meta device suffices)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning.config import Rule
from optkit.pruning.structures import groups_shape

ENCODER_LINEAR = "encoder_linear"


def linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every nn.Linear by dotted name; a layer or weight that is shared appears once, under its first name."""
    seen: dict[int, object] = {}
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            weight = module.weight  # kept while we look: a parametrized weight is made anew and its id would recur
            if id(weight) not in seen:
                seen[id(weight)] = weight
                layers[name] = module
    return layers


def encoder_prefix(model: nn.Module) -> str | None:
    """Name of the longest repeated ModuleList that holds linear layers, None where there is none.

    Of lists of equal length the one with the most weights in linear layers is taken, then the first.
    """
    linear = linear_layers(model)

    def weights_below(prefix: str) -> int:
        return sum(layer.weight.numel() for name, layer in linear.items() if name.startswith(prefix + "."))

    ranked = [
        (len(module), weights_below(name), name)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    ranked = [entry for entry in ranked if entry[1]]
    return max(ranked, key=lambda entry: entry[:2])[2] if ranked else None


def matches(pattern: str, name: str) -> bool:
    """Whether ``pattern`` (a glob whose ``*`` crosses dots, or ``re:`` and a regular expression) covers ``name``."""
    if pattern.startswith("re:"):
        return re.fullmatch(pattern[3:], name) is not None
    return fnmatchcase(name, pattern)


def _select(pattern: str, layers: dict[str, nn.Linear], encoder: str | None) -> Iterator[str]:
    for name in layers:
        if name.startswith(f"{encoder}.") if pattern == ENCODER_LINEAR else matches(pattern, name):
            yield name


def resolve_targets(model: nn.Module, rule: Rule) -> dict[str, nn.Linear]:
    """The linear layers that ``rule`` matches, by name, in the model's order.

    Raises:
        PruningError: if a pattern matches no linear layer, or nothing is left after ``exclude``.
    """
    layers, encoder = linear_layers(model), encoder_prefix(model)
    chosen: set[str] = set()
    for pattern in rule.targets:
        found = set(_select(pattern, layers, encoder))
        if not found:
            raise PruningError(f"rule '{rule.name}': '{pattern}' matches no linear layer{_hint(pattern, list(layers))}")
        chosen |= found
    for pattern in rule.exclude:
        chosen -= set(_select(pattern, layers, encoder))
    if not chosen:
        raise PruningError(f"rule '{rule.name}': exclude leaves no linear layer of {', '.join(rule.targets)}")
    return {name: layer for name, layer in layers.items() if name in chosen}


def resolve_rules(model: nn.Module, rules: Sequence[Rule]) -> tuple[list[dict[str, nn.Linear]], list[tuple[int, str]]]:
    """Matches every rule against ``model`` (the meta device suffices).

    Returns:
        the linear layers of each rule by name, and every problem as (index of the rule, one line).
    """
    matched: list[dict[str, nn.Linear]] = []
    problems: list[tuple[int, str]] = []
    owners = _owners(model)
    for index, rule in enumerate(rules):
        try:
            layers = resolve_targets(model, rule)
        except PruningError as error:
            problems.append((index, str(error)))
            layers = {}
        for name, layer in layers.items():
            if parametrize.is_parametrized(layer, "weight"):
                text = "has a parametrization already: fold the earlier masks, or load the model afresh"
                problems.append((index, f"rule '{rule.name}': {name}.weight {text}"))
            elif len(owners[id(layer.weight)]) > 1:
                other = next(owner for owner in owners[id(layer.weight)] if owner != f"{name}.weight")
                text = f"is also {other}: exclude {name}, or untie them"
                problems.append((index, f"rule '{rule.name}': {name}.weight {text}"))
            try:
                groups_shape(rule.structure, tuple(layer.weight.shape))
            except ValueError as error:
                way_out = "exclude it or choose other blocks"
                problems.append((index, f"rule '{rule.name}': {name}.weight: {error}: {way_out}"))
        for earlier, found in zip(rules, matched):
            shared = [name for name in layers if name in found]
            if shared and not (
                rule.structure.nests_in(earlier.structure)
                and rule.structure != earlier.structure
                and rule.criterion == earlier.criterion
                and not (rule.regrow or earlier.regrow)
            ):
                problems.append(
                    (
                        index,
                        f"rules '{earlier.name}' and '{rule.name}' both claim {shared[0]}.weight: give them separate "
                        "targets, or one criterion and structures that nest, the coarser first, without regrow",
                    )
                )
        matched.append(layers)
    return matched, problems


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """Every name under which a distinct module holds a parameter, by the parameter's id."""
    owners: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return owners


def _hint(pattern: str, names: list[str]) -> str:
    if pattern == ENCODER_LINEAR:
        return ": the model has no repeated ModuleList of them; name the layers by patterns instead"
    close = get_close_matches(pattern, names, n=1, cutoff=0.4) or names[:1]
    return f"; a name here is '{close[0]}'" if close else "; the model has none"
