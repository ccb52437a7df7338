"""`optkit schema`: the recipe's JSON Schema, for editors."""

from __future__ import annotations

import json

import optkit
from optkit.cli.options import Debug


def command(debug: Debug = False) -> None:
    """Print the JSON Schema of recipes, for completion in editors."""
    print(json.dumps(optkit.schema(), indent=2))
