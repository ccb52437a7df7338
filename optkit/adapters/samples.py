"""Calibration samples as the inputs of a model, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optkit.errors import ExportError


def feed(sample: Mapping[str, Any], ports: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """A sample as a batch of one for inputs of these types, by name.

    Raises:
        ExportError: if it lacks one.
    """
    ids = sample.get("input_ids")
    if ids is not None and not len(ids):
        raise ExportError("a calibration sample has no input_ids: tokenise it first, and leave out empty texts")
    length = 0 if ids is None else len(ids)
    defaults = {"attention_mask": [1] * length, "token_type_ids": [0] * length, "position_ids": range(length)}
    batch = {}
    for name, dtype in ports.items():
        values = sample.get(name, defaults.get(name) if length else None)
        if values is None:
            raise ExportError(f"calibration samples have no '{name}', which the model needs: only {', '.join(sample)}")
        batch[name] = np.asarray([values if isinstance(values, np.ndarray) else list(values)], dtype=dtype)
    return batch
