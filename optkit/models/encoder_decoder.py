"""Models with a decoder beside their encoder: the encoder alone where transformers has a class for it, else refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from optkit.errors import PlanError

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def auto_class_for(auto_class: str, config: PretrainedConfig) -> Any:
    """The class of transformers that makes or loads a model of ``config``: of an encoder-decoder without a head, such
    as T5, the one for its encoder alone.
    """
    return getattr(transformers, "AutoModelForTextEncoding" if encoder_alone(auto_class, config) else auto_class)


def encoder_alone(auto_class: str, config: PretrainedConfig) -> bool:
    """Whether ``auto_class`` stands for an encoder that has a class of its own, without the decoder beside it."""
    found = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(config.model_type, "")
    return auto_class == "AutoModel" and found.endswith("EncoderModel")


def has_decoder(model: nn.Module) -> bool:
    """Whether a model (the meta device suffices) has a decoder beside its encoder."""
    if not getattr(model.config, "is_encoder_decoder", False):
        return False
    decoders = [part for at, part in model.named_modules() if at.rpartition(".")[2] == "decoder"]
    return any(isinstance(part, nn.ModuleList) for decoder in decoders for part in decoder.modules())


def refuse_decoder(name: str, model: nn.Module) -> None:
    """Refuses a model that has a decoder beside its encoder.

    Raises:
        PlanError: that says what works instead.
    """
    if not has_decoder(model):
        return
    alone = encoder_alone("AutoModel", model.config)
    instead = f"; of {model.config.model_type} feature-extraction takes the encoder alone" if alone else ""
    raise PlanError(
        f"{name}: {type(model).__name__} has a decoder beside its encoder, and only encoders are pruned and exported: "
        f"take one without, such as bert or roberta{instead}"
    )
