"""The machine and the versions that the figures of a report were measured with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.json_files import read_json
from optkit.machine import RESULT_PACKAGES, describe, versions
from optkit.report.schema import Facts

if TYPE_CHECKING:
    from optkit.pipeline.run_folder import RunDir

#: Stages whose figures depend on the machine, in their order.
MEASURING = ("evaluate", "benchmark")


def provenance(run: RunDir, stages: Sequence[str]) -> dict[str, Any]:
    """``versions`` and ``machine`` of the times, or of the scores where there are no times, and those of every stage in
    ``measured``, as the stages recorded them: the report may be written elsewhere. Of a run that recorded no machine,
    that of its earlier report. The plan measures nothing and makes nothing that the other stages use: it is left out.
    Versions that no stage recorded are those installed here.
    """
    entries = {name: run.entry(name) or {} for name in stages if name != "plan"}
    measuring = [entries[name] for name in MEASURING if name in entries]
    last = measuring[-1] if measuring else {}
    return {
        "versions": last.get("versions") or versions(RESULT_PACKAGES),
        "machine": last.get("machine") or _of_earlier_report(run.path) or describe(),
        "measured": {
            name: {part: entry.get(part) for part in ("machine", "versions")} for name, entry in entries.items()
        },
    }


def _of_earlier_report(run: Path) -> dict[str, Any] | None:
    try:
        found = read_json(run / "report.json")["machine"]
        return dict(found) if "cpu" in found else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def other_stages(facts: Facts) -> list[str]:
    """A line for the stages that had another CPU or other versions than those that the report names first; those with
    the same differences share one.
    """
    stages: dict[str, list[str]] = {}
    for stage, found in facts.measured.items():
        cpu, versions = found.machine and found.machine.cpu, found.versions or {}
        differ = [f"{name} {own}" for name, own in versions.items() if facts.versions.get(name) != own]
        parts = [f"on {cpu}"] if cpu and cpu != facts.machine.cpu else []
        parts += [f"with {', '.join(differ)}"] if differ else []
        if parts:
            stages.setdefault(" ".join(parts), []).append(f"`{stage}`")
    return [f"{_stages(names)} ran {how}." for how, names in stages.items()]


def _stages(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"Stage {names[0]}"
    return f"Stages {', '.join(names[:-1])} and {names[-1]}"
