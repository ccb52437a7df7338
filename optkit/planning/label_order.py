"""Whether the outputs of a run's models are in the order of the data's labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from optkit.adapters import passes
from optkit.errors import PlanError
from optkit.models import kept_head, load_teacher
from optkit.models.label_order import find_order
from optkit.models.labels import placeholders
from optkit.models.source import Source
from optkit.pipeline import baseline
from optkit.tasks.columns import first_few

if TYPE_CHECKING:
    from optkit.models import KeptHead
    from optkit.models.label_order import Reordered
    from optkit.pipeline.context import RunContext

#: Examples that show which output means which label: so many, so many for each label, and never more.
_SAMPLES, _EACH, _MOST = 256, 4, 1024


def check_order(context: RunContext) -> None:
    """Asks every model whose head counts as it is about some of the training split: names may be wrong, and where there
    are none the number of an output is all there is to go by.

    Raises:
        PlanError: if the answers of one are far better in another order of its outputs; the message names the order.
    """
    found = []
    for key, name, kept, ours, loaded in _trained_models(context):
        model, processor, order = loaded()
        reordered = _find_reordering(context, model, processor, order)
        if reordered is not None:
            found.append(f"{key}: {name}: {_explain(reordered, ours, kept)}")
    if found:
        raise PlanError(found)


def _trained_models(context: RunContext) -> Iterator[tuple[str, str, KeptHead, Sequence[str], Any]]:
    """The models with heads that count as they are: the recipe's key, the name, the head, our labels, and what loads
    the model, its processor, and its output for each of our labels where they are in another order.

    A start model with names of its own that is trained is none: training makes its outputs mean what they are called.
    """
    recipe, head = context.recipe, context.data.data_head
    if not context.task.names_outputs or head.labels is None or len(head.labels) < 2:
        return
    if recipe.model.name is not None and (kept := kept_head(recipe.model, head)) is not None:
        if kept.by_number or not context.recipe.trains:
            yield (
                "model.name",
                recipe.model.name,
                kept,
                head.labels,
                lambda: (context.start_model(), context.data.tokenizer, None),
            )
    if recipe.distill is not None:
        for key, spec in recipe.distill.teachers.items():
            if (kept := kept_head(Source(spec.name, spec.revision, key=key), context.data.head)) is not None:
                loaded = partial(load_teacher, spec, context.data.head, key=key)
                yield key, spec.name, kept, context.data.head.labels, loaded
    compared = baseline.named_checkpoint(context.recipe)
    if compared is not None:
        source = Source(compared, key="evaluate.baseline")
        if (kept := kept_head(source, context.data.head)) is not None:
            yield source.key, source.name, kept, context.data.head.labels, lambda: baseline.load(context)


def _find_reordering(context: RunContext, model: Any, processor: Any, order: Sequence[int] | None) -> Reordered | None:
    task, head, rows = context.task, context.data.head, context.data.splits["train"]
    count = min(max(_SAMPLES, _EACH * len(head.labels)), _MOST)
    sample = np.random.default_rng(context.recipe.seed).permutation(len(rows))[:count]
    rows = rows.select(sample)
    encoded = task.encode(rows, processor, head)
    with context.reporter.task("comparing labels") as bar:
        outputs = passes.predict(model, encoded, task, processor, tell=bar.advance)
    outputs = outputs if order is None else outputs[..., order]
    predicted, truth = task.decode(outputs, encoded, head), task.references(rows, head)
    sizes = [np.size(each) if isinstance(truth, list) else 1 for each in truth]
    example = np.repeat(np.arange(len(rows)), sizes)
    if isinstance(truth, list):
        truth, predicted = np.concatenate(truth), np.concatenate(predicted)
        valid = predicted >= 0
        truth, predicted, example = truth[valid], predicted[valid], example[valid]
    return find_order(truth, predicted, example, len(head.labels), several=truth.ndim == 2)


def _explain(found: Reordered, ours: Sequence[str], kept: KeptHead) -> str:
    meant = [""] * len(ours)
    for label, output in enumerate(found.order):  # outputs are in the order of our labels
        meant[kept.order[output]] = ours[label]
    if placeholders(ours):
        meant = [name.removeprefix("LABEL_") for name in meant]
    text = (
        f"its {first_few(kept.names)} answer the data's {first_few(meant)}: {found.right:.0%} of the training examples "
        f"looked at are right so, and {found.now:.0%} as they are {'numbered' if kept.by_number else 'named'}: "
    )
    if not placeholders(ours):
        names = json.dumps({str(i): name for i, name in enumerate(meant)}, ensure_ascii=False)
        return text + f'name them in its config.json: "id2label": {names}'
    more = ", and give them the same names in id2label of its config.json" if placeholders(kept.names) else ", its own"
    return text + f"write words as labels of the data{more}"
