"""The metrics that optkit ships: folders that ``evaluate.load`` reads from disk, so that no network is needed.

Those that several tasks share lie here; the others in ``metrics`` of their task's folder.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError, RecipeError
from optkit.spelling import suggest
from optkit.tasks import TASKS

_SHARED = {
    "accuracy": "Share of predictions that are right; of several labels all have to be.",
    "f1": "Harmonic mean of precision and recall; the mean over more than two classes, or over several labels.",
    "matthews_correlation": "Correlation of prediction and label, fair to classes of unequal size.",
    "pearson": "Linear correlation of predicted and given scores.",
    "spearman": "Correlation of the ranks of predicted and given scores.",
    "cosine": "Mean cosine of embeddings with those of the dense model, where there are no scores.",
}
#: One sentence on each metric, by its name.
SUMMARIES = _SHARED | {name: said for task in TASKS.values() for name, said in task.own_metrics.items()}
#: The folder of each metric, which holds a script of the same name.
FOLDERS = {name: Path(__file__).parent / name for name in _SHARED} | {
    name: task.folder / "metrics" / name for task in TASKS.values() for name in task.own_metrics
}


class Metrics:
    """Several metrics computed on the same predictions; ``load`` makes it.

    Args:
        names: in the order in which the scores are to come; the first is the headline.
    """

    def __init__(self, names: Sequence[str]):
        unknown = [name for name in names if name not in SUMMARIES]
        if unknown:
            raise RecipeError(
                [
                    f"unknown metric '{name}'{suggest(name, SUMMARIES) or ', one of ' + ', '.join(sorted(SUMMARIES))}"
                    for name in unknown
                ]
            )
        self.names = tuple(names)
        self._modules: dict[str | None, list[Any]] = {}
        self._scratch: str | None = None

    def compute(self, predictions: Any, references: Any, *, classes: int | None = None) -> dict[str, float]:
        """The score of each metric by its name.

        Args:
            predictions: class ids, shape (n,); for several labels 0 or 1 of each class, shape (n, classes); for scores
                numbers, shape (n,); for words a list of labels of each sequence; for answers a text of each question.
            references: the right ones; of a question a list of answers.
            classes: how many classes there are; None takes the highest id seen as the last class. With two, f1 is
                that of class 1, with more it is the mean over all classes.

        Returns:
            accuracy and f1 in [0, 1], correlations in [-1, 1].
        """
        import numpy as np

        if len(predictions) != len(references) or not len(references):
            raise ValueError(f"got {len(predictions)} predictions for {len(references)} references")
        options, several = {}, False
        if not _texts(references[0]):
            several = np.ndim(references) == 2
            if classes is None:
                classes = np.shape(references)[1] if several else 1 + int(max(max(predictions), max(references)))
            options = {"classes": classes}
        scores: dict[str, float] = {}
        for module in self._load("multilabel" if several else None):
            found = module.compute(predictions=predictions, references=references, **options)
            scores.update({name: float(value) for name, value in found.items()})
        return scores

    def _load(self, config: str | None) -> list[Any]:
        if config not in self._modules:
            # Imported at first use: evaluate takes seconds to import.
            import evaluate

            # What evaluate buffers on disk goes to a folder that is removed with this object, and not to the home.
            if self._scratch is None:
                self._scratch = tempfile.mkdtemp(prefix="optkit-metrics-")
                weakref.finalize(self, shutil.rmtree, self._scratch, ignore_errors=True)
            try:
                self._modules[config] = [
                    evaluate.load(str(FOLDERS[name]), config, cache_dir=self._scratch, keep_in_memory=True)
                    for name in self.names
                ]
            except OSError as error:
                raise OptkitError(
                    f"evaluate cannot keep its copy of the metric in {evaluate.config.HF_MODULES_CACHE} "
                    f"({error.strerror or error}): set HF_HOME to a folder that can be written"
                ) from error
        return self._modules[config]


def _texts(reference: Any) -> bool:
    """Whether the right answer to one example is a list of texts."""
    return isinstance(reference, (list, tuple)) and all(isinstance(value, str) for value in reference)


def load(names: str | Sequence[str]) -> Metrics:
    """An object whose ``compute`` gives the scores of all metrics in ``names``.

    Raises:
        RecipeError: for names that optkit does not ship.
    """
    return Metrics([names] if isinstance(names, str) else names)
