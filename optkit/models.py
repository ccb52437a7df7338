"""Loads what a recipe starts from and learns from: tokenizer, model, teacher. Every failure is one line with a way out.

Models come as fp32. A checkpoint whose head was trained on these labels keeps it, in the order of these labels; any other
gets a new head with random weights, drawn from the recipe's seed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError, PlanError
from optkit.labels import adopt, match, placeholders
from optkit.registry import suggest

if TYPE_CHECKING:
    from torch import nn
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from optkit.recipe.schema import DistillSpec, ModelSpec

_FROM_DATA = ("num_labels", "id2label", "label2id")


@dataclass(frozen=True)
class _Source:
    """A ModelSpec's fields, or those of a plain folder, and the recipe's key for its name."""

    name: str | None
    revision: str = "main"
    config: dict[str, Any] | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    trust_remote_code: bool = False
    key: str = "model.name"

    @classmethod
    def of(cls, model: ModelSpec | _Source | str | Path) -> _Source:
        if isinstance(model, (_Source, str, Path)):
            return model if isinstance(model, _Source) else cls(str(model))
        return cls(
            model.name, model.revision, model.config, dict(model.overrides), model.tokenizer, model.trust_remote_code
        )

    def folder(self, weights: bool = True) -> Path:
        from optkit.adapters.hub import model_folder

        return model_folder(
            self.name, self.revision, key=self.key, weights=weights, code=self.trust_remote_code
        )


def load_tokenizer(model: ModelSpec | str | Path, texts: Iterable[str] | None = None) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, the one that ``model.tokenizer`` names, or one trained on ``texts``.

    Args:
        model: the recipe's model, or a checkpoint folder.
        texts: those of the training split; needed only where the recipe says ``tokenizer: {train: wordpiece}``.

    Raises:
        PlanError: if there is none, or it can't pad.
        OptkitError: if it can't be read, or the Hub can't be reached.
    """
    source = _Source.of(model)
    wanted = source.tokenizer
    if wanted is not None and not isinstance(wanted, str):
        from optkit.tokenization import train_wordpiece

        if texts is None:
            raise PlanError("model.tokenizer: {train: wordpiece} needs the texts of the training split")
        config = _config(source)
        types = getattr(config, "type_vocab_size", 0) > 1
        return train_wordpiece(texts, wanted.vocab_size, longest_input(config) or 512, token_types=types)
    if wanted is not None:
        source = _Source(wanted, trust_remote_code=source.trust_remote_code, key="model.tokenizer")
    return _tokenizer(source)


def _tokenizer(source: _Source) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    from optkit.adapters import quiet, reason

    folder = source.folder(weights=False)
    way_out = "give a folder that has one with --set model.tokenizer=FOLDER"
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=source.trust_remote_code
            )
    except Exception as error:
        raise OptkitError(f"{folder}: its tokenizer cannot be read ({reason(error)}): {way_out}") from error
    # For a folder without a tokenizer, transformers makes one that knows its special tokens and nothing else.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise PlanError(f"{folder}: no tokenizer here: {way_out}")
    if tokenizer.pad_token is None:
        raise PlanError(f"{folder}: this tokenizer has no padding token, which batches need: {way_out}")
    return tokenizer


def load_model(
    model: ModelSpec | str | Path,
    auto_class: str,
    labels: Sequence[str],
    *,
    seed: int,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> PreTrainedModel:
    """The model to start from, fp32, in evaluation mode, with one output for each label in their order.

    Args:
        model: the recipe's model, or a checkpoint folder.
        auto_class: such as AutoModelForSequenceClassification.
        labels: the class names. Names that only number the classes give way to the checkpoint's, if its head is kept.
        seed: of the weights that are not in the checkpoint. The global random state stays as it was.
        tokenizer: gives a ``config`` model its vocabulary size and padding id, and is checked against a named one's.

    Raises:
        PlanError: if the config fits no model, or the checkpoint or the tokenizer does not fit the config.
        OptkitError: if the checkpoint is damaged or incomplete, or the Hub can't be reached.
    """
    source = _Source.of(model)
    if source.name is None:
        config = _config(source, labels, tokenizer)
        with _seeded(seed), _refusing(source):
            return _class(auto_class).from_config(config).float().eval()
    folder = source.folder()
    order = _head_order(source, auto_class, labels)
    config = _config(source, adopt(labels, _names(_config(source))) if order else labels, tokenizer)
    loaded = _from_pretrained(source, folder, auto_class, config, seed)
    if order and order != list(range(len(order))):
        _reorder_head(loaded, order)
    return loaded.float().eval()


def has_trained_head(model: ModelSpec | str | Path, auto_class: str, labels: Sequence[str]) -> bool:
    """Whether the checkpoint holds the weights of a head for this task, trained on these labels.

    Reads names and shapes of the weights only. See ``optkit.labels`` for when labels are the same.
    """
    return _head_order(_Source.of(model), auto_class, labels) is not None


def adopt_labels(model: ModelSpec | str | Path, auto_class: str, labels: Sequence[str]) -> list[str]:
    """``labels``, or the checkpoint's names for them where they are LABEL_i and its trained head knows better."""
    source = _Source.of(model)
    if not placeholders(labels) or not has_trained_head(model, auto_class, labels):
        return list(labels)
    return adopt(labels, _names(_config(source)))


def load_teacher(
    distill: DistillSpec, auto_class: str, labels: Sequence[str]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[int]]:
    """The frozen teacher, its tokenizer, and its column for each of our labels.

    ``teacher(...).logits[:, permutation]`` are in the order of ``labels``.

    Raises:
        PlanError: if it has no trained head, or its labels are others; the message names both lists.
        OptkitError: as ``load_model``.
    """
    source = _Source(distill.teacher, distill.revision, key="distill.teacher")
    config = _config(source)
    theirs = _names(config)
    permutation = None
    if not placeholders(labels) or placeholders(theirs):
        permutation = match(labels, theirs)
    if permutation is None:
        raise PlanError(
            f"distill.teacher: {distill.teacher} has the labels {', '.join(theirs)}, and the data {', '.join(labels)}: "
            "use a teacher that was trained on the same labels, or name them alike in its config.json"
        )
    folder = source.folder()
    if _head_order(source, auto_class, theirs) is None:
        raise PlanError(
            f"distill.teacher: {distill.teacher} has no trained head for {auto_class.removeprefix('AutoModelFor')}: "
            "fine-tune it first, or use another"
        )
    teacher = _from_pretrained(source, folder, auto_class, config, seed=0).float().eval()
    return teacher.requires_grad_(False), _tokenizer(source), permutation


def meta_model(model: ModelSpec | str | Path, auto_class: str, labels: Sequence[str]) -> nn.Module:
    """The architecture on torch's meta device: names and shapes, no memory; fetches no weights."""
    import torch

    source = _Source.of(model)
    config = _config(source, labels)
    with torch.device("meta"), _refusing(source):
        return _class(auto_class).from_config(config, trust_remote_code=source.trust_remote_code)


def longest_input(config: PretrainedConfig) -> int | None:
    """How many tokens the model has positions for; None where it has no such limit."""
    positions = getattr(config, "max_position_embeddings", None)
    if not isinstance(positions, int) or positions <= 0:
        return None
    # RoBERTa's positions start behind its padding id.
    offset = config.pad_token_id + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
    return positions - offset


def _config(
    source: _Source, labels: Sequence[str] | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> PretrainedConfig:
    """The configuration, with the recipe's changes, and the task's labels if given."""
    if source.name is None:
        config = _new_config(source, tokenizer)
    else:
        config = _stored_config(source)
        _refuse_unknown(source.overrides, config, "model.overrides")
        with _refusing(source):
            config.update(source.overrides)
    if tokenizer is not None and getattr(config, "vocab_size", len(tokenizer)) < len(tokenizer):
        raise PlanError(
            f"the tokenizer has {len(tokenizer)} tokens and the model room for {config.vocab_size}: "
            + ("raise model.config.vocab_size" if source.name is None else "use the model's own tokenizer")
        )
    if labels is not None:
        config.num_labels = len(labels)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: i for i, label in enumerate(labels)}
    return config


def _new_config(source: _Source, tokenizer: PreTrainedTokenizerBase | None) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING

    values = dict(source.config)
    kind = values.pop("model_type")
    if kind not in CONFIG_MAPPING:
        near = suggest(kind, CONFIG_MAPPING.keys()) or ", one that transformers knows, such as bert"
        raise PlanError(f"model.config.model_type: unknown model type '{kind}'{near}")
    with _refusing(source):
        config = CONFIG_MAPPING[kind]()
        _refuse_unknown(values, config, "model.config")
        if "vocab_size" not in values and hasattr(config, "vocab_size"):
            values["vocab_size"] = len(tokenizer) if tokenizer is not None else getattr(
                source.tokenizer, "vocab_size", config.vocab_size
            )
        if "pad_token_id" not in values and tokenizer is not None:
            values["pad_token_id"] = tokenizer.pad_token_id
        return CONFIG_MAPPING[kind](**values)


def _stored_config(source: _Source) -> PretrainedConfig:
    from transformers import AutoConfig

    from optkit.adapters import quiet, reason

    folder = source.folder(weights=False)
    if not (folder / "config.json").is_file():
        raise PlanError(f"{folder}: no config.json here: give a folder saved by save_pretrained with --set {source.key}=FOLDER")
    try:
        with quiet():
            return AutoConfig.from_pretrained(
                folder, local_files_only=True, trust_remote_code=source.trust_remote_code
            )
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise PlanError(
                f"{folder}: this model runs its own code: read it, and set model.trust_remote_code=true if you trust it"
            ) from error
        raise OptkitError(f"{folder}: its config.json cannot be read: {reason(error)}") from error


def _refuse_unknown(values: dict[str, Any], config: PretrainedConfig, key: str) -> None:
    """transformers takes any key and goes on without it, so a typing mistake would train another model."""
    known = set(config.to_dict()) | set(config.attribute_map)
    problems = []
    for name in values:
        if name in _FROM_DATA:
            problems.append(f"{key}.{name}: the classes come from the data: remove it")
        elif name not in known:
            problems.append(f"{key}.{name}: {config.model_type} has no such setting{suggest(name, known)}")
    if problems:
        raise PlanError(problems)


def _class(auto_class: str) -> Any:
    import transformers

    return getattr(transformers, auto_class)


@contextlib.contextmanager
def _refusing(source: _Source) -> Iterator[None]:
    """Turns what an architecture raises on values that it can't work with into one line."""
    from optkit.adapters import quiet, reason

    try:
        with quiet():
            yield
    except OptkitError:
        raise
    except Exception as error:
        raise PlanError(f"{'model.config' if source.name is None else source.name}: {reason(error)}") from error


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _from_pretrained(source: _Source, folder: Path, auto_class: str, config: Any, seed: int) -> PreTrainedModel:
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
    body = f"{model.base_model_prefix}."
    other = sorted(name for name, *_ in info["mismatched_keys"] if name.startswith(body))
    if other:
        raise PlanError(
            f"{folder}: {len(other)} weights have another shape than the config says, first {other[0]}: "
            "remove the override that changes it"
        )
    # A pooler is often left out of a checkpoint, and trained with the head.
    missing = sorted(name for name in info["missing_keys"] if name.startswith(body) and ".pooler." not in name)
    if missing:
        raise OptkitError(
            f"{folder}: {len(missing)} weights of the {config.model_type} encoder are missing, first {missing[0]}: "
            "the checkpoint is incomplete or of another architecture"
        )
    return model


def _head_order(source: _Source, auto_class: str, labels: Sequence[str]) -> list[int] | None:
    """The checkpoint's output for each label, None if it has no head trained on them."""
    if source.name is None:
        return None
    config = _config(source)
    task = auto_class.removeprefix("AutoModel")
    if not any(name.endswith(task) for name in config.architectures or []):
        return None
    order = match(labels, _names(config))
    if order is None:
        return None
    model = meta_model(source, auto_class, labels)
    body = f"{model.base_model_prefix}."
    there = weight_shapes(source.folder())
    head = {name: tuple(p.shape) for name, p in model.named_parameters() if not name.startswith(body)}
    return order if all(there.get(name) == shape for name, shape in head.items()) else None


def _names(config: PretrainedConfig) -> list[str]:
    return [str(config.id2label[i]) for i in range(config.num_labels)]


def _reorder_head(model: PreTrainedModel, order: Sequence[int]) -> None:
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


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint, from its headers.

    Raises:
        OptkitError: if there are no weights, or a file is missing or damaged.
    """
    import json

    files = sorted(folder.glob("model*.safetensors"))
    pickled = [] if files else sorted(folder.glob("pytorch_model*.bin"))
    if not files and not pickled:
        raise OptkitError(f"{folder}: no weights here: expected model.safetensors")
    for index in folder.glob("*.index.json"):
        named = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        absent = sorted(named - {file.name for file in files + pickled})
        if absent and index.name.startswith(("model" if files else "pytorch_model")):
            raise OptkitError(f"{folder}: {absent[0]} is missing, which {index.name} names: copy the whole checkpoint")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files or pickled:
        try:
            shapes.update(_safetensors_shapes(file) if files else _pickled_shapes(file))
        except Exception as error:
            from optkit.adapters import reason

            raise OptkitError(
                f"{file}: damaged or only half written ({reason(error)}): copy or train it again"
            ) from error
    return shapes


def _safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}


def _pickled_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    import torch

    return {n: tuple(t.shape) for n, t in torch.load(file, map_location="meta", weights_only=True).items()}
