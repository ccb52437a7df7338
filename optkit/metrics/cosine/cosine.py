"""Mean cosine of predicted embeddings with those of another model, in [-1, 1]; 0 where one of the two has no length."""

import datasets
import evaluate
import numpy as np


class Cosine(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: vectors of numbers, shape (n, width). classes: unused.",
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float32")),
                    "references": datasets.Sequence(datasets.Value("float32")),
                }
            ),
        )

    def _compute(self, predictions, references, classes=None):
        ours, theirs = np.asarray(predictions), np.asarray(references)
        lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
        return {"cosine": float(((ours * theirs).sum(-1) / np.maximum(lengths, 1e-12)).mean())}
