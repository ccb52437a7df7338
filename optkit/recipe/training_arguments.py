"""What `train` may hold: the fields of transformers.TrainingArguments, read from its source without importing it, and a
few of our own.

Importing transformers' Trainer takes seconds and loads torch; names, types and choices of the fields are plain text.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from optkit.errors import OptkitError
from optkit.pruning.config import Span
from optkit.recipe.fields import as_share, check_pattern
from optkit.spelling import suggest

SPANS = ("warmup_steps", "eval_steps", "save_steps", "logging_steps")
"""Lengths of training, which may also be written as ``5%`` or ``1ep``."""

_BEST = "the result is the model of the last step, or with train.hold_out the best at the target sparsity"
_PUBLISH = "use publish.repo_id, or run with --push"
_RESUME = "run the recipe again to resume it, or with --fresh to start over"
_WHOLE = "masks need whole weights, and this splits them over processes: use torchrun alone, which trains with DDP"
_COUNTED = "it may change the number of steps, which schedules must know before training"
_EXACT = "a resumed run would not give the same bytes as an uninterrupted one"
OWNED: dict[str, str] = {
    "output_dir": "use run --output",
    "logging_dir": "use run --output",
    "run_name": "use the recipe's own `name`",
    "seed": "use the recipe's own `seed`",
    "data_seed": "use the recipe's own `seed`",
    "hub_token": "a recipe must not hold secrets: log in with `hf auth login`, or set HF_TOKEN",
    "push_to_hub": _PUBLISH,
    "hub_model_id": _PUBLISH,
    "hub_strategy": _PUBLISH,
    "hub_private_repo": _PUBLISH,
    "hub_always_push": _PUBLISH,
    "hub_revision": _PUBLISH,
    "load_best_model_at_end": _BEST,
    "metric_for_best_model": f"{_BEST}; put the metric first in task.metric",
    "greater_is_better": f"{_BEST}; put the metric first in task.metric",
    "resume_from_checkpoint": _RESUME,
    "ignore_data_skip": _EXACT,
    "save_only_model": _EXACT,
    "restore_callback_states_from_checkpoint": _EXACT,
    "do_train": "use run --stop-after",
    "do_eval": "use run --stop-after",
    "do_predict": "use run --stop-after",
    "label_names": "use task.label",
    "prediction_loss_only": "evaluation needs the predictions, see task.metric",
    "batch_eval_metrics": "metrics are computed on all predictions together",
    "eval_do_concat_batches": "metrics are computed on all predictions together",
    "logging_nan_inf_filter": "optkit turns it off, so that a NaN loss stops the run",
    "ddp_broadcast_buffers": "optkit turns it off, so that differing masks are noticed",
    "local_rank": "use torchrun, which sets it",
    "fsdp": _WHOLE,
    "fsdp_config": _WHOLE,
    "deepspeed": _WHOLE,
    "accelerator_config": _COUNTED,
    "auto_find_batch_size": f"{_COUNTED}; set per_device_train_batch_size",
    "warmup_ratio": "use warmup_steps: 5%",
}
"""Arguments that a recipe may not set, and what to write instead."""


def _span(value: Any, expected: str) -> Span:
    """A part of training that is not empty."""
    try:
        span = Span.parse(value)
    except (ValueError, TypeError):
        span = None
    if span is None or span.value == 0:
        raise ValueError(f"expected {expected}, got {value!r}")
    return span


def _rewind(value: Any) -> str | Span:
    return value if value == "jumps" else _span(value, "jumps, or the time between two rewinds such as 2ep")


def _floor(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(share := as_share(value), (int, float)) or not 0 <= share < 1:
        raise ValueError(f"expected a share of learning_rate from 0 to below 1, got {value!r}")
    return float(share)


def _hold_out(value: Any) -> int | float:
    rows = as_share(value)
    some = isinstance(rows, int) and not isinstance(rows, bool) and rows >= 1
    if not some and not (isinstance(rows, float) and 0 < rows < 1):
        raise ValueError(f"expected a share of the training split such as 5%, or a number of rows, got {value!r}")
    return rows


def _freeze(value: Any) -> list[str]:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, (list, tuple)) or not patterns or not all(isinstance(p, str) for p in patterns):
        raise ValueError(f"expected patterns on names of modules such as '*embeddings', got {value!r}")
    return [check_pattern(pattern) for pattern in patterns]


def _average_last(value: Any) -> Span:
    return _span(value, "a part of training such as 10%, a number of steps, or 1ep")


OURS: dict[str, Callable[[Any], Any]] = {
    "lr_rewind": _rewind,
    "lr_floor": _floor,
    "hold_out": _hold_out,
    "average_last": _average_last,
    "freeze": _freeze,
}
"""Keys of `train` that are no TrainingArguments, and what reads their values or raises ValueError."""

#: What transformers takes unseen, and divides by or waits for.
_LEAST = {
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "eval_accumulation_steps": 1,
    "dataloader_num_workers": 0,
}

_BUILTIN = {"str": "string", "bool": "boolean", "int": "integer", "float": "number", "None": "null"}
_BUILTIN |= {"dict": "object", "list": "array"}
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
_PYTHON |= {"object": Mapping, "array": (list, tuple)}
_WORDS = {"string": "text", "boolean": "true or false", "integer": "a whole number", "number": "a number"}
_WORDS |= {"null": "null", "object": "a mapping", "array": "a list"}


@dataclass(frozen=True)
class Argument:
    """One field of TrainingArguments.

    Args:
        name: of the field.
        types: what it may be, in JSON Schema's words; empty when the annotation is beyond these.
        choices: the values of its enum, empty when it has none.
    """

    name: str
    types: tuple[str, ...]
    choices: tuple[str, ...] = ()

    def fault(self, value: Any) -> str | None:
        """What is wrong with ``value``, or None."""
        if isinstance(value, float) and not math.isfinite(value):
            return f"expected a finite number, got {value}"
        if self.types and not any(_is(value, kind) for kind in self.types):
            expected = " or ".join(_WORDS[kind] for kind in self.types if kind != "null")
            return f"expected {expected}, got {value!r}"
        if self.name in _LEAST and value is not None and value < _LEAST[self.name]:
            return f"must be at least {_LEAST[self.name]}, got {value}"
        if self.choices and isinstance(value, str) and value not in self.choices:
            return f"unknown value '{value}'{suggest(value, self.choices) or ', one of ' + ', '.join(self.choices)}"
        return None


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _PYTHON[kind])


@lru_cache
def arguments() -> dict[str, Argument]:
    """The fields of the installed transformers.TrainingArguments, by name."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        raise OptkitError("transformers is not installed, so `train` cannot be checked: pip install transformers")
    folder = Path(spec.origin).parent
    classes = {
        node.name: node
        for file in ("trainer_utils.py", "training_args.py")
        for node in ast.parse((folder / file).read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    }
    enums = {name: _enum_values(node) for name, node in classes.items()}
    fields = [node for node in classes["TrainingArguments"].body if isinstance(node, ast.AnnAssign)]
    found = {}
    for field in fields:
        if not isinstance(field.target, ast.Name):
            continue
        types, choices = set(), ()
        for member in _members(field.annotation):
            types.add("string" if enums.get(member) else _BUILTIN.get(member, member))
            choices = enums.get(member) or choices
        known = types <= set(_PYTHON)
        found[field.target.id] = Argument(field.target.id, tuple(sorted(types)) if known else (), choices)
    return found


def _members(annotation: ast.expr) -> list[str]:
    """The names in a union, without what their brackets hold: ``dict[str, Any] | None`` gives dict and None."""
    if isinstance(annotation, ast.BinOp):
        return _members(annotation.left) + _members(annotation.right)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) in ("Optional", "Union"):
        inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        extra = ["None"] if ast.unparse(annotation.value) == "Optional" else []
        return [name for part in inner for name in _members(part)] + extra
    return [ast.unparse(annotation.value if isinstance(annotation, ast.Subscript) else annotation)]


def _enum_values(node: ast.ClassDef) -> tuple[str, ...]:
    if not any("Enum" in ast.unparse(base) for base in node.bases):
        return ()
    values = [statement.value for statement in node.body if isinstance(statement, ast.Assign)]
    return tuple(v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str))


def read_train(train: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str, bool]]]:
    """Checks `train` against TrainingArguments.

    Returns:
        The values, with spans parsed and whole numbers made floats where the field is one; and the faults, each as key,
        message, and whether the key is wrong rather than its value.
    """
    known = arguments()
    usable = [name for name in known if name not in OWNED] + [*OURS]
    values: dict[str, Any] = {}
    faults: list[tuple[str, str, bool]] = []
    for name, value in train.items():
        if name in OWNED:
            faults.append((name, f"cannot be set in a recipe: {OWNED[name]}", True))
        elif name in OURS:
            try:
                values[name] = OURS[name](value)
            except ValueError as error:
                faults.append((name, str(error), False))
        elif name not in known:
            faults.append((name, f"unknown key, not a field of TrainingArguments{suggest(name, usable)}", True))
        elif name in SPANS and value is not None:
            try:
                values[name] = Span.parse(value)
            except (ValueError, TypeError) as error:
                faults.append((name, str(error), False))
        elif fault := known[name].fault(value):
            faults.append((name, fault, False))
        else:
            whole = isinstance(value, int) and not isinstance(value, bool)
            values[name] = float(value) if whole and set(known[name].types) <= {"number", "null"} else value
    return values, faults + _contradictions(train)


def _contradictions(train: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Faults of keys of ours that others leave no room for."""
    faults = []
    if "lr_floor" in train and "lr_rewind" not in train:
        faults.append(("lr_floor", "is read with lr_rewind only: remove it, or write lr_rewind", True))
    if "lr_rewind" in train:
        if train.get("lr_scheduler_type", "linear") != "linear":
            faults.append(
                ("lr_rewind", "the learning rate decays linearly to each rewind: remove lr_scheduler_type", True)
            )
        if train.get("lr_scheduler_kwargs"):
            faults.append(("lr_rewind", "its only option is lr_floor: remove lr_scheduler_kwargs", True))
    epochs, steps = train.get("num_train_epochs", 1), train.get("max_steps", -1)
    if _is(epochs, "number") and _is(steps, "integer") and epochs <= 0 and steps <= 0:
        faults.append(
            ("num_train_epochs", f"must be above 0, got {epochs}: to prune without training, remove `train`", False)
        )
    if "average_last" in train and "hold_out" in train:
        faults.append(
            ("average_last", "the result is the mean, and hold_out chooses one of the others: remove one", True)
        )
    if train.get("remove_unused_columns") is True:
        faults.append(("remove_unused_columns", "optkit gives the model the columns it takes: remove it", True))
    if "hold_out" in train and train.get("eval_strategy", "steps") == "no":
        faults.append(
            ("hold_out", "is evaluated during training, which eval_strategy: no forbids: remove eval_strategy", True)
        )
    return faults
