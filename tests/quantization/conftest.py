"""A tiny pruned BERT as a checkpoint and as an fp32 IR, made once for all that quantize it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from architectures import BERT_OF_ONE_LAYER
from safetensors.numpy import load_file, save_file


class Tiny(NamedTuple):
    """``checkpoint`` and ``ir`` are folders, ``zeros`` those of each pruned parameter."""

    checkpoint: Any
    ir: Any
    zeros: dict[str, int]
    samples: list[dict[str, list[int]]]


def _biased(file, rng) -> None:
    """Gives every bias random numbers: zeros would be taken out of the graph, and there would be none to correct."""
    tensors = load_file(file)
    for name, tensor in tensors.items():
        if name.endswith(".bias"):
            tensors[name] = rng.normal(size=tensor.shape).astype(np.float32)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, save_checkpoint):
    from optkit.export import conversion

    folder, rng = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)
    zeros = save_checkpoint(folder / "checkpoint", "BertForSequenceClassification", BERT_OF_ONE_LAYER, (1, 4), 0.8)
    _biased(folder / "checkpoint" / "model.safetensors", rng)
    (folder / "ir").mkdir()
    conversion.convert(folder / "checkpoint", folder / "ir", task="text-classification")
    samples = [{"input_ids": rng.integers(5, 100, size).tolist()} for size in (6, 9, 12, 15)]
    return Tiny(folder / "checkpoint", folder / "ir", zeros, samples)
