"""`optkit validate`: is the recipe well-formed, and with --plan, can it work with its model and data?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from optkit.cli.options import Debug, Json, RecipeFile, Set

if TYPE_CHECKING:
    from optkit.pipeline.plan_summary import Plan
    from optkit.recipe import Recipe


def command(
    recipe: RecipeFile,
    set_: Set,
    plan: Annotated[bool, typer.Option("--plan", help="Also load the model's config and the data.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a recipe: every fault at once, without torch; with --plan also against its model and data."""
    from optkit.errors import RecipeError
    from optkit.recipe import load_recipe

    try:
        loaded = load_recipe(recipe, set_)
        made = make_plan(loaded) if plan else None
    except RecipeError as error:
        if as_json:
            faults = [fault.to_dict() for fault in getattr(error, "faults", [])]
            errors = faults or [{"message": problem} for problem in error.problems]
            print(json.dumps({"valid": False, "errors": errors}, indent=2))
        raise
    if as_json:
        facts = {"valid": True, "name": loaded.name, "hash": loaded.hash()}
        print(json.dumps(facts | ({"plan": made.to_dict()} if made else {}), indent=2))
        return
    if made:
        from rich.console import Console

        Console().print(made.render())
    print(f"{recipe}: well-formed{', and the plan works' if plan else ''}")


def make_plan(recipe: Recipe) -> Plan:
    """`optkit.stages.plan.make_plan`, imported only when asked for: it needs torch."""
    from optkit.stages import plan

    return plan.make_plan(recipe)
