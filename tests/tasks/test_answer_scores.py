from __future__ import annotations

import pytest

from optkit import metrics
from optkit.tasks.question_answering.answer_scores import exact, normalize, overlap


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("The  Cat", "cat"),
        ("a cat, an axe & the dog.", "cat axe dog"),
        ("U.S.A.", "usa"),
        ("theatre an-the", "theatre anthe"),
        ("the", ""),
        ("24%\tof\n it", "24 of it"),
        ("L’été a", "l’été"),
    ],
)
def test_what_does_not_count(text, same):
    assert normalize(text) == same


@pytest.mark.parametrize(
    ("said", "answers", "match", "f1"),
    [
        ("the Eiffel Tower", ["Eiffel Tower!"], 1, 1),
        ("tall Eiffel Tower", ["Eiffel Tower"], 0, 2 * 2 / (3 + 2)),
        # Of several answers the nearest counts, for each score by itself.
        ("Eiffel", ["Tower", "the Eiffel Tower", "Eiffel in Paris"], 0, 2 / 3),
        ("Eiffel", ["Tower", "Eiffel"], 1, 1),
        ("Tower", ["Eiffel"], 0, 0),
        # A word counts as often as it is in both.
        ("no no no yes", ["no no maybe"], 0, 2 * 2 / (4 + 3)),
        # No answer.
        ("", [], 1, 1),
        ("the.", [], 1, 1),
        ("something", [], 0, 0),
        ("", ["something"], 0, 0),
        # An answer of which nothing is left is no answer.
        ("", ["a"], 1, 1),
        ("a cat", ["the", "cat"], 1, 1),
    ],
)
def test_scores_of_one_answer(said, answers, match, f1):
    assert exact(said, answers) == match
    assert overlap(said, answers) == pytest.approx(f1)


@pytest.mark.slow
def test_scores_of_several_questions():
    said, answers = ["The cat", "two dogs", "", "x"], [["cat"], ["dogs", "three dogs"], [], []]
    scores = metrics.load(["answer_f1", "exact_match"]).compute(said, answers)
    assert scores == pytest.approx({"answer_f1": (1 + 2 / 3 + 1 + 0) / 4, "exact_match": 2 / 4})
    assert metrics.load("exact_match").compute(["", "b"], [[], ["b"]]) == {"exact_match": 1.0}
