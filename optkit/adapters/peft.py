"""peft: adapters such as LoRA, merged into the model that they were trained on."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from optkit.adapters import library_errors
from optkit.adapters.companions import copy_companions
from optkit.adapters.hub import model_folder
from optkit.adapters.optimum import class_for
from optkit.checkpoints.files import state_dict, tensors
from optkit.checkpoints.plain import plain_folder
from optkit.counting.parameters import parameter_kinds
from optkit.errors import OptkitError, UsageError
from optkit.json_files import read_json
from optkit.models.config import make_config
from optkit.models.pretrained import load_with_info
from optkit.models.source import Source
from optkit.tasks import TASKS

_CONFIG, _SAFE = "adapter_config.json", "adapter_model.safetensors"

#: The class of transformers for each of peft's task types.
_HEADS = {task.peft_type: task.auto_class for task in TASKS.values() if task.peft_type}
_HAND_MADE = "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"


def merge(adapter: Path, output: Path) -> list[str]:
    """Writes the base model with the adapter merged into it, as a plain checkpoint with config and tokenizer.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors or adapter_model.bin.
        output: an empty folder.

    Returns:
        what is to be said of it: a low-rank update is dense, and fills zeros of the layers that it is added to.

    Raises:
        UsageError: if peft is not installed, or the adapter's files do not say what they are.
        OptkitError: if the base model is not there, the two do not fit, neither holds the head, or an adapter of this
            kind cannot be merged.
    """
    config = _config(adapter)
    base = config["base_model_name_or_path"]
    weights = _weights(adapter)
    try:
        import peft
    except ImportError:
        raise UsageError(
            f"{adapter}: an adapter of {base}, not a model: install optkit[peft], or merge it: {_HAND_MADE}"
        ) from None
    kind = config.get("task_type")
    if kind is not None and (not isinstance(kind, str) or kind not in _HEADS):
        raise UsageError(f"{adapter}: an adapter for {kind}, which is not merged here: merge it: {_HAND_MADE}")

    way_out = f"fetch it, or merge the adapter where it is: {_HAND_MADE}"
    fetched = model_folder(
        base, str(config.get("revision") or "main"), key=f"{adapter}: its base model", way_out=way_out
    )
    folder = plain_folder(fetched)
    auto_class = _auto_class(adapter, kind, folder)
    before, failed = _zeros(folder), f"{adapter}: cannot be merged into {base}"
    with library_errors(failed):
        model, missing = _base(folder, auto_class, _labels(weights))
    if random := sorted(set(missing) - {_own_name(name) for name in weights}):
        raise OptkitError(
            f"{adapter}: neither it nor {base} holds {random[0]}, which a model for it has: give the base model that "
            "it was trained on, or save the adapter with it (modules_to_save)"
        )
    with library_errors(failed), tempfile.TemporaryDirectory(dir=output.parent) as safe:
        # peft reads this copy, so that no pickle is read but by the reader that runs no code.
        save_file(weights, Path(safe) / _SAFE, metadata={"format": "pt"})
        shutil.copyfile(adapter / _CONFIG, Path(safe) / _CONFIG)
        names = set(model.state_dict())
        adapted = peft.PeftModel.from_pretrained(model, safe, local_files_only=True)
        if not hasattr(adapted, "merge_and_unload"):
            raise OptkitError(
                f"{adapter}: {config.get('peft_type')} adds to what the model reads, and not to its weights, so it "
                "cannot be merged: train an adapter such as LoRA, or distil the adapted model"
            )
        merged = adapted.merge_and_unload()
        if set(merged.state_dict()) != names:
            raise OptkitError(
                f"{adapter}: peft {peft.__version__} leaves parts of {config.get('peft_type')} in the model that it "
                "merges: put its weights into the base model by hand, and give that one"
            )
        merged.save_pretrained(output)
    for source in (folder, adapter):  # the adapter's own come last, and stay
        copy_companions(source, output, but=["config.json"])
    after, prefix, filled = merged.state_dict(), f"{merged.base_model_prefix}.", 0
    for name, zeros in before.items():
        # The class that was merged may put its encoder below a name that the base model's own has not, or the reverse.
        known = next((each for each in (name, prefix + name, name.removeprefix(prefix)) if each in after), None)
        if known is not None and after[known].shape == zeros.shape:
            filled += int((after[known][zeros] != 0).sum())
    notes = [f"merged into {base}"]
    if filled:
        total = sum(int(zeros.sum()) for zeros in before.values())
        notes.append(f"merging filled {filled:,} of the base model's {total:,} zeros: a low-rank update is dense")
    return notes


def _config(adapter: Path) -> dict[str, Any]:
    file = adapter / _CONFIG
    try:
        config = read_json(file)
        if isinstance(config["base_model_name_or_path"], str) and config["base_model_name_or_path"]:
            return config
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UsageError(f"{file}: does not name its base model: copy the whole adapter again")


def _weights(adapter: Path) -> dict[str, Any]:
    """The tensors of an adapter, by name."""
    for name in (_SAFE, "adapter_model.bin"):
        if (adapter / name).is_file():
            return {name: tensor.contiguous() for name, tensor in state_dict(adapter / name).items()}
    raise OptkitError(f"{adapter}: no {_SAFE} here: save the adapter with safetensors")


def _auto_class(adapter: Path, kind: str | None, base: Path) -> str:
    """transformers' class for the model that an adapter makes of its base model; that of the base model itself where
    the adapter does not say.
    """
    if kind is not None:
        return _HEADS[kind]
    way_out = f"set task_type in {adapter / _CONFIG}, one of {', '.join(_HEADS)}"
    return class_for(base, way_out).replace("OVModel", "AutoModel").removesuffix("ForFeatureExtraction")


def _own_name(name: str) -> str:
    """What the model calls the tensor that an adapter keeps under ``name``."""
    return name.removeprefix("base_model.model.").replace(".modules_to_save", "")


def _labels(weights: dict[str, Any]) -> int | None:
    """How many classes the adapter's own head has, None where it has none."""
    heads = [name for name in sorted(weights) if ".classifier." in name or ".score." in name]
    rows = [weights[name].shape[0] for name in heads if name.endswith(".weight") and ".lora_" not in name]
    return rows[-1] if rows else None


def _base(folder: Path, auto_class: str, labels: int | None) -> tuple[Any, list[str]]:
    """The base model, and the names of the weights that it lacks."""
    import transformers

    config = make_config(Source.of(folder))
    if labels is not None:
        config.num_labels = labels
    model, info = load_with_info(getattr(transformers, auto_class), folder, config)
    # Embeddings are not made of what a pooler gives.
    optional = ".pooler." if auto_class == "AutoModel" else "\0"
    lacking = [*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])]
    return model, [name for name in lacking if optional not in f".{name}"]


def _zeros(folder: Path) -> dict[str, Any]:
    """Where the linear weights of a checkpoint that hold zeros are zero, by name."""
    import torch

    kinds = parameter_kinds(folder)
    weights = {kinds.own(name): array for name, array, _ in tensors(folder)}
    return {
        name: torch.from_numpy(array == 0)
        for name, array in weights.items()
        if kinds.of(name, array.shape) == "linear" and not array.all()
    }
