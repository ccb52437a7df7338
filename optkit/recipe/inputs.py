"""What a task reads: keys that its kind of input leaves without a meaning are refused rather than passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optkit.recipe.fields import Wrong

if TYPE_CHECKING:
    from optkit.recipe.schema import Recipe

#: Tasks whose inputs are images, read by an image processor and not by a tokenizer.
IMAGE_TASKS = ("image-classification",)
#: Tasks whose answers are a part of their inputs.
UNLABELLED_TASKS = ("fill-mask",)
#: Keys of tasks whose answers are parts of a text.
ANSWER_KEYS = ("stride", "max_answer_length", "null_threshold")
_NO_LENGTH = "images are all of one size, and have no length: remove it"


def task_fault(kind: str | None, key: str) -> str | None:
    """What is wrong with saying ``key`` of a task of this ``kind``; None if it is read there."""
    if key == "problem":
        return None if kind == "text-classification" else f"{kind} has one problem only: remove it"
    if key in ANSWER_KEYS:
        return None if kind == "question-answering" else "belongs to question-answering: remove it"
    if key == "pooling":
        return None if kind == "feature-extraction" else "belongs to feature-extraction: remove it"
    if key == "image":
        return None if kind in IMAGE_TASKS else f"{kind} reads no images: remove it"
    if kind in IMAGE_TASKS:
        no_text = f"{kind} reads images: name their column in task.image"
        return {"text": no_text, "max_length": _NO_LENGTH}.get(key)
    if kind in UNLABELLED_TASKS and key == "label":
        return f"{kind} learns from texts alone: remove it"
    return None


def column_fault(kind: str | None, key: str, columns: Sequence[str]) -> str | None:
    """What is wrong with the number of ``columns`` that ``key`` names, ``text`` or ``label``."""
    if kind == "question-answering" and key == "text" and len(columns) != 2:
        return f"question-answering reads two columns: write [question, context], got {', '.join(columns)}"
    if kind == "token-classification" and key == "text" and len(columns) != 1:
        return f"token-classification reads one column, of lists of words, got {', '.join(columns)}"
    if kind in ("question-answering", "token-classification") and key == "label" and len(columns) != 1:
        return f"{kind} has one column of answers, got {', '.join(columns)}"
    if key == "label" and kind == "feature-extraction" and len(columns) > 1:
        return f"feature-extraction has one column of scores, got {', '.join(columns)}"
    if key == "label" and not columns and kind != "feature-extraction":
        return "name the column with the label: only embeddings are learned without one"
    return None


def pair_fault(kind: str | None, task: Mapping[str, Any], label: Sequence[str]) -> str | None:
    """What is wrong with a ``label`` beside the number of texts that ``task`` reads so far."""
    if kind == "feature-extraction" and label and len(task.get("text", ("", ""))) != 2:
        return "a score is of two texts: write text: [sentence1, sentence2], or label: [] for texts alone"
    return None


def faults(recipe: Recipe) -> list[Wrong]:
    """Faults of keys outside of ``task`` that do not fit what the task reads."""
    model, found = recipe.model, []
    if recipe.task.type not in IMAGE_TASKS:
        if model.config is not None and model.tokenizer is None:
            said = "a model from a config needs one: a name, or {train: wordpiece, vocab_size: 2000}"
            found.append(Wrong(("model", "tokenizer"), said))
        return found
    shapes, benchmark = recipe.export.shapes, recipe.benchmark
    unread: dict[tuple[str | int, ...], Any] = {
        ("train", "train_sampling_strategy"): recipe.train.get("train_sampling_strategy") == "group_by_length",
        ("benchmark", "seq"): benchmark is not None and benchmark.seq is not None,
        ("export", "shapes", "seq"): not isinstance(shapes, str) and shapes.seq != _default(shapes, "seq"),
    }
    unread |= {
        ("prune", i, "allocate", "seq"): rule.allocate is not None and rule.allocate.seq is not None
        for i, rule in enumerate(recipe.prune)
    }
    found += [Wrong(where, _NO_LENGTH) for where, said in unread.items() if said]
    if model.tokenizer is not None:
        found.append(Wrong(("model", "tokenizer"), "images are read by an image processor: remove it"))
    if recipe.export.tokenizer:
        found.append(Wrong(("export", "tokenizer"), "images are read by an image processor: remove it"))
    if recipe.distill is not None and recipe.distill.data is not None:
        found.append(Wrong(("distill", "data"), "it is for texts, and this task reads images: remove it"))
    return found


def _default(part: Any, key: str) -> Any:
    return type(part).model_fields[key].default
