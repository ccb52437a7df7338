"""The heads of a run's models: whether they are there, and how they were read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.models import meta_model, stored_head
from optkit.models.config import mend_values, read_values
from optkit.models.source import Source
from optkit.pipeline import baseline, oneshot
from optkit.tasks import PROBLEMS
from optkit.tasks.columns import first_few

if TYPE_CHECKING:
    from optkit.models import Head
    from optkit.pipeline.context import RunContext
    from optkit.recipe import TeacherSpec


def problems(context: RunContext) -> list[str]:
    """Why the start model cannot be pruned before it is trained as the recipe says, a line at most."""
    name, head = context.recipe.model.name, context.data.head
    pruned_first = oneshot.before_training(context.recipe) is not None
    if (context.recipe.trains and not pruned_first) or context.data.start_head is not None:
        return []
    when, way_out = ("without `train`", "write `train`") if not pruned_first else ("for `oneshot`", "remove `oneshot`")
    prefix = f"model: {when} it has to be fine-tuned already, and"
    if name is None:
        return [f"{prefix} this one has random weights: {way_out}"]
    stored = stored_head(context.recipe.model, head)
    what = f"no head for {head.kind}"
    if stored:
        what = f"a head for {first_few(stored)}, and the data has {first_few(head.labels)}"
    return [f"{prefix} {name} has {what}: {way_out}, or name another model"]


def notes(context: RunContext) -> list[str]:
    """What a plan says of the heads that there are: one that training replaces, names that were read otherwise than
    they are stored.
    """
    model, head, found = context.recipe.model, context.data.head, []
    if model.name is not None:
        found += _config_notes(model.name, model.revision, "model.name", head)
        if context.data.start_head is None:
            stored, name = stored_head(model, head), _display_name(model.name)
            new = f"a new one for {first_few(head.labels)}" if head.labels else "a new one"
            if stored:
                found.append(f"the head of {name} ({first_few(stored)}) is replaced by {new}")
            else:
                found.append(f"{name} has no head for {head.kind}: {new} is trained")
    if context.recipe.distill is not None:
        for key, spec in context.recipe.distill.teachers.items():
            found += _config_notes(spec.name, spec.revision, key, head)
    compared = baseline.named_checkpoint(context.recipe)
    if compared is not None:
        found += _config_notes(compared, "main", "evaluate.baseline", head)
    return list(dict.fromkeys(found))


def pixel_problems(context: RunContext, spec: TeacherSpec, processor: Any, key: str) -> list[str]:
    """Why a teacher or a baseline cannot take the images that its own image processor makes, a line each."""
    if not context.data.head.reads_images:
        return []
    skeleton = meta_model(Source(spec.name, spec.revision, key=key), context.data.head)
    return [f"{key}: {text.removeprefix('model: ')}" for text in context.task.model_problems(skeleton, processor)]


def _config_notes(name: str, revision: str, key: str, head: Head) -> list[str]:
    """How the config.json of a checkpoint was read where it does not say what is meant."""
    if head.labels is None:
        return []
    folder = Source(name, revision, key=key).folder(weights=False)
    values = read_values(folder)
    found, problem_type = mend_values(values, folder)[1], values.get("problem_type")
    if problem_type in PROBLEMS and problem_type != head.problem_type and head.problem_type is not None:
        found.append(f"problem_type is {problem_type}: the data's counts, {head.problem_type}")
    return [f"config.json of {_display_name(name)}: {note}" for note in found]


def _display_name(name: str) -> str:
    """A model's name for a report, which others may read: of a folder here its last part."""
    return Path(name).resolve().name if Path(name).is_dir() else name
