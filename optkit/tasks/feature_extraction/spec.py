"""What is known of embeddings without torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel

from optkit.tasks.spec import Call, TaskType


class _Keys(BaseModel):
    """The keys of ``task`` that only embeddings read.

    Args:
        pooling: how the vectors of tokens become one, for a model whose files do not say it; ``mean`` by default.
    """

    pooling: Literal["mean", "cls", "lasttoken", "max"] | None = None


def _column_fault(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    if key != "label":
        return None
    if len(columns) > 1:
        return f"feature-extraction has one column of scores, got {', '.join(columns)}"
    if columns and len(text) != 2:
        return "a score is of two texts: write text: [sentence1, sentence2], or label: [] for texts alone"
    return None


FEATURE_EXTRACTION = TaskType(
    name="feature-extraction",
    summary="Embeddings of texts, by scores of pairs or by a teacher alone.",
    implementation="FeatureExtraction",
    auto_class="AutoModel",
    ov_class="OVModelForFeatureExtraction",
    peft_type="FEATURE_EXTRACTION",
    outputs=("last_hidden_state",),
    metrics=("spearman", "pearson", "cosine"),
    unlabelled_metrics=("cosine",),
    keys=_Keys,
    column_fault=_column_fault,
    call=Call(None, ('"A sentence of your own."',)),
    library="sentence-transformers",
)
