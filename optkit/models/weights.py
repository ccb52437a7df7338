"""Reads what a checkpoint folder holds from the headers of its weight files, and notices damaged ones."""

from __future__ import annotations

import json
from pathlib import Path

from optkit.adapters import reason
from optkit.errors import OptkitError


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a checkpoint, from its headers.

    Raises:
        OptkitError: if there are no weights, or a file is missing or damaged.
    """
    files = sorted(folder.glob("model*.safetensors"))
    pickled = [] if files else sorted(folder.glob("pytorch_model*.bin"))
    if not files and not pickled:
        raise OptkitError(f"{folder}: no weights here: expected model.safetensors")
    for index in folder.glob("*.index.json"):
        named = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        absent = sorted(named - {file.name for file in files + pickled})
        if absent and index.name.startswith("model" if files else "pytorch_model"):
            raise OptkitError(f"{folder}: {absent[0]} is missing, which {index.name} names: copy the whole checkpoint")
    shapes: dict[str, tuple[int, ...]] = {}
    for file in files or pickled:
        try:
            shapes.update(_safetensors_shapes(file) if files else _pickled_shapes(file))
        except Exception as error:
            raise OptkitError(
                f"{file}: damaged or only half written ({reason(error)}): copy or train it again"
            ) from error
    return shapes


def _safetensors_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}


def _pickled_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    import torch

    return {n: tuple(t.shape) for n, t in torch.load(file, map_location="meta", weights_only=True).items()}
