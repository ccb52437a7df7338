"""What a finished run says of itself, read from its report.json, and how much faster than dense it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError, UsageError
from optkit.experiments.report_format import Fault, check
from optkit.json_files import read_json
from optkit.report.speed import Speedup, speedup

#: Formats that are read: in the first OpenVINO was measured with the f32 hint, in the second at its default precision.
REPORT, FORMATS = "report.json", (1, 2)


@dataclass(frozen=True)
class Run:
    """One run's folder and report."""

    path: Path
    report: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def metric(self) -> str:
        return self.report["evaluate"]["metric"]

    @property
    def drop(self) -> float | None:
        """Points of 100 that the exported model lost against the baseline; None without one."""
        return self.report["evaluate"]["drop"]

    @property
    def sparsity(self) -> float | None:
        """Share of zeros among the linear weights of the encoder; None for a model without one."""
        found = self.report["sparsity"]["openvino"]["denominators"]["encoder_linear"]
        return None if found is None else found["sparsity"]

    @property
    def machine(self) -> str:
        return self.report["machine"]["cpu"]

    def score(self) -> float | None:
        """The exported model's headline metric on the first split, in points of 100."""
        evaluated = self.report["evaluate"]
        first = next(iter(evaluated["splits"].values()))
        names = (evaluated.get("judged"), "int8", "openvino")  # what ``drop`` is of; earlier reports do not say it
        found = next((first[name] for name in names if name in first), None)
        return None if found is None else 100 * found[evaluated["metric"]]

    def speedup(self, batch: int | None = None, seq: int | None = None) -> Speedup | None:
        """The speedup at a batch and length, the first that was measured where they are None; None if none was."""
        return speedup(self.report["benchmark"], batch, seq)


def load_run(path: str | Path) -> Run:
    """The run in the folder ``path``.

    Raises:
        UsageError: if it is no finished run.
        OptkitError: if its report cannot be read.
    """
    file = Path(path) / REPORT
    if not file.is_file():
        raise UsageError(f"{path}: no {REPORT} here: name a folder that `optkit run` finished")
    try:
        report = read_json(file)
        known = report["format"] in FORMATS and {"evaluate", "sparsity", "benchmark", "machine"} <= report.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptkitError(f"{file}: not a report that this optkit can read: run the recipe again") from error
    if not known:
        raise OptkitError(f"{file}: a report of another optkit, with format {report['format']}: run the recipe again")
    try:
        check(report)
    except Fault as fault:
        raise OptkitError(f"{file}: damaged or edited: {fault}: run the recipe again") from None
    return Run(Path(path), report)


def find_runs(paths: Iterable[str | Path]) -> list[Run]:
    """The runs in ``paths``: each a run's folder, or a folder of such folders, in the order of their names.

    Raises:
        UsageError: for a folder without a finished run.
        OptkitError: as ``load_run``.
    """
    found: dict[Path, Run] = {}
    for path in map(Path, paths):
        inside = [path] if (path / REPORT).is_file() else sorted(file.parent for file in path.glob(f"*/{REPORT}"))
        if not inside:
            raise UsageError(f"{path}: no finished run here: name folders that `optkit run` or `optkit sweep` made")
        found |= {folder.resolve(): load_run(folder) for folder in inside}
    return list(found.values())


def same(runs: Sequence[Run], what: str, values: Sequence[Any]) -> None:
    """Refuses runs that do not compare.

    Raises:
        OptkitError: if ``values``, one of each run, differ; the message names the first that does.
    """
    for run, value in zip(runs, values, strict=True):
        if value != values[0]:
            raise OptkitError(
                f"{run.path} and {runs[0].path} do not compare: their {what} is {value} and {values[0]}: leave one out"
            )
