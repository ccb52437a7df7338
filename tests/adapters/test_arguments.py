"""Trackers of the Trainer: they get what pruning logs, and one that is not there is refused before anything begins."""

from __future__ import annotations

import pytest
import torch
from capabilities import need
from transformers import BertConfig, BertForSequenceClassification

from optkit.adapters import trainer
from optkit.adapters.arguments import training_arguments
from optkit.errors import RecipeError
from optkit.pruning.callback import PruningCallback
from optkit.pruning.config import Rule, Schedule


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "train.report_to: unknown tracker 'tensorbord', did you mean 'tensorboard'?"),
        ([None], "train.report_to: expected the name of a tracker, got None"),
        ("comet_ml", "train.report_to: comet_ml is not installed: install its package, or leave it out"),
    ],
)
def test_a_tracker_that_is_not_there(tmp_path, name, said):
    with pytest.raises(RecipeError) as raised:
        training_arguments({"max_steps": 2, "report_to": name}, tmp_path, seed=0, examples=8)
    assert str(raised.value) == said


def test_tensorboard_hears_of_loss_and_sparsity(tmp_path):
    need("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=2
    )
    torch.manual_seed(0)
    rows = [{"input_ids": torch.randint(0, 50, (6,)), "labels": torch.tensor(row % 2)} for row in range(16)]
    given = {"max_steps": 8, "per_device_train_batch_size": 2, "logging_steps": 2, "report_to": "tensorboard"}
    args = training_arguments(given, tmp_path, seed=0, examples=16)
    rules = [Rule(name="encoder", structure="element", schedule=Schedule(to=0.5, begin=0.0, end=1.0))]
    built = trainer.build(
        BertForSequenceClassification(config),
        args,
        train_dataset=rows,
        collator=torch.utils.data.default_collate,
        callbacks=[PruningCallback(rules)],
    )
    trainer.train(built, None)
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    events = EventAccumulator(str(file)).Reload()
    scalars = lambda name: [(event.step, event.value) for event in events.Scalars(f"train/{name}")]  # noqa: E731
    logged = {name: scalars(name) for name in ("loss", "sparsity")}
    assert [step for step, _ in logged["loss"]] == [step for step, _ in logged["sparsity"]] == [2, 4, 6, 8]
    history = [(entry["step"], entry["sparsity"]) for entry in built.state.log_history if "sparsity" in entry]
    assert logged["sparsity"] == [(step, pytest.approx(share)) for step, share in history]
    assert logged["sparsity"][-1] == (8, 0.5)
