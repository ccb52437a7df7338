"""What is known of token classification without torch."""

from __future__ import annotations

from collections.abc import Sequence

from optkit.tasks.spec import Call, TaskType, needs_label

_SENTENCE = '"A sentence of your own."'


def _column_fault(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    if key == "text" and len(columns) != 1:
        return f"token-classification reads one column, of lists of words, got {', '.join(columns)}"
    if key == "label" and len(columns) > 1:
        return f"token-classification has one column of answers, got {', '.join(columns)}"
    return needs_label(key, columns, text)


TOKEN_CLASSIFICATION = TaskType(
    name="token-classification",
    summary="A label for each word of a sentence, such as the names in it.",
    implementation="TokenClassification",
    auto_class="AutoModelForTokenClassification",
    ov_class="OVModelForTokenClassification",
    peft_type="TOKEN_CLS",
    outputs=("logits",),
    metrics=("entity_f1", "entity_precision", "entity_recall", "token_accuracy"),
    own_metrics={
        "entity_f1": "F1 of whole entities, type and both ends right, as seqeval counts.",
        "entity_precision": "Share of the predicted entities that are right.",
        "entity_recall": "Share of the entities that were found.",
        "token_accuracy": "Share of words whose label is right.",
    },
    classes_of="tokens",
    column_fault=_column_fault,
    call=Call(_SENTENCE, (_SENTENCE,)),
)
