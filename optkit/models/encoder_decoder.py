"""Models with a decoder beside their encoder: for embeddings the encoder alone, else refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import transformers
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES

from optkit.checkpoints.architecture import named_architecture
from optkit.errors import PlanError

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedModel

#: Types whose encoder transformers has a class for that no automatic class makes.
_ENCODERS = {
    "bart": "BartEncoder",
    "blenderbot": "BlenderbotEncoder",
    "blenderbot-small": "BlenderbotSmallEncoder",
    "marian": "MarianEncoder",
    "mbart": "MBartEncoder",
    "pegasus": "PegasusEncoder",
    "plbart": "PLBartEncoder",
}


class _WithoutDecoder:
    """In the place of an automatic class: makes and loads the encoders of ``_ENCODERS``."""

    @staticmethod
    def from_config(config: PretrainedConfig, **options: Any) -> PreTrainedModel:
        return transformers.AutoModel.from_config(config, **options).get_encoder()

    @staticmethod
    def from_pretrained(
        folder: Path,
        *,
        config: PretrainedConfig,
        output_loading_info: bool = False,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> Any:
        """The encoder of a checkpoint of itself, or of a whole model, of which the rest is read and dropped.

        ``output_loading_info`` tells nothing of the decoder, and ``trust_remote_code`` is only accepted, since the
        classes are transformers' own.
        """
        name = _ENCODERS[config.model_type]
        alone = (config.architectures or [None])[0] == name
        loader: Any = named_architecture(name, config.model_type) if alone else transformers.AutoModel
        model, info = loader.from_pretrained(folder, config=config, output_loading_info=True, **options)
        if not alone:
            # Sines of positions are not in every checkpoint: transformers computes them again.
            sines = [at for at, part in model.named_modules() if "Sinusoidal" in type(part).__name__]
            computed = {f"{at}.weight" for at in sines}
            info = {what: {key for key in keys if not _of_decoder(key)} - computed for what, keys in info.items()}
            model = model.get_encoder()
        return (model, info) if output_loading_info else model


def _of_decoder(key: Any) -> bool:
    """Whether a weight is the decoder's; of a mismatched one the shapes come with the name."""
    return (key if isinstance(key, str) else key[0]).startswith(("decoder.", "model.decoder."))


def auto_class_for(auto_class: str, config: PretrainedConfig) -> Any:
    """What makes or loads a model of ``config`` by ``from_config`` and ``from_pretrained``, as an automatic class of
    transformers does: of an encoder-decoder without a head, such as T5, the encoder alone.
    """
    if not encoder_alone(auto_class, config):
        return getattr(transformers, auto_class)
    return _WithoutDecoder if config.model_type in _ENCODERS else transformers.AutoModelForTextEncoding


def encoder_alone(auto_class: str, config: PretrainedConfig) -> bool:
    """Whether ``auto_class`` stands for an encoder that has a class of its own, without the decoder beside it."""
    found = MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES.get(config.model_type, "")
    return auto_class == "AutoModel" and (found.endswith("EncoderModel") or config.model_type in _ENCODERS)


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
