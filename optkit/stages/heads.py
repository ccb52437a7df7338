"""The heads of a run's models: whether they are there, how they were read, and whether their outputs are in the order
of the data's labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.errors import PlanError
from optkit.tasks import PROBLEMS

if TYPE_CHECKING:
    from optkit.models import Head, KeptHead
    from optkit.models.label_order import Reordered
    from optkit.pipeline.context import Job
    from optkit.recipe import DistillSpec

#: Examples that show which output means which label: so many, so many for each label, and never more.
_SAMPLES, _EACH, _MOST = 256, 4, 1024


def problems(job: Job) -> list[str]:
    """Why the start model cannot go untrained as the recipe says, a line at most."""
    from optkit.models import kept_head, stored_head

    name, head = job.recipe.model.name, job.head
    if job.trains or (name is not None and kept_head(job.recipe.model, head) is not None):
        return []
    said = "model: without `train` it has to be fine-tuned already, and"
    if name is None:
        return [f"{said} this one has random weights: write `train`"]
    stored = stored_head(job.recipe.model, head)
    what = f"no head for {head.kind}"
    if stored:
        what = f"a head for {_some(stored)}, and the data has {_some(head.labels)}"
    return [f"{said} {name} has {what}: write `train`, or name another model"]


def notes(job: Job) -> list[str]:
    """What a plan says of the heads that there are: one that training replaces, names that were read otherwise than
    they are stored.
    """
    from optkit.models import kept_head, stored_head

    model, head, found = job.recipe.model, job.head, []
    if model.name is not None:
        found += _stored(model.name, model.revision, "model.name", head)
        if kept_head(model, head) is None:
            stored, name = stored_head(model, head), _shown(model.name)
            new = f"a new one for {_some(head.labels)}" if head.labels else "a new one"
            if stored:
                found.append(f"the head of {name} ({_some(stored)}) is replaced by {new}")
            else:
                found.append(f"{name} has no head for {head.kind}: {new} is trained")
    if job.recipe.distill is not None:
        found += _stored(job.recipe.distill.teacher, job.recipe.distill.revision, "distill.teacher", head)
    if job.compared_with is not None:
        found += _stored(job.compared_with, "main", "evaluate.baseline", head)
    return list(dict.fromkeys(found))


def pixel_problems(job: Job, spec: DistillSpec, processor: Any, key: str) -> list[str]:
    """Why a teacher or a baseline cannot take the images that its own image processor makes, a line each."""
    from optkit.models import meta_model
    from optkit.models.source import Source

    if not job.head.reads_images:
        return []
    skeleton = meta_model(Source(spec.teacher, spec.revision, key=key), job.head)
    return [f"{key}: {text.removeprefix('model: ')}" for text in job.task.model_problems(skeleton, processor)]


def _stored(name: str, revision: str, key: str, head: Head) -> list[str]:
    """How the config.json of a checkpoint was read where it does not say what is meant."""
    from optkit.models.config import mended, read_values
    from optkit.models.source import Source

    if head.labels is None:
        return []
    folder = Source(name, revision, key=key).folder(weights=False)
    values = read_values(folder)
    found, said = mended(values, folder)[1], values.get("problem_type")
    if said in PROBLEMS and said != head.problem_type and head.problem_type is not None:
        found.append(f"problem_type is {said}: the data's counts, {head.problem_type}")
    return [f"config.json of {_shown(name)}: {note}" for note in found]


def _shown(name: str) -> str:
    """A model's name for a report, which others may read: of a folder here its last part."""
    return Path(name).resolve().name if Path(name).is_dir() else name


def check_order(job: Job) -> None:
    """Asks every model whose head counts as it is about some of the training split: names may be wrong, and where there
    are none the number of an output is all there is to go by.

    Raises:
        PlanError: if the answers of one are far better in another order of its outputs; the message names the order.
    """
    found = []
    for key, name, kept, ours, loaded in _trained(job):
        model, processor, order = loaded()
        reordered = _reordered(job, model, processor, order)
        if reordered is not None:
            found.append(f"{key}: {name}: {_explained(reordered, ours, kept)}")
    if found:
        raise PlanError(found)


def _trained(job: Job) -> Iterator[tuple[str, str, KeptHead, Sequence[str], Any]]:
    """The models with heads that count as they are: the recipe's key, the name, the head, our labels, and what loads
    the model, its processor, and its output for each of our labels where they are in another order.

    A start model with names of its own that is trained is none: training makes its outputs mean what they are called.
    """
    from optkit.models import kept_head, load_teacher
    from optkit.models.source import Source
    from optkit.stages import dense

    recipe, head = job.recipe, job.data_head
    if head.labels is None or len(head.labels) < 2:
        return
    if recipe.model.name is not None and (kept := kept_head(recipe.model, head)) is not None:
        if kept.by_number or not job.trains:
            yield "model.name", recipe.model.name, kept, head.labels, lambda: (job.start_model(), job.tokenizer, None)
    if recipe.distill is not None:
        source = Source(recipe.distill.teacher, recipe.distill.revision, key="distill.teacher")
        if (kept := kept_head(source, job.head)) is not None:
            yield source.key, source.name, kept, job.head.labels, lambda: load_teacher(recipe.distill, job.head)
    if job.compared_with is not None:
        source = Source(job.compared_with, key="evaluate.baseline")
        if (kept := kept_head(source, job.head)) is not None:
            yield source.key, source.name, kept, job.head.labels, lambda: dense.load(job)


def _reordered(job: Job, model: Any, processor: Any, order: Sequence[int] | None) -> Reordered | None:
    from optkit.adapters import passes
    from optkit.models.label_order import find_order

    task, head, rows = job.task, job.head, job.splits["train"]
    count = min(max(_SAMPLES, _EACH * len(head.labels)), _MOST)
    chosen = np.random.default_rng(job.recipe.seed).permutation(len(rows))[:count]
    rows = rows.select(chosen)
    encoded = task.encode(rows, processor, head)
    with job.reporter.task("comparing labels") as bar:
        outputs = passes.predict(model, encoded, task, processor, tell=bar.advance)
    outputs = outputs if order is None else outputs[..., order]
    predicted, truth = task.decode(outputs, encoded, head), task.references(rows, head)
    sizes = [np.size(each) if isinstance(truth, list) else 1 for each in truth]
    example = np.repeat(np.arange(len(rows)), sizes)
    if isinstance(truth, list):
        truth, predicted = np.concatenate(truth), np.concatenate(predicted)
        said = predicted >= 0
        truth, predicted, example = truth[said], predicted[said], example[said]
    return find_order(truth, predicted, example, len(head.labels), several=truth.ndim == 2)


def _explained(found: Reordered, ours: Sequence[str], kept: KeptHead) -> str:
    from optkit.models.labels import placeholders

    meant = [""] * len(ours)
    for label, output in enumerate(found.order):  # outputs are in the order of our labels
        meant[kept.order[output]] = ours[label]
    if placeholders(ours):
        meant = [name.removeprefix("LABEL_") for name in meant]
    said = (
        f"its {_some(kept.names)} answer the data's {_some(meant)}: {found.right:.0%} of the training examples looked "
        f"at are right so, and {found.now:.0%} as they are {'numbered' if kept.by_number else 'named'}: "
    )
    if not placeholders(ours):
        names = json.dumps({str(i): name for i, name in enumerate(meant)}, ensure_ascii=False)
        return said + f'name them in its config.json: "id2label": {names}'
    more = ", and give them the same names in id2label of its config.json" if placeholders(kept.names) else ", its own"
    return said + f"write words as labels of the data{more}"


def _some(labels: Sequence[str]) -> str:
    from optkit.tasks.columns import some

    return some(labels)
