"""What the processor says of itself, for reports, plans and `optkit doctor`."""

from __future__ import annotations

import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cpu_name() -> str:
    """The processor's own name for itself."""
    return _entries().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> frozenset[str]:
    """Linux's names of what the first processor can; empty where the system does not tell."""
    return frozenset(_entries().get("flags", "").split())


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


def _entries() -> dict[str, str]:
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
