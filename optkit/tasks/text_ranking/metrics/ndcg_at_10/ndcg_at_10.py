"""Normalized discounted cumulative gain at 10, in [0, 1], a mean over queries with a relevant passage.

The gain of a passage is its relevance, as in trec_eval; of passages with equal scores it is their mean.
"""

import datasets
import evaluate
import numpy as np
from sklearn.metrics import ndcg_score


class NdcgAt10(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: the scores of each query's passages. references: their relevances. "
            "classes: unused.",
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
            scores, relevances = np.asarray(ours["scores"]), np.asarray(theirs["relevances"])
            if len(scores) == 1:
                found += [1.0] * int(relevances[0] > 0)  # which scikit-learn refuses, there being no order
            elif relevances.max() > 0:
                found.append(ndcg_score(relevances[None], scores[None], k=10))
        return {"ndcg_at_10": float(np.mean(found)) if found else 0.0}
