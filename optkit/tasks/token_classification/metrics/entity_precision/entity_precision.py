"""Share of the predicted entities that are right, in [0, 1]; 0 where none is predicted."""

import datasets
import evaluate

from optkit.tasks.token_classification.entities import counts, share


class EntityPrecision(evaluate.Metric):
    def _info(self):
        kind = datasets.Sequence(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions and references: a list of tags for each sequence, such as B-PER and O.",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions, references):
        right, predicted, _ = counts(predictions, references)
        return {"entity_precision": share(right, predicted)}
