"""What layers cost in time at each sparsity, as numbers that were measured somewhere, for an allocation by latency.

As in ZipLM (Kurtic et al. 2023, https://arxiv.org/abs/2302.04089) a table of times by shape and sparsity, made once,
stands for the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from optkit.errors import PruningError

FORMAT = 1
Shapes = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LayerCosts:
    """Times of one kind of layer.

    Attributes:
        shapes: (out, in) of its weight; of all weights that its groups span.
        microseconds: at each of the table's sparsities, beyond what the rest of the model is said to take.
    """

    shapes: Shapes
    microseconds: tuple[float, ...]


@dataclass(frozen=True)
class CostTable:
    """Times of a model's layers, which add up, with ``rest``, to the time of the model.

    Attributes:
        structure: that the zeros come in.
        int8: whether the layers compute in int8.
        batch, seq, threads, cpu: what the times are of.
        dense: microseconds of the dense fp32 model that a speedup is measured against.
        unpruned: microseconds of the model that is to be pruned, on the runtime, while it has no zeros.
        rest: microseconds of the model besides what the layers' times say.
        sparsities: ascending from 0.
        layers: one for each kind.
    """

    structure: str
    int8: bool
    batch: int
    seq: int
    threads: int
    cpu: str
    dense: float
    unpruned: float
    rest: float
    sparsities: tuple[float, ...]
    layers: tuple[LayerCosts, ...]

    def of(self, shapes: Shapes, sparsities: Sequence[float]) -> tuple[float, ...]:
        """Microseconds of a kind of layer at ``sparsities``, on straight lines between those of the table.

        Raises:
            PruningError: if the table has no such layer.
        """
        found = next((layer for layer in self.layers if layer.shapes == shapes), None)
        if found is None:
            asked, known = _describe(shapes), ", ".join(_describe(layer.shapes) for layer in self.layers)
            raise PruningError(f"the table of costs has no layer of {asked}, only {known}: measure it for this model")
        return tuple(float(value) for value in np.interp(sparsities, self.sparsities, found.microseconds))

    def budget(self, speedup: float) -> float:
        """Microseconds that the layers may take together."""
        return self.dense / speedup - self.rest

    def speedup(self, layers: float) -> float:
        """Against the dense model, if the layers take so many microseconds together."""
        return self.dense / max(self.rest + layers, 1e-3)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> CostTable:
        """The table that ``to_json`` wrote.

        Raises:
            PruningError: naming the value that is not what a table holds.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PruningError(f"no table of costs: not JSON: {error}") from None
        names = {"format", *(field.name for field in fields(cls))}
        if not isinstance(data, dict) or data.get("format") != FORMAT or data.keys() != names:
            raise PruningError(f"no table of costs: expected format {FORMAT} with the keys {', '.join(sorted(names))}")
        data.pop("format")
        for name, right in _RIGHT.items():
            if not right(data[name]):
                raise PruningError(f"no table of costs: {name} is {json.dumps(data[name])[:60]}")
        if not all(_is_layer(layer, len(data["sparsities"])) for layer in data["layers"]):
            raise PruningError("no table of costs: a layer needs its shapes, and microseconds for each of sparsities")
        data["sparsities"] = tuple(data["sparsities"])
        data["layers"] = tuple(
            LayerCosts(tuple(map(tuple, layer["shapes"])), tuple(layer["microseconds"])) for layer in data["layers"]
        )
        return cls(**data)


def falling(times: Sequence[float]) -> list[float]:
    """The nearest sequence, by least squares, that never rises: more zeros take no longer, and measuring is noisy.

    Pool-adjacent-violators (Barlow et al. 1972).
    """
    pools: list[tuple[float, int]] = []
    for value in times:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-1][0] > pools[-2][0]:
            (last, many), (before, others) = pools.pop(), pools.pop()
            pools.append(((last * many + before * others) / (many + others), many + others))
    return [value for value, many in pools for _ in range(many)]


def _describe(shapes: Shapes) -> str:
    return " + ".join("x".join(map(str, shape)) for shape in shapes)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e100


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_layer(layer: Any, count: int) -> bool:
    if not isinstance(layer, dict) or layer.keys() != {"shapes", "microseconds"}:
        return False
    shapes, times = layer["shapes"], layer["microseconds"]
    if not isinstance(shapes, list) or not isinstance(times, list):
        return False
    pairs = all(isinstance(shape, list) and len(shape) == 2 and all(map(_is_count, shape)) for shape in shapes)
    return bool(shapes) and pairs and len(times) == count and all(_is_number(t) and t >= 0 for t in times)


def _are_sparsities(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) > 1 and all(map(_is_number, value))
    return numbers and value[0] == 0 and value[-1] <= 1 and all(a < b for a, b in zip(value, value[1:]))


_RIGHT = {
    "structure": lambda v: isinstance(v, str),
    "int8": lambda v: isinstance(v, bool),
    "batch": _is_count,
    "seq": _is_count,
    "threads": _is_count,
    "cpu": lambda v: isinstance(v, str),
    "dense": lambda v: _is_number(v) and v > 0,
    "unpruned": lambda v: _is_number(v) and v > 0,
    "rest": _is_number,
    "sparsities": _are_sparsities,
    "layers": lambda v: isinstance(v, list) and len(v) > 0,
}
