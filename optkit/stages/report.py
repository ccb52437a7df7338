"""report.json and report.md: what was gained and what was lost, from what the other stages measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from optkit.rundir import write_atomic
from optkit.stages import benchmark, evaluate

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "report", None


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    return job.key(recipe=job.recipe.hash(), evaluated=evaluate.key(job), measured=benchmark.key(job))


def run(job: Job, stage: Stage) -> None:
    from optkit.reporting.facts import gather
    from optkit.reporting.markdown import render

    report = gather(job)
    write_atomic(job.path("report.json"), json.dumps(report, indent=2) + "\n")
    write_atomic(job.path("report.md"), render(report))
    stage.facts |= {"within_max_drop": report["evaluate"]["within_max_drop"]}
