"""report.json and report.md: what was gained and what was lost, from what the other stages measured."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from optkit.rundir import write_atomic
from optkit.stages import allocate, benchmark, compact, dense, evaluate, export, plan, teacher, train

if TYPE_CHECKING:
    from optkit.rundir import Stage
    from optkit.stages.job import Job

NAME, FOLDER = "report", None
FILES = ("report.json", "report.md")


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    return job.key(recipe=job.recipe.hash(), evaluated=evaluate.key(job), measured=benchmark.key(job))


def run(job: Job, stage: Stage) -> None:
    from optkit.reporting.facts import gather
    from optkit.reporting.markdown import render

    # The manifest also remembers stages that an earlier version of the recipe asked for.
    order = (plan, dense, teacher, allocate, train, compact, export, evaluate, benchmark)
    report = gather(job, [stage.NAME for stage in order if stage.needed(job)], dense.folder(job))
    for file, text in zip(FILES, (json.dumps(report, indent=2) + "\n", render(report))):
        write_atomic(job.path(file), text)
    stage.facts |= {"within_max_drop": report["evaluate"]["within_max_drop"]}
