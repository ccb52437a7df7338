"""Reads a checkpoint folder without building the model: its tensors, and which of them belong to linear layers.

Tensors come from safetensors straight into numpy. What a parameter is, only the architecture tells, so the one that
config.json names is built on torch's meta device, which holds no weights.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optkit.errors import OptkitError

#: File of weights of a compacted checkpoint that only optkit loads.
COMPACTED = "compact.safetensors"

# BERT's names of TensorFlow days, which transformers 5 reads, and writes again for a model that it loaded.
_OLD_NAMES_NOW = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_OLD_NAMES = r"LayerNorm\.(gamma|beta)$"


def tensors(folder: Path) -> Iterator[tuple[str, np.ndarray, str]]:
    """Every tensor of a safetensors checkpoint, sharded ones too, as (name, array, stored type in lower case).

    Types that numpy lacks (bf16 and 8-bit floats) come as float32, by way of torch.

    Raises:
        OptkitError: if there is none, or a file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    for file in _weight_files(Path(folder)):
        try:
            with safe_open(file, framework="numpy") as opened:
                names = list(opened.keys())
                types = {name: opened.get_slice(name).get_dtype().lower() for name in names}
                plain = [name for name, dtype in types.items() if not dtype.startswith(("bf", "f8"))]
                for name in plain:
                    yield name, opened.get_tensor(name), types[name]
            if len(plain) < len(types):
                with safe_open(file, framework="pt") as opened:
                    for name in types.keys() - set(plain):
                        yield name, opened.get_tensor(name).float().numpy(), types[name]
        except SafetensorError as error:
            raise OptkitError(f"{file}: not a whole safetensors file ({error}): copy or train it again") from error


def _weight_files(folder: Path) -> list[Path]:
    whole, index = [folder / "model.safetensors", folder / COMPACTED], folder / "model.safetensors.index.json"
    if there := [file for file in whole if file.is_file()]:
        return there[:1]
    if not index.is_file():
        raise OptkitError(f"{folder}: no model.safetensors here: give a checkpoint saved with safetensors")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OptkitError(f"{index}: not an index of safetensors files: copy it again") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise OptkitError(f"{index}: names a file outside the checkpoint: {name}")
        if not (folder / name).is_file():
            raise OptkitError(f"{folder}: {name} is missing, which {index.name} names: copy the whole checkpoint")
    return [folder / name for name in names]


@dataclass(frozen=True)
class ParameterKinds:
    """What each parameter of a checkpoint is.

    Attributes:
        kinds: ``linear`` (an nn.Linear's weight), ``conv`` (of another matrix product or convolution) or ``other``, by
            name in the model's order. Tied parameters appear once, under their first name.
        encoder: name of the longest repeated ModuleList, None without one.
        problem: why the kinds are unknown, None when they are known.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    encoder: str | None = None
    problem: str | None = None

    def of(self, name: str, shape: tuple[int, ...]) -> str | None:
        """The kind of ``name``, None for a tensor that is no parameter; every 2-D weight is linear if none is known."""
        if self.problem is None:
            return self.kinds.get(re.sub(_OLD_NAMES, lambda match: _OLD_NAMES_NOW[match[0]], name))
        return "linear" if len(shape) == 2 and name.endswith(".weight") else "other"

    def in_encoder(self, name: str) -> bool:
        return self.encoder is not None and name.startswith(f"{self.encoder}.")

    def position(self, name: str) -> int:
        """Where ``name`` stands in the model."""
        return list(self.kinds).index(name) if name in self.kinds else 0


def parameter_kinds(folder: Path) -> ParameterKinds:
    """What the parameters of the checkpoint in ``folder`` are, by the architecture that its config.json names."""
    try:
        model = _meta_model(folder)
    except Exception as error:  # a config may name any architecture, and each fails in its own way
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return ParameterKinds(
            problem=f"which weights belong to linear layers cannot be told ({reason}): every 2-D weight is listed, "
            "and only the share of all parameters is known"
        )
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from optkit.pruning.targets import encoder_prefix, linear_layers

    kinds = dict.fromkeys((name for name, _ in model.named_parameters()), "other")
    for name, module in model.named_modules():
        if isinstance(module, (Conv1D, nn.modules.conv._ConvNd)):
            kinds[f"{name}.weight"] = "conv"
    for name in linear_layers(model):
        if f"{name}.weight" in kinds:
            kinds[f"{name}.weight"] = "linear"
    return ParameterKinds(kinds, encoder_prefix(model))


def former_shapes(folder: Path) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """What compaction took out of the checkpoint in ``folder``; both are empty for one that was never compacted.

    Returns:
        shapes (out, in) before it of weights that are smaller now, and of those that are gone, by name.
    """
    from optkit.pruning import compact_checkpoint

    try:
        values = compact_checkpoint.read_config(folder)
    except OptkitError:  # what is wrong with it, ``parameter_kinds`` tells
        return {}, {}
    return compact_checkpoint.former_shapes(values)


def _meta_model(folder: Path) -> Any:
    import torch
    import transformers

    from optkit.pruning import compact_checkpoint

    values = compact_checkpoint.read_config(folder)
    if compact_checkpoint.needs_loader(values):
        with torch.device("meta"):
            return compact_checkpoint.skeleton(folder, values)
    config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not config.architectures:
        raise OptkitError("config.json names no architecture")
    architecture = getattr(transformers, config.architectures[0], None)
    if architecture is None:
        raise OptkitError(f"transformers {transformers.__version__} does not know {config.architectures[0]}")
    with torch.device("meta"):
        return architecture(config)
