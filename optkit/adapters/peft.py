"""peft: adapters such as LoRA, merged into the model that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optkit.adapters import quiet, reason
from optkit.adapters.optimum import copy_companions
from optkit.errors import OptkitError, RecipeError
from optkit.json_files import read_json

_HEADS = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}
_HAND_MADE = "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)"


def merge(adapter: Path, output: Path) -> list[str]:
    """Writes the base model with the adapter merged into it, as a plain checkpoint with config and tokenizer.

    Args:
        adapter: folder with adapter_config.json and adapter_model.safetensors.
        output: an empty folder.

    Returns:
        what is to be said of it: a low-rank update is dense, and fills zeros of the layers that it is added to.

    Raises:
        RecipeError: if peft is not installed, or the adapter's files do not say what they are.
        OptkitError: if the base model is not there, or the two do not fit.
    """
    said = _config(adapter)
    base, kind = said["base_model_name_or_path"], said.get("task_type")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise OptkitError(f"{adapter}: no adapter_model.safetensors here: save the adapter with safetensors")
    try:
        import peft
    except ImportError:
        raise RecipeError(
            f"{adapter}: an adapter of {base}, not a model: install optkit[peft], or merge it: {_HAND_MADE}"
        ) from None
    if not isinstance(kind, str) or kind not in _HEADS:
        raise RecipeError(f"{adapter}: an adapter for {kind}, which is not merged here: merge it: {_HAND_MADE}")
    from optkit.adapters.hub import model_folder

    way_out = f"fetch it, or merge the adapter where it is: {_HAND_MADE}"
    folder = model_folder(base, str(said.get("revision") or "main"), key=f"{adapter}: its base model", way_out=way_out)
    try:
        with quiet():
            model = _base(folder, _HEADS[kind], _labels(adapter))
            merged = peft.PeftModel.from_pretrained(model, adapter, local_files_only=True).merge_and_unload()
            before, after = _zeros(folder), merged.state_dict()
            merged.save_pretrained(output)
    except Exception as error:  # peft raises what torch does
        raise OptkitError(f"{adapter}: cannot be merged into {base}: {reason(error)}") from error
    for source in (folder, adapter):  # the adapter's own come last, and stay
        copy_companions(source, output, but=["config.json"])
    filled = sum(int((after[name][zeros] != 0).sum()) for name, zeros in before.items() if name in after)
    notes = [f"merged into {base}"]
    if filled:
        total = sum(int(zeros.sum()) for zeros in before.values())
        notes.append(f"merging filled {filled:,} of the base model's {total:,} zeros: a low-rank update is dense")
    return notes


def _config(adapter: Path) -> dict[str, Any]:
    file = adapter / "adapter_config.json"
    try:
        said = read_json(file)
        if isinstance(said["base_model_name_or_path"], str) and said["base_model_name_or_path"]:
            return said
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise RecipeError(f"{file}: does not name its base model: copy the whole adapter again")


def _labels(adapter: Path) -> int | None:
    """How many classes the adapter's own head has, None where it has none."""
    from safetensors import safe_open

    with safe_open(adapter / "adapter_model.safetensors", framework="numpy") as opened:
        heads = [name for name in opened.keys() if ".classifier." in name or ".score." in name]
        rows = [opened.get_slice(name).get_shape()[0] for name in sorted(heads) if name.endswith(".weight")]
    return rows[-1] if rows else None


def _base(folder: Path, auto_class: str, labels: int | None) -> Any:
    import torch
    import transformers

    options = {} if labels is None else {"num_labels": labels}
    return getattr(transformers, auto_class).from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, ignore_mismatched_sizes=True, **options
    )


def _zeros(folder: Path) -> dict[str, Any]:
    """Where the linear weights of a checkpoint that hold zeros are zero, by name."""
    import torch

    from optkit.checkpoints import parameter_kinds, tensors

    kinds = parameter_kinds(folder)
    weights = {name: array for name, array, _ in tensors(folder) if kinds.of(name, array.shape) == "linear"}
    return {name: torch.from_numpy(array == 0) for name, array in weights.items() if not array.all()}
