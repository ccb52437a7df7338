"""The machine that figures were measured on, and how it is made to look like a lesser one."""

from __future__ import annotations

import os
from pathlib import Path

from optkit.cpu import cpu_flags

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


def environment() -> dict[str, str]:
    """The variables of ``ENVIRONMENT`` that are set, whoever set them."""
    variables = sorted({name for limits in ENVIRONMENT.values() for name in limits})
    return {name: os.environ[name] for name in variables if name in os.environ}


def default_precision(isa: str | None) -> str:
    """What OpenVINO computes in by default. A CPU of no more than ``isa`` has no bf16; OpenVINO does not learn that
    from the environment.
    """
    from optkit.ir import precision  # which imports OpenVINO, and that looks at the CPU

    return "f32" if isa else precision.default_precision()


def exact_int8() -> bool:
    """Whether OpenVINO's int8 products cannot saturate: it has VNNI or AMX, and may use it."""
    held = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return bool(cpu_flags() & {"avx_vnni", "avx512_vnni", "amx_int8"}) and (not held or "VNNI" in held)


def notes(isa: str | None) -> list[str]:
    """What a reader of the figures must know about the machine."""
    said = []
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
    return said
