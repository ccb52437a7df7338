"""What a task reads: keys that its kind of input leaves without a meaning are refused rather than passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.recipe.fields import Wrong
from optkit.tasks import TASKS, TaskType

if TYPE_CHECKING:
    from optkit.recipe.schema import Recipe

_NO_LENGTH = "images have no length in tokens: remove it"


def unread_key(task: TaskType, key: str) -> str | None:
    """Why ``key`` has no meaning for a task of this type; None if it is read."""
    owners = [other.name for other in TASKS.values() if key in other.key_names]
    if owners:
        return None if task.name in owners else f"is read by {' and '.join(owners)} only: remove it"
    if key == "problem":
        return None if task.problems else f"{task.name} has only one kind of problem: remove it"
    if key == "image":
        return None if task.reads == "images" else f"{task.name} reads no images: remove it"
    if task.reads == "images" and key in ("text", "max_length"):
        return _NO_LENGTH if key == "max_length" else f"{task.name} reads images: name their column in task.image"
    if key == "label" and not task.labelled:
        return f"{task.name} learns from texts without labels: remove it"
    return None


def faults(recipe: Recipe) -> list[Wrong]:
    """Faults of keys outside of ``task`` that do not fit what the task reads."""
    model, found = recipe.model, []
    if TASKS[recipe.task.type].reads != "images":
        if model.config is not None and model.tokenizer is None:
            said = "required with model.config: write a name, or {train: wordpiece, vocab_size: 2000}"
            found.append(Wrong(("model", "tokenizer"), said))
        if model.name is not None and not isinstance(model.tokenizer, str | None):
            said = "a pretrained model's embeddings belong to its own tokens: remove it, or write model.config"
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
        found.append(Wrong(("model", "tokenizer"), "this task reads images, which need no tokenizer: remove it"))
    if recipe.export.tokenizer:
        found.append(Wrong(("export", "tokenizer"), "this task reads images, which need no tokenizer: remove it"))
    if recipe.distill is not None and recipe.distill.data is not None:
        found.append(Wrong(("distill", "data"), "is for texts, and this task reads images: remove it"))
    return found


def _default(part: Any, key: str) -> Any:
    return type(part).model_fields[key].default
