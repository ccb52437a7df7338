"""sentence-transformers' folders of a CrossEncoder: a sequence classifier of pairs, and what it makes of its logits.

Its first versions keep the activation in config.json and no modules.json; both forms are read, the newer one is
written, which older versions pass over. The package itself is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters.hub import MODULES
from optkit.adapters.sentence_transformers import (
    LENGTH,
    SETTINGS,
    copy_files,
    default_prompt,
    encoder_settings,
    read_modules,
    read_settings,
    write_settings,
)
from optkit.errors import PlanError

if TYPE_CHECKING:
    from optkit.recipe.schema import ModelSpec

_KIND = "CrossEncoder"
_TRANSFORMER = "sentence_transformers.base.modules.transformer.Transformer"
_SIGMOID = "torch.nn.modules.activation.Sigmoid"
#: What the file of its Transformer says.
_ENCODER: dict[str, Any] = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "scores",
}


@dataclass(frozen=True)
class CrossEncoder:
    """What the files of a CrossEncoder say.

    Attributes:
        outputs: of its head.
        activation: name of the class in torch that ``predict`` applies to logits; None for the package's default.
        max_length: tokens at which a pair is cut; None where the tokenizer's own limit holds.
        has_modules: whether it has the files of newer versions.
    """

    outputs: int = 1
    activation: str | None = None
    max_length: int | None = None
    has_modules: bool = True


def read(name: str, revision: str = "main", *, key: str = "model.name") -> CrossEncoder | None:
    """What the files of the model ``name`` say of it; None for a plain checkpoint of transformers.

    Args:
        name, revision: a folder, or a model on the Hub.
        key: where the recipe names it, for messages.

    Raises:
        PlanError: if its files are damaged, it is no CrossEncoder, or does what is not built: further modules, prompts.
    """
    where, modules = f"{key}: {name}", read_modules(name, revision, key)
    config = read_settings(name, revision, "config.json", key)
    config = config if isinstance(config, dict) else {}
    outputs = len(names) if isinstance(names := config.get("id2label"), (dict, list)) and names else 2
    if isinstance(config.get("num_labels"), int) and "id2label" not in config:
        outputs = config["num_labels"]
    own = config.get("sentence_transformers")
    activation = own.get("activation_fn") if isinstance(own, dict) else None
    activation = activation or config.get("sbert_ce_default_activation_function")
    if modules is None:
        return CrossEncoder(outputs, activation, has_modules=False) if own or activation else None
    kinds, settings = [kind for kind, _ in modules], read_settings(name, revision, SETTINGS, key)
    settings = settings if isinstance(settings, dict) else {}
    if kinds != ["Transformer"] or modules[0][1] != "":
        raise PlanError(f"{where} is made of {', '.join(kinds)}: a reranker is a {_KIND} of a Transformer alone")
    if settings.get("model_type", _KIND) != _KIND:
        raise PlanError(f"{where} is a {settings['model_type']}, and a reranker is a {_KIND}")
    if default_prompt(settings, where):
        raise PlanError(f"{where} puts a prompt before its texts, which is not built: use a model without")
    _, length = encoder_settings(read_settings(name, revision, LENGTH, key), where, _ENCODER)
    return CrossEncoder(outputs, settings.get("activation_fn") or activation, length)


def write(folder: Path, activation: str | None, *, max_length: int, source: ModelSpec | None) -> None:
    """Puts the files into a checkpoint's folder: those of the model ``source`` but for another length, else new ones.

    Args:
        activation: see ``CrossEncoder``; by default a sigmoid, as binary cross-entropy has it.
        max_length: tokens at which the files say to cut a pair.
        source: a model that has such files; None for one that has not.
    """
    if source is None:
        modules = [{"idx": 0, "name": "0", "path": "", "type": _TRANSFORMER}]
        settings = {"model_type": _KIND, "prompts": {}, "default_prompt_name": None}
        write_settings(folder / MODULES, modules)
        write_settings(folder / SETTINGS, settings | {"activation_fn": activation or _SIGMOID})
        write_settings(folder / LENGTH, _ENCODER | {"max_seq_length": max_length})
        return
    files = (MODULES, SETTINGS, LENGTH)
    copy_files(folder, files, source.name, source.revision, max_length=max_length, default=_ENCODER)
