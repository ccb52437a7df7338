from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from optkit import metrics
from optkit.errors import RecipeError
from optkit.registry import names


def test_scores_of_two_classes():
    scores = metrics.load(["f1", "accuracy", "matthews_correlation"]).compute([1, 1, 1, 0, 0], [1, 1, 0, 0, 1])
    assert list(scores) == ["f1", "accuracy", "matthews_correlation"]
    # 2 true positives, 1 false positive, 1 false negative, 1 true negative.
    assert scores == pytest.approx({"f1": 2 / 3, "accuracy": 0.6, "matthews_correlation": (2 * 1 - 1 * 1) / 6})


def test_f1_of_more_classes_is_their_mean():
    predictions, references = np.array([0, 1, 2, 2]), np.array([0, 1, 1, 2])
    f1 = metrics.load("f1")
    assert f1.compute(predictions, references) == pytest.approx({"f1": (1 + 2 / 3 + 2 / 3) / 3})
    # A class that nobody saw here counts too, so that models are compared alike.
    assert f1.compute(predictions, references, classes=4) == pytest.approx({"f1": (1 + 2 / 3 + 2 / 3) / 4})
    assert f1.compute([0, 0], [0, 0], classes=2) == {"f1": 0.0}


def test_a_metric_can_be_computed_again():
    accuracy = metrics.load("accuracy")
    assert [accuracy.compute([0, guess], [0, 1])["accuracy"] for guess in (0, 1)] == [0.5, 1.0]


def test_the_registry_lists_what_is_shipped():
    assert set(metrics.available()) == set(names("metric")) == {"accuracy", "f1", "matthews_correlation"}


def test_unknown_metrics_are_named_together():
    with pytest.raises(RecipeError) as raised:
        metrics.load(["acuracy", "bleu", "f1"])
    assert raised.value.problems == [
        "unknown metric 'acuracy', did you mean 'accuracy'?",
        "unknown metric 'bleu', one of accuracy, f1, matthews_correlation",
    ]


@pytest.mark.parametrize(("predictions", "references"), [([0, 1], [0]), ([], [])])
def test_lengths_must_agree(predictions, references):
    with pytest.raises(ValueError, match="predictions for"):
        metrics.load("accuracy").compute(predictions, references)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from optkit import metrics; metrics.load('f1'); print({'evaluate', 'torch'} & sys.modules.keys())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    accuracy = metrics.load("accuracy")
    assert accuracy.compute([0], [0]) == {"accuracy": 1.0}
    del accuracy
    assert not list(tmp_path.rglob("*.arrow"))
