"""Mean reciprocal rank at 10, in [0, 1]: over queries with a relevant passage, 1 / rank of the first of them.

It is 0 beyond rank 10. Of passages with equal scores the irrelevant ones count as ranked before.
"""

import datasets
import evaluate
import numpy as np


class MrrAt10(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: the scores of each query's passages. references: their relevances, of "
            "which those above 0 are relevant. classes: unused.",
            features=datasets.Features(
                {
                    "predictions": {"scores": datasets.Sequence(datasets.Value("float32"))},
                    "references": {"relevances": datasets.Sequence(datasets.Value("float32"))},
                }
            ),
        )

    def _compute(self, predictions, references, classes=None):
        found = []
        for ours, theirs in zip(predictions, references, strict=True):
            scores, relevant = np.asarray(ours["scores"]), np.asarray(theirs["relevances"]) > 0
            if relevant.any():
                rank = 1 + int((scores[~relevant] >= scores[relevant].max()).sum())
                found.append(1 / rank if rank <= 10 else 0.0)
        return {"mrr_at_10": float(np.mean(found)) if found else 0.0}
