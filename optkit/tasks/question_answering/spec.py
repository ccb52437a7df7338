"""What is known of question answering without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field, ValidationInfo, field_validator

from optkit.tasks.spec import Call, TaskType, needs_label

_NAME = "question-answering"


class _Keys(BaseModel):
    """The keys of ``task`` that only question answering reads.

    Args:
        stride: tokens that two windows of a long context share; a third of ``max_length`` by default.
        max_answer_length: most tokens of an answer; 30 by default.
        null_threshold: by how much the score of the first token (CLS) has to be above that of the best answer for none
            to be given; 0.0 by default.
    """

    stride: int | None = Field(None, ge=0)
    max_answer_length: int | None = Field(None, ge=1)
    null_threshold: float | None = None

    @field_validator("stride", "max_answer_length", "null_threshold")
    @classmethod
    def _windows(cls, value: Any, info: ValidationInfo) -> Any:
        longest = info.data.get("max_length")
        if info.data.get("type") != _NAME or longest is None:
            return value
        if value is None:
            return {"stride": longest // 3, "max_answer_length": 30, "null_threshold": 0.0}[info.field_name]
        if info.field_name == "stride" and 2 * value >= longest:
            text = f"{value} tokens shared by two windows of {longest} (task.max_length)"
            raise ValueError(f"{text}: it has to be less than half, since a question may take the other half")
        return value


def _column_fault(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    if key == "text" and len(columns) != 2:
        return f"{_NAME} reads two columns: write [question, context], got {', '.join(columns)}"
    if key == "label" and len(columns) > 1:
        return f"{_NAME} has one column of answers, got {', '.join(columns)}"
    return needs_label(key, columns, text)


QUESTION_ANSWERING = TaskType(
    name=_NAME,
    summary="The part of a text that answers a question, or that there is none.",
    implementation="QuestionAnswering",
    auto_class="AutoModelForQuestionAnswering",
    ov_class="OVModelForQuestionAnswering",
    peft_type="QUESTION_ANS",
    outputs=("start_logits", "end_logits"),
    metrics=("answer_f1", "exact_match"),
    own_metrics={
        "answer_f1": "Mean F1 of the words of answers, normalised as in SQuAD's own evaluation.",
        "exact_match": "Share of answers that are right to the word, normalised in the same way.",
    },
    joins_texts=True,
    keys=_Keys,
    column_fault=_column_fault,
    call=Call(None, ('"Whose sentence is it?"', '"It is a sentence of your own."')),
)
