"""What is known of text classification without torch."""

from __future__ import annotations

from optkit.tasks.spec import Call, TaskType

_SENTENCE = '"A sentence of your own."'

TEXT_CLASSIFICATION = TaskType(
    name="text-classification",
    summary="One label, several or a score, for a sentence or a pair of sentences.",
    implementation="TextClassification",
    auto_class="AutoModelForSequenceClassification",
    ov_class="OVModelForSequenceClassification",
    peft_type="SEQ_CLS",
    outputs=("logits",),
    problems={
        "single_label_classification": ("accuracy", "f1", "matthews_correlation"),
        "multi_label_classification": ("f1", "accuracy"),
        "regression": ("pearson", "spearman"),
    },
    classes_of="inputs",
    joins_texts=True,
    call=Call(_SENTENCE, (_SENTENCE,)),
    pair_call=Call('{"text": "A sentence.", "text_pair": "Another one."}', ('"A sentence."', '"Another one."')),
)
