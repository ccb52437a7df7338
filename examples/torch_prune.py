"""Prunes a classifier with PyTorch alone, torch.nn.utils.prune: a model from elsewhere, for a quantizer of sparse ones.

    python examples/torch_prune.py --model google-bert/bert-base-uncased --output pruned --amount 0.8

The smallest weights of every linear layer of the encoder become zero, and prune.remove makes the masks part of the
weights, so that save_pretrained writes a plain checkpoint. The training that should follow each cut is left out.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn.utils import prune
from transformers import AutoModelForSequenceClassification, AutoTokenizer


def main(options: argparse.Namespace) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(options.model)
    for layer in model.base_model.encoder.modules():
        if isinstance(layer, torch.nn.Linear):
            prune.l1_unstructured(layer, "weight", options.amount)
            prune.remove(layer, "weight")
    model.save_pretrained(options.output)
    AutoTokenizer.from_pretrained(options.model).save_pretrained(options.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", required=True, help="folder or Hub id")
    parser.add_argument("--output", required=True, help="folder for the pruned checkpoint")
    parser.add_argument("--amount", type=float, default=0.8, help="share of each layer's weights that becomes zero")
    main(parser.parse_args())
