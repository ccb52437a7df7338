"""Loads the model to start from and the teacher to learn from. Every failure is one line with a way out.

Models come as fp32. A checkpoint whose head was trained on these labels keeps it, in the order of these labels. Any
other gets a new head with random weights, drawn from the recipe's seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.checkpoints import weight_shapes
from optkit.errors import OptkitError, PlanError
from optkit.models.config import class_names, make_config
from optkit.models.head import Head
from optkit.models.image_processor import own_image_processor
from optkit.models.labels import adopt, match, placeholders
from optkit.models.source import Source, refusing
from optkit.models.tokenizer import own_tokenizer

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from optkit.recipe.distill import DistillSpec
    from optkit.recipe.schema import ModelSpec


def load_model(
    model: ModelSpec | str | Path,
    head: Head,
    *,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedModel:
    """The model to start from, fp32, in evaluation mode, with one output for each label in their order.

    Args:
        model: the recipe's model, or a checkpoint folder.
        head: what the task asks for. Labels that only number the classes give way to the checkpoint's, if its head is
            kept.
        seed: of the weights that are not in the checkpoint. The global random state stays as it was.
        tokenizer: gives a ``config`` model its vocabulary size and padding id, and is checked against a named one's. An
            image processor has neither.

    Raises:
        PlanError: if the config fits no model, or the checkpoint or the tokenizer does not fit the config.
        OptkitError: if the checkpoint is damaged or incomplete, or the Hub can't be reached.
    """
    source = Source.of(model)
    if source.name is None:
        config = make_config(source, head, tokenizer)
        with _seeded(seed), refusing(source):
            return _class(head.auto_class).from_config(config).float().eval()
    folder = source.folder()
    order = _head_order(source, head)
    if order:
        head = replace(head, labels=adopt(head.labels, class_names(make_config(source))))
    config = make_config(source, head, tokenizer)
    loaded = _from_pretrained(source, folder, head.auto_class, config, seed)
    if order and order != list(range(len(order))):
        reorder_head(loaded, order)
    return loaded.float().eval()


def has_trained_head(model: ModelSpec | str | Path, head: Head) -> bool:
    """Whether the checkpoint holds the weights of such a head, trained on its labels.

    Reads names and shapes of the weights only. See ``optkit.models.labels`` for when labels are the same.
    """
    return _head_order(Source.of(model), head) is not None


def adopt_labels(model: ModelSpec | str | Path, head: Head) -> Head:
    """``head``, with the checkpoint's names for its labels where they are LABEL_i and its trained head knows better."""
    if head.labels is None or not placeholders(head.labels) or not has_trained_head(model, head):
        return head
    return replace(head, labels=adopt(head.labels, class_names(make_config(Source.of(model)))))


def load_teacher(distill: DistillSpec, head: Head) -> tuple[PreTrainedModel, Any, list[int] | None]:
    """The frozen teacher, its tokenizer or image processor, and its column for each of our labels; None where there are
    no labels.

    ``teacher(...).logits[..., permutation]`` are in the order of ``head.labels``.

    Raises:
        PlanError: if it has no trained head, or its labels are others; the message names both lists.
        OptkitError: as ``load_model``.
    """
    source = Source(distill.teacher, distill.revision, key="distill.teacher")
    config = make_config(source)
    theirs, permutation = replace(head, problem=None), None
    if head.labels is not None:
        theirs = replace(theirs, labels=class_names(config))
        if not placeholders(head.labels) or placeholders(theirs.labels):
            permutation = match(head.labels, theirs.labels)
        if permutation is None:
            raise PlanError(
                f"distill.teacher: {distill.teacher} has the labels {', '.join(theirs.labels)}, and the data "
                f"{', '.join(head.labels)}: use a teacher that was trained on the same labels, or name them alike in "
                "its config.json"
            )
    folder = source.folder()
    if _head_order(source, theirs) is None:
        raise PlanError(
            f"distill.teacher: {distill.teacher} has no trained head for {head.task.removeprefix('For')}: "
            "fine-tune it first, or use another"
        )
    teacher = _from_pretrained(source, folder, head.auto_class, config, seed=0).float().eval()
    reader = own_image_processor(source) if head.sees else own_tokenizer(source)
    return teacher.requires_grad_(False), reader, permutation


def meta_model(model: ModelSpec | str | Path, head: Head) -> nn.Module:
    """The architecture on torch's meta device: names and shapes, no memory; fetches no weights."""
    import torch

    source = Source.of(model)
    config = make_config(source, head)
    with torch.device("meta"), refusing(source):
        return _class(head.auto_class).from_config(config, trust_remote_code=source.trust_remote_code)


def _class(auto_class: str) -> Any:
    import transformers

    return getattr(transformers, auto_class)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _from_pretrained(source: Source, folder: Path, auto_class: str, config: Any, seed: int) -> PreTrainedModel:
    """The checkpoint as ``config`` says, refused if anything but the head is missing or of another shape."""
    import torch

    from optkit.adapters import quiet, reason

    weight_shapes(folder)
    try:
        with _seeded(seed), quiet():
            model, info = _class(auto_class).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=source.trust_remote_code,
            )
    except Exception as error:
        raise OptkitError(f"{folder}: cannot be loaded as {auto_class}: {reason(error)}") from error
    body = "" if model is model.base_model else f"{model.base_model_prefix}."
    other = sorted(name for name, *_ in info["mismatched_keys"] if name.startswith(body))
    if other:
        raise PlanError(
            f"{folder}: {len(other)} weights have another shape than the config says, first {other[0]}: "
            "remove the override that changes it"
        )
    # A pooler is often left out of a checkpoint, and trained with the head.
    missing = sorted(name for name in info["missing_keys"] if name.startswith(body) and ".pooler." not in f".{name}")
    if missing:
        raise OptkitError(
            f"{folder}: {len(missing)} weights of the {config.model_type} encoder are missing, first {missing[0]}: "
            "the checkpoint is incomplete or of another architecture"
        )
    return model


def _head_order(source: Source, head: Head) -> list[int] | None:
    """The checkpoint's output for each label, None if it has no head trained on them."""
    if source.name is None:
        return None
    config = make_config(source)
    if not any(name.endswith(head.task) for name in config.architectures or []):
        return None
    order = [] if head.labels is None else match(head.labels, class_names(config))
    if order is None:
        return None
    model = meta_model(source, head)
    body = f"{model.base_model_prefix}."
    there = weight_shapes(source.folder())
    top = (
        {}
        if model is model.base_model
        else {n: tuple(p.shape) for n, p in model.named_parameters() if not n.startswith(body)}
    )
    return order if all(there.get(name) == shape for name, shape in top.items()) else None


def reorder_head(model: PreTrainedModel, order: Sequence[int]) -> None:
    """Moves the outputs of the head's last linear layer to the order of our labels."""
    import torch

    body = f"{model.base_model_prefix}."
    last = [
        module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module.out_features == len(order) and not name.startswith(body)
    ][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.copy_(parameter[torch.tensor(order)])
