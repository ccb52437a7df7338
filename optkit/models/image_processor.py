"""Loads a model's image processor, or makes a plain one for a model that begins from a configuration.

Always the one that works with Pillow and numpy: the other needs torchvision, whose numbers differ a little.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optkit.adapters import library_errors
from optkit.data.images import require_pillow
from optkit.errors import PlanError
from optkit.models.config import make_config
from optkit.models.source import Source

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from optkit.recipe.schema import ModelSpec

_FILE = "preprocessor_config.json"


def load_image_processor(model: ModelSpec | str | Path) -> Any:
    """The model's own image processor; for one from a ``config``, one that resizes to its ``image_size`` and maps
    pixels to [-1, 1].

    Args:
        model: the recipe's model, or a checkpoint folder.

    Raises:
        PlanError: if there is none, or Pillow is missing.
        OptkitError: if it can't be read, or the Hub can't be reached.
    """
    source = Source.of(model)
    return _make_for(make_config(source)) if source.name is None else own_image_processor(source)


def own_image_processor(source: Source) -> Any:
    """What ``source`` holds, see ``load_image_processor``."""
    require_pillow()
    # Without torchvision the name at the top of transformers stands for nothing.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    folder = source.folder(weights=False)
    if not (folder / _FILE).is_file():
        raise PlanError(f"{folder}: no {_FILE} here: copy that of the model it was fine-tuned from")
    with library_errors(f"{folder / _FILE}: cannot be read"):
        return AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=source.trust_remote_code
        )


def _make_for(config: PretrainedConfig) -> Any:
    require_pillow()
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    channels, size = getattr(config, "num_channels", None), getattr(config, "image_size", None)
    if not isinstance(channels, int) or not isinstance(size, (int, list, tuple)):
        raise PlanError(f"model.config.model_type: {config.model_type} does not say which images it takes")
    height, width = size if isinstance(size, Sequence) else (size, size)
    middle = [0.5] * channels
    return ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=middle, image_std=middle)


def channels_of(processor: Any) -> int:
    """How many channels the images have that ``processor`` takes."""
    mean = getattr(processor, "image_mean", None)
    return len(mean) if isinstance(mean, (list, tuple)) else 3
