"""The machine that figures were measured on, and how it is made to look like a lesser one."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from optkit.cpu import cpu_cores, cpu_flags, cpu_name

# Environment for --isa, each variable read by one library when it first looks at the CPU. MKL (in torch) counts
# AVX-VNNI to AVX2; nothing like it exists for ONNX Runtime.
ENVIRONMENT = {
    "avx2": {
        "OPTKIT_ISA": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avxvnni": {
        "OPTKIT_ISA": "avxvnni",
        "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "avx512vnni": {
        "OPTKIT_ISA": "avx512vnni",
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI",
    },
}
FLAGS = ("avx2", "avx512f", "avx512bw", "avx_vnni", "avx512_vnni", "amx_int8")
PACKAGES = ("optkit", "openvino", "torch", "onnxruntime", "transformers", "nncf")


def pretend(isa: str) -> None:
    """Sets what limits the engines to ``isa``; only before they are imported.

    Raises:
        ValueError: if a variable has another value already.
    """
    for name, value in ENVIRONMENT[isa].items():
        if os.environ.setdefault(name, value) != value:
            raise ValueError(f"--isa {isa} needs {name}={value}, and it is {os.environ[name]}: unset it")


def keep_plans(cache: Path) -> None:
    """Keeps optkit's measured plans in ``cache``: one measured with oneDNN held back is of no use to anyone else."""
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "native").lower()
    os.environ["OPTKIT_CACHE"] = str(cache / f"plans-{held}")


def describe(isa: str | None) -> dict:
    """What a figure depends on, but for the settings of the run."""
    variables = sorted({name for limits in ENVIRONMENT.values() for name in limits})
    return {
        "cpu": cpu_name(),
        "flags": [flag for flag in FLAGS if flag in cpu_flags()],
        "cores": cpu_cores(),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
        "isa": isa,
        "environment": {name: os.environ[name] for name in variables if name in os.environ},
        "versions": {"python": platform.python_version()} | {n: v for n in PACKAGES if (v := _version(n))},
    }


def exact_int8() -> bool:
    """Whether OpenVINO's int8 products cannot saturate: it has VNNI or AMX, and may use it."""
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return bool(cpu_flags() & {"avx_vnni", "avx512_vnni", "amx_int8"}) and (not held or "VNNI" in held)


def notes(machine: dict) -> list[str]:
    """What a reader of the figures must know about the machine."""
    said = []
    isa = machine["isa"]
    if isa:
        said.append(
            f"This run pretends that the CPU stops at {isa}: oneDNN (in OpenVINO and torch), torch and optkit are "
            "held to it by environment variables. OpenVINO's own kernels outside oneDNN's list may still use more, and "
            "ONNX Runtime uses all that the CPU has."
        )
    if not exact_int8():
        said.append(
            "Without VNNI OpenVINO's int8 products can saturate with weights of full range, as here: its time counts, "
            "its result does not, and optkit's is not compared with it."
        )
    if machine["load"] > 0.5:
        said.append(f"The machine was busy when this began (load {machine['load']}).")
    return said


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
