"""A model's configuration: stored or new, with the recipe's changes and the data's labels; typing mistakes refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optkit.errors import OptkitError, PlanError
from optkit.models.head import Head
from optkit.models.source import Source, refusing
from optkit.registry import suggest

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_FROM_DATA = ("num_labels", "id2label", "label2id")


def make_config(
    source: Source, head: Head | None = None, tokenizer: PreTrainedTokenizerBase | None = None
) -> PretrainedConfig:
    """The configuration, with the recipe's changes, and what the task's head sets if given.

    Of an image processor in the tokenizer's place nothing is taken.
    """
    if not hasattr(tokenizer, "get_vocab"):
        tokenizer = None
    if source.name is None:
        config = _new_config(source, tokenizer)
    else:
        config = _stored_config(source)
        _refuse_unknown(source.overrides, config, "model.overrides")
        with refusing(source):
            config.update(source.overrides)
    if tokenizer is not None and getattr(config, "vocab_size", len(tokenizer)) < len(tokenizer):
        raise PlanError(
            f"the tokenizer has {len(tokenizer)} tokens and the model room for {config.vocab_size}: "
            + ("raise model.config.vocab_size" if source.name is None else "use the model's own tokenizer")
        )
    if head is not None and head.labels is not None:
        config.num_labels = len(head.labels)
        config.id2label = dict(enumerate(head.labels))
        config.label2id = {label: i for i, label in enumerate(head.labels)}
    if head is not None and head.problem is not None:
        config.problem_type = head.problem
    return config


def _new_config(source: Source, tokenizer: PreTrainedTokenizerBase | None) -> PretrainedConfig:
    from transformers import CONFIG_MAPPING

    values = dict(source.config)
    kind = values.pop("model_type")
    if kind not in CONFIG_MAPPING:
        near = suggest(kind, CONFIG_MAPPING.keys()) or ", one that transformers knows, such as bert"
        raise PlanError(f"model.config.model_type: unknown model type '{kind}'{near}")
    with refusing(source):
        config = CONFIG_MAPPING[kind]()
        _refuse_unknown(values, config, "model.config")
        if "vocab_size" not in values and hasattr(config, "vocab_size"):
            values["vocab_size"] = (
                len(tokenizer) if tokenizer is not None else getattr(source.tokenizer, "vocab_size", config.vocab_size)
            )
        if "pad_token_id" not in values and tokenizer is not None:
            values["pad_token_id"] = tokenizer.pad_token_id
        return CONFIG_MAPPING[kind](**values)


def _stored_config(source: Source) -> PretrainedConfig:
    from transformers import AutoConfig

    from optkit.adapters import quiet, reason

    folder = source.folder(weights=False)
    if not (folder / "config.json").is_file():
        raise PlanError(
            f"{folder}: no config.json here: give a folder saved by save_pretrained with --set {source.key}=FOLDER"
        )
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=source.trust_remote_code)
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


def class_names(config: PretrainedConfig) -> list[str]:
    return [str(config.id2label[i]) for i in range(config.num_labels)]
