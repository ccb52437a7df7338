"""Loads the model to start from and the teacher to learn from. Every failure is one line with a way out.

Models come as fp32. A checkpoint whose head was trained on these labels keeps it, in the order of these labels. Any
other gets a new head with random weights, drawn from the recipe's seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.checkpoints.files import present_name, weight_shapes
from optkit.checkpoints.plain import given
from optkit.errors import OptkitError, PlanError
from optkit.models.config import make_config, mended, read_values
from optkit.models.encoder_decoder import auto_class_for, refuse_decoder
from optkit.models.head import Head
from optkit.models.image_processor import own_image_processor
from optkit.models.labels import adopt, by_number, match, numbered, placeholders, stored_names
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


def has_trained_head(model: ModelSpec | str | Path, head: Head) -> bool:
    """Whether the checkpoint holds the weights of such a head, trained on its labels, see ``kept_head``."""
    return kept_head(model, head) is not None


def adopt_labels(model: ModelSpec | str | Path, head: Head) -> Head:
    """``head``, with the checkpoint's names for its labels where they are LABEL_i and its trained head knows better."""
    if head.labels is None or not placeholders(head.labels):
        return head
    kept = kept_head(model, head)
    return head if kept is None else replace(head, labels=adopt(head.labels, kept.names))


def load_teacher(
    distill: DistillSpec, head: Head, *, key: str = "distill.teacher"
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
    source = Source(distill.teacher, distill.revision, key=key)
    folder = source.folder()
    theirs, permutation = stored_head(source, head), None
    if theirs is None:
        raise PlanError(
            f"{key}: {distill.teacher} has no trained head for {head.kind}: fine-tune it first, or use another"
        )
    if head.labels is not None:
        if not placeholders(head.labels) or placeholders(theirs):
            permutation = match(head.labels, theirs)
        if permutation is None:
            raise PlanError(
                f"{key}: {distill.teacher} has the labels {', '.join(theirs)}, and the data "
                f"{', '.join(head.labels)}: use one that was trained on the same labels, or name them alike in its "
                "config.json"
            )
    config = make_config(source, replace(head, labels=head.labels and theirs))
    teacher = _from_pretrained(source, folder, head.auto_class, config, seed=0).float().eval()
    reader = own_image_processor(source) if head.sees else own_tokenizer(source, embeds=not head.task)
    return teacher.requires_grad_(False), reader, permutation


def meta_model(model: ModelSpec | str | Path, head: Head) -> nn.Module:
    """The architecture on torch's meta device: names and shapes, no memory; fetches no weights.

    Raises:
        PlanError: if the config fits no model, or one with a decoder beside its encoder.
    """
    import torch

    source = Source.of(model)
    config = make_config(source, head)
    with torch.device("meta"), refusing(source):
        chosen = auto_class_for(head.auto_class, config)
        found = chosen.from_config(config, trust_remote_code=source.trust_remote_code)
    refuse_decoder(source.name or "model.config", found)
    return found


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
    where = given(folder)
    try:
        with _seeded(seed), quiet():
            model, info = auto_class_for(auto_class, config).from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=source.trust_remote_code,
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
        names, _ = stored_names(mended(values, given(folder))[0])
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
        return names or numbered(config.num_labels)
    if len(outputs) > 1 or any(found[1:] != shape[1:] for found, shape in differ.values()):
        return None
    if names is None:
        return numbered(outputs.pop())
    raise PlanError(
        f"{given(folder) / 'config.json'}: id2label names {len(names)} outputs, and {next(iter(differ))} has "
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


def _redraw_head(model: PreTrainedModel, seed: int) -> None:
    """Gives what is outside the body new random weights, where a checkpoint's head for something else fitted in."""
    import torch

    if model is model.base_model:
        return
    with _seeded(seed), torch.no_grad():
        drawn = dict(type(model)(model.config).named_parameters())
        for name, parameter in model.named_parameters():
            if not name.startswith(f"{model.base_model_prefix}."):
                parameter.copy_(drawn[name])


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
