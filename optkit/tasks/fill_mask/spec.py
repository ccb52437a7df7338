"""What is known of masked language modelling without torch."""

from __future__ import annotations

from optkit.tasks.spec import Call, TaskType

_MASKED = 'f"A {processor.mask_token} of your own."'

FILL_MASK = TaskType(
    name="fill-mask",
    summary="Words that are hidden from the model, 15 % of a text: learned from texts alone.",
    implementation="FillMask",
    auto_class="AutoModelForMaskedLM",
    ov_class="OVModelForMaskedLM",
    outputs=("logits",),
    metrics=("masked_accuracy", "masked_likelihood"),
    own_metrics={
        "masked_accuracy": "Share of the hidden tokens that are found.",
        "masked_likelihood": "Geometric mean of the hidden tokens' probabilities: 1 / perplexity.",
    },
    labelled=False,
    call=Call(_MASKED, (_MASKED,)),
)
