"""F1, in [0, 1]: of class 1 when there are two classes, else, and of several labels, the plain mean over all classes.

A class that is neither predicted nor right anywhere counts as 0.
"""

import datasets
import evaluate
from sklearn.metrics import f1_score


class F1(evaluate.Metric):
    def _info(self):
        kind = datasets.Value("int64")
        if self.config_name == "multilabel":
            kind = datasets.Sequence(kind)
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: class ids, shape (n,); under the config multilabel "
            "0 or 1 of each class, (n, classes). classes: how many there are.",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions, references, classes=2):
        labels = [1] if classes <= 2 and self.config_name != "multilabel" else list(range(classes))
        score = f1_score(references, predictions, labels=labels, average="macro", zero_division=0)
        return {"f1": float(score)}
