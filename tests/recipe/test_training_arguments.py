"""`train` against transformers.TrainingArguments: what is read from the source is what the class has."""

from __future__ import annotations

import dataclasses

import pytest

from optkit.pruning.config import Span
from optkit.recipe.training_arguments import OWNED, SPANS, arguments, read_train


@pytest.mark.slow
def test_the_source_is_read_as_the_class_is():
    from transformers import TrainingArguments

    fields = {field.name for field in dataclasses.fields(TrainingArguments)}
    assert set(arguments()) == fields
    assert set(SPANS) <= fields
    # Arguments of older versions are refused too; a misspelt entry here would silently refuse nothing.
    assert set(OWNED) - fields == set()


def test_types_and_choices():
    known = arguments()
    assert known["learning_rate"].types == ("number",)
    assert known["eval_accumulation_steps"].types == ("integer", "null")
    assert known["eval_strategy"].choices == ("no", "steps", "epoch")
    assert "cosine_with_restarts" in known["lr_scheduler_type"].choices
    assert known["parallelism_config"].types == ()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("learning_rate", "3e-5", "expected a number, got '3e-5'"),
        ("learning_rate", True, "expected a number, got True"),
        ("learning_rate", float("inf"), "expected a finite number, got inf"),
        ("per_device_train_batch_size", 1.5, "expected a whole number, got 1.5"),
        ("per_device_train_batch_size", 0, "must be at least 1, got 0"),
        ("gradient_accumulation_steps", -1, "must be at least 1, got -1"),
        ("dataloader_num_workers", -1, "must be at least 0, got -1"),
        ("fp16", "yes", "expected true or false, got 'yes'"),
        ("optim", "adamw_troch", "unknown value 'adamw_troch', did you mean 'adamw_torch'?"),
        ("warmup_steps", "lots", "'lots' is not a part of training: write 5%, a number of steps, or 1ep"),
        ("save_steps", [1], "'[1]' is not a part of training: write 5%, a number of steps, or 1ep"),
    ],
)
def test_a_wrong_value_is_said(key, value, said):
    assert read_train({key: value}) == ({}, [(key, said, False)])


def test_a_training_of_no_epochs_is_no_training():
    said = "must be above 0, got 0: to prune without training, remove `train`"
    assert read_train({"num_train_epochs": 0})[1] == [("num_train_epochs", said, False)]
    assert not read_train({"num_train_epochs": 0, "max_steps": 5})[1]


@pytest.mark.parametrize("key", sorted(OWNED))
def test_what_optkit_owns_is_refused_with_the_way_out(key):
    values, faults = read_train({key: None})
    assert values == {} and faults == [(key, f"cannot be set in a recipe: {OWNED[key]}", True)]


def test_values_are_normalised():
    values, faults = read_train({"num_train_epochs": 6, "warmup_steps": "5%", "save_steps": 50, "eval_steps": None})
    assert faults == []
    assert values["warmup_steps"] == Span(0.05, "share") and values["save_steps"] == Span(50, "steps")
    assert values["num_train_epochs"] == 6.0 and isinstance(values["num_train_epochs"], float)
    assert values["eval_steps"] is None
