"""The rows of the library's table of instruction sets (``csrc/isa/sets.def``), as Python reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Rates:
    """Multiply-adds per cycle of one core, ours on stored weights, OpenVINO's on all.

    Attributes:
        block4, element: int8.
        single: ``element`` with float32 weights.
        openvino_int8, openvino_fp32: oneDNN's dense products.
        tall: what ``element`` gains from blocks of at least 4 outputs, which share the loads of activations.
    """

    block4: float
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
        supported: whether it is compiled, and this CPU has the features.
        rates: for the cost model.
        rates_with_amx: the same on a CPU where OpenVINO uses AMX; None where ``rates`` hold there, too.
    """

    name: str
    features: tuple[str, ...]
    vector_bits: int
    compiled: bool
    supported: bool
    rates: Rates
    rates_with_amx: Rates | None = None


@cache
def parse(table: str) -> tuple[InstructionSet, ...]:
    """The rows of ``table``, the JSON array that the library's ``optkit_instruction_sets`` returns."""
    return tuple(
        InstructionSet(
            name=row["name"],
            features=tuple(row["features"]),
            vector_bits=int(row["vector_bits"]),
            compiled=row["compiled"],
            supported=row["supported"],
            rates=Rates(**row["rates"]),
            rates_with_amx=Rates(**row["rates_with_amx"]) if row["rates_with_amx"] else None,
        )
        for row in json.loads(table, parse_int=float)
    )
