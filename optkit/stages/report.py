"""report.json, report.html, report.md and the model card: what was gained and what was lost, as the other stages
measured it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from optkit.pipeline import baseline
from optkit.pipeline.run_folder import write_atomic
from optkit.pipeline.stage import Stage
from optkit.report.collection import collect
from optkit.report.render.card import CARD, write_card
from optkit.report.render.html import render_html
from optkit.report.render.markdown import render
from optkit.stages import benchmark, evaluate, export

if TYPE_CHECKING:
    from optkit.pipeline.context import RunContext
    from optkit.pipeline.run_folder import StageOutput

NAME = "report"
FILES = ("report.json", "report.html", "report.md")


def outputs(context: RunContext) -> list[str]:
    return [*FILES, f"{export.FOLDER}/{CARD}"]


def key(context: RunContext) -> str:
    return context.key(recipe=context.recipe.hash(), evaluated=evaluate.key(context), measured=benchmark.key(context))


def run(context: RunContext, output: StageOutput) -> None:
    # The manifest also remembers stages that an earlier version of the recipe asked for.
    before = context.stages[: [stage.name for stage in context.stages].index(NAME)]
    needed = [stage.name for stage in before if stage.is_needed(context)]
    report = collect(context, needed, baseline.folder(context))
    for file, text in zip(FILES, (report.model_dump_json(indent=2) + "\n", render_html(report), render(report))):
        write_atomic(context.path(file), text)
    write_card(report, context.path(export.FOLDER), context.recipe.publish.repo_id)
    output.facts |= {"within_max_drop": report.evaluate.within_max_drop}


STAGE = Stage(NAME, key, run, outputs=outputs)
