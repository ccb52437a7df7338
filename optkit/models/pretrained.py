"""Loads the model to start from and the teacher to learn from. Every failure is one line with a way out.

Models come as fp32. A checkpoint whose head was trained on these labels keeps it, in the order of these labels. Any
other gets a new head with random weights, drawn from the recipe's seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from optkit.adapters import quiet, reason
from optkit.checkpoints.files import weight_shapes
from optkit.checkpoints.plain import original_folder
from optkit.errors import OptkitError, PlanError
from optkit.models.checkpoint_head import kept_head, reorder_head, stored_head
from optkit.models.config import make_config
from optkit.models.encoder_decoder import auto_class_for
from optkit.models.head import Head
from optkit.models.image_processor import own_image_processor
from optkit.models.labels import adopt, match, placeholders
from optkit.models.source import Source, refusing
from optkit.models.tokenizer import own_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from optkit.recipe.distill import TeacherSpec
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
        with _use_seed(seed), refusing(source):
            return auto_class_for(head.auto_class, config).from_config(config).float().eval()
    folder = source.folder()
    kept = kept_head(source, head)
    if kept is not None and kept.names:
        head = replace(head, labels=adopt(head.labels, kept.names))
    config = make_config(source, head, tokenizer)
    loaded = _from_pretrained(source, folder, head.auto_class, config, seed)
    if kept is None:
        _redraw_head(loaded, seed)
    elif kept.order != list(range(len(kept.order))):
        reorder_head(loaded, kept.order)
    return loaded.float().eval()


def load_teacher(
    spec: TeacherSpec, head: Head, *, key: str = "distill.teacher"
) -> tuple[PreTrainedModel, Any, list[int] | None]:
    """The frozen teacher, its tokenizer or image processor, and its column for each of our labels; None where there are
    no labels.

    ``teacher(...).logits[..., permutation]`` are in the order of ``head.labels``.

    Args:
        key: where the recipe names it, for messages; a baseline is loaded as a teacher is.

    Raises:
        PlanError: if it has no trained head, or its labels are others; the message names both lists.
        OptkitError: as ``load_model``.
    """
    source = Source(spec.name, spec.revision, key=key)
    folder = source.folder()
    theirs, permutation = stored_head(source, head), None
    if theirs is None:
        raise PlanError(f"{key}: {spec.name} has no trained head for {head.kind}: fine-tune it first, or use another")
    if head.labels is not None:
        if not placeholders(head.labels) or placeholders(theirs):
            permutation = match(head.labels, theirs)
        if len(head.labels) == len(theirs) == 1:  # a score, whatever it is called
            permutation = [0]
        if permutation is None:
            raise PlanError(
                f"{key}: {spec.name} has the labels {', '.join(theirs)}, and the data "
                f"{', '.join(head.labels)}: use one that was trained on the same labels, or name them alike in its "
                "config.json"
            )
    config = make_config(source, replace(head, labels=head.labels and theirs))
    teacher = _from_pretrained(source, folder, head.auto_class, config, seed=0).float().eval()
    processor = own_image_processor(source) if head.reads_images else own_tokenizer(source, embeds=not head.task)
    return teacher.requires_grad_(False), processor, permutation


@contextlib.contextmanager
def _use_seed(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def load_with_info(
    model_class: Any, folder: Path, config: Any, *, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """A float32 model of local files only, and the weights that transformers found missing, left over or of another
    shape: its ``output_loading_info``.
    """
    return model_class.from_pretrained(
        folder,
        config=config,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        local_files_only=True,
        trust_remote_code=trust_remote_code,
    )


def _from_pretrained(source: Source, folder: Path, auto_class: str, config: Any, seed: int) -> PreTrainedModel:
    """The checkpoint as ``config`` says, refused if anything but the head is missing or of another shape."""
    weight_shapes(folder)
    where = original_folder(folder)
    try:
        with _use_seed(seed), quiet():
            model, info = load_with_info(
                auto_class_for(auto_class, config), folder, config, trust_remote_code=source.trust_remote_code
            )
    except Exception as error:
        raise OptkitError(f"{where}: cannot be loaded as {auto_class}: {reason(error)}") from error
    body = "" if model is model.base_model else f"{model.base_model_prefix}."
    other = sorted(name for name, *_ in info["mismatched_keys"] if name.startswith(body))
    if other:
        raise PlanError(
            f"{where}: {len(other)} weights have another shape than the config says, first {other[0]}: "
            "remove the override that changes it"
        )
    # A pooler is often left out of a checkpoint, and trained with the head.
    missing = sorted(name for name in info["missing_keys"] if name.startswith(body) and ".pooler." not in f".{name}")
    if missing:
        raise OptkitError(
            f"{where}: {len(missing)} weights of the {config.model_type} encoder are missing, first {missing[0]}: "
            "the checkpoint is incomplete or of another architecture"
        )
    return model


def _redraw_head(model: PreTrainedModel, seed: int) -> None:
    """Gives what is outside the body new random weights, where a checkpoint's head for something else fitted in."""
    if model is model.base_model:
        return
    with _use_seed(seed), torch.no_grad():
        drawn = dict(type(model)(model.config).named_parameters())
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{model.base_model_prefix}."):
                parameter.copy_(drawn[name])
