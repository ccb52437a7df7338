"""Share of words whose label is right, in [0, 1]; 0 where there are none."""

import datasets
import evaluate


class TokenAccuracy(evaluate.Metric):
    def _info(self):
        kind = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: a list of labels for each sequence, one for each word.",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions, references):
        pairs = zip(predictions, references, strict=True)
        right = [ours == theirs for p, r in pairs for ours, theirs in zip(p, r, strict=True)]
        return {"token_accuracy": sum(right) / len(right) if right else 0.0}
