"""A model's configuration: stored or new, with the recipe's changes and the data's labels; typing mistakes refused."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import CONFIG_MAPPING, AutoConfig

from optkit.adapters import quiet, reason
from optkit.errors import OptkitError, PlanError
from optkit.json_files import read_json
from optkit.models.head import Head
from optkit.models.labels import stored_names
from optkit.models.source import Source, refusing
from optkit.spelling import suggest
from optkit.tasks import PROBLEMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PretrainedConfig, PreTrainedTokenizerBase

#: Layers of a model; the deepest that are published have a tenth of them.
_MOST_LAYERS = 1000
_CLASSES = "the classes come from the data: remove it"
_FROM_DATA = dict.fromkeys(("num_labels", "id2label", "label2id"), _CLASSES) | {
    "problem_type": "what is asked of the model comes from the data and from task.problem: remove it"
}


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
        config = _load_config(source)
        _refuse_unknown(source.overrides, config, "model.overrides")
        with refusing(source):
            config.update(source.overrides)
    _refuse_endless(config, "model.config" if source.name is None else f"{source.name}: config.json")
    if tokenizer is not None and getattr(config, "vocab_size", len(tokenizer)) < len(tokenizer):
        raise PlanError(
            f"the tokenizer has {len(tokenizer)} tokens and the model room for {config.vocab_size}: "
            + ("raise model.config.vocab_size" if source.name is None else "use the model's own tokenizer")
        )
    if head is not None and head.labels is not None:
        for name, value in label_maps(head.labels).items():
            setattr(config, name, value)
        # By it a model chooses its loss, and a pipeline between softmax and sigmoid: a checkpoint's is its last task's.
        config.problem_type = head.problem_type
    return config


def _refuse_endless(config: PretrainedConfig, where: str) -> None:
    """Refuses a number of layers that is a mistake: to build as many takes minutes, or all memory."""
    for name, value in vars(config).items():
        if "layers" in name and isinstance(value, int) and value > _MOST_LAYERS:
            raise PlanError(f"{where}: {name} is {value}, and no model has more than {_MOST_LAYERS}: correct it")


def label_maps(names: Sequence[str]) -> dict[str, Any]:
    """What a configuration says of classes with these names, in the order of the outputs."""
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}


def _new_config(source: Source, tokenizer: PreTrainedTokenizerBase | None) -> PretrainedConfig:
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


def _load_config(source: Source) -> PretrainedConfig:
    folder = source.folder(weights=False)
    if not (folder / "config.json").is_file():
        raise PlanError(
            f"{folder}: no config.json here: give a folder saved by save_pretrained with --set {source.key}=FOLDER"
        )
    read_values(folder)
    if (config := mend_config(folder)) is not None:
        return config
    try:
        with quiet():
            return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=source.trust_remote_code)
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise PlanError(
                f"{folder}: this model runs its own code: read it, and set model.trust_remote_code=true if you trust it"
            ) from error
        raise OptkitError(f"{folder}: its config.json cannot be read: {reason(error)}") from error


def read_values(folder: Path) -> dict[str, Any]:
    """What the config.json of a checkpoint holds, as it is.

    Raises:
        OptkitError: if it is no JSON mapping.
    """
    file = folder / "config.json"
    try:
        values = read_json(file)
    except (OSError, ValueError) as error:
        raise OptkitError(f"{folder}: its config.json cannot be read: {error}: copy it again") from error
    if not isinstance(values, dict):
        raise OptkitError(f"{folder}: its config.json cannot be read: it holds no mapping: copy it again")
    return values


def mend_values(values: dict[str, Any], folder: Path, *, strict: bool = True) -> tuple[dict[str, Any], list[str]]:
    """A config.json that transformers reads as it was meant, where its class names or its problem are not as they are
    written today; and a note for each thing that was read otherwise than it stands there.

    Args:
        values: what the file in ``folder`` holds.
        strict: refuse names of which the meaning cannot be told; else they are left out.

    Raises:
        PlanError: see ``strict``.
    """
    usable = dict(values)
    try:
        names, notes = stored_names(values)
    except ValueError as error:
        if strict:
            raise PlanError(
                f"{folder / 'config.json'}: {error}: write one name for each output, as in "
                '"id2label": {"0": "negative", "1": "positive"}'
            ) from None
        names, notes = None, []
        usable.pop("num_labels", None)
    if names is None:
        usable = {key: value for key, value in usable.items() if key not in ("id2label", "label2id")}
    else:
        usable |= {key: value for key, value in label_maps(names).items() if not _same(values.get(key), value)}
        if usable.get("num_labels", len(names)) != len(names):
            del usable["num_labels"]
    if usable.get("problem_type") not in (None, *PROBLEMS):
        notes.append(f"problem_type is {usable.pop('problem_type')!r}, which transformers does not know: left out")
    return usable, notes


def mend_config(folder: Path) -> PretrainedConfig | None:
    """The configuration of a checkpoint as ``mend_values`` makes it; None where transformers reads the file as it is.

    Raises:
        OptkitError: if the file is no JSON mapping, or a value in it is of the wrong type.
    """
    if not (folder / "config.json").is_file():
        return None
    values = read_values(folder)
    usable, _ = mend_values(values, folder, strict=False)
    kind = values.get("model_type")
    if usable == values or not isinstance(kind, str) or kind not in CONFIG_MAPPING or "auto_map" in values:
        return None
    try:
        with quiet():
            return CONFIG_MAPPING[kind].from_dict(usable)
    except Exception as error:  # each configuration checks its values in its own way
        raise OptkitError(f"{folder}: its config.json cannot be read: {reason(error)}") from error


def _same(stored: Any, ours: dict[Any, Any]) -> bool:
    """Whether a mapping read from JSON, whose keys are texts, is ``ours``."""
    return isinstance(stored, dict) and stored == {str(key): value for key, value in ours.items()}


def _refuse_unknown(values: dict[str, Any], config: PretrainedConfig, key: str) -> None:
    """transformers takes any key and goes on without it, so a typing mistake would train another model."""
    names = set(config.to_dict()) | set(config.attribute_map)
    problems = []
    for name, value in values.items():
        if name in _FROM_DATA:
            problems.append(f"{key}.{name}: {_FROM_DATA[name]}")
        elif name not in names:
            problems.append(f"{key}.{name}: {config.model_type} has no such setting{suggest(name, names)}")
        elif (problem := _nonsense(name, value, getattr(config, name, None))) is not None:
            problems.append(f"{key}.{name}: {problem}")
    if problems:
        raise PlanError(problems)


def _nonsense(name: str, value: Any, usual: Any) -> str | None:
    """Why no model has this ``value``, where transformers would take it and go on; None where one may.

    Args:
        usual: what the setting is otherwise.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no number: give one"
    if re.search(r"dropout|_prob$", name) and isinstance(value, (int, float)) and not 0 <= value <= 1:
        return f"{value} is no share: give a number from 0 to 1"
    sizes = re.search(r"^(num|n|d|dim|max)_|_(size|layers|heads|dim|embeddings)$|^dim$", name)
    if sizes and type(value) is int and type(usual) is int and value < 1 <= usual:
        return f"{value} is no size: give a whole number of 1 or more"
    return None
