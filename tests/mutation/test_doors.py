"""The judge: what it must not let pass."""

from __future__ import annotations

import pytest
from doors import call, judge

from optkit.errors import PlanError
from optkit.pipeline import validate

RECIPE = "recipes/quickstart.yaml"


@pytest.mark.parametrize(
    ("error", "signature"),
    [
        (KeyError(0), "KeyError at "),
        (PlanError("model.name: 'NoneType' object has no attribute 'x'"), "speaks of "),
        (PlanError(["task.text: no column 'a'", ""]), "says nothing"),
        (PlanError("wrong"), "names no place"),
    ],
)
def test_errors_that_a_person_cannot_act_on_are_faults(monkeypatch, pytestconfig, error, signature):
    def fail(*_):
        raise error

    monkeypatch.chdir(pytestconfig.rootpath)
    assert call(["validate", RECIPE]).kind == "success"
    monkeypatch.setattr(validate, "make_plan", fail)
    outcome = call(["validate", "--plan", RECIPE])
    assert outcome.kind == "fault" and outcome.signature.startswith(signature)


@pytest.mark.parametrize(
    "message", ["--batch: '1;2' is not a list of numbers", "a.csv: is not UTF-8", "task.text: no column 'KeyErrors'"]
)
def test_clean_refusals_pass(message):
    assert judge(message, PlanError(message)).kind == "refused"


def test_wrong_options_are_refused():
    assert call(["validate", "--plam", RECIPE]).kind == "refused"
