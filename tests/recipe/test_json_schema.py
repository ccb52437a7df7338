"""The JSON Schema knows the shorthands, the names that may be written, and what `train` may hold."""

from __future__ import annotations

from optkit.pruning.config import CRITERIA
from optkit.recipe.json_schema import recipe_schema
from optkit.recipe.training_arguments import OURS, OWNED, arguments


def test_every_part_refuses_unknown_keys():
    schema = recipe_schema()
    parts = [schema, *schema["$defs"].values(), schema["properties"]["train"]]
    assert all(part["additionalProperties"] is False for part in parts) and len(parts) > 15


def test_a_criterion_is_a_name_or_a_mapping():
    schema = recipe_schema()
    options = schema["$defs"]["RuleSpec"]["properties"]["criterion"]["anyOf"]
    assert options[0] == {"enum": list(CRITERIA), "type": "string"}
    assert {option["$ref"].split("/")[-1] for option in options[1:]} == {c.__name__ for c in CRITERIA.values()}
    assert schema["$defs"]["Movement"]["properties"]["momentum"]["anyOf"] == [{"type": "number"}, {"type": "string"}]


def test_lists_may_be_scalars_and_names_are_listed():
    metric = recipe_schema()["$defs"]["TaskSpec"]["properties"]["metric"]
    assert "accuracy" in metric["anyOf"][0]["enum"] and metric["anyOf"][1]["items"] == metric["anyOf"][0]


def test_train_lists_what_is_not_owned():
    train = recipe_schema()["properties"]["train"]["properties"]
    assert set(train) == (set(arguments()) - set(OWNED)) | set(OURS)
    assert train["learning_rate"] == {"type": ["number"]} and train["eval_strategy"] == {
        "enum": ["no", "steps", "epoch"]
    }
    assert "string" in train["warmup_steps"]["type"]


def test_only_a_file_of_its_own_must_be_whole():
    own = recipe_schema()["anyOf"]
    assert own[0] == {"required": ["extends"]} and own[1]["required"] == ["optkit", "model", "task"]
    assert "required" not in recipe_schema()["$defs"]["TaskSpec"]
