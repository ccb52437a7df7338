"""Loads a model's tokenizer, or trains one."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import AutoTokenizer

from optkit.adapters import quiet, reason, sentence_transformers
from optkit.errors import OptkitError, PlanError
from optkit.json_files import read_json
from optkit.models.config import make_config, mend_config
from optkit.models.positions import longest_input, stored_longest_input
from optkit.models.source import Source
from optkit.models.wordpiece import train_wordpiece

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from optkit.recipe.schema import ModelSpec


def load_tokenizer(model: ModelSpec | str | Path, texts: Iterable[str] | None = None) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, the one that ``model.tokenizer`` names, or one trained on ``texts``.

    Its ``model_max_length`` is at most what the model has positions for, whatever its own files say.

    Args:
        model: the recipe's model, or a checkpoint folder.
        texts: those of the training split; needed only where the recipe says ``tokenizer: {train: wordpiece}``.

    Raises:
        PlanError: if there is none, or it can't pad.
        OptkitError: if it can't be read, or the Hub can't be reached.
    """
    source = Source.of(model)
    spec = source.tokenizer
    if spec is not None and not isinstance(spec, str):
        if texts is None:
            raise PlanError("model.tokenizer: {train: wordpiece} needs the texts of the training split")
        config = make_config(source)
        types = getattr(config, "type_vocab_size", 0) > 1
        return train_wordpiece(texts, spec.vocab_size, longest_input(config) or 512, token_types=types)
    if spec is not None:
        other = Source(spec, trust_remote_code=source.trust_remote_code, key="model.tokenizer")
        return own_tokenizer(other, make_config(source))
    return own_tokenizer(source)


def store_longest_input(folder: Path) -> None:
    """Writes into tokenizer_config.json of ``folder`` how many tokens the model there has positions for, as
    ``model_max_length``, where neither that nor ``max_position_embeddings`` of config.json limits inputs to as many:
    who serves it needs to know nothing of architectures. Else every file stays as it is, byte for byte.
    """
    file = folder / "tokenizer_config.json"
    if not (folder / "config.json").is_file() or not (file.is_file() or (folder / "tokenizer.json").is_file()):
        return
    config, values = read_json(folder / "config.json"), read_json(file) if file.is_file() else {}
    if not isinstance(config, dict) or not isinstance(values, dict):
        return
    longest = stored_longest_input(config)
    said = (config.get("max_position_embeddings"), values.get("model_max_length"))
    if longest is not None and not any(isinstance(each, (int, float)) and 0 < each <= longest for each in said):
        values["model_max_length"] = longest
        file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def own_tokenizer(
    source: Source, config: PretrainedConfig | None = None, *, embeds: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer in the folder of ``source``, in lower case where sentence-transformers' files there say so.

    Args:
        config: of the model that it is for, which is that folder's by default.
        embeds: whether texts are cut where those files say, as for embeddings.
    """
    folder = source.folder(weights=False)
    # transformers reads config.json for the kind of tokenizer, and stumbles over class names there that are odd.
    usable = mend_config(folder)
    way_out = "give a folder that has one with --set model.tokenizer=FOLDER"
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=source.trust_remote_code,
                **({} if usable is None else {"config": usable}),
            )
    except Exception as error:
        raise OptkitError(f"{folder}: its tokenizer cannot be read ({reason(error)}): {way_out}") from error
    # For a folder without a tokenizer, transformers makes one that knows its special tokens and nothing else.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise PlanError(f"{folder}: no tokenizer here: {way_out}")
    if tokenizer.pad_token is None:
        raise PlanError(f"{folder}: this tokenizer has no padding token, which batches need: {way_out}")
    most = tokenizer.model_max_length
    if isinstance(most, bool) or not isinstance(most, (int, float)) or not most >= 1:
        raise PlanError(
            f"{folder}: tokenizer_config.json: model_max_length is {most!r}, no number of tokens: {way_out}"
        )
    if config is None and (folder / "config.json").is_file():
        config = make_config(source)
    longest = longest_input(config) if config is not None else None
    if longest is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest)
    return sentence_transformers.as_stored(tokenizer, folder, cut=embeds)
