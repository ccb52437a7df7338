"""transformers' classes by the names that a config.json gives them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def named_architecture(name: object, model_type: object) -> type[PreTrainedModel] | None:
    """The class ``name`` of transformers; None where there is none, or it is no model's.

    transformers exports no class of an encoder within an encoder-decoder, such as ``BartEncoder``: those are looked up
    in the module that has the base model of ``model_type``.
    """
    import transformers

    if not isinstance(name, str):
        return None
    found: Any = getattr(transformers, name, None)
    if found is None and model_type in transformers.CONFIG_MAPPING:
        base = transformers.MODEL_MAPPING.get(transformers.CONFIG_MAPPING[model_type], None)
        found = getattr(sys.modules.get(getattr(base, "__module__", "")), name, None)
    return found if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel) else None
