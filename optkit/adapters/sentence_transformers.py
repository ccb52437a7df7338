"""sentence-transformers' folders: the files that say how the vectors of a text's tokens become one embedding.

They are read and written as data; the package itself is not needed. A folder that has them is one that
``SentenceTransformer(folder)`` loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optkit.errors import PlanError

MODULES, POOLING = "modules.json", "1_Pooling/config.json"
_LENGTH, _SETTINGS = "sentence_bert_config.json", "config_sentence_transformers.json"
#: All files of such a folder that hold no weights; the module that normalises has none.
FILES = (MODULES, _LENGTH, _SETTINGS, POOLING)
#: Ways to pool, by the name of newer files and by the key of older ones.
POOLINGS = {
    "mean": "pooling_mode_mean_tokens",
    "cls": "pooling_mode_cls_token",
    "lasttoken": "pooling_mode_lasttoken",
    "max": "pooling_mode_max_tokens",
}
_CLASS = "sentence_transformers.models."


@dataclass(frozen=True)
class Embedding:
    """How a model embeds a text.

    Attributes:
        pooling: one of ``POOLINGS``.
        normalize: whether embeddings have length 1.
        prompt: what stands before each text.
    """

    pooling: str = "mean"
    normalize: bool = True
    prompt: str = ""

    def __str__(self) -> str:
        said = [self.pooling, *(["normalised"] if self.normalize else []), *(["a prompt"] if self.prompt else [])]
        return " and ".join(said)


def read(name: str, revision: str = "main", *, key: str = "model.name") -> Embedding | None:
    """How the model ``name`` embeds a text; None where it does not say, as a plain checkpoint of transformers.

    Args:
        name, revision: a folder, or a model on the Hub.
        key: where the recipe names it, for messages.

    Raises:
        PlanError: if its files are damaged, or it does what is not built: further layers, other ways to pool.
    """
    modules = _json(name, revision, MODULES, key)
    if modules is None:
        return None
    try:
        found = [(str(part["type"]).rpartition(".")[2], str(part["path"])) for part in modules]
    except (TypeError, KeyError, AttributeError):
        raise PlanError(f"{key}: {name}: {MODULES} is no list of modules: copy the model again") from None
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
    pooling = _json(name, revision, POOLING, key)
    if not isinstance(pooling, dict):
        raise PlanError(f"{key}: {name} has no {POOLING}: copy the whole model, folders included")
    prompt = _prompt(_json(name, revision, _SETTINGS, key), f"{key}: {name}")
    if prompt and pooling.get("include_prompt") is False:
        raise PlanError(f"{key}: {name} leaves its prompt out of the pooling, which is not built")
    return Embedding(_pooling(pooling, f"{key}: {name}"), "Normalize" in kinds, prompt)


def write(
    folder: Path, embedding: Embedding, *, width: int, max_length: int, source: str | None, revision: str
) -> None:
    """Puts the files into a checkpoint's folder: those of the model ``source`` byte for byte, else new ones.

    Args:
        width: numbers in an embedding.
        max_length: tokens at which new files say to cut a text.
        source: folder or Hub id of a model that has such files; None for one that has not.
    """
    from optkit.adapters.hub import model_file

    (folder / POOLING).parent.mkdir(parents=True, exist_ok=True)
    if source is not None:
        for name in FILES:
            if (file := model_file(source, revision, name)) is not None:
                (folder / name).write_bytes(file.read_bytes())
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
    for name, values in {MODULES: modules, POOLING: pooling, _SETTINGS: settings, _LENGTH: length}.items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _json(name: str, revision: str, file: str, key: str) -> Any:
    """What a JSON file of the model holds; None where there is none."""
    from optkit.adapters.hub import model_file

    path = model_file(name, revision, file)
    try:
        return None if path is None else json.loads(path.read_text(encoding="utf-8"))
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


def _prompt(settings: Any, where: str) -> str:
    """The text that sentence-transformers puts before every other unless it is told otherwise."""
    if not isinstance(settings, dict) or settings.get("default_prompt_name") is None:
        return ""
    prompts, name = settings.get("prompts"), settings["default_prompt_name"]
    if not isinstance(prompts, dict) or not isinstance(prompts.get(name), str):
        raise PlanError(f"{where} has no prompt '{name}', which its {_SETTINGS} names: correct the file")
    return prompts[name]
