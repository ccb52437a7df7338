"""Which matches make one Program.

A Program is one node, so nothing outside may stand between two of its values: what it reads must not depend on what it
computes. Matches are merged along the values they share as long as that holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optkit.runtime.program import ACTIVATIONS
from optkit.runtime.rewriting.graph import Key, key, kind, split_constant
from optkit.runtime.rewriting.matches import Match
from optkit.runtime.rewriting.shapes import Shape, Shapes

if TYPE_CHECKING:
    import openvino

_POINTWISE = {"affine", "fake_quantize", *ACTIVATIONS}

Item = Key | str  # a match by its value, one of OpenVINO's nodes by its name


class Demand:
    """What has to be computed for a model's results when matches take the place of nodes.

    Attributes:
        order: matches and nodes, each after those it reads.
        reads: what each of them reads.
        outside: matched values that OpenVINO's nodes read.
        read_by: the matches that read a value, by the value.
    """

    def __init__(self, model: openvino.Model, matches: Mapping[Key, Match]) -> None:
        self.order: list[Item] = []
        self.reads: dict[Item, list[Item]] = {}
        self.outside: set[Key] = set()
        self.read_by: dict[Key, list[Key]] = {}
        self._matches = matches
        seen: set[Item] = set()
        for node in (*model.get_results(), *model.get_sinks()):
            self._visit(node.get_name(), node, seen)

    def _visit(self, root: Item, node: openvino.Node, seen: set[Item]) -> None:
        stack = [(root, iter(self._node_reads(node)))]
        while stack:
            item, pending = stack[-1]
            following = next(pending, None)
            if following is None:
                stack.pop()
                self.order.append(item)
                continue
            other, thing = following
            self.reads.setdefault(item, []).append(other)
            if other not in seen:
                seen.add(other)
                reads = self._match_reads(thing) if isinstance(thing, Match) else self._node_reads(thing)
                stack.append((other, iter(reads)))

    def _node_reads(self, node: openvino.Node) -> list[tuple[Item, Match | openvino.Node]]:
        read = []
        for value in node.input_values():
            match = self._matches.get(key(value))
            if match is not None and _left_alone(match, node):
                read.append((value.get_node().get_name(), value.get_node()))
                continue
            if match is not None:
                self.outside.add(key(value))
            read += self._read(value)
        return read

    def _match_reads(self, match: Match) -> list[tuple[Item, Match | openvino.Node]]:
        # Masks and tables are put together by OpenVINO's nodes.
        beside = [part.value for part in match.mask.parts] if match.mask else []
        beside += match.given
        beside += [table.value for table in match.tables]
        self.outside |= {key(value) for value in beside} & self._matches.keys()
        for value in (*match.sources, *beside):
            self.read_by.setdefault(key(value), []).append(key(match.value))
        return [each for value in (*match.sources, *beside) for each in self._read(value)]

    def _read(self, value: openvino.Output) -> list[tuple[Item, Match | openvino.Node]]:
        """What has to be computed to have ``value``."""
        if key(value) in self._matches:
            return [(key(value), self._matches[key(value)])]
        return [] if kind(value) == "Constant" else [(value.get_node().get_name(), value.get_node())]


def _left_alone(match: Match, reader: openvino.Node) -> bool:
    """Whether ``reader`` is better served by the model's own node.

    OpenVINO fuses a FakeQuantize, and SmoothQuant's Multiply before it, into what reads it; from a Program it would get
    floats, and compute with them.
    """
    if match.kind == "fake_quantize":
        return True
    return kind(match.value) == "Multiply" and match.kind == "affine" and reader.get_type_name() == "FakeQuantize"


class Groups:
    """A partition of matches that grows by merging."""

    def __init__(self, demand: Demand, matches: Mapping[Key, Match]) -> None:
        self._demand = demand
        self._group: dict[Key, list[Key]] = {item: [item] for item in demand.order if item in matches}

    def all(self) -> list[list[Key]]:
        """Each group once, its members in the order of the demand."""
        place = {item: i for i, item in enumerate(self._demand.order)}
        unique = {id(group): group for group in self._group.values()}
        return [sorted(group, key=place.__getitem__) for group in unique.values()]

    def merge(self, left: Key, right: Key) -> None:
        """Makes one group of two, unless something outside both would stand between them."""
        first, second = self._group[left], self._group[right]
        if first is second or self._detours(first, second) or self._detours(second, first):
            return
        small, large = sorted((first, second), key=len)
        large += small
        for item in small:
            self._group[item] = large

    def _detours(self, start: list[Key], end: list[Key]) -> bool:
        """Whether ``start`` reads something that is neither and depends on ``end``."""
        stack: list[Item] = [item for member in start for item in self._demand.reads.get(member, ())]
        # Direct reads are no detour: they are within, once merged.
        stack = [item for item in stack if self._group.get(item) not in (start, end)]
        seen = set()
        while stack:
            item = stack.pop()
            group = self._group.get(item)
            if group is end:
                return True
            for member in group or (item,):
                if member not in seen:
                    seen.add(member)
                    stack += [other for other in self._demand.reads.get(member, ()) if other not in seen]
        return False


def group(model: openvino.Model, found: Mapping[Key, Match], shapes: Shapes) -> tuple[list[list[Match]], Demand]:
    """Groups of matches that become Programs, each in an order in which it can be computed; and the demand they meet.

    Matches that are of no use to a linear layer are left to OpenVINO.
    """
    matches = dict(found)
    while True:
        demand = Demand(model, matches)
        groups = _merged(demand, matches, shapes)
        idle = {item for members in groups for item in _idle(members, matches, demand)}
        if not idle:
            return [[matches[item] for item in members] for members in groups], demand
        for item in idle:
            del matches[item]


def _merged(demand: Demand, matches: Mapping[Key, Match], shapes: Shapes) -> list[list[Key]]:
    groups = Groups(demand, matches)

    def lead(item: Key) -> Shape:
        return shapes[matches[item].value][:-1]

    for item in demand.order:
        if item not in matches:
            continue
        for source in matches[item].sources:
            beside = demand.read_by[key(source)]
            for other in ([key(source)] if key(source) in matches else []) + beside:
                if lead(other) == lead(item):
                    groups.merge(other, item)
    return groups.all()


def _idle(members: list[Key], matches: Mapping[Key, Match], demand: Demand) -> set[Key]:
    """Members that neither use a linear layer's result nor serve to compute what does, or do better in OpenVINO."""
    inside = set(members)
    results = {item for item in members if matches[item].kind == "linear"}
    for item in members:
        if any(key(source) in results for source in matches[item].sources):
            results.add(item)
    needed = set(results)
    for item in reversed(members):
        if item in needed:
            needed |= {key(source) for source in matches[item].sources} & inside
    idle = inside - needed
    for item in needed:
        match = matches[item]
        if match.kind == "attention" and not _between(match, results, demand):
            idle.add(item)
        if match.kind in _POINTWISE and key(match.sources[0]) not in matches and _is_product(match.sources[0]):
            idle.add(item)
    return idle


def _between(match: Match, results: set[Key], demand: Demand) -> bool:
    """Whether an attention stands between linear layers: their ``results`` are its operands, and it is read again."""
    sources = all(key(source) in results for source in match.sources)
    return sources and any(reader in results for reader in demand.read_by.get(key(match.value), ()))


def _is_product(value: openvino.Output) -> bool:
    """Whether ``value`` is a MatMul, perhaps with a bias: OpenVINO computes what follows together with it."""
    if kind(value) == "Add" and (operands := split_constant(value)) is not None:
        value = operands[0]
    return kind(value) == "MatMul"
