"""sentence-transformers' folders: the files that say how the vectors of a text's tokens become one embedding.

They are read and written as data; the package itself is not needed. A folder that has them is one that
``SentenceTransformer(folder)`` loads.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optkit.adapters.hub import MODULES, POOLING, model_file
from optkit.errors import PlanError
from optkit.json_files import read_json

LENGTH, SETTINGS = "sentence_bert_config.json", "config_sentence_transformers.json"
#: All files of such a folder that hold no weights; the module that normalises has none.
FILES = (MODULES, LENGTH, SETTINGS, POOLING)
#: Ways to pool, by the name of newer files and by the key of older ones.
POOLINGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "lasttoken": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
}
_PACKAGE = "sentence_transformers."
_CLASS = f"{_PACKAGE}models."
#: What else its file may say of the encoder, each at what is built here.
_PLAIN = {
    "transformer_task": "feature-extraction",
    "module_output_name": "token_embeddings",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
}


@dataclass(frozen=True)
class Embedding:
    """How a model embeds a text.

    Attributes:
        pooling: one of ``POOLINGS``.
        normalize: whether embeddings have length 1.
        prompt: what stands before each text.
        lower: whether texts are brought to lower case before a tokenizer sees them.
        max_length: tokens at which a text is cut; None where the tokenizer's own limit holds.
    """

    pooling: str = "mean"
    normalize: bool = True
    prompt: str = ""
    lower: bool = field(default=False, compare=False)
    max_length: int | None = field(default=None, compare=False)

    def __str__(self) -> str:
        parts = [self.pooling, *(["normalised"] if self.normalize else []), *(["a prompt"] if self.prompt else [])]
        return " and ".join(parts)


def read(name: str, revision: str = "main", *, key: str = "model.name") -> Embedding | None:
    """How the model ``name`` embeds a text; None where it does not say, as a plain checkpoint of transformers.

    Args:
        name, revision: a folder, or a model on the Hub.
        key: where the recipe names it, for messages.

    Raises:
        PlanError: if its files are damaged, or it does what is not built: further layers, other ways to pool.
    """
    found = read_modules(name, revision, key)
    if found is None:
        return None
    kinds = [kind for kind, _ in found]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise PlanError(
            f"{key}: {name} is made of {', '.join(kinds)}: only Transformer and Pooling, and then Normalize, are built"
        )
    if (found[0][1], found[1][1]) != ("", POOLING.partition("/")[0]):
        raise PlanError(
            f"{key}: {name} keeps its modules in '{found[0][1]}' and '{found[1][1]}': save it again with a newer "
            "sentence-transformers"
        )
    pooling = read_settings(name, revision, POOLING, key)
    if not isinstance(pooling, dict):
        raise PlanError(f"{key}: {name} has no {POOLING}: copy the whole model, folders included")
    settings = read_settings(name, revision, SETTINGS, key)
    if isinstance(settings, dict) and settings.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        raise PlanError(f"{key}: {name} is a {settings['model_type']}, and only a SentenceTransformer is built")
    prompt = default_prompt(settings, f"{key}: {name}")
    if prompt and pooling.get("include_prompt") is False:
        raise PlanError(f"{key}: {name} leaves its prompt out of the pooling, which is not built")
    encoder = encoder_settings(read_settings(name, revision, LENGTH, key), f"{key}: {name}")
    return Embedding(_pooling(pooling, f"{key}: {name}"), "Normalize" in kinds, prompt, *encoder)


def read_modules(name: str, revision: str, key: str) -> list[tuple[str, str]] | None:
    """The kind of each module that the model ``name`` is made of, and its folder; None where it does not say.

    Raises:
        PlanError: if its file is damaged.
    """
    modules = read_settings(name, revision, MODULES, key)
    if modules is None:
        return None
    try:
        return [(_kind(str(part["type"])), str(part["path"])) for part in modules]
    except (TypeError, KeyError, AttributeError):
        raise PlanError(f"{key}: {name}: {MODULES} is no list of modules: copy the model again") from None


def lower_case(processor: Any) -> None:
    """Sets a fast tokenizer to bring texts to lower case first, once, in the way that is saved with it."""
    from tokenizers import normalizers

    own = processor.backend_tokenizer.normalizer
    parts = list(own) if isinstance(own, normalizers.Sequence) else [own] if own is not None else []
    if not any(isinstance(part, normalizers.Lowercase) for part in parts):
        processor.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *parts])


def as_stored(processor: Any, folder: Path, *, cut: bool = False) -> Any:
    """``processor``, set to lower case where the files beside it say so.

    Args:
        cut: whether texts are to be cut where they say, too.

    Raises:
        PlanError: if it is no fast tokenizer.
    """
    if not (folder / MODULES).is_file():
        return processor
    values: Any = None
    with contextlib.suppress(OSError, ValueError):
        values = read_json(folder / LENGTH)
    if isinstance(values, dict) and values.get("do_lower_case") is True:
        if not getattr(processor, "is_fast", False):
            raise PlanError(f"{folder}: {LENGTH} asks for lower case, which needs a fast tokenizer: save one beside it")
        lower_case(processor)
    if cut and isinstance(values, dict) and (length := encoder_settings(values, str(folder))[1]) is not None:
        processor.model_max_length = min(processor.model_max_length, length)
    return processor


def write(
    folder: Path, embedding: Embedding, *, width: int, max_length: int, source: str | None, revision: str
) -> None:
    """Puts the files into a checkpoint's folder: those of the model ``source`` byte for byte but for another length,
    else new ones.

    Args:
        width: numbers in an embedding.
        max_length: tokens at which the files say to cut a text.
        source: folder or Hub id of a model that has such files; None for one that has not.
    """
    (folder / POOLING).parent.mkdir(parents=True, exist_ok=True)
    if source is not None:
        copy_files(folder, FILES, source, revision, max_length=max_length)
        return
    kinds = {"Transformer": "", "Pooling": "1_Pooling"} | ({"Normalize": "2_Normalize"} if embedding.normalize else {})
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": _CLASS + kind} for i, (kind, path) in enumerate(kinds.items())
    ]
    # In the older form of the file, which every version reads.
    pooling: dict[str, Any] = {"word_embedding_dimension": width}
    pooling |= {flag: name == embedding.pooling for name, flag in POOLINGS.items()}
    settings = {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    length = {"max_seq_length": max_length, "do_lower_case": False}
    for name, values in {MODULES: modules, POOLING: pooling, SETTINGS: settings, LENGTH: length}.items():
        write_settings(folder / name, values)


def copy_files(
    folder: Path,
    names: Sequence[str],
    source: str,
    revision: str,
    *,
    max_length: int,
    default: dict[str, Any] | None = None,
) -> None:
    """Copies files of the model ``source`` byte for byte, but for another length.

    Args:
        default: what the file of the length says beside it where the model has none.
    """
    for name in names:
        if (file := model_file(source, revision, name)) is not None:
            (folder / name).write_bytes(file.read_bytes())
    values = read_settings(source, revision, LENGTH, "model.name") or default or {}
    if values.get("max_seq_length") != max_length:
        write_settings(folder / LENGTH, values | {"max_seq_length": max_length})


def write_settings(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _kind(name: str) -> str:
    """The name of a module of the package; of others, which run code of their own, where they are from, too."""
    return name.rpartition(".")[2] if name.startswith(_PACKAGE) else name


def encoder_settings(values: Any, where: str, plain: dict[str, Any] | None = None) -> tuple[bool, int | None]:
    """Whether texts are brought to lower case, and tokens at which they are cut, if its file says so.

    Args:
        plain: what the file says of the encoder that is built; by default of one for embeddings.

    Raises:
        PlanError: if it asks for what is not built.
    """
    if values is None:
        return False, None
    if not isinstance(values, dict):
        raise PlanError(f"{where}: {LENGTH} holds no settings: copy the model again")
    built, said = (plain or _PLAIN) | {"query_expansion": None}, dict(values)
    if isinstance(modalities := said.get("modality_config"), dict):
        # What a model makes of chats, images and sounds matters to no text.
        said["modality_config"] = {"text": modalities["text"]} if "text" in modalities else built["modality_config"]
    wrong = [name for name, value in built.items() if said.get(name, value) != value]
    wrong += [name for name in ("processing_kwargs", "config_args", "config_kwargs") if values.get(name)]
    options = values.get("processor_kwargs") or values.get("tokenizer_args") or {}
    if not isinstance(options, dict):
        raise PlanError(f"{where}: {LENGTH} has tokenizer_args that are no settings: correct the file")
    options = dict(options)
    length = options.pop("model_max_length", values.get("max_seq_length"))
    wrong += [f"processor_kwargs.{name}" for name in options if name not in ("use_fast", "cache_dir")]
    if wrong:
        raise PlanError(f"{where}: {LENGTH} sets {', '.join(wrong)}, which is not built: use a plain encoder")
    if length is not None and (not isinstance(length, int) or isinstance(length, bool) or length < 2):
        raise PlanError(f"{where}: {LENGTH} has a max_seq_length of {length!r}: correct the file")
    return values.get("do_lower_case") is True, length


def read_settings(name: str, revision: str, file: str, key: str) -> Any:
    """What a JSON file of the model holds; None where there is none."""
    path = model_file(name, revision, file)
    try:
        return None if path is None else read_json(path)
    except (OSError, ValueError) as error:
        raise PlanError(f"{key}: {name}: {file} cannot be read ({error}): copy the model again") from None


def _pooling(values: dict[str, Any], where: str) -> str:
    if "pooling_mode" in values:
        said = values["pooling_mode"]
        modes = [str(mode) for mode in said] if isinstance(said, list) else [str(said)]
    else:
        named = {flag: mode for mode, flag in POOLINGS.items()}
        modes = [named.get(key, key) for key, on in values.items() if key.startswith("pooling_mode_") and on is True]
    if len(modes) == 1 and modes[0] in POOLINGS:
        return modes[0]
    raise PlanError(
        f"{where} pools by {' and '.join(modes) or 'nothing'}: only {', '.join(POOLINGS)} are built, one alone"
    )


def default_prompt(settings: Any, where: str) -> str:
    """The text that sentence-transformers puts before every other unless it is told otherwise."""
    if not isinstance(settings, dict) or settings.get("default_prompt_name") is None:
        return ""
    prompts, name = settings.get("prompts"), settings["default_prompt_name"]
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise PlanError(f"{where} has no prompt '{name}', which its {SETTINGS} names: correct the file")
    return prompts[name]
