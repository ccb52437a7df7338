"""Zero-shot classification by a model of natural language inference: classes are named in the request.

Requests and answers are those of the Hub's inference for this task, and scores those of transformers' pipeline: Yin et
al. 2019, https://arxiv.org/abs/1909.00161.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, field_validator

from optkit.serving.outputs import softmax

_Label = Annotated[str, Field(min_length=1)]


class ZeroShotParameters(BaseModel):
    """How to ask: by default with the template that the model was trained with, for one class of those named."""

    candidate_labels: Annotated[list[_Label], Field(min_length=1)]
    hypothesis_template: str | None = None
    multi_label: bool | None = None

    @field_validator("hypothesis_template")
    @classmethod
    def _one_place(cls, value: str | None) -> str | None:
        if value is not None and value.count("{}") != 1:
            raise ValueError("has to hold {} once, where the class stands")
        return value


class ZeroShotRequest(BaseModel):
    inputs: str
    parameters: ZeroShotParameters

    def pairs(self, template: str) -> list[tuple[str, str]]:
        """The text with a hypothesis for each class; ``template`` where the request has none."""
        template = self.parameters.hypothesis_template or template
        return [(self.inputs, template.replace("{}", label)) for label in self.parameters.candidate_labels]


def predictions(request: ZeroShotRequest, logits: np.ndarray, entailment: int) -> list[dict[str, Any]]:
    """Classes with their scores, the highest first.

    Args:
        logits: (classes, outputs), of the pairs.
        entailment: the output for it; the other end of the outputs is contradiction.
    """
    labels, logits = request.parameters.candidate_labels, logits.astype(np.float64)
    if request.parameters.multi_label or len(labels) == 1:
        contradiction = -1 if entailment == 0 else 0
        found = softmax(logits[:, [contradiction, entailment]])[:, 1]
    else:
        found = softmax(logits[:, entailment])
    return [{"label": labels[i], "score": float(found[i])} for i in np.argsort(-found, kind="stable")]
