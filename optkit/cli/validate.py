"""`optkit validate`: is the recipe well-formed, and with --plan, can it work with its model and data?"""

from __future__ import annotations

import json
from typing import Annotated

import typer

import optkit
from optkit.cli.console import plain_console
from optkit.cli.options import Debug, Json, RecipeFile, Set
from optkit.errors import UsageError


def command(
    recipe: RecipeFile,
    set_: Set,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Also check the recipe against the model's config and the data, which are loaded."),
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check a recipe and report every mistake at once. With --plan, also check it against its model and data."""
    try:
        found = optkit.validate(recipe, set_, plan=plan)
    except UsageError as error:
        if as_json:
            faults = [fault.to_dict() for fault in getattr(error, "faults", [])]
            errors = faults or [{"message": problem} for problem in error.problems]
            print(json.dumps({"valid": False, "errors": errors}, indent=2))
        raise
    if as_json:
        print(json.dumps(found.to_dict(), indent=2))
        return
    if found.plan:
        plain_console().print(found.plan.render())
    print(f"{recipe}: well-formed{', and the plan works' if plan else ''}")
