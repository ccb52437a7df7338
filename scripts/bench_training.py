#!/usr/bin/env python
"""What pruning and distillation add to a step of fine-tuning, over the plain Trainer.

Each round fine-tunes the same model for ``--steps`` steps on the same random batches, once plainly, once with each of
``--criteria`` and once with each of ``--teachers``, all in this process; the order moves on from round to round, so
that none gains from a warmer machine. Masks change every ``--every`` steps throughout, as in the steep part of a
schedule. Teachers are of the student's size and teach an unpruned student: ``logits`` alone, ``states`` also the hidden
states and the last layer's relations of attention, ``relations`` the hidden states and the relations of all layers.

A step is timed from ``on_step_begin`` to ``on_step_end``: forward, backward, clipping, the optimizer, the scores, and
the change of masks where one falls due; fetching the batch is outside. Steps are averaged over windows of ``--every``,
each holding one change of masks, so its cost is spread as it is in training. The first window of each run warms up.

Read ``ratio``: the median of the rounds' ratios, each of the median window to that of the plain Trainer. 1.05 means
that steps take 5 % longer. ``from ... to`` are the lowest and highest round: where they lie far apart, the machine was
busy and the ratio says little; close other programs and raise ``--rounds``.

    python scripts/bench_training.py
    python scripts/bench_training.py --criteria magnitude,movement,obert --teachers states
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
from optkit.pruning import AttentionDistillation, DistillationMixin, HiddenDistillation
from optkit.pruning.callback import PruningCallback
from optkit.pruning.config import CRITERIA, ONE_SHOT, Frozen, Rule, Schedule
from optkit.timing import by_turns

PLAIN = "plain"
TEACHERS = {
    "logits": {},
    "states": {"hidden": HiddenDistillation(), "attention": AttentionDistillation()},
    "relations": {"hidden": HiddenDistillation(), "attention": AttentionDistillation(layers="auto")},
}


class Taught(DistillationMixin, Trainer):
    """A Trainer with a teacher."""


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


def step_seconds(model: nn.Module, rows: list[dict], name: str, options: argparse.Namespace) -> float:
    """Fine-tunes a copy of ``model`` and returns the seconds of a step in the median window but the first."""
    times, callbacks, kind, more = StepTimes(), [], Trainer, {}
    if name in TEACHERS:
        kind, more = Taught, {"teacher": copy.deepcopy(model), **TEACHERS[name]}
    elif name != PLAIN:
        callbacks.append(PruningCallback(rule(name, options)))
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
        student = copy.deepcopy(model)
        trainer = kind(model=student, args=arguments, train_dataset=rows, callbacks=[*callbacks, times], **more)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    every = options.every
    return statistics.median(statistics.mean(times.seconds[i : i + every]) for i in range(every, options.steps, every))


def rule(criterion: str, options: argparse.Namespace) -> Rule:
    schedule = Schedule(initial=0.1, to=0.9, begin=options.every, end=options.steps, every=options.every)
    made = CRITERIA[criterion]()
    return Rule(criterion=made, structure=options.structure, schedule=None if isinstance(made, Frozen) else schedule)


def measure(options: argparse.Namespace) -> dict:
    """All rounds, by turns; see the first lines of this file for what the figures mean."""
    model = load(options.model)
    rows = random_rows(options.batch * options.steps, options.seq, model.config.vocab_size)
    names = (PLAIN, *options.criteria, *options.teachers)
    turns = {name: lambda name=name: step_seconds(model, rows, name, options) for name in names}
    taken = by_turns(
        turns, rounds=options.rounds, tell=lambda done, of: print(f"round {done} of {of}", file=sys.stderr)
    )
    ratios = {name: [own / plain for own, plain in zip(taken[name], taken[PLAIN], strict=True)] for name in names}
    return {
        "rows": [
            {
                "name": name,
                "ratio": statistics.median(ratios[name]),
                "ratio_lowest": min(ratios[name]),
                "ratio_highest": max(ratios[name]),
                "seconds": taken[name],
            }
            for name in names
        ],
        "settings": {key: value for key, value in vars(options).items() if key != "json"},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
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
    listed = lambda text: [name for name in text.split(",") if name]  # noqa: E731
    parser.add_argument("--criteria", type=listed, default=["magnitude", "movement"], help=f"of {', '.join(trained)}")
    parser.add_argument("--teachers", type=listed, default=[], help=f"of {', '.join(TEACHERS)}")
    parser.add_argument("--structure", default="1x4", help="element or RxC (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="JSON alone on stdout")
    options = parser.parse_args(arguments)
    if min(options.rounds, options.every, options.batch, options.seq) < 1:
        parser.error("--rounds, --every, --batch and --seq are at least 1")
    for option, known in (("criteria", trained), ("teachers", TEACHERS)):
        if unknown := [name for name in getattr(options, option) if name not in known]:
            parser.error(f"--{option}: '{unknown[0]}' is none of {', '.join(known)}")
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
    for row in report["rows"]:
        spread = f"from {row['ratio_lowest']:.3f} to {row['ratio_highest']:.3f}"
        print(
            f"{row['name']:14} {1e3 * statistics.median(row['seconds']):8.1f} ms a step  {row['ratio']:.3f}  {spread}"
        )
    print(f"{options.structure}, masks changing every {options.every} steps")
    print(f"{report['device']}, {report['threads']} threads; batch {options.batch} x {options.seq} tokens")
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
