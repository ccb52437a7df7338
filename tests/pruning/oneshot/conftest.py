"""Calibration batches for the tiny models of tests/pruning."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(scope="session")
def batches():
    """``batches(count)``: padded batches of 8 examples of 3 to 12 ids below 50, with attention_mask and labels."""

    def build(count: int = 4, seed: int = 0, vocabulary: int = 50) -> list[dict[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(seed)
        made = []
        for _ in range(count):
            lengths = torch.randint(3, 13, (8,), generator=generator)
            mask = (torch.arange(12) < lengths[:, None]).long()
            ids = torch.randint(5, vocabulary, (8, 12), generator=generator) * mask
            made.append({"input_ids": ids, "attention_mask": mask, "labels": torch.arange(8) % 2})
        return made

    return build
