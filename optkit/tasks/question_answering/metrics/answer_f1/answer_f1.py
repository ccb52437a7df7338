"""Mean F1 of the words of answers, as SQuAD's own evaluation counts, in [0, 1]."""

import datasets
import evaluate

from optkit.tasks.question_answering.answer_scores import overlap


class AnswerF1(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=__doc__,
            citation="",
            inputs_description="predictions: a text for each question, empty for no answer. references: the list of "
            "its right answers, empty where it has none.",
            features=datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
        )

    def _compute(self, predictions, references):
        scores = [overlap(ours, theirs) for ours, theirs in zip(predictions, references, strict=True)]
        return {"answer_f1": sum(scores) / len(scores)}
