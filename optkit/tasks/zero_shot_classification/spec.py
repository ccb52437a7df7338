"""What is known of zero-shot classification without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationInfo, field_validator

from optkit.tasks.spec import Call, TaskType, needs_label

_NAME = "zero-shot-classification"
#: What transformers' pipeline asks by default.
DEFAULT_TEMPLATE = "This example is {}."
#: Where config.json keeps it: transformers' place for the parameters of a task, and its pipeline's name of this one.
PARAMETERS, TEMPLATE = "task_specific_params", "hypothesis_template"
_SENTENCE = '"A sentence of your own."'


def entailed(outputs: Sequence[str]) -> int | None:
    """The output that says how far a hypothesis is entailed, as transformers' pipeline finds it; None without one."""
    return next((i for i, name in enumerate(outputs) if name.lower().startswith("entail")), None)


def read_template(config: Mapping[str, Any]) -> str:
    """The hypothesis with ``{}`` in the place of a class that a config.json keeps; the default where it keeps none."""
    parameters = config.get(PARAMETERS)
    own = parameters.get(_NAME) if isinstance(parameters, dict) else None
    template = own.get(TEMPLATE) if isinstance(own, dict) else None
    return template if isinstance(template, str) and template.count("{}") == 1 else DEFAULT_TEMPLATE


def with_template(config: Mapping[str, Any], template: str) -> dict[str, Any]:
    """``config`` with the template in it."""
    parameters = config.get(PARAMETERS)
    parameters = parameters if isinstance(parameters, dict) else {}
    return {**config, PARAMETERS: {**parameters, _NAME: {TEMPLATE: template}}}


class _Keys(BaseModel):
    """The keys of ``task`` that only zero-shot classification reads.

    Args:
        template: a hypothesis with ``{}`` in the place of a class; by default what transformers' pipeline asks.
    """

    template: str | None = None

    @field_validator("template")
    @classmethod
    def _one_place(cls, value: str | None, info: ValidationInfo) -> str | None:
        if info.data.get("type") != _NAME:
            return value
        if value is None:
            return DEFAULT_TEMPLATE
        if value.count("{}") != 1 or "{" in value.replace("{}", "") or "}" in value.replace("{}", ""):
            raise ValueError(
                f"has to hold {{}} once, where the class stands, and no other braces, as in '{DEFAULT_TEMPLATE}'"
            )
        return value


def _column_fault(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    if len(columns) > 1:
        what = "column of texts, its hypotheses are made of the classes" if key == "text" else "column of classes"
        return f"{_NAME} reads one {what}: got {', '.join(columns)}"
    return needs_label(key, columns, text)


ZERO_SHOT_CLASSIFICATION = TaskType(
    name=_NAME,
    summary="Classes that are named when the model is used: whether a text entails a hypothesis for each.",
    implementation="ZeroShotClassification",
    auto_class="AutoModelForSequenceClassification",
    ov_class="OVModelForSequenceClassification",
    exported_as="text-classification",
    outputs=("logits",),
    metrics=("accuracy", "f1", "matthews_correlation"),
    keys=_Keys,
    column_fault=_column_fault,
    call=Call(f'{_SENTENCE}, candidate_labels=["food", "travel"]', (_SENTENCE, '"This example is food."')),
)
