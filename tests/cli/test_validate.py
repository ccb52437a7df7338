"""`optkit validate`: what it prints where, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from optkit.cli.app import main
from optkit.errors import PlanError
from optkit.pipeline import validate

BAD = """\
optkit: 1
model: {name: m}
task: {type: text-classification, dataset: {name: glue}}
prune:
  - {schedul: {to: 0.8}}
seed: x
"""


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    try:
        main(["validate", *arguments])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    return (code, *capsys.readouterr())


@pytest.fixture
def good(tmp_path: Path) -> str:
    path = tmp_path / "good.yaml"
    path.write_text(BAD.replace("schedul:", "schedule:").replace("x\n", "1\n"))
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return str(path)


def test_a_good_recipe(capsys, good):
    assert run(capsys, good) == (0, f"{good}: well-formed\n", "")
    code, out, err = run(capsys, good, "--json", "--set", "prune.0.schedule.to=0.9")
    facts = json.loads(out)
    assert (code, err, facts["valid"], facts["name"], len(facts["hash"])) == (0, "", True, "good", 64)


def test_every_fault_goes_to_stderr_and_the_code_is_2(capsys, bad):
    code, out, err = run(capsys, bad)
    assert (code, out) == (2, "")
    assert err == (
        f"{bad}:5:6: prune.0.schedul: unknown key, did you mean 'schedule'?\n"
        "    5 |   - {schedul: {to: 0.8}}\n"
        "      |      ^^^^^^^\n"
        f"{bad}:6:7: seed: expected a whole number, got 'x'\n"
        "    6 | seed: x\n"
        "      |       ^\n"
    )


def test_faults_as_json(capsys, bad):
    code, out, _ = run(capsys, bad, "--json", "--set", "task.max_length=0")
    assert code == 2
    assert json.loads(out) == {
        "valid": False,
        "errors": [
            {"source": bad, "line": 5, "column": 6, "path": "prune.0.schedul"}
            | {"message": "unknown key, did you mean 'schedule'?"},
            {"source": bad, "line": 6, "column": 7, "path": "seed", "message": "expected a whole number, got 'x'"},
            {"source": "--set task.max_length=0", "line": None, "column": None, "path": "task.max_length"}
            | {"message": "must be at least 2, got 0"},
        ],
    }


def test_a_missing_file(capsys, tmp_path):
    code, out, err = run(capsys, str(tmp_path / "none.yaml"))
    assert (code, out) == (2, "") and err.startswith(f"{tmp_path}/none.yaml: no such file or directory")
    assert err.count("\n") == 1


class Plan:
    def render(self) -> str:
        return "the plan"

    def to_dict(self) -> dict[str, int]:
        return {"steps": 7}


def test_a_plan_is_shown(capsys, monkeypatch, good):
    seen = []
    monkeypatch.setattr(validate, "make_plan", lambda recipe: seen.append(recipe.name) or Plan())
    assert run(capsys, good, "--plan") == (0, f"the plan\n{good}: well-formed, and the plan works\n", "")
    assert json.loads(run(capsys, good, "--plan", "--json")[1])["plan"] == {"steps": 7}
    assert seen == ["good", "good"]


def test_a_plan_that_cannot_work(capsys, monkeypatch, good):
    def refuse(_):
        raise PlanError(["no weight matches 'a'", "no column 'b'"])

    monkeypatch.setattr(validate, "make_plan", refuse)
    code, out, err = run(capsys, good, "--plan", "--json")
    assert code == 2 and err == "no weight matches 'a'\nno column 'b'\n"
    assert json.loads(out)["errors"] == [{"message": "no weight matches 'a'"}, {"message": "no column 'b'"}]
