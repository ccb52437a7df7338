"""Matthews correlation of predictions and references, in [-1, 1]; 0 is no better than chance, whatever the class sizes.

Matthews 1975; for more than two classes Gorodkin 2004.
"""

import datasets
import evaluate
from sklearn.metrics import matthews_corrcoef


class MatthewsCorrelation(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: class ids, shape (n,). classes: unused.",
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references, classes=None):
        return {"matthews_correlation": float(matthews_corrcoef(references, predictions))}
