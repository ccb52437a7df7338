"""Whether a checkpoint holds the model that its config.json names, whole and in numbers: asked before it is converted.

transformers fills what it misses with random weights and passes over what it has no place for, so a checkpoint of
another architecture would be converted without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from optkit.adapters import quiet, reason
from optkit.checkpoints import compact_config
from optkit.checkpoints.files import tensors
from optkit.checkpoints.plain import original_folder
from optkit.errors import OptkitError
from optkit.models.encoder_decoder import auto_class_for, refuse_decoder
from optkit.models.pretrained import load_with_info


def check_checkpoint(folder: Path, auto_class: str) -> None:
    """Refuses a checkpoint that cannot be what it says.

    Args:
        folder: holds the weights and config.json.
        auto_class: of transformers, for the task, such as AutoModelForSequenceClassification.

    Raises:
        OptkitError: naming the first tensor that holds NaN or an infinity, is missing, has another shape than the
            config says, or has no place in the model; or if the files are damaged or hold code.
    """
    where = original_folder(folder)
    for name, array, _ in tensors(folder):
        wrong = array.size - int(np.count_nonzero(np.isfinite(array))) if array.dtype.kind == "f" else 0
        if wrong:
            raise OptkitError(
                f"{where}: {name}: {wrong} of {array.size} weights are NaN or infinite: the training diverged, "
                "take an earlier checkpoint"
            )
    config = compact_config.read_config(folder)
    if config.get("pruned_heads"):
        raise OptkitError(
            f"{where}: attention heads were taken out of it (pruned_heads), which transformers 5 cannot load: "
            "give the model with these heads zero instead, or as ONNX"
        )
    if not compact_config.needs_loader(config):
        _check_names(folder, auto_class)


def _check_names(folder: Path, auto_class: str) -> None:
    name, info = _load(folder, auto_class)
    differs = f"{original_folder(folder)}: its weights are not those of the {name} that config.json describes"
    way_out = "copy the config.json that belongs to them, or give another task"
    if info["mismatched_keys"]:
        key, theirs, ours = sorted(info["mismatched_keys"])[0]
        raise OptkitError(f"{differs}: {key} is {_shape(theirs)} and should be {_shape(ours)}: {way_out}")
    # A base model's pooler is no part of what it is exported for.
    optional = r"(.*\.)?pooler\..*" if auto_class == "AutoModel" else r"(?!)"
    missing = sorted(key for key in info["missing_keys"] if not re.fullmatch(optional, key))
    unplaced = sorted(key for key in info["unexpected_keys"] if re.search(r"\.\d+\..*\.(weight|bias)$", key))
    if missing:
        instead = f", and {unplaced[0]} has no place" if unplaced else ""
        raise OptkitError(f"{differs}: {len(missing)} are missing, first {missing[0]}{instead}: {way_out}")
    if unplaced:
        raise OptkitError(f"{differs}: {len(unplaced)} have no place in it, first {unplaced[0]}: {way_out}")


def _load(folder: Path, auto_class: str) -> tuple[str, dict[str, Any]]:
    """The class of the model in ``folder``, and what transformers found when it loaded the weights."""
    with torch.random.fork_rng(devices=[]):
        try:
            with quiet():
                config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
                model, info = load_with_info(auto_class_for(auto_class, config), folder, config)
        except Exception as error:  # each architecture fails in its own way
            raise OptkitError(
                f"{original_folder(folder)}: cannot be loaded as {auto_class}: {reason(error)}"
            ) from error
    refuse_decoder(str(original_folder(folder)), model)
    return type(model).__name__, info


def _shape(shape: Any) -> str:
    return "x".join(map(str, shape))
