"""The recipe's JSON Schema, for completion and checks in editors; shorthands and TrainingArguments included."""

from __future__ import annotations

from typing import Any

from optkit.quantization.config import FORMER_TARGETS
from optkit.recipe.schema import Recipe
from optkit.recipe.training_arguments import OWNED, SPANS, Argument, arguments


def recipe_schema() -> dict[str, Any]:
    """The schema of a recipe file, JSON Schema 2020-12.

    What must be there is said for the top level only, and not of a file with ``extends``: a file that extends another
    may give any part of a part.
    """
    schema = Recipe.model_json_schema()
    for part in schema["$defs"].values():
        # A criterion is told from the others by its name; every other part may lack anything its base has.
        if "const" not in part["properties"].get("name", {}):
            part.pop("required", None)
    schema.pop("required")
    schema["$defs"]["QuantizeSpec"]["properties"]["target"] = {
        "enum": list(FORMER_TARGETS),
        "deprecated": True,
        "description": "Former spelling of weight_range and accuracy_backend.",
    }
    properties = schema["properties"]
    properties["extends"] = {"type": "string", "description": "Path of a recipe; this file says what differs from it."}
    rule = properties["prune"]["items"]
    changes = {"type": "object", "additionalProperties": {"anyOf": [rule, {"type": "null"}]}}
    properties["prune"] = {
        "anyOf": [properties["prune"], changes],
        "description": "A list of rules; with `extends` also a mapping from names of the base's rules to what changes.",
    }
    properties["train"] = {
        "type": "object",
        "description": "transformers.TrainingArguments under their own names, and a few keys of optkit's own.",
        "additionalProperties": False,
        "properties": {a.name: _argument(a) for a in arguments().values() if a.name not in OWNED} | _OURS,
    }
    whole = {"required": ["optkit", "model", "task"], "anyOf": [{"required": ["prune"]}, {"required": ["quantize"]}]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "optkit recipe",
        "anyOf": [{"required": ["extends"]}, whole],
    }


_OURS = {
    "lr_rewind": {
        "type": ["string", "number"],
        "description": "When the learning rate rises again: jumps, or the time between two rewinds, 2ep, 10% or steps.",
    },
    "lr_floor": {"type": ["string", "number"], "description": "Share of learning_rate that each cycle decays to."},
    "hold_out": {
        "type": ["string", "number"],
        "description": "Share (5%) or number of rows of the training split that is kept to choose the best model by.",
    },
    "average_last": {
        "type": ["string", "number"],
        "description": "The last part of training whose weights are averaged: 10%, a number of steps, or 1ep.",
    },
    "freeze": {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
        "description": "Patterns on names of modules whose parameters stay as they are.",
    },
}


def _argument(argument: Argument) -> dict[str, Any]:
    if argument.name in SPANS:
        return {"type": ["string", "number", "null"], "description": "5%, a number of steps, or 1ep"}
    if argument.choices and set(argument.types) <= {"string", "null"}:
        return {"enum": [*argument.choices, *([None] if "null" in argument.types else [])]}
    return {"type": list(argument.types)} if argument.types else {}
