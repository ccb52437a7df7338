"""A finished run, read from its report.json, and its speedup over the dense model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError, UsageError, why_not
from optkit.json_files import read_json
from optkit.report.labels import judged_variant
from optkit.report.reading import REPORT, load_report
from optkit.report.schema import Report
from optkit.report.speed import Speedup, speedup

#: What a sweep keeps of its runs, in its folder.
RESULTS = "sweep.json"


@dataclass(frozen=True)
class Run:
    """One run's folder and report."""

    path: Path
    report: Report

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def metric(self) -> str:
        return self.report.evaluate.metric

    @property
    def drop(self) -> float | None:
        """Points of 100 that the exported model lost against the baseline; None without one."""
        return self.report.evaluate.drop

    @property
    def sparsity(self) -> float | None:
        """Share of zeros among the linear weights of the encoder; None for a model without one."""
        found = self.report.sparsity["openvino"].denominators.get("encoder_linear")
        return None if found is None else found.sparsity

    @property
    def cpu(self) -> str:
        """The CPU that the times were measured on."""
        return self.report.machine.cpu

    @property
    def threads(self) -> int | None:
        """What each engine was timed with; None without times."""
        times = self.report.benchmark
        return None if times is None else times.threads

    def score(self) -> float | None:
        """The headline metric on the first split, in points of 100, of the model that ``drop`` is of."""
        evaluated = self.report.evaluate
        found = evaluated.first.get(judged_variant(evaluated))
        return None if found is None else 100 * found[evaluated.metric]

    def speedup(self, batch: int | None = None, seq: int | None = None) -> Speedup | None:
        """The speedup at a batch and length, the first that was measured where they are None; None if none was."""
        return speedup(self.report.benchmark, batch, seq)


def load_run(path: str | Path) -> Run:
    """The run in the folder ``path``.

    Raises:
        UsageError: if it is no finished run.
        OptkitError: if its report cannot be read.
    """
    return Run(Path(path), load_report(path))


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs in ``paths``: each a run's folder, or a folder of such folders, in the order of their names. What failed
    in a sweep has no part in it, though an earlier run of its name may have left a report.

    Raises:
        UsageError: for a folder without a finished run.
        OptkitError: as ``load_run``.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        inside = [path] if (path / REPORT).is_file() else sorted(file.parent for file in path.glob(f"*/{REPORT}"))
        failed = _failed(path)
        whole = [folder for folder in inside if folder.name not in failed]
        if inside and not whole:
            raise UsageError(f"{path}: every run failed: read the logs there")
        if not inside:
            why = why_not(path, "no finished run here, in it or in a folder of it")
            raise UsageError(f"{path}: {why}: name folders that `optkit run` or `optkit sweep` made")
        found |= {folder.resolve(): load_run(folder) for folder in whole}
    return list(found.values())


def _failed(root: Path) -> set[str]:
    """Names of the runs that failed in the sweep of a folder; none where it is no sweep's, or its list is damaged."""
    try:
        kept = read_json(root / RESULTS)
        return {str(result["name"]) for result in kept["runs"] if result["status"] == "failed"}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def require_same(runs: Sequence[Run], what: str, values: Sequence[Any], way_out: str = "leave one out") -> None:
    """Refuses runs that do not compare.

    Args:
        way_out: the end of the message.

    Raises:
        OptkitError: if ``values``, one of each run, differ; the message names the first that does.
    """
    for run, value in zip(runs, values, strict=True):
        if value != values[0]:
            raise OptkitError(
                f"{run.path} and {runs[0].path} do not compare: their {what} is {value} and {values[0]}: {way_out}"
            )
