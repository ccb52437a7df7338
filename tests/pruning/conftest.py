"""Tiny models for pruning: a BERT classifier, and a bare stack of linear layers where a test needs no transformer."""

from __future__ import annotations

import pytest
import torch
from architectures import SIZES
from torch import nn


class Stack(nn.Module):
    """Linear layers (out, in) one after the other; in a ModuleList, so that ``encoder_linear`` finds them."""

    def __init__(self, *shapes: tuple[int, int]):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(cols, rows) for rows, cols in shapes)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            values = torch.tanh(layer(values))
        return values


@pytest.fixture(scope="session")
def stack():
    def build(*shapes: tuple[int, int], seed: int = 0) -> Stack:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Stack(*shapes)

    return build


@pytest.fixture(scope="session")
def bert():
    """A BERT for two classes, random weights: ``bert(hidden_size=96)``."""
    from transformers import BertConfig, BertForSequenceClassification

    def build(seed: int = 0, **config):
        sizes = SIZES | {"vocab_size": 50, "max_position_embeddings": 16}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return BertForSequenceClassification(BertConfig(**sizes | config))

    return build


@pytest.fixture(scope="session")
def rows():
    """``rows(count)``: random tokenised examples of 8 ids below 50, labels 0 and 1 by turns."""

    def build(count: int, seed: int = 0) -> list[dict]:
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, 50, (count, 8), generator=generator)
        return [
            {"input_ids": row, "attention_mask": torch.ones(8, dtype=torch.long), "labels": i % 2}
            for i, row in enumerate(ids)
        ]

    return build


@pytest.fixture(scope="session")
def arguments():
    """TrainingArguments on the CPU that print and report nothing; 4 examples a step, 10 steps."""
    from transformers import TrainingArguments

    def build(folder, **given) -> TrainingArguments:
        defaults = {
            "max_steps": 10,
            "per_device_train_batch_size": 4,
            "per_device_eval_batch_size": 8,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "seed": 7,
        }
        return TrainingArguments(output_dir=str(folder), **defaults | given)

    return build
