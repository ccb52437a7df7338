#!/usr/bin/env python
"""How much accuracy pruning costs: runs the cells of docs/accuracy.md one by one, and writes its tables.

A cell is a recipe with overrides and a seed. Each is a whole ``optkit run`` in a process of its own, on a copy of the
recipe's data and model that the options name. What is done is kept in ``--output`` and not done again, so this may be
stopped at any time, in the middle of a training too, and started again. The page is rewritten after every cell.

    python scripts/accuracy_table.py --data SST2 --model MINILM --output runs/accuracy --list
    python scripts/accuracy_table.py --data SST2 --model MINILM --output runs/accuracy --only criteria --threads 2

``--data`` is a folder with SST-2 as train.tsv, dev.tsv and test.tsv; ``--model`` the encoder that was fine-tuned on it,
which is dense baseline, start model and teacher; ``--teacher`` another one, of any size, which the cells of "a larger
teacher" learn logits from. Rows of the page whose runs ``--output`` lacks stay; what was never run has none.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pages
from accuracy_cells import CELLS, Cell

from optkit.recipe import load_recipe
from optkit.variant import DENSE, PRUNED, Variant, migrate_name

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "accuracy.md"
RECIPES = HERE.parent / "recipes"
#: Normal quantile of a two-sided 95 % interval.
Z95 = 1.959964


def parse() -> argparse.Namespace:
    parser = pages.parser(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True, help="folder with train.tsv, dev.tsv and test.tsv of SST-2")
    parser.add_argument("--model", type=Path, required=True, help="the encoder fine-tuned on it")
    parser.add_argument("--teacher", type=Path, help="another one, for the cells of 'a larger teacher'")
    parser.add_argument("--seed", type=int, help="this seed alone")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], dest="sets", help="one more override for every cell")
    parser.add_argument("--list", action="store_true", help="what is done and what is not, and stop")
    return parser.parse_args()


def folder_of(options: argparse.Namespace, cell: Cell, seed: int) -> Path:
    words = "".join(c if c.isalnum() else "-" for c in f"{cell.table} {cell.name}".replace("%", "").lower())
    return options.output / f"{'-'.join(filter(None, words.split('-')))}-{seed}"


def command(options: argparse.Namespace, cell: Cell, seed: int, folder: Path) -> list[str]:
    files = {split: str((options.data / f"{name}.tsv").resolve()) for split, name in SPLITS.items()}
    model = str(options.model.resolve())
    sets = [
        f"model.name={model}",
        f"task.dataset={json.dumps({'files': files})}",
        "evaluate.splits=[validation, test]",
        "benchmark=null",
        f"seed={seed}",
        *cell.sets,
    ]
    recipe = load_recipe(RECIPES / cell.recipe)
    # A recipe without training stays one: `train.bf16` would make it one with.
    sets += [text for text in options.sets if recipe.train or not text.startswith("train.")]
    if cell.larger:
        teachers = [{"name": model, "weight": 0}, {"name": str(options.teacher.resolve())}]
        sets.append(f"distill.teacher={json.dumps(teachers)}")
    elif recipe.distill is not None:
        sets.append(f"distill.teacher={model}")
    given = [argument for text in sets for argument in ("--set", text)]
    # Most cells ask the same teacher the same texts.
    others = (manifest.parent for manifest in sorted(options.output.glob("*/manifest.json")))
    given += [argument for other in others if other != folder for argument in ("--reuse", str(other))]
    return [sys.executable, "-m", "optkit", "run", str(RECIPES / cell.recipe), "--output", str(folder), *given]


#: What is served.
INT8 = Variant("pruned", "int8", "openvino")
SPLITS = {"train": "train", "validation": "dev", "test": "test"}


def run_cell(options: argparse.Namespace, cell: Cell, seed: int) -> None:
    """Runs one cell to its end and keeps its result beside the run.

    Raises:
        subprocess.CalledProcessError: if the run failed; its log lies beside it.
    """
    folder = folder_of(options, cell, seed)
    threads = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    begun = time.perf_counter()
    options.output.mkdir(parents=True, exist_ok=True)
    arguments = command(options, cell, seed, folder)
    with open(folder.with_suffix(".log"), "a", encoding="utf-8") as log:
        process = subprocess.Popen(arguments, stdout=log, stderr=log, env=os.environ | threads)
        try:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        except KeyboardInterrupt:
            process.wait()
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    kept = {"seconds": time.perf_counter() - begun, "memory": memory, "threads": options.threads}
    folder.with_suffix(".json").write_text(json.dumps(kept), encoding="utf-8")


def correct(folder: Path) -> dict[Variant, np.ndarray]:
    """Which sentences of dev and test each model got right: 1.0 or 0.0, (sentences,), by variant."""
    from safetensors.numpy import load_file

    found: dict[Variant, list[np.ndarray]] = {}
    for split in ("validation", "test"):
        outputs = load_file(folder / "predictions" / f"{split}.safetensors")
        labels = outputs.pop("labels")
        for name, logits in outputs.items():
            found.setdefault(migrate_name(name), []).append((logits.argmax(axis=1) == labels).astype(np.float64))
    return {variant: np.concatenate(parts) for variant, parts in found.items()}


def drop(runs: list[dict[Variant, np.ndarray]], variant: Variant) -> tuple[float, float]:
    """Points that ``variant`` lies below dense, and half the width of its 95 % interval.

    The same sentences are judged by both models and by every seed, so the sentence is the unit: its difference is the
    mean over seeds, and the interval is that of the mean of the differences (a paired comparison).
    """
    differences = np.mean([run[DENSE] - run[variant] for run in runs], axis=0)
    return 100 * differences.mean(), 100 * Z95 * differences.std(ddof=1) / np.sqrt(len(differences))


def finished(options: argparse.Namespace, cell: Cell) -> list[tuple[int, Path]]:
    every = ((seed, folder_of(options, cell, seed)) for seed in cell.seeds)
    return [(seed, folder) for seed, folder in every if folder.with_suffix(".json").is_file()]


def row(options: argparse.Namespace, cell: Cell, before: Mapping[tuple[str, str], str]) -> str | None:
    """A line of the table; of a cell that was not run here the one that was there ``before``, if any."""
    done = finished(options, cell)
    if not done:
        return before.get((_title(cell.table), cell.name))
    aims = [f"{cell.limit:g}", f"{cell.goal:g}"] if cell.limit is not None else []
    runs = [correct(folder) for _, folder in done]
    reports = [json.loads((folder / "report.json").read_text(encoding="utf-8")) for _, folder in done]
    costs = [json.loads(folder.with_suffix(".json").read_text(encoding="utf-8")) for _, folder in done]
    (points, half), (pruned, _) = drop(runs, INT8), drop(runs, PRUNED)
    each = ", ".join(f"{100 * run[INT8].mean():.2f}" for run in runs)
    seconds = [cost["seconds"] for cost in costs]
    cells = [
        cell.name,
        each,
        f"**{points:.2f}** ± {half:.2f}",
        f"{pruned:.2f}",
        ", ".join(str(seed) for seed, _ in done),
        " / ".join(f"{report['training']['steps']:,}" for report in reports[:1]),
        f"{np.mean(seconds) / 60:.0f} min x {costs[0]['threads']}",
        f"{max(cost['memory'] for cost in costs) / 2**30:.1f} GB",
        *aims,
    ]
    return "| " + " | ".join(cells) + " |"


def _title(table: str) -> str:
    return f"{table[0].upper()}{table[1:]}"


def rows_of(page: str) -> dict[tuple[str, str], str]:
    """The lines of a page's tables, by the title that they stand under and their first cell."""
    found, title = {}, ""
    for line in page.splitlines():
        if line.startswith("## "):
            title = line[3:]
        elif line.startswith("| "):
            found[title, line.split("|")[1].strip()] = line
    return found


def tables(options: argparse.Namespace) -> str:
    lines, before = [], rows_of(options.page.read_text(encoding="utf-8"))
    for table in dict.fromkeys(cell.table for cell in CELLS):
        cells = [cell for cell in CELLS if cell.table == table]
        heads = ["", "int8 accuracy", "points below dense", "before int8", "seeds", "steps", "time x threads", "memory"]
        heads += ["limit", "goal"] if cells[0].limit is not None else []
        if not (rows := [line for cell in cells if (line := row(options, cell, before)) is not None]):
            continue
        lines += ["", f"## {_title(table)}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        lines += rows
    return "\n".join([*lines, ""])


def main() -> int:
    options = parse()
    chosen = [
        (cell, seed)
        for cell in CELLS
        for seed in cell.seeds
        if options.only in f"{cell.table} {cell.name}" and options.seed in (None, seed)
    ]
    if not chosen:
        print(f"accuracy_table: no cell holds '{options.only}'", file=sys.stderr)
        return 2
    if options.teacher is None and any(cell.larger for cell, _ in chosen) and not options.list:
        print("accuracy_table: cells of 'a larger teacher' need one: name it by --teacher", file=sys.stderr)
        return 2
    if not options.list:
        try:
            pages.write_between(options.page, tables(options))
        except (OSError, ValueError) as error:
            print(f"accuracy_table: {error}", file=sys.stderr)
            return 2
    failed = 0
    for cell, seed in chosen:
        done = folder_of(options, cell, seed).with_suffix(".json").is_file()
        print(f"{cell.table}: {cell.name}, seed {seed}: {'done' if done else 'to do'}", flush=True)
        if options.list or done:
            continue
        try:
            run_cell(options, cell, seed)
        except subprocess.CalledProcessError as error:
            log = folder_of(options, cell, seed).with_suffix(".log")
            print(f"accuracy_table: exit {error.returncode}, see {log}", file=sys.stderr)
            failed += 1
            continue
        pages.write_between(options.page, tables(options))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
