"""Makes a Program of each group of matches, and puts its node where their values are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from optkit.runtime.program import Program
from optkit.runtime.rewriting import masks, rotary
from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.explaining import fused
from optkit.runtime.rewriting.graph import Key, key
from optkit.runtime.rewriting.grouping import Demand
from optkit.runtime.rewriting.masks import Mask
from optkit.runtime.rewriting.matches import Match
from optkit.runtime.rewriting.rotary import Table
from optkit.runtime.rewriting.shapes import Shapes

if TYPE_CHECKING:
    import openvino

Made = TypeVar("Made", Mask, Table)
CreateNode = Callable[[list["openvino.Output"], Program, str], "openvino.Node"]


@dataclass(frozen=True, eq=False)
class Placed:
    """A Program in the graph.

    Attributes:
        name: friendly name of its node.
        node: of type Program, from the extension.
        program: what it computes.
        layers: the MatMuls in it, by friendly name, in order.
        fused: for each of them what is computed with it: ``bias``, ``gelu_erf``, ``residual``, ``layer_norm``,
            ``attention``, ``shared input`` (with other layers) ...
    """

    name: str
    node: openvino.Node
    program: Program
    layers: tuple[str, ...]
    fused: dict[str, tuple[str, ...]]


def place(
    groups: list[list[Match]], demand: Demand, shapes: Shapes, names: Iterator[str], create_node: CreateNode
) -> list[Placed]:
    """Puts a Program into the graph for each of ``groups``, under the next of ``names``."""
    placer = _Placer(demand, shapes)
    made = [placer.make(group, next(names), create_node) for group in groups]
    # Only now that all read what the model computes: where that is another Program's, it takes the place there too.
    for _, outputs in made:
        for value, output in outputs:
            value.replace(output)
    return [placed for placed, _ in made]


class _Placer:
    """Makes the nodes. A mask or table that several Programs read is made once."""

    def __init__(self, demand: Demand, shapes: Shapes) -> None:
        self._demand = demand
        self._shapes = shapes
        self._made: dict[tuple, openvino.Output] = {}

    def make(
        self, group: list[Match], name: str, create_node: CreateNode
    ) -> tuple[Placed, list[tuple[openvino.Output, openvino.Output]]]:
        """The Program of ``group`` with its node; and which value each output of the node is to stand for."""
        builder, inside = Builder(), {key(match.value) for match in group}
        inputs = self._inputs(group, inside)
        numbers = {at: builder.input(features) for at, (_, features) in inputs.items()}
        results = []
        for match in group:
            at = key(match.value)
            numbers[at] = match.emit(builder, [numbers[each] for each in _reads(match)])
            readers = self._demand.read_by.get(at, [])
            leaves = at in self._demand.outside or not inside.issuperset(readers)
            if leaves:
                results.append(match.value)
            if leaves or len(readers) > 1:
                builder.shared.add(numbers[at])
        program = builder.finish([numbers[key(value)] for value in results])
        node = create_node([value for value, _ in inputs.values()], program, name)
        layers = tuple(dict.fromkeys(match.layer for match in group if match.layer))
        placed = Placed(name, node, program, layers, fused(program, builder.layers))
        return placed, list(zip(results, node.outputs()))

    def _inputs(self, group: list[Match], inside: set[Key]) -> dict[Key | tuple, tuple[openvino.Output, int]]:
        """What the group reads and does not compute, with its features; what has none comes last."""
        tokens = {key(value): (value, self._shapes[value][-1]) for match in group for value in match.sources}
        given = {at: each for at, each in tokens.items() if at not in inside}
        tables = {table.key: table for match in group for table in match.tables}
        given |= {at: (self._once(at, table, rotary.build), table.features) for at, table in tables.items()}
        given |= {key(value): (value, 0) for match in group for value in match.given}
        masked = {match.mask.key: match.mask for match in group if match.mask}
        return given | {at: (self._once(at, mask, masks.build), 0) for at, mask in masked.items()}

    def _once(self, at: tuple, made_of: Made, build: Callable[[Made], openvino.Output]) -> openvino.Output:
        if at not in self._made:
            self._made[at] = build(made_of)
        return self._made[at]


def _reads(match: Match) -> list[Key | tuple]:
    beside = [*match.tables, *([match.mask] if match.mask else [])]
    return [*map(key, (*match.sources, *match.given)), *(each.key for each in beside)]
