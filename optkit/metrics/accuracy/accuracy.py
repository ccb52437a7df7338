"""Share of predictions that are right, in [0, 1]. Of several labels all have to be."""

import datasets
import evaluate
from sklearn.metrics import accuracy_score


class Accuracy(evaluate.Metric):
    def _info(self):
        kind = datasets.Value("int64")
        if self.config_name == "multilabel":
            kind = datasets.Sequence(kind)
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: class ids, shape (n,); under the config multilabel "
            "0 or 1 of each class, (n, classes). classes: unused.",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions, references, classes=None):
        return {"accuracy": float(accuracy_score(references, predictions))}
