"""What is recognised: token-wise values of the graph, and the steps of a Program that compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from optkit.runtime.rewriting.building import Builder
from optkit.runtime.rewriting.graph import Key, key
from optkit.runtime.rewriting.masks import Mask
from optkit.runtime.rewriting.relative import Distances
from optkit.runtime.rewriting.rotary import Table
from optkit.runtime.rewriting.shapes import Shapes

if TYPE_CHECKING:
    import openvino


@dataclass(frozen=True, eq=False)
class Match:
    """``value`` can be computed by steps from other values.

    Attributes:
        value: float32 (..., features).
        kind: ``linear``, ``attention``, ``affine`` ..., as the step is called.
        sources: the token values it is computed from, of the same leading dimensions.
        emit: adds the steps to a builder, given the numbers of the sources (then of ``given``, of the tables, and of
            the mask, if there is one), and returns the number of the value.
        given: values of four dimensions that OpenVINO computes and that are no tokens: tables of relative positions
            and their places.
        mask: of attention.
        tables: of rotary embeddings.
        layer: name of the MatMul of a linear layer.
        narrow: gives the same for some of the value's features alone, where that is possible.
    """

    value: openvino.Output
    kind: str
    sources: tuple[openvino.Output, ...]
    emit: Callable[[Builder, list[int]], int]
    mask: Mask | None = None
    tables: tuple[Table, ...] = ()
    given: tuple[openvino.Output, ...] = ()
    layer: str | None = None
    narrow: Callable[[slice], Match | None] | None = None


@dataclass
class Matches:
    """What has been recognised so far, and what there is to know for it.

    Attributes:
        distances: vectors over the distances of tokens, which attentions share.
        found: by value, in topological order.
        notes: why a pattern that looks like one was not taken, by node name.
    """

    shapes: Shapes
    distances: Distances = field(init=False)
    found: dict[Key, Match] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.distances = Distances(self.shapes)

    def narrowed(self, value: openvino.Output, rows: slice) -> Match | None:
        """``value``'s match for the features ``rows`` alone."""
        match = self.found.get(key(value))
        return match.narrow(rows) if match and match.narrow else None

    def pointwise(
        self,
        value: openvino.Output,
        source: openvino.Output,
        kind: str,
        step: Callable[[Builder, int, slice], int],
    ) -> Match | None:
        """A match that treats each feature by itself: ``step`` adds it for the features of a slice."""
        if self.shapes[source] is None or self.shapes[source] != self.shapes[value]:
            return None

        def narrow(rows: slice) -> Match | None:
            inner = self.narrowed(source, rows)
            return inner and replace(inner, emit=lambda builder, n: step(builder, inner.emit(builder, n), rows))

        return Match(value, kind, (source,), lambda builder, n: step(builder, n[0], slice(None)), narrow=narrow)
