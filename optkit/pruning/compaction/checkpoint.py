"""A compacted model on disk, and back.

Where transformers' own configuration can say what is left (as many neurons in every layer, all heads, fewer layers) the
checkpoint is a plain one. No configuration can give each layer heads and neurons of its own, so any other checkpoint
needs ``load_compact``, which reads from config.json what each layer keeps, and makes the modules as small before it
loads the weights.

Such a checkpoint has to fail at once and in clear words where somebody loads it without optkit, since transformers
fills weights that it misses with random numbers and goes on. So its ``model_type`` is one that transformers does not
know, and says in its own words what to do: an error about the model type is all that ``AutoModel`` prints, and it
quotes it. Code beside the checkpoint (``auto_map``) would ask for ``trust_remote_code`` first, and a model type that is
registered when optkit is imported explains nothing to whoever has not imported it. A class called by name,
``BertModel`` for one, warns in the same words and then finds no ``model.safetensors``: the weights have a file name of
their own.
"""

from __future__ import annotations

import json
from inspect import signature
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel

from optkit.checkpoints.architecture import named_architecture
from optkit.checkpoints.compact_config import FORMAT, KEY, needs_loader, read_config
from optkit.checkpoints.files import COMPACTED
from optkit.checkpoints.plain import plain_folder
from optkit.errors import PruningError
from optkit.pruning.compaction.compaction import Compaction
from optkit.pruning.compaction.surgery import cut

_WIDTHS = {"distilbert": "hidden_dim"}


def save_compact(model: PreTrainedModel, compaction: Compaction, folder: str | Path) -> bool:
    """Writes a compacted model into ``folder``, and says whether plain ``from_pretrained`` loads it.

    Args:
        model: after ``compact``.
        compaction: what that returned.
        folder: made if it is not there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = own_weights(model)
    config = _plain_config(model, compaction, weights)
    plain = config is not None
    config = config if plain else PreTrainedConfig.from_dict(model.config.to_dict())
    entry = {
        "format": FORMAT,
        "reduced": {name: list(shape) for name, shape in compaction.reduced.items()},
        "removed": {name: list(shape) for name, shape in compaction.removed.items()},
    }
    if not plain:
        entry["model_type"] = model.config.model_type
        entry["layers"] = {
            prefix: {"heads": list(left.heads), "neurons": left.neurons} for prefix, left in compaction.layers.items()
        }
    values = json.loads(config.to_json_string(use_diff=plain))
    values |= {"architectures": [type(model).__name__], "dtype": str(model.dtype).removeprefix("torch."), KEY: entry}
    if not plain:
        values["model_type"] = f"compacted {model.config.model_type}, load it with optkit.load_compact"
    (folder / "config.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    save_file(weights, folder / ("model.safetensors" if plain else COMPACTED), metadata={"format": "pt"})
    return plain


def load_compact(folder: str | Path) -> PreTrainedModel:
    """The model of a compacted checkpoint in its own task's class, in evaluation mode; plain checkpoints load as well.

    What comes back is an ordinary model of transformers whose layers are smaller than its config says. It can be
    evaluated, exported and trained; ``save_pretrained`` of it would write what nobody can load: use ``save_compact``.

    Raises:
        PruningError: if there is no checkpoint, it is damaged, of a newer format, or not what its config.json says.
    """
    folder = Path(folder)
    values = read_config(folder)
    if not needs_loader(values):
        folder = plain_folder(folder)
        return load_whole(_architecture(folder, values), folder).eval()
    with torch.random.fork_rng(devices=[]):  # random weights that are replaced at once
        model = skeleton(folder, values)
    try:
        weights = load_file(folder / COMPACTED)
    except (OSError, SafetensorError) as error:
        raise PruningError(f"{folder / COMPACTED}: cannot be read ({error}): copy the whole checkpoint again") from None
    expected = own_weights(model)
    wrong = sorted(set(expected) ^ set(weights))
    wrong += sorted(name for name in set(expected) & set(weights) if expected[name].shape != weights[name].shape)
    if wrong:
        raise PruningError(f"{folder}: {wrong[0]} is not as config.json says: copy the whole checkpoint again")
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    return model.eval()


def load_whole(loader: Any, folder: Path, **options: Any) -> PreTrainedModel:
    """``loader.from_pretrained`` of a folder that holds every weight of the model.

    The pooler of a base model may be missing, which is often saved without: the model then has none, where its class
    can do without.

    Raises:
        PruningError: if a weight is missing, which transformers would draw by chance, or has another shape.
    """
    options |= {"local_files_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    model, info = loader.from_pretrained(folder, **options)
    # Sines of positions are not in every checkpoint: transformers computes them again.
    sines = {f"{at}.weight" for at, part in model.named_modules() if "Sinusoidal" in type(part).__name__}
    wrong = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])} - sines)
    pooler = {name for name, _ in model.named_parameters() if name.startswith("pooler.")}
    if model is model.base_model and pooler and pooler <= set(wrong):
        wrong = [key for key in wrong if key not in pooler]
        if "add_pooling_layer" in signature(type(model).__init__).parameters:
            model.pooler = None
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise PruningError(f"{folder}: {wrong[0]}{more} is not as config.json says: copy the whole checkpoint again")
    return model


def write_former_config(checkpoint: Path, folder: Path) -> None:
    """Writes the config.json of the uncompacted model into ``folder``: an exported graph needs no loader of ours."""
    values = read_config(checkpoint)
    if needs_loader(values):
        text = json.dumps(_former(values), indent=2, sort_keys=True) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def _former(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != KEY} | {"model_type": values[KEY]["model_type"]}


def skeleton(folder: Path, values: dict[str, Any]) -> PreTrainedModel:
    """The model that a compacted checkpoint's config.json describes, its weights random, on torch's default device.

    Raises:
        PruningError: if config.json does not describe one.
    """
    entry = values[KEY]
    kind, layers = entry.get("model_type"), entry["layers"]
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise PruningError(f"{folder}: transformers {transformers.__version__} knows no model type '{kind}'")
    try:
        kept = {
            prefix: ([int(head) for head in left["heads"]], int(left["neurons"])) for prefix, left in layers.items()
        }
    except (TypeError, KeyError, ValueError, AttributeError):
        raise PruningError(f"{folder}: {KEY}.layers of config.json is damaged: copy it again") from None
    model = _architecture(folder, values)(CONFIG_MAPPING[kind].from_dict(_former(values)))
    cut(model, kept)
    return model


def _architecture(folder: Path, values: dict[str, Any]) -> Any:
    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names else None
    architecture = named_architecture(name, values.get("model_type"))
    if architecture is None:
        raise PruningError(f"{folder}: transformers {transformers.__version__} has no architecture {name}")
    return architecture


def own_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The state dict, a tensor that has several names under the first of them."""
    found: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            found[name] = tensor.detach().contiguous()
    return found


def _plain_config(model: PreTrainedModel, compaction: Compaction, weights: dict[str, torch.Tensor]) -> Any:
    """The configuration of a plain model with these weights, None where there is none."""
    neurons = {left.neurons for left in compaction.layers.values()}
    if (
        any(len(left.heads) < left.heads_before for left in compaction.layers.values())
        or len(neurons) != 1
        or 0 in neurons
    ):
        return None
    values = model.config.to_dict() | {_WIDTHS.get(model.config.model_type, "intermediate_size"): neurons.pop()}
    config = type(model.config).from_dict(values)
    with torch.device("meta"):
        made = own_weights(type(model)(config))
    same = {name: tensor.shape for name, tensor in made.items()} == {n: t.shape for n, t in weights.items()}
    return config if same else None
