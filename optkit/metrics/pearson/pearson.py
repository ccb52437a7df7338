"""Linear correlation of predicted and given scores (Pearson's r), in [-1, 1]; 0 where either does not vary."""

import datasets
import evaluate
from scipy.stats import pearsonr


class Pearson(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: numbers, shape (n,). classes: unused.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _compute(self, predictions, references, classes=None):
        if len(set(predictions)) < 2 or len(set(references)) < 2:
            return {"pearson": 0.0}
        return {"pearson": float(pearsonr(references, predictions).statistic)}
