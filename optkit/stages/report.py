"""report.json, report.html, report.md and the model card: what was gained and what was lost, as the other stages
measured it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from optkit.pipeline.run_folder import write_atomic
from optkit.report.render.card import CARD
from optkit.stages import allocate, benchmark, compact, dense, evaluate, export, onnx, plan, sparse, teacher, train

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "report", None
FILES = ("report.json", "report.html", "report.md")


def made(job: Job) -> list[str]:
    return [*FILES, f"{export.FOLDER}/{CARD}"]


def needed(job: Job) -> bool:
    return True


def key(job: Job) -> str:
    return job.key(recipe=job.recipe.hash(), evaluated=evaluate.key(job), measured=benchmark.key(job))


def run(job: Job, stage: Stage) -> None:
    from optkit.report.facts import gather
    from optkit.report.render.card import write_card
    from optkit.report.render.html import render_html
    from optkit.report.render.markdown import render

    # The manifest also remembers stages that an earlier version of the recipe asked for.
    order = (plan, dense, teacher, allocate, train, compact, export, onnx, sparse, evaluate, benchmark)
    report = gather(job, [stage.NAME for stage in order if stage.needed(job)], dense.folder(job))
    for file, text in zip(FILES, (json.dumps(report, indent=2) + "\n", render_html(report), render(report))):
        write_atomic(job.path(file), text)
    write_card(report, job.path(export.FOLDER), job.recipe.publish.repo_id)
    stage.facts |= {"within_max_drop": report["evaluate"]["within_max_drop"]}
