"""A model without weights: its architecture on torch's meta device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from optkit.models.config import make_config
from optkit.models.encoder_decoder import auto_class_for, refuse_decoder
from optkit.models.head import Head
from optkit.models.source import Source, refusing

if TYPE_CHECKING:
    from torch import nn

    from optkit.recipe.schema import ModelSpec


def meta_model(model: ModelSpec | str | Path, head: Head) -> nn.Module:
    """The architecture on torch's meta device: names and shapes, no memory; fetches no weights.

    Raises:
        PlanError: if the config fits no model, or one with a decoder beside its encoder.
    """
    source = Source.of(model)
    config = make_config(source, head)
    with torch.device("meta"), refusing(source):
        chosen = auto_class_for(head.auto_class, config)
        found = chosen.from_config(config, trust_remote_code=source.trust_remote_code)
    refuse_decoder(source.name or "model.config", found)
    return found
