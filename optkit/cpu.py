"""What the processor says of itself, for reports, plans and `optkit doctor`."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
TOPOLOGY = Path("/sys/devices/system/cpu")
QUOTA = Path("/sys/fs/cgroup/cpu.max")

#: Values of ``ONEDNN_MAX_CPU_ISA`` that leave out VNNI.
_WITHOUT_VNNI = ("SSE41", "AVX", "AVX2", "AVX512_CORE")


def cpu_name() -> str:
    """The processor's own name for itself."""
    return _entries().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Linux's names of what the first processor can; empty where the system does not tell."""
    return frozenset(_entries().get("flags", "").split())


def int8_saturates() -> bool:
    """Whether this is an x86 CPU without VNNI or AMX, or one whose OpenVINO may not use them and so adds products of
    8-bit numbers in 16 bits: with weights of full range such sums overflow.
    """
    limit, exact = onednn_limit().upper(), {"avx_vnni", "avx512_vnni", "amx_int8"}
    if limit.startswith("AVX2_VNNI"):
        exact = {"avx_vnni"}
    elif limit in _WITHOUT_VNNI:
        exact = set()
    flags = cpu_flags()
    return "sse4_1" in flags and not flags & exact


def onednn_limit() -> str:
    """The instruction set that ``ONEDNN_MAX_CPU_ISA`` holds OpenVINO to; empty where it may use all."""
    return os.environ.get("ONEDNN_MAX_CPU_ISA", "")


def held_below_avx512() -> bool:
    """Whether ``onednn_limit`` holds OpenVINO below AVX-512 on a CPU that has it. OpenVINO 2026.4.1 then goes on to
    compute in bfloat16 by default, for which it has no kernels left.
    """
    limit = onednn_limit().upper()
    return (limit == "AVX" or limit.startswith(("SSE", "AVX2"))) and "avx512f" in cpu_flags()


def has_amx() -> bool:
    """Whether OpenVINO has AMX for int8 here: the CPU does, and ``onednn_limit`` does not forbid it."""
    allowed = onednn_limit().upper() in ("", "ALL", "DEFAULT") or "AMX" in onednn_limit().upper()
    return allowed and {"amx_tile", "amx_int8"} <= cpu_flags()


def cpu_cores() -> int:
    """Logical processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_quota() -> float:
    """``cpu_cores``, or what a container's quota leaves of them, which can be less than one."""
    try:
        quota, period = QUOTA.read_text(encoding="utf-8").split()
        return min(cpu_cores(), round(int(quota) / int(period), 2))
    except (OSError, ValueError, ZeroDivisionError):
        return cpu_cores()


def physical_cores() -> int:
    """Physical cores that this process may use: hyper-threads of one count once, and so does what a quota leaves."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    try:
        found = {_place(number) for number in allowed}
    except (OSError, ValueError):
        return max(int(cpu_quota()), 1)
    return max(int(min(len(found), cpu_quota())), 1)


def _place(cpu: int) -> tuple[int, int]:
    """Socket and core of a logical processor."""
    folder = TOPOLOGY / f"cpu{cpu}" / "topology"
    return tuple(int((folder / name).read_text()) for name in ("physical_package_id", "core_id"))


def cpu_ticks() -> tuple[int, int] | None:
    """Ticks since the machine started: those of all processors, and those of them that the host of a virtual machine
    gave to others ("steal"); None where the system does not tell.
    """
    try:
        ticks = [int(field) for field in STAT.read_text(encoding="utf-8").splitlines()[0].split()[1:9]]
        return sum(ticks), ticks[7]
    except (OSError, ValueError, IndexError):
        return None


def load_average() -> float | None:
    """How many processes wanted a processor, on the mean of the last minute; None where the system does not tell."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):
        return None


def _entries() -> dict[str, str]:
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
