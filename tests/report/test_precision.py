"""What is advised on OpenVINO's precision, by what an evaluation found."""

from __future__ import annotations

import pytest

from optkit.report.precision import advice, is_shown, needs_hint
from optkit.report.reading import parse_facts
from optkit.report.render.card import render as card
from optkit.variant import Variant

FOUND = {"default": "bf16", "serve": "default", "differs": False, "difference": 0.0, "error": 0.1}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            FOUND,
            "default on this CPU, bf16, is fine: with `INFERENCE_PRECISION_HINT=f32` accuracy is the same (standard",
        ),
        (FOUND | {"difference": 0.1}, "is fine: with `INFERENCE_PRECISION_HINT=f32` accuracy is 0.10 points higher"),
        (
            FOUND | {"difference": -1.5, "differs": True, "error": 0.4},
            "is fine: with `INFERENCE_PRECISION_HINT=f32` accuracy is 1.50 points lower (standard error 0.40)",
        ),
        (
            FOUND | {"serve": "f32", "difference": 1.9, "differs": True, "error": 0.4},
            "serve the IR in OpenVINO with `INFERENCE_PRECISION_HINT=f32`: accuracy is 1.90 points higher than in bf16 "
            "(standard error 0.40), which is the default on this CPU",
        ),
        (FOUND | {"difference": 0.5, "error": None}, "accuracy is 0.50 points higher"),
        (
            {"default": "f32", "serve": "default", "differs": False, "difference": None, "error": None},
            "computes in f32 by default on this CPU, as scored here; on CPUs with bf16",
        ),
    ],
)
def test_the_advice(report, found, said):
    report["evaluate"] |= {"precision": found}
    evaluated = parse_facts(report).evaluate
    text = advice(evaluated.precision, evaluated.metric)
    assert text.startswith("Precision: ") and said in text
    assert needs_hint(evaluated) is (found["serve"] == "f32")
    # Both scores are for a reader where they differ, whichever is the better one.
    int8 = Variant("pruned", "int8", "openvino")
    assert is_shown(evaluated, int8.hinted()) is found["differs"] and is_shown(evaluated, int8)


def test_a_release_that_did_not_look_advises_nothing(report):
    evaluated = parse_facts(report).evaluate
    assert advice(evaluated.precision, "accuracy") == "" and not needs_hint(evaluated)


def test_the_card_gives_the_score_of_what_its_code_loads(report):
    splits = report["evaluate"]["splits"]
    for split in splits.values():
        split["int8 f32"] = {"accuracy": 0.8999}
    report["evaluate"] |= {"judged": "int8", "precision": FOUND | {"serve": "f32", "differs": True, "difference": 1.5}}
    text = card(report)
    assert "value: 0.8999" in text and "value: 0.885" not in text
    assert 'from_pretrained(name, ov_config={"INFERENCE_PRECISION_HINT": "f32"})' in text
    report["evaluate"]["precision"] = FOUND
    text = card(report)
    assert "value: 0.885" in text and "value: 0.8999" not in text and "ov_config" not in text
