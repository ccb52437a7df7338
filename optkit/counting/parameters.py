"""Which parameters of a checkpoint belong to linear layers.

Only the architecture tells, so the one that config.json names is built on torch's meta device, which holds no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from optkit.checkpoints import compact_config
from optkit.checkpoints.files import present_name
from optkit.checkpoints.plain import plain_architecture
from optkit.counting.encoder import Encoder, encoder_of
from optkit.errors import OptkitError


@dataclass(frozen=True)
class ParameterKinds:
    """What each parameter of a checkpoint is.

    Attributes:
        kinds: ``linear`` (an nn.Linear's weight), ``conv`` (of another matrix product or convolution) or ``other``, by
            name in the model's order. Tied parameters appear once, under their first name.
        encoder: the lists that hold the encoder's layers.
        body: the word and dot before the names of the model's body; empty if there is none, or the architecture is
            unknown.
        problem: why the kinds are unknown, None when they are known.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    encoder: Encoder = Encoder()
    body: str = ""
    problem: str | None = None

    def own(self, name: str) -> str:
        """What the architecture calls the stored tensor ``name``: a checkpoint may leave out the word before its body's
        names, or have it where the architecture has none, and from_pretrained reads both.
        """
        names = (name, self.body + name, name.removeprefix(self.body))
        return next((each for each in names if present_name(each) in self.kinds), name)

    def of(self, name: str, shape: tuple[int, ...]) -> str | None:
        """The kind of ``name``, None for a tensor that is no parameter; every 2-D weight is linear if none is known."""
        if self.problem is None:
            return self.kinds.get(present_name(name))
        return "linear" if len(shape) == 2 and name.endswith(".weight") else "other"

    def in_encoder(self, name: str) -> bool:
        return name in self.encoder

    def position(self, name: str) -> int:
        """Where ``name`` stands in the model."""
        return list(self.kinds).index(name) if name in self.kinds else 0


def parameter_kinds(folder: Path) -> ParameterKinds:
    """What the parameters of the checkpoint in ``folder`` are, by the architecture that its config.json names."""
    try:
        model = architecture(folder)
    except Exception as error:  # a config may name any architecture, and each fails in its own way
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return ParameterKinds(
            problem=f"which weights belong to linear layers cannot be told ({reason}): every 2-D weight is listed, "
            "and only the share of all parameters is known"
        )
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from optkit.pruning.targets import linear_layers

    kinds = dict.fromkeys((name for name, _ in model.named_parameters()), "other")
    for name, module in model.named_modules():
        if isinstance(module, (Conv1D, nn.modules.conv._ConvNd)):
            kinds[f"{name}.weight"] = "conv"
    linear = linear_layers(model)
    for name in linear:
        if f"{name}.weight" in kinds:
            kinds[f"{name}.weight"] = "linear"
    return ParameterKinds(kinds, encoder_of(linear), f"{model.base_model_prefix}." if model.base_model_prefix else "")


def former_shapes(folder: Path) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]:
    """What compaction took out of the checkpoint in ``folder``; both are empty for one that was never compacted.

    Returns:
        shapes (out, in) before it of weights that are smaller now, and of those that were removed, by name.
    """
    try:
        values = compact_config.read_config(folder)
    except OptkitError:  # what is wrong with it, ``parameter_kinds`` tells
        return {}, {}
    return compact_config.former_shapes(values)


def architecture(folder: Path) -> Any:
    """The model that the config.json in ``folder`` names, on torch's meta device; each failure is of its own class."""
    values = compact_config.read_config(folder)
    if not compact_config.needs_loader(values):
        return plain_architecture(folder)
    import torch

    from optkit.pruning.compaction.checkpoint import skeleton

    with torch.device("meta"):
        return skeleton(folder, values)
