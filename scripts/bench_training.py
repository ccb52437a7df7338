#!/usr/bin/env python
"""What pruning adds to a step of fine-tuning: the Trainer with PruningCallback over the plain Trainer.

Each round fine-tunes the same model twice for ``--steps`` steps on the same random batches, once plainly and once with
pruning, in this one process; the order changes from round to round, so that neither gains from a warmer machine. Masks
change every ``--every`` steps throughout, as in the steep part of a schedule.

A step is timed from ``on_step_begin`` to ``on_step_end``: forward, backward, clipping, the optimizer, the scores, and
the change of masks where one falls due; fetching the batch is outside. Steps are averaged over windows of ``--every``,
each holding one change of masks, so its cost is spread as it is in training. The first window of each run warms up.

Read ``ratio``: the median of the rounds' ratios, each of the median window with pruning to that without. 1.05 means
that steps take 5 % longer. ``from ... to`` are the lowest and highest round: where they lie far apart, the machine was
busy and the ratio says little; close other programs and raise ``--rounds``.

    python scripts/bench_training.py
    python scripts/bench_training.py --model path/to/checkpoint --structure 4x1 --rounds 5 --json
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
import transformers
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import optkit
from optkit.cpu import cpu_name
from optkit.errors import OptkitError
from optkit.pruning.callback import PruningCallback
from optkit.pruning.config import CRITERIA, ONE_SHOT, Frozen, Rule, Schedule


class StepTimes(TrainerCallback):
    """Seconds of each optimizer step, the other callbacks' part included: it has to come after them."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self._begun = self._now()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.seconds.append(self._now() - self._begun)

    @staticmethod
    def _now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()


def load(model: str | None) -> nn.Module:
    """A classifier from a checkpoint folder, or with random weights from a config; by default of MiniLM-L6's size."""
    torch.manual_seed(0)
    if model is None:
        config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    elif not Path(model).exists():
        raise ValueError(f"--model: there is no '{model}': give a checkpoint folder or a config file")
    elif Path(model).is_dir() and any(Path(model).glob("*.safetensors")):
        return AutoModelForSequenceClassification.from_pretrained(model, local_files_only=True, dtype=torch.float32)
    else:
        config = AutoConfig.from_pretrained(model, local_files_only=True)
    return AutoModelForSequenceClassification.from_config(config)


def random_rows(count: int, length: int, vocabulary: int) -> list[dict]:
    """``count`` examples of ``length`` token ids without padding, labels 0 and 1 by turns."""
    ids = torch.randint(0, vocabulary, (count, length), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": i % 2} for i, row in enumerate(ids)]


def windows(model: nn.Module, rows: list[dict], rule: Rule | None, options: argparse.Namespace) -> list[float]:
    """Fine-tunes a copy of ``model`` and returns the seconds a step took in each window but the first."""
    times = StepTimes()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch,
            learning_rate=3e-5,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            dataloader_pin_memory=False,
            disable_tqdm=True,
            seed=0,
        )
        trainer = Trainer(
            model=copy.deepcopy(model),
            args=arguments,
            train_dataset=rows,
            callbacks=[*([PruningCallback(rule)] if rule else []), times],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    every = options.every
    return [statistics.mean(times.seconds[i : i + every]) for i in range(every, options.steps, every)]


def measure(options: argparse.Namespace) -> dict:
    """All rounds, by turns; see the first lines of this file for what the figures mean."""
    model = load(options.model)
    rows = random_rows(options.batch * options.steps, options.seq, model.config.vocab_size)
    schedule = Schedule(initial=0.1, to=0.9, begin=options.every, end=options.steps, every=options.every)
    criterion = CRITERIA[options.criterion]()
    rule = Rule(
        criterion=criterion,
        structure=options.structure,
        schedule=None if isinstance(criterion, Frozen) else schedule,
    )
    rounds = []
    for index in range(options.rounds):
        order = ("plain", "pruned") if index % 2 == 0 else ("pruned", "plain")
        medians = {n: statistics.median(windows(model, rows, rule if n == "pruned" else None, options)) for n in order}
        rounds.append(medians | {"ratio": medians["pruned"] / medians["plain"]})
        print(f"round {index + 1} of {options.rounds}: ratio {rounds[-1]['ratio']:.3f}", file=sys.stderr, flush=True)
    ratios = [r["ratio"] for r in rounds]
    cuda = torch.cuda.is_available()
    return {
        "ratio": statistics.median(ratios),
        "ratio_lowest": min(ratios),
        "ratio_highest": max(ratios),
        "plain_seconds": statistics.median(r["plain"] for r in rounds),
        "pruned_seconds": statistics.median(r["pruned"] for r in rounds),
        "rounds": rounds,
        "settings": {key: value for key, value in vars(options).items() if key != "json"},
        "device": torch.cuda.get_device_name() if cuda else cpu_name(),
        "threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "optkit": optkit.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    summary, _, details = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="a checkpoint folder or a config; default: MiniLM-L6's size, random weights")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=80, help="steps of a run (default: %(default)s)")
    parser.add_argument("--every", type=int, default=20, help="steps between changes of masks (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="examples a step (default: %(default)s)")
    parser.add_argument("--seq", type=int, default=32, help="tokens of an example (default: %(default)s)")
    trained = [name for name, criterion in CRITERIA.items() if criterion not in ONE_SHOT]
    parser.add_argument("--criterion", choices=trained, default="movement", help="default: %(default)s")
    parser.add_argument("--structure", default="1x4", help="element or RxC (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.every, options.batch, options.seq) < 1:
        parser.error("--rounds, --every, --batch and --seq are at least 1")
    if options.steps % options.every or options.steps < 2 * options.every:
        parser.error(f"--steps is a multiple of --every ({options.every}) and at least twice that")
    return options


def main() -> int:
    options = parse()
    transformers.logging.set_verbosity_error()
    try:
        report = measure(options)
    except (OptkitError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report, indent=2))
        return 0
    pruned = f"{options.criterion} {options.structure}, masks changing every {options.every} steps"
    print(f"plain   {report['plain_seconds'] * 1e3:9.2f} ms a step")
    print(f"pruned  {report['pruned_seconds'] * 1e3:9.2f} ms a step  ({pruned})")
    print(f"ratio   {report['ratio']:9.3f}     from {report['ratio_lowest']:.3f} to {report['ratio_highest']:.3f}")
    print(f"{report['device']}, {report['threads']} threads; batch {options.batch} x {options.seq} tokens")
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
