from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from optkit import metrics
from optkit.errors import RecipeError
from optkit.registry import names
from optkit.tasks import TASKS


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


def test_scores_of_several_labels():
    predictions = np.array([[1, 0, 1], [0, 0, 1], [1, 1, 0]])
    references = np.array([[1, 0, 1], [0, 1, 1], [0, 1, 0]])
    scores = metrics.load(["f1", "accuracy"]).compute(predictions, references)
    # Class by class: 1 of 2 predicted is right and none missed, 1 of 1 right and 1 missed, all right.
    assert scores == pytest.approx({"f1": (2 / 3 + 2 / 3 + 1) / 3, "accuracy": 1 / 3})


def test_correlations_of_scores():
    compute = metrics.load(["pearson", "spearman"]).compute
    predictions, references = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1.0, 2.0, 3.0, 4.0])
    centred = predictions - 3.75, references - 2.5
    pearson = (centred[0] * centred[1]).sum() / np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    assert compute(predictions, references) == pytest.approx({"pearson": pearson, "spearman": 1.0})
    assert compute(-predictions, references)["spearman"] == pytest.approx(-1.0)
    assert compute(np.ones(4), references) == {"pearson": 0.0, "spearman": 0.0}


def test_a_metric_can_be_computed_again():
    accuracy = metrics.load("accuracy")
    assert [accuracy.compute([0, guess], [0, 1])["accuracy"] for guess in (0, 1)] == [0.5, 1.0]


def test_the_registry_lists_what_is_shipped():
    assert set(names("metric")) == {name for task in TASKS.values() for name in task.metrics}
    assert [name for name, folder in metrics.FOLDERS.items() if not (folder / f"{name}.py").is_file()] == []
    places = [Path(metrics.__file__).parent, *(task.folder / "metrics" for task in TASKS.values())]
    shipped = {script.stem for place in places for script in place.glob("*/*.py")}
    assert shipped == set(names("metric")) == set(metrics.FOLDERS)


def test_unknown_metrics_are_named_together():
    with pytest.raises(RecipeError) as raised:
        metrics.load(["acuracy", "bleu", "f1"])
    assert raised.value.problems == [
        "unknown metric 'acuracy', did you mean 'accuracy'?",
        f"unknown metric 'bleu', one of {', '.join(sorted(metrics.SUMMARIES))}",
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


def test_scores_of_hidden_tokens_are_of_all_texts_together():
    found = [{"hits": 2, "log_likelihood": 3 * np.log(0.5)}, {"hits": 0, "log_likelihood": np.log(0.0625)}]
    scores = metrics.load(["masked_accuracy", "masked_likelihood"]).compute(found, np.array([3, 1]), classes=0)
    assert scores == pytest.approx({"masked_accuracy": 2 / 4, "masked_likelihood": 0.5 ** (7 / 4)})
