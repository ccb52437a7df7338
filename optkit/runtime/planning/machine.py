"""The machine that a plan is made for: its processor, and what of it the kernels use."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from optkit.cpu import cpu_cores, cpu_name, has_amx, onednn_limit
from optkit.ir.io import import_openvino
from optkit.ir.tags import optkit_version


@dataclass(frozen=True)
class Machine:
    """What a measured time depends on, but for the model.

    Attributes:
        cpu: the processor's name for itself.
        cores: that this process may use.
        isa: instruction set of the kernels in use.
        amx: whether OpenVINO has AMX for int8.
        openvino, optkit: versions.
        library: digest of the extension.
        limit: of the instruction sets that OpenVINO may use, where ONEDNN_MAX_CPU_ISA sets one.
    """

    cpu: str
    cores: int
    isa: str
    amx: bool
    openvino: str
    optkit: str
    library: str
    limit: str = ""


def detect() -> Machine:
    """This machine; needs the extension.

    Raises:
        OptkitError: if there is none.
    """
    from optkit.runtime import extension

    return Machine(
        cpu=cpu_name(),
        cores=cpu_cores(),
        isa=extension.isa(),
        amx=has_amx(),
        openvino=import_openvino().__version__,
        optkit=optkit_version(),
        library=_digest(extension.extension_path()),
        limit=onednn_limit(),
    )


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
