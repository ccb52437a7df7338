"""Which linear layers a rule means: named groups and patterns, resolved on a model (the meta device suffices)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase

from torch import nn
from transformers import PreTrainedModel

from optkit.counting.encoder import encoder_of, outside_encoder
from optkit.errors import PruningError
from optkit.pruning.config import Rule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.layouts import Group, layouts
from optkit.pruning.masking import WeightMask, mask_of, raw_of
from optkit.pruning.obstacles import adapter_in, obstacles
from optkit.pruning.structures import Grid, GroupedAcrossLayers, Slices, grid_of

ENCODER_LINEAR = "encoder_linear"
#: Where linear layers hold less of the weights than this, plans say so.
_MOST = 0.9


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


def encoder_layers(model: nn.Module) -> set[str]:
    """Names of the linear layers that ``encoder_linear`` means, see ``optkit.counting.encoder``.

    Of a model that wraps models of transformers, as a SentenceTransformer does, those of the wrapped ones count.
    """
    names = list(linear_layers(model))
    found: set[str] = set()
    for root in roots(model):
        below = {name: name.removeprefix(root) for name in names if name.startswith(root)}
        encoder = encoder_of(below.values())
        found |= {name for name, short in below.items() if short in encoder}
    return found


def roots(model: nn.Module) -> list[str]:
    """Names, with a dot behind, of the outermost models of transformers within ``model``; an empty one where it is such
    a model itself, or holds none.
    """
    found: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, PreTrainedModel) and not any(f"{name}.".startswith(root) for root in found):
            if not name:
                return [""]
            found.append(f"{name}.")
    return found or [""]


def coverage(model: nn.Module) -> list[str]:
    """What of the weights of ``model`` the group ``encoder_linear`` leaves out, a line each; empty where it is nothing.

    Matrices and filters count, embeddings do not.
    """
    sizes = {name: layer.weight.numel() for name, layer in linear_layers(model).items()}
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    weights = sum(p.numel() for p in model.parameters() if p.dim() > 1 and id(p) not in embeddings)
    text = outside_encoder(sizes)
    lines = [text] if text else []
    if sum(sizes.values()) < _MOST * weights:
        share = sum(sizes.values()) / weights
        lines.append(f"linear layers hold {share:.0%} of the weights beside embeddings; the others are not pruned")
    return lines


def longest_list(model: nn.Module) -> str | None:
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
        try:
            return re.fullmatch(pattern[3:], name) is not None
        except re.error as error:
            raise PruningError(f"'{pattern}' is no regular expression: {error}") from None
    return fnmatchcase(name, pattern)


def _match(pattern: str, layers: dict[str, nn.Linear], encoder: set[str], where: str) -> set[str]:
    found = encoder if pattern == ENCODER_LINEAR else {name for name in layers if matches(pattern, name)}
    if not found:
        raise PruningError(f"{where}'{pattern}' matches no linear layer{_hint(pattern, list(layers))}")
    return found


def resolve_targets(model: nn.Module, rule: Rule) -> dict[str, nn.Linear]:
    """The linear layers that ``rule`` matches, by name, in the model's order.

    Raises:
        PruningError: if a pattern matches no linear layer, or nothing is left after ``exclude``.
    """
    layers, encoder = linear_layers(model), encoder_layers(model)
    chosen: set[str] = set()
    for pattern in rule.targets:
        chosen |= _match(pattern, layers, encoder, f"rule '{rule.name}': ")
    for pattern in rule.exclude:
        chosen -= _match(pattern, layers, encoder, f"rule '{rule.name}': exclude: ")
    if not chosen:
        raise PruningError(f"rule '{rule.name}': exclude leaves no linear layer of {', '.join(rule.targets)}")
    return {name: layer for name, layer in layers.items() if name in chosen}


@dataclass(frozen=True)
class Site:
    """Linear layers, by name, whose weights share one set of groups."""

    layers: dict[str, nn.Linear]
    grid: Grid

    @property
    def name(self) -> str:
        """What reports and allocations call it: its first layer."""
        return next(iter(self.layers))

    def masks(self) -> list[WeightMask]:
        return [mask_of(layer) for layer in self.layers.values()]

    def raw_weights(self) -> list[nn.Parameter]:
        return [raw_of(layer) for layer in self.layers.values()]


def resolve_sites(model: nn.Module, rule: Rule) -> tuple[list[Site], list[str]]:
    """The sites of the layers that ``rule`` matches (the meta device suffices), and why some layers make none.

    Raises:
        PruningError: as ``resolve_targets``; for heads and neurons, if the model's layout is not known or nothing of it
            is matched.
    """
    layers, sites, problems = resolve_targets(model, rule), [], []
    if unfit := obstacles(layers):
        return [], [f"rule '{rule.name}': {text}" for text in unfit]
    if rule.structure.spans_layers:
        return _spanning_sites(model, rule, layers)
    for name, layer in layers.items():
        try:
            sites.append(Site({name: layer}, grid_of(rule.structure, tuple(layer.weight.shape))))
        except ValueError as error:
            problems.append(f"rule '{rule.name}': {name}.weight: {error}: exclude it or choose other blocks")
    return sites, problems


def _spanning_sites(model: nn.Module, rule: Rule, layers: dict[str, nn.Linear]) -> tuple[list[Site], list[str]]:
    sites, problems = [], []
    every = linear_layers(model)
    for layout in layouts(model):
        group = layout.heads if rule.structure.kind == "head" else layout.neurons
        names = list(dict.fromkeys(member.layer for member in group.members)) if group else []
        # No group of layers holds the projections of positions, and a head without them is none.
        positions = {member.layer for member in group.members if member.role == "position"} if group else set()
        missing = [name for name in names if name not in layers and name not in positions]
        if not names or len(missing) == len(names) - len(positions):
            continue
        if missing:
            problems.append(
                f"rule '{rule.name}': a {rule.structure.kind} of {names[0]} has weights in {missing[0]}, too, which "
                "the targets leave out: add it"
            )
            continue
        try:
            sites.append(Site({name: every[name] for name in names}, _across(group, names, every, rule.structure)))
        except ValueError as error:
            problems.append(f"rule '{rule.name}': {names[0]}.weight: {error}")
    if not sites and not problems:
        raise PruningError(f"rule '{rule.name}': no {rule.structure.kind} of the model is among its targets")
    return sites, problems


def _across(group: Group, names: list[str], layers: dict[str, nn.Linear], structure: Structure) -> GroupedAcrossLayers:
    """``structure.rows`` adjacent groups of a layout as one."""
    together = structure.rows
    if group.count % together:
        raise ValueError(f"{structure} does not divide {group.count} neurons: choose another number")
    slices = [Slices(names.index(m.layer), m.axis, m.offset, m.size * together) for m in group.members]
    return GroupedAcrossLayers([tuple(layers[name].weight.shape) for name in names], slices, group.count // together)


def resolve_rules(model: nn.Module, rules: Sequence[Rule]) -> tuple[list[list[Site]], list[tuple[int, str]]]:
    """Matches every rule against ``model`` (the meta device suffices).

    Returns:
        the sites of each rule, and every problem as (index of the rule, one line).
    """
    matched: list[list[Site]] = []
    problems: list[tuple[int, str]] = []
    if adapted := adapter_in(model):
        return [[] for _ in rules], [(0, adapted)]
    owners = _owners(model)
    for index, rule in enumerate(rules):
        try:
            sites, faults = resolve_sites(model, rule)
            problems += [(index, text) for text in faults]
        except PruningError as error:
            problems.append((index, str(error)))
            sites = []
        for name, layer in ((name, layer) for site in sites for name, layer in site.layers.items()):
            if len(owners[id(layer.weight)]) > 1:
                other = next(owner for owner in owners[id(layer.weight)] if owner != f"{name}.weight")
                text = f"is also {other}: exclude {name}, or untie them"
                problems.append((index, f"rule '{rule.name}': {name}.weight {text}"))
        for earlier, found in zip(rules, matched):
            clash = _clash(earlier, found, rule, sites)
            problems += [(index, clash)] if clash else []
        matched.append(sites)
    return matched, problems


def _clash(earlier: Rule, found: list[Site], rule: Rule, sites: list[Site]) -> str | None:
    """Why two rules cannot share a weight, None where they share none or may."""
    claimed = {name: site for site in found for name in site.layers}
    shared = next((name for site in sites for name in site.layers if name in claimed), None)
    if shared is None:
        return None
    both = f"rules '{earlier.name}' and '{rule.name}' both claim {shared}.weight: "
    if rule.regrow or earlier.regrow:
        return both + "give them separate targets, or take regrow off"
    revives = next((r.criterion.name for r in (earlier, rule) if build(r.criterion).revives), None)
    if revives:
        return both + f"give them separate targets, as {revives} lets weights return"
    if rule.schedule is None or earlier.schedule is None:
        return None  # what is frozen is zero from the start, in whatever groups
    if rule.criterion.name == earlier.criterion.name and rule.criterion != earlier.criterion:
        return both + f"give them separate targets, or one {rule.criterion.name} with the same parameters"
    nests = rule.structure.nests_in(earlier.structure)
    if nests and earlier.structure.kind == "head":
        size = min(part.size for part in claimed[shared].grid.slices)
        nests = size % rule.structure.rows == 0 and size % rule.structure.cols == 0
    if nests:
        return None
    if earlier.structure.kind == "neuron" and rule.structure.kind == "block":
        return both + f"blocks of {rule.structure} do not lie within a neuron; neuron:K takes K adjacent ones as one"
    return both + "give them separate targets, or structures that nest, the coarser first"


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """Every name under which a distinct module holds a parameter, by the parameter's id."""
    owners: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    return owners


def _hint(pattern: str, names: list[str]) -> str:
    if pattern == ENCODER_LINEAR:
        return ": the model has no numbered list of layers with any; name the layers by patterns instead"
    close = get_close_matches(pattern, names, n=1, cutoff=0.4) or names[:1]
    return f"; a name here is '{close[0]}'" if close else "; the model has none"
