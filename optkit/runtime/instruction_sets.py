"""The rows of the library's table of instruction sets (``csrc/isa/sets.def``), as Python reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Rates:
    """Multiply-adds per cycle of one core, ours on stored weights, OpenVINO's on all.

    Attributes:
        block4: int8 blocks of 4 inputs, by their height in outputs: 1, 2, 4, 8, 16, 32.
        element: int8.
        single: ``element`` with float32 weights.
        openvino_int8, openvino_fp32: oneDNN's dense products.
        tall: what ``element`` gains from blocks of at least 4 outputs, which share the loads of activations.
    """

    block4: Mapping[int, float]
    element: float
    single: float
    openvino_int8: float
    openvino_fp32: float
    tall: float


@dataclass(frozen=True)
class InstructionSet:
    """One row.

    Attributes:
        name: as ``OPTKIT_ISA`` and plans say it.
        features: that the CPU must have, as Linux names them.
        vector_bits: of its kernels' vectors; 0 where they are not compiled.
        compiled: whether the library holds its kernels: the compiler knew the features.
        supported: whether it is compiled, this CPU has the features, and the operating system lets them be used.
        rates: for the cost model.
        rates_with_amx: the same on a CPU where OpenVINO uses AMX; None where ``rates`` hold there, too.
        together: entries that a kernel of ``block4`` takes at once, by its height: a row of blocks is padded to a
            multiple of them. Higher blocks than all of these are computed as rows of the highest that divides them.
        for_tests: whether its kernels emulate what the CPU may lack: never chosen unless ``OPTKIT_ISA`` names it.
    """

    name: str
    features: tuple[str, ...]
    vector_bits: int
    compiled: bool
    supported: bool
    rates: Rates
    rates_with_amx: Rates | None = None
    together: Mapping[int, int] = field(default_factory=dict)
    for_tests: bool = False

    @property
    def heights(self) -> tuple[int, ...]:
        """Outputs of the blocks that have a kernel of their own."""
        return tuple(sorted(self.together))


@cache
def parse(table: str) -> tuple[InstructionSet, ...]:
    """The rows of ``table``, the JSON array that the library's ``optkit_instruction_sets`` returns.

    Raises:
        ValueError: if its columns are not those of this optkit.
    """
    try:
        return tuple(_row(row) for row in json.loads(table, parse_int=float))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("the table of instruction sets has other columns") from error


def _row(row: dict[str, Any]) -> InstructionSet:
    return InstructionSet(
        name=row["name"],
        features=tuple(row["features"]),
        vector_bits=int(row["vector_bits"]),
        compiled=row["compiled"],
        supported=row["supported"],
        rates=_rates(row["rates"]),
        rates_with_amx=_rates(row["rates_with_amx"]) if row["rates_with_amx"] else None,
        together={int(height): int(entries) for height, entries in row["together"].items()},
        for_tests=row["for_tests"],
    )


def _rates(row: dict[str, Any]) -> Rates:
    return Rates(**row | {"block4": {int(height): rate for height, rate in row["block4"].items()}})
