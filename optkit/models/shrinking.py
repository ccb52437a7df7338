"""Configurations of small models that stand in for large ones where size does not matter."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def with_layers(config: PretrainedConfig, count: int) -> PretrainedConfig:
    """A copy of ``config`` for so few layers, or more where its layers are of several kinds: one of each at least."""
    few, kinds = copy.deepcopy(config), getattr(config, "layer_types", None)
    if isinstance(kinds, list):
        count = max(count, *(kinds.index(kind) + 1 for kind in set(kinds)))
        few.layer_types = kinds[:count]
    for name in ("num_hidden_layers", "encoder_layers", "decoder_layers"):
        if type(getattr(few, name, None)) is int:
            try:
                setattr(few, name, min(count, getattr(few, name)))
            except (NotImplementedError, ValueError):
                continue  # it follows from something else
    return few


def special_tokens(config: PretrainedConfig) -> list[int]:
    """The token ids that ``config`` names, which a smaller vocabulary has to hold."""
    return [value for name, value in config.to_dict().items() if name.endswith("token_id") and type(value) is int]
