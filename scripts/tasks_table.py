#!/usr/bin/env python
"""What pruning and int8 cost on each task: runs the recipes on generated data, and writes the table of docs/tasks.md.

Each is a whole ``optkit run`` with a dense baseline of its own, without a download. What is done is kept in
``--output`` and not done again, so this may be stopped at any time and started again. The page is rewritten after
every recipe.

    python scripts/tasks_table.py --output runs/tasks --threads 2
    python scripts/tasks_table.py --output runs/tasks --only token-classification
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pages

from optkit.progress import thread_count
from optkit.variant import DENSE, PRUNED, Variant

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "tasks.md"
RECIPES = HERE.parent / "recipes"
#: Rows: what the task is, and its recipe on generated data.
ROWS = {
    "text-classification": "quickstart",
    "text-classification, pairs": "tiny_pairs_80sparse",
    "text-classification, several labels": "tiny_multilabel_80sparse",
    "text-classification, a score": "tiny_regression_80sparse",
    "token-classification": "tiny_ner_80sparse",
    "question-answering": "tiny_qa_80sparse",
    "feature-extraction": "tiny_embeddings_80sparse",
    "text-ranking": "tiny_ranking_80sparse",
    "zero-shot-classification": "tiny_zero_shot_80sparse",
    "image-classification": "tiny_vit_80sparse",
    "fill-mask": "tiny_fill_mask_80sparse",
}


def parse() -> argparse.Namespace:
    parser = pages.parser(__doc__, PAGE)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], dest="sets", help="one more override for every recipe")
    return parser.parse_args()


def row(name: str, recipe: str, report: dict[str, Any] | None) -> list[str]:
    """Lines of the table, one for each metric, the task named in the first."""
    link = f"[{recipe}](../recipes/{recipe}.yaml)"
    if report is None:
        return [f"| {name} | {link} | | not run | | | | |"]
    split, found = next(iter(report["evaluate"]["splits"].items()))
    models = [found["scores"][variant.id] for variant in (DENSE, PRUNED, Variant("pruned", "int8", "openvino"))]
    zeros = report["sparsity"]["pruned"]["denominators"]["encoder_linear"]["sparsity"]
    seconds = sum(report["seconds"].values())
    lines = []
    for metric in models[-1]:
        scores = " | ".join(f"{100 * model[metric]:.2f}" for model in models)
        first = not lines
        said = [name, link, metric, scores, f"{zeros:.0%}" if first else "", f"{seconds / 60:.1f}" if first else ""]
        lines.append("| " + " | ".join(said if first else ["", "", *said[2:]]) + " |")
    return lines


def table(options: argparse.Namespace) -> str:
    """The table of what has been run so far, and where that was."""
    lines = ["| task | recipe | metric | dense | pruned | int8 | zeros in the encoder | minutes |", "|---" * 8 + "|"]
    machine = ""
    for name, recipe in ROWS.items():
        file = options.output / recipe / "report.json"
        report = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        lines += row(name, recipe, report)
        if report is not None:
            versions = ", ".join(
                f"{package} {report['versions'][package]}" for package in ("torch", "openvino", "nncf")
            )
            machine = f"On {report['machine']['cpu']}, {thread_count(options.threads)}; {versions}."
    return "\n".join([*lines, "", machine])


def main() -> int:
    options = parse()
    chosen = {name: recipe for name, recipe in ROWS.items() if options.only in f"{name} {recipe}"}
    if not chosen:
        print(f"tasks_table: no row holds '{options.only}'", file=sys.stderr)
        return 2
    try:
        pages.write_between(options.page, table(options))
    except (OSError, ValueError) as error:
        print(f"tasks_table: {error}", file=sys.stderr)
        return 2
    # Read when torch is imported, which optkit does at first use.
    os.environ |= {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    import optkit
    from optkit.errors import OptkitError

    failed = 0
    for name, recipe in chosen.items():
        print(f"{name}: {recipe}", flush=True)
        sets = ["benchmark=null", "evaluate.max_drop=null", *options.sets]
        try:
            optkit.run(RECIPES / f"{recipe}.yaml", sets, output=options.output / recipe)
        except OptkitError as error:
            print(f"tasks_table: {recipe}: {error}", file=sys.stderr)
            failed += 1
            continue
        pages.write_between(options.page, table(options))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
