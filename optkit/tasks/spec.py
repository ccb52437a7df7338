"""What is known of a task before anything is loaded: one ``TaskType`` for each, which all of optkit reads.

It imports no torch: recipes are checked, listed and described by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from pydantic import BaseModel

    from optkit.tasks.base import Task


class Call(NamedTuple):
    """Python for a model card: how a model of this task is called.

    Args:
        pipeline: what a transformers pipeline takes; None where it has none for this task.
        inputs: what a processor takes, one expression for each text or image.
    """

    pipeline: str | None
    inputs: tuple[str, ...]


def needs_label(key: str, columns: Sequence[str], text: Sequence[str]) -> str | None:
    """``TaskType.column_fault`` of a task that is learned from labels, in any number of columns."""
    if key == "label" and not columns:
        return "name the column with the label: only embeddings are learned without one"
    return None


@dataclass(frozen=True)
class TaskType:
    """One value of ``task.type`` in a recipe.

    Args:
        name: as a recipe writes it. The task's folder has the same name, with underscores.
        summary: one sentence, for ``optkit list``.
        implementation: the subclass of ``Task`` in the folder's task.py.
        auto_class: the model's class in transformers, such as AutoModelForMaskedLM; AutoModel for no head.
        ov_class: its class in optimum-intel.
        outputs: names of the IR's outputs, as optimum-intel looks for them.
        exported_as: optimum's name of the task, where it is not ``name``.
        call: how a model card calls it.
        peft_type: ``task_type`` of an adapter's configuration; empty where adapters are not merged.
        metrics: names of those that measure it, the headline first. Where it has ``problems`` they name the metrics.
        own_metrics: name and one sentence of each that only this task uses; ``metrics/NAME`` in its folder holds it.
        unlabelled_metrics: of ``metrics`` those that measure without a label; the others need one.
        problems: values of ``task.problem``, and the metrics that measure each, the headline first; empty where there
            is one problem only.
        reads: the kind of input, texts through a tokenizer or images through an image processor.
        labelled: whether ``task.label`` names columns; False where the answers are part of the inputs.
        classes_of: what has a class, whole inputs or tokens; None where the model's outputs are no classes.
        joins_texts: whether two columns of texts are one input.
        pair_call: how a model card calls it with two texts, where that differs.
        library: what a model card says the model is loaded with.
        keys: the keys of ``task`` that only this task reads: fields with types, defaults and checks, documented in the
            class. Each default is None, and a validator fills in what None stands for. Validators see the other keys
            of ``task``, and run for tasks of other types, too.
        column_fault: what is wrong with the ``columns`` that a recipe names, or None: ``column_fault(key, columns,
            text)`` with ``key`` "text" or "label", and the columns of ``text``.
    """

    name: str
    summary: str
    implementation: str
    auto_class: str
    ov_class: str
    outputs: tuple[str, ...]
    call: Call
    exported_as: str = ""
    peft_type: str = ""
    metrics: tuple[str, ...] = ()
    own_metrics: Mapping[str, str] = field(default_factory=dict)
    unlabelled_metrics: tuple[str, ...] = ()
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reads: Literal["texts", "images"] = "texts"
    labelled: bool = True
    classes_of: Literal["inputs", "tokens"] | None = None
    joins_texts: bool = False
    pair_call: Call | None = None
    library: str = "optimum"
    keys: type[BaseModel] | None = None
    column_fault: Callable[[str, Sequence[str], Sequence[str]], str | None] = needs_label

    def __post_init__(self) -> None:
        if self.problems:
            every = dict.fromkeys(name for metrics in self.problems.values() for name in metrics)
            object.__setattr__(self, "metrics", tuple(every))

    @property
    def export_task(self) -> str:
        """optimum's name of the task."""
        return self.exported_as or self.name

    @property
    def head(self) -> str:
        """The ending of architectures with such a head: ``ForMaskedLM``; empty for no head."""
        return self.auto_class.removeprefix("AutoModel")

    @property
    def key_names(self) -> tuple[str, ...]:
        """The keys of ``task`` that only this task reads."""
        return tuple(self.keys.model_fields) if self.keys is not None else ()

    @property
    def folder(self) -> Path:
        """The folder of the task's files."""
        return Path(__file__).parent / self.name.replace("-", "_")

    def usable_metrics(self, problem: str, *, labelled: bool) -> tuple[str, ...]:
        """The metrics that a recipe may ask for, the headline first.

        Args:
            problem: one of ``problems``, or ``auto``.
            labelled: whether the recipe names a label.
        """
        found = self.problems.get(problem, self.metrics)
        if not self.unlabelled_metrics:
            return found
        return tuple(name for name in found if labelled == (name not in self.unlabelled_metrics))

    def load(self) -> type[Task]:
        """The task's class. Its module is imported here, so that reading a recipe does not wait for it."""
        module = import_module(f"optkit.tasks.{self.folder.name}.task")
        return getattr(module, self.implementation)
