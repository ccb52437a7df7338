"""Geometric mean of the probabilities of the hidden tokens, in [0, 1], over all texts together: 1 / perplexity."""

import math

import datasets
import evaluate


class MaskedLikelihood(evaluate.Metric):
    def _info(self):
        found = {"hits": datasets.Value("int64"), "log_likelihood": datasets.Value("float64")}
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: of each text, how many hidden tokens are found (hits), and the sum of "
            "their log_likelihood. references: how many are hidden, shape (n,). classes: unused.",
            features=datasets.Features({"predictions": found, "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references, classes=None):
        return {"masked_likelihood": math.exp(sum(each["log_likelihood"] for each in predictions) / sum(references))}
