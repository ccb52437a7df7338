"""Random inputs that a converted model is checked with, and how far its answers are from the model's own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def image_size(config: Any) -> tuple[int, int, int]:
    """(channels, height, width) of the images that a configuration says its model takes, or its tower of images."""
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", 64)
    sides = [size, size] if isinstance(size, int) else list(size)
    return getattr(config, "num_channels", 3), sides[0], sides[1]


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """How far ``ours`` is from ``theirs`` at most, as a share of the largest of these, where they are finite; infinite
    where ``ours`` is no number there.
    """
    finite = theirs.isfinite()
    if not bool(finite.any()):
        return 0.0
    off = float((ours - theirs)[finite].abs().max() / theirs[finite].abs().max().clamp(min=1e-12))
    return off if math.isfinite(off) else math.inf


def random_texts(config: Any, batch: int, length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask (batch, length) by chance: the first text is whole, the others are padded by turns at their
    end and at their beginning.
    """
    import torch

    ids = torch.randint(min(5, config.vocab_size - 1), config.vocab_size, (batch, length))
    mask = torch.ones_like(ids)
    for row in range(1, batch):
        padding = min(row * length // 4, length - 1)
        if row % 2:
            mask[row, length - padding :] = 0
        else:
            mask[row, :padding] = 0
    ids[mask == 0] = getattr(config, "pad_token_id", None) or 0
    return ids, mask
