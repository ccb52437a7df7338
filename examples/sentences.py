"""What the examples share and a project of your own has already: a command line, sentences with labels, a model."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from optkit import OptkitError


class CommandLine(argparse.ArgumentParser):
    """The arguments of every example; ``description`` is its docstring."""

    def __init__(self, description: str):
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--model", required=True, help="what to prune: a checkpoint folder, or a name on the Hub")
        self.add_argument("--train", required=True, type=Path, help="a .tsv file with columns sentence and label")
        self.add_argument("--output", required=True, type=folder, help="where to save the pruned model")
        self.add_argument("--sparsity", type=float, default=0.8, help="share of zeros to end with (%(default)s)")
        self.add_argument("--structure", default="1x4", help="what goes together: element, 1x4, 32x1 ... (%(default)s)")
        self.add_argument("--epochs", type=at_least_1, default=3, help="(%(default)s)")
        self.add_argument("--batch", type=at_least_1, default=32, help="examples a batch (%(default)s)")
        self.add_argument("--learning-rate", type=float, default=5e-5, help="(%(default)s)")

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message}\n")


def folder(text: str) -> Path:
    if (path := Path(text)).exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is a file, not a folder")
    return path


def at_least_1(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def read_sentences(path: Path, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Any]]:
    """The rows of ``path``, tokenized: input_ids, attention_mask ..., and labels, classes that count from 0."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    examples = []
    for line, row in enumerate(table, start=2):
        if row.get("sentence") is None or not (row.get("label") or "").isdecimal():
            raise ValueError(f"{path}, line {line}: needs columns sentence and label, and a class (0, 1 ...) in label")
        tokens = tokenizer(row["sentence"], truncation=True, max_length=min(tokenizer.model_max_length, 128))
        examples.append({**tokens, "labels": int(row["label"])})
    if len({example["labels"] for example in examples}) < 2:
        raise ValueError(f"{path}: holds no two classes to tell apart")
    return examples


def load(options: argparse.Namespace) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[dict[str, Any]]]:
    """Model, tokenizer and training examples; a model made for another number of classes gets a new head."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    examples = read_sentences(options.train, tokenizer)
    classes = 1 + max(example["labels"] for example in examples)
    model = AutoModelForSequenceClassification.from_pretrained(
        options.model, num_labels=classes, ignore_mismatched_sizes=True
    )
    return model, tokenizer, examples


def run(main: Callable[[argparse.Namespace], None], parser: CommandLine) -> None:
    """Calls ``main`` with the arguments given; a mistake in them is one line, not a traceback."""
    options = parser.parse_args()
    try:
        main(options)
    except (OptkitError, OSError, ValueError) as error:
        sys.exit(f"error: {str(error).strip().splitlines()[0]}")
