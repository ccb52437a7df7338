"""Accuracy against speed over many runs: the Pareto frontier, and the best run within a limit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optkit.errors import UsageError
from optkit.experiments.runs import Run, find_runs, require_same
from optkit.report.render.charts.frontier import Mark, frontier_chart, mark_dominated
from optkit.report.speed import Speedup


@dataclass(frozen=True)
class Point:
    """A run on the chart.

    Attributes:
        drop: points of 100 below the baseline.
        speedup: against the dense model.
        dominated: whether another run loses no more and is faster, or loses less and is as fast.
    """

    run: Run
    drop: float
    speedup: Speedup
    dominated: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "run": str(self.run.path),
            "drop": self.drop,
            "score": self.run.score(),
            "sparsity": self.run.sparsity,
            "speedup": self.speedup.ratio,
            "milliseconds": self.speedup.milliseconds,
            "engine": self.speedup.of.id,
            "dominated": self.dominated,
        }


@dataclass(frozen=True)
class Frontier:
    """Points by speedup, the fastest first, and the runs that could not be placed, with the reason."""

    points: list[Point]
    left_out: dict[str, str]

    @property
    def best(self) -> list[Point]:
        """Points that no other dominates, the fastest first."""
        return [point for point in self.points if not point.dominated]

    def within(self, max_drop: float) -> Point | None:
        """The fastest that loses no more than ``max_drop`` points; None if every one loses more."""
        return next((point for point in self.best if point.drop <= max_drop + 1e-9), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``format`` 2: engines go by the ids of variants."""
        return {"format": 2, "points": [point.to_dict() for point in self.points], "left_out": self.left_out}

    def chart(self) -> str:
        """Accuracy lost against speed gained, an SVG."""
        return chart(self)


def pareto(
    runs: str | Path | Sequence[str | Path],
    *,
    batch: int | None = None,
    seq: int | None = None,
) -> Frontier:
    """Compares finished runs by accuracy lost and speed gained.

    Args:
        runs: folders of finished runs, or of many of them.
        batch, seq: of the times; the first that a run measured where they are None.

    Raises:
        UsageError: if a folder holds no finished run, or no run can be placed.
        OptkitError: if two runs measured different things, or a report is damaged.
    """
    folders = [runs] if isinstance(runs, (str, Path)) else runs
    return frontier(find_runs(folders), batch=batch, seq=seq)


def frontier(runs: Sequence[Run], *, batch: int | None = None, seq: int | None = None) -> Frontier:
    """Places ``runs`` by points lost and speedup, at one batch and length.

    Args:
        batch, seq: of the times; the first that a run measured where they are None.

    Raises:
        UsageError: if none can be placed.
        OptkitError: if two runs measured different things: another metric, baseline engine, precision, shape, CPU or
            number of threads.
    """
    placed, left_out = [], {}
    for run in runs:
        speedup = run.speedup(batch, seq)
        if run.drop is None:
            left_out[str(run.path)] = "has no baseline to compare with"
        elif speedup is None:
            left_out[str(run.path)] = "has no times of the dense and of the exported model at this shape"
        else:
            placed.append(Point(run, run.drop, speedup))
    if not placed:
        raise UsageError(f"no run can be placed: {_reasons(left_out)}: evaluate with a baseline, and add `benchmark`")
    kept = [point.run for point in placed]
    require_same(kept, "metric", [point.run.metric for point in placed])
    require_same(kept, "speedup's baseline", [point.speedup.reference for point in placed])
    require_same(kept, "batch and length", [(point.speedup.batch, point.speedup.seq) for point in placed])
    times = "leave one out, or time both on one machine with `optkit bench`"
    require_same(kept, "CPU", [point.run.cpu for point in placed], times)
    require_same(kept, "number of threads", [point.run.threads for point in placed], times)
    marks = [Mark(str(number), point.drop, point.speedup.ratio) for number, point in enumerate(placed)]
    order = [(placed[int(mark.name)], mark.dominated) for mark in mark_dominated(marks)]
    return Frontier([replace(point, dominated=dominated) for point, dominated in order], left_out)


def _reasons(left_out: Mapping[str, str]) -> str:
    """Why each run was left out, those with the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for path, why in left_out.items():
        by_reason.setdefault(why, []).append(path)
    more = {why: f" (and {len(paths) - 1} more)" if len(paths) > 1 else "" for why, paths in by_reason.items()}
    return "; ".join(f"{paths[0]}{more[why]} {why}" for why, paths in by_reason.items())


def chart(found: Frontier) -> str:
    """The chart of ``found``, an SVG."""
    first = found.points[0]
    inputs = first.speedup.inputs or str(first.speedup.batch)
    return frontier_chart(
        [Mark(point.run.name, point.drop, point.speedup.ratio, point.dominated) for point in found.points],
        title="Accuracy lost against speed gained",
        lost=f"points of {first.run.metric} against the baseline",
        axis=f"times as fast as {first.speedup.reference}, {inputs}",
    )
