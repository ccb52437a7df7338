#!/usr/bin/env python
"""What orders of features win for coarse blocks: a fine-tuned model pruned in one shot, as it is and permuted.

Prints a row for each structure, criterion and ``permute``: accuracy in torch's float32 on dev and test together, the
share of the scores that stays before and after, and how long the orders took. Nothing is trained.

    python scripts/permutation_table.py --data SST2 --model MINILM --structures 4x4 16x4 --criteria magnitude obert

``--data`` is a folder with SST-2 as train.tsv, dev.tsv and test.tsv; ``--model`` an encoder that was fine-tuned on it.
"""

from __future__ import annotations

import argparse
import copy
import csv
import random
import time
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from optkit.pruning import Rule, Schedule, one_shot, permute
from optkit.pruning.config import CRITERIA

_BATCH = 32


def _rows(files: list[Path]) -> list[dict[str, str]]:
    rows = []
    for file in files:
        with open(file, encoding="utf-8", newline="") as opened:
            rows += csv.DictReader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)
    return rows


def _batches(rows: list[dict[str, str]], tokenizer: object) -> list[dict[str, torch.Tensor]]:
    """Inputs with labels, texts of like length together."""
    rows = sorted(rows, key=lambda row: len(row["sentence"]))
    found = []
    for first in range(0, len(rows), _BATCH):
        few = rows[first : first + _BATCH]
        texts = [row["sentence"] for row in few]
        batch = dict(tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt"))
        found.append(batch | {"labels": torch.tensor([int(row["label"]) for row in few])})
    return found


@torch.no_grad()
def _accuracy(model: torch.nn.Module, batches: list[dict[str, torch.Tensor]]) -> float:
    right = [(model(**batch).logits.argmax(-1) == batch["labels"]).float() for batch in batches]
    return 100.0 * float(torch.cat(right).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--structures", nargs="+", default=["4x4", "16x4", "32x1", "2:4"])
    parser.add_argument(
        "--criteria", nargs="+", default=["magnitude"], help="names; obert also with its Fisher block, as in obert:4x4"
    )
    parser.add_argument("--permute", nargs="+", default=["none", "all"], help="none, all, or kinds joined by commas")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--scope", default="local", choices=["local", "global"])
    parser.add_argument("--samples", type=int, default=512, help="of the training split, that criteria go by")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    dense = AutoModelForSequenceClassification.from_pretrained(options.model).eval()
    shown = _batches(_rows([options.data / "dev.tsv", options.data / "test.tsv"]), tokenizer)
    drawn = random.Random(options.seed).sample(_rows([options.data / "train.tsv"]), options.samples)
    given = _batches(drawn, tokenizer)
    print(f"dense: {_accuracy(dense, shown):.2f}", flush=True)
    print("| structure | criterion | permute | accuracy | scores that stay | seconds |\n|---|---|---|---|---|---|")
    for structure in options.structures:
        for name in options.criteria:
            for kinds in options.permute:
                schedule = Schedule(to=options.sparsity)
                criterion, _, block = name.partition(":")
                rule = Rule(
                    criterion=CRITERIA[criterion](**({"block": block} if block else {})),
                    structure=structure,
                    scope=options.scope,
                    schedule=schedule,
                    permute=() if kinds == "none" else kinds.split(","),
                )
                model, start, kept = copy.deepcopy(dense), time.perf_counter(), ""
                if rule.permute:
                    before, after = permute(model, rule, batches=given, seed=options.seed).kept[rule.name]
                    kept = f"{before:.1%} to {after:.1%}"
                took = time.perf_counter() - start
                one_shot(model, rule, given)
                row = (structure, name, kinds, f"{_accuracy(model, shown):.2f}", kept, f"{took:.0f}")
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
