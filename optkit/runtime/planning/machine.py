"""The machine that a plan is made for: its processor, and what of it the kernels use."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from optkit.ir.io import import_openvino
from optkit.ir.tags import optkit_version

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Machine:
    """What a measured time depends on, but for the model.

    Attributes:
        cpu: the processor's name for itself.
        cores: that this process may use.
        isa: instruction set of the kernels in use.
        amx: whether OpenVINO finds AMX for int8.
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

    info = _cpuinfo()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        cores=cores,
        isa=extension.isa(),
        amx={"amx_tile", "amx_int8"} <= set(info.get("flags", "").split()),
        openvino=import_openvino().__version__,
        optkit=optkit_version(),
        library=_digest(extension.extension_path()),
        limit=os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    )


def _cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty where there is no such file."""
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
