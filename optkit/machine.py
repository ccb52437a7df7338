"""The machine and the packages that figures depend on, and whether something else was at work there meanwhile."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from optkit.cpu import cpu_cores, cpu_flags, cpu_name, cpu_ticks, load_average, physical_cores

#: CPU features that reports name, as Linux does: those that OpenVINO's kernels look for.
INSTRUCTION_SETS = (
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
)
#: Packages that times and scores depend on.
PACKAGES = ("optkit", "openvino", "torch", "onnxruntime", "ctranslate2", "apache-tvm", "transformers", "nncf")
#: Packages that the result of a stage may depend on.
RESULT_PACKAGES = (
    *("optkit", "torch", "transformers", "datasets", "accelerate", "openvino", "nncf", "optimum-intel"),
    *("onnx", "onnxruntime"),
)
#: What a quiet machine does besides: processes waiting for a core, and the share of time that the host takes.
_BACKGROUND, _STEAL = 0.5, 0.02


def describe() -> dict[str, Any]:
    """This machine as far as figures depend on it: ``cpu`` (its name), ``instruction_sets``, logical ``cores`` and
    ``physical_cores`` that this process may use, and ``system``.
    """
    return {
        "cpu": cpu_name(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in cpu_flags()],
        "cores": cpu_cores(),
        "physical_cores": physical_cores(),
        "system": platform.platform(),
    }


def installed(package: str) -> str | None:
    """The version of ``package``; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of those of ``packages`` that are installed."""
    found = {package: installed(package) for package in packages}
    return {"python": platform.python_version()} | {name: own for name, own in found.items() if own is not None}


class LoadMonitor:
    """Watches the machine from now on: its load at the start, and what its host takes of it until ``facts``."""

    def __init__(self) -> None:
        self._load, self._ticks = load_average(), cpu_ticks()

    def facts(self) -> dict[str, Any]:
        """``load``: the mean of the minute before the start, in a list, empty where the system does not tell; and
        ``steal``: the share of processor time since then that the host gave to others, None where it does not tell.
        """
        now, steal = cpu_ticks(), None
        if now is not None and self._ticks is not None and now[0] > self._ticks[0]:
            steal = round((now[1] - self._ticks[1]) / (now[0] - self._ticks[0]), 4)
        return {"load": [] if self._load is None else [round(self._load, 2)], "steal": steal}


def load_warnings(facts: dict[str, Any], threads: int) -> list[str]:
    """Why figures measured meanwhile on ``threads`` threads may say little; ``facts`` are a ``LoadMonitor``'s."""
    warnings, free = [], max(cpu_cores() - threads, 0)
    if facts["load"] and facts["load"][0] > free + _BACKGROUND:
        warnings.append(
            f"the machine was busy at the start: load {facts['load'][0]:.2f}, and {threads} of {cpu_cores()} CPUs were "
            "to be measured: close other programs"
        )
    if facts["steal"] is not None and facts["steal"] > _STEAL:
        warnings.append(f"the host of this virtual machine took {facts['steal']:.0%} of its CPU time for others")
    return warnings
