"""The exported model and its card, to the Hub, where the recipe asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optkit.pipeline.context import Job
    from optkit.pipeline.run_folder import Stage

NAME, FOLDER = "publish", None


def needed(job: Job) -> bool:
    return job.recipe.publish.repo_id is not None


def key(job: Job) -> str:
    from optkit.stages import report  # which has the plan in it, and the plan asks this file

    return job.key("publish", reported=report.key(job))


def problems(job: Job) -> list[str]:
    """Why it cannot be published, as far as that shows before there is anything."""
    from optkit.adapters.hub_upload import token_problem

    problem = token_problem() if needed(job) else None
    return [f"publish.repo_id: {problem}"] if problem else []


def run(job: Job, stage: Stage) -> None:
    """Adds ``url`` and ``commit`` to the stage's facts; None where the model lost more than ``evaluate.max_drop``."""
    from optkit.hub.push import push_with

    if not job.run.facts("report")["within_max_drop"]:
        job.reporter.say("  not published: the model lost more than evaluate.max_drop allows")
        stage.facts |= {"url": None, "commit": None}
        return
    spec = job.recipe.publish
    done = push_with(job.reporter, job.run.path, spec.repo_id, private=spec.private)
    job.reporter.say(f"  {done['url']}")
    stage.facts |= {name: done[name] for name in ("url", "commit")}
