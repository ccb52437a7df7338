"""The exported model and its card, to the Hub, where the recipe asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.adapters.hub_upload import token_problem
from optkit.hub import push
from optkit.pipeline.stage import Stage
from optkit.stages import report

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput

NAME = "publish"


def is_needed(context: RunContext) -> bool:
    return context.recipe.publish.repo_id is not None


def key(context: RunContext) -> str:
    return context.key("publish", reported=report.key(context))


def recipe_problems(context: RunContext) -> list[str]:
    """Why it cannot be published, as far as that shows before there is anything."""
    problem = token_problem() if is_needed(context) else None
    return [f"publish.repo_id: {problem}"] if problem else []


def run(context: RunContext, output: StageOutput) -> None:
    """Adds ``url`` and ``commit`` to the stage's facts; None where the model lost more than ``evaluate.max_drop``."""
    if not context.run.facts("report")["within_max_drop"]:
        context.reporter.say("  not published: the model lost more than evaluate.max_drop allows")
        output.facts |= {"url": None, "commit": None}
        return
    spec = context.recipe.publish
    done = push.push_with(context.reporter, context.run.path, spec.repo_id, private=spec.private)
    context.reporter.say(f"  {done['url']}")
    output.facts |= {name: done[name] for name in ("url", "commit")}


STAGE = Stage(NAME, key, run, is_needed=is_needed, recipe_problems=recipe_problems)
