"""What is known of rerankers without torch."""

from __future__ import annotations

from collections.abc import Sequence

from optkit.tasks.spec import Call, TaskType, needs_label

_NAME = "text-ranking"


def _column_fault(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    if key == "text" and len(columns) != 2:
        return f"{_NAME} reads two columns: write [query, passage], got {', '.join(columns)}"
    if key == "label" and len(columns) > 1:
        return f"{_NAME} has one column of relevances, got {', '.join(columns)}"
    return needs_label(key, columns, text)


TEXT_RANKING = TaskType(
    name=_NAME,
    summary="How relevant a passage is to a query, by which the passages of each query are ranked.",
    implementation="TextRanking",
    auto_class="AutoModelForSequenceClassification",
    ov_class="OVModelForSequenceClassification",
    exported_as="text-classification",
    outputs=("logits",),
    metrics=("mrr_at_10", "ndcg_at_10"),
    own_metrics={
        "mrr_at_10": "Mean over queries of 1 / rank of the first relevant passage, 0 beyond rank 10.",
        "ndcg_at_10": "Mean over queries of the discounted gain of the first 10 passages, relative to the best order.",
    },
    joins_texts=True,
    column_fault=_column_fault,
    call=Call(None, ('"What is it?"', '"It is a passage of your own."')),
    library="sentence-transformers",
)
