"""`optkit list` and `optkit schema` print what the registry and the schema hold."""

from __future__ import annotations

import json

from optkit.cli.app import main
from optkit.recipe.json_schema import recipe_schema
from optkit.registry import entries


def output(capsys, *arguments: str) -> str:
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code
    return capsys.readouterr().out


def test_list_names_everything(capsys):
    table = output(capsys, "list")
    assert all(entry.name in table for entry in entries())
    assert "momentum=1.0" in table


def test_list_as_json(capsys):
    listed = json.loads(output(capsys, "list", "--json"))
    assert [(entry["kind"], entry["name"]) for entry in listed] == [(entry.kind, entry.name) for entry in entries()]


def test_schema(capsys):
    assert json.loads(output(capsys, "schema")) == recipe_schema()
