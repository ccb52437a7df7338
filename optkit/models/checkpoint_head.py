"""The head that a checkpoint holds: whether it was trained on a task's labels, and what each of its outputs means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from optkit.checkpoints.files import present_name, weight_shapes
from optkit.checkpoints.plain import original_folder
from optkit.errors import PlanError
from optkit.models.config import make_config, mend_values, read_values
from optkit.models.head import Head
from optkit.models.labels import adopt, by_number, default_names, match, placeholders, stored_names
from optkit.models.meta import meta_model
from optkit.models.source import Source

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from optkit.recipe.schema import ModelSpec


@dataclass(frozen=True)
class KeptHead:
    """The head of a checkpoint that was trained on a task's labels.

    Attributes:
        names: of its outputs, in its order; none where they are not the data's to name.
        order: its output for each of the task's labels.
        by_number: whether one of the two sides only numbers its classes, so that nothing says what the other means.
    """

    names: list[str]
    order: list[int]
    by_number: bool = False


def kept_head(model: ModelSpec | Source | str | Path, head: Head) -> KeptHead | None:
    """The checkpoint's head where it was trained on these labels, None where a new one would be made.

    Reads names and shapes of the weights only. See ``optkit.models.labels`` for when labels are the same.

    Raises:
        PlanError: if it cannot be told which of its outputs means what.
        OptkitError: as ``load_model``.
    """
    source = Source.of(model)
    names = stored_head(source, head)
    if names is None or head.labels is None:
        return None if names is None else KeptHead([], [])
    order = match(head.labels, names)
    return None if order is None else KeptHead(names, order, by_number(head.labels, names))


def adopt_labels(model: ModelSpec | str | Path, head: Head) -> Head:
    """``head``, with the checkpoint's names for its labels where they are LABEL_i and its trained head knows better."""
    if head.labels is None or not placeholders(head.labels):
        return head
    kept = kept_head(model, head)
    return head if kept is None else replace(head, labels=adopt(head.labels, kept.names))


def stored_head(model: ModelSpec | Source | str | Path, head: Head) -> list[str] | None:
    """The names of the outputs of the checkpoint's head for such a task, whatever its labels; none where the outputs
    are not the data's to name. None where it holds no such head.

    Raises:
        PlanError: if its config.json and its weights do not say alike how many outputs there are, or what they mean.
        OptkitError: as ``load_model``.
    """
    source = Source.of(model)
    if source.name is None:
        return None
    config, folder = make_config(source), source.folder()
    names = None
    if head.labels is not None:
        values = read_values(source.folder(weights=False))
        names, _ = stored_names(mend_values(values, original_folder(folder))[0])
    skeleton = meta_model(source, replace(head, labels=names))
    architectures = config.architectures or []
    # A checkpoint that does not say what it is, is what its weights fit.
    if architectures and not any(_is_such(name, type(skeleton).__name__, head) for name in architectures):
        return None
    there, differ = {present_name(name): shape for name, shape in weight_shapes(folder).items()}, {}
    for known_as, shape in _top(skeleton, pooled=head.problem_type is not None):
        found = next((there[name] for name in known_as if name in there), None)
        if found is None:
            return None
        if found != shape:
            differ[known_as[0]] = (found, shape)
    if head.labels is None:
        return None if differ else []
    outputs = {found[0] for found, _ in differ.values() if found}
    if not differ:
        return names or default_names(config.num_labels)
    if len(outputs) > 1 or any(found[1:] != shape[1:] for found, shape in differ.values()):
        return None
    if names is None:
        return default_names(outputs.pop())
    raise PlanError(
        f"{original_folder(folder) / 'config.json'}: id2label names {len(names)} outputs, and {next(iter(differ))} has "
        f"{outputs.pop()}: name each of them, or remove id2label and label2id"
    )


def _is_such(architecture: str, ours: str, head: Head) -> bool:
    """Whether a checkpoint of this architecture may hold the head, by name; its weights decide."""
    return (
        architecture.endswith(head.task)
        or architecture == ours
        # What BERT and its kin were pretrained as has the head for hidden tokens, beside another.
        or (head.task == "ForMaskedLM" and architecture.endswith("ForPreTraining"))
    )


def _top(model: nn.Module, *, pooled: bool) -> list[tuple[list[str], tuple[int, ...]]]:
    """Every parameter of a model outside its body: all names that it goes by, and its shape.

    Args:
        pooled: the body's pooler too, since the head reads what it makes of the tokens.
    """
    if model is model.base_model:
        return []
    found: dict[int, tuple[list[str], tuple[int, ...]]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        found.setdefault(id(parameter), ([], tuple(parameter.shape)))[0].append(name)
    body = f"{model.base_model_prefix}."

    def inside(name: str) -> bool:
        return name.startswith(body) and not (pooled and ".pooler." in name)

    return [(names, shape) for names, shape in found.values() if not any(map(inside, names))]


def reorder_head(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Moves the outputs of the head's last linear layer to the order of our labels."""
    body = f"{model.base_model_prefix}."
    last = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == len(order) and not name.startswith(body)
    ][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[torch.tensor(order)])
