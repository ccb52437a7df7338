"""`optkit schema`: the recipe's JSON Schema, for editors."""

from __future__ import annotations

import json

from optkit.cli.options import Debug


def command(debug: Debug = False) -> None:
    """Print the JSON Schema of a recipe, for completion in editors."""
    from optkit.recipe.json_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=2))
