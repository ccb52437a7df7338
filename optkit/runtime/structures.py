"""Which structure of zeros suits the kernels of each instruction set: the one place that says it."""

from __future__ import annotations

from dataclasses import dataclass

from optkit.errors import OptkitError
from optkit.runtime import extension


@dataclass(frozen=True)
class SuitedStructure:
    """What to prune in for the kernels of one instruction set.

    Attributes:
        isa: the instruction set, as people write it.
        structure: as a recipe writes it: the finest blocks that the kernels compute at about their full speed, since
            finer zeros cost less accuracy.
        why: half a sentence.
        measured: whether the speed of these blocks was measured in the engine, beside that of 1x4 blocks.
    """

    isa: str
    structure: str
    why: str
    measured: bool

    def __str__(self) -> str:
        known = "measured" if self.measured else "not measured yet"
        return f"this CPU runs kernels for {self.isa}: {self.structure} blocks suit them, {self.why} ({known})"


#: By the name of an instruction set (csrc/isa/sets.def); one for tests suits nothing.
SUITED = {
    "scalar": SuitedStructure("any x86-64", "1x4", "which higher blocks are no faster than", False),
    "avx2": SuitedStructure("AVX2", "1x4", "which higher blocks are hardly faster than", True),
    "avxvnni": SuitedStructure("AVX-VNNI", "4x4", "whose four outputs share the loads of inputs", True),
    "avx512vnni": SuitedStructure("AVX-512 VNNI", "4x4", "whose four outputs share the loads of inputs", True),
    "avx512bf16": SuitedStructure("AVX-512 VNNI", "4x4", "whose four outputs share the loads of inputs", True),
    "amx": SuitedStructure("AMX", "16x4", "since a tile multiplies 16 outputs at once", True),
}


def suited_structure() -> SuitedStructure | None:
    """For the kernels in use on this machine; None where the library cannot be used, or is for another CPU."""
    try:
        return SUITED.get(extension.isa())
    except OptkitError:
        return None
