"""What the adapter promises about the Trainer, against the Trainer itself."""

from __future__ import annotations

import functools
import itertools
import json
import math

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from capabilities import need
from torch.utils.data import BatchSampler
from transformers import TrainerCallback, TrainingArguments

from optkit.adapters import arguments, checkpointing, passes, trainer
from optkit.errors import OptkitError, RecipeError
from optkit.pruning.config import Span


class Toy(torch.nn.Module):
    """One weight; ``seen`` holds the ids of each batch."""

    device = torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(1, 2)
        self.seen = []

    def forward(self, input_ids, labels=None):
        self.seen.append(input_ids[:, 0].tolist())
        logits = self.linear(input_ids[:, :1].float() / 100)
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits} if loss is not None else type("Out", (), {"logits": logits})()


def toy_data(count: int):
    from datasets import Dataset

    rows = [{"input_ids": [i] + [0] * (i * 7 % 5), "labels": i % 2} for i in range(count)]
    return Dataset.from_list(rows)


def collate(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
    batch = {"input_ids": torch.tensor(ids)}
    if "labels" in rows[0]:
        batch["labels"] = torch.tensor([row["labels"] for row in rows])
    return batch


def toy(folder, count=24, callbacks=(), **train):
    train = {"per_device_train_batch_size": 4, "use_cpu": True, "save_strategy": "no", **train}
    args = arguments.training_arguments(train, folder, seed=1, examples=count)
    torch.manual_seed(0)
    return trainer.build(Toy(), args, train_dataset=toy_data(count), collator=collate, callbacks=callbacks)


@pytest.mark.parametrize(
    ("examples", "train"),
    [
        (24, {"per_device_train_batch_size": 8}),
        (25, {"per_device_train_batch_size": 8, "num_train_epochs": 2.0}),
        (25, {"per_device_train_batch_size": 8, "dataloader_drop_last": True}),
        (25, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}),
        (30, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "num_train_epochs": 2.0}),
        (20, {"per_device_train_batch_size": 4, "num_train_epochs": 1.5}),
        (21, {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "num_train_epochs": 0.5}),
        (20, {"per_device_train_batch_size": 4, "max_steps": 7}),
        (3, {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4, "num_train_epochs": 2.0}),
    ],
)
def test_steps_are_those_that_the_trainer_does(examples, train, tmp_path):
    steps = []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            steps.append(state.epoch)

    built = toy(tmp_path, examples, [Count()], **train)
    trainer.train(built, checkpointing.resumable(tmp_path))
    total, per_epoch = arguments.steps_of(train, examples)
    assert (len(steps), built.state.max_steps) == (total, total)
    assert per_epoch == sum(epoch <= 1 for epoch in steps) or total < per_epoch


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("processes", [2, 3])
def test_steps_of_several_processes_are_those_of_their_shares(processes, drop_last, monkeypatch):
    monkeypatch.setattr(arguments, "world_size", lambda: processes)
    for examples, batch, accumulated in itertools.product((24, 25, 40, 47), (4, 5), (1, 2, 3)):
        batches = BatchSampler(range(examples), batch, drop_last)
        shares = {len(list(BatchSamplerShard(batches, processes, rank))) for rank in range(processes)}
        assert len(shares) == 1
        train = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulated}
        train |= {"dataloader_drop_last": drop_last, "num_train_epochs": 2.0}
        expected = max(math.ceil(shares.pop() / accumulated), 1)
        assert arguments.steps_of(train, examples) == (2 * expected, expected)


def test_one_process_takes_one_gpu(tmp_path, monkeypatch):
    """With several the Trainer would spread each batch over them by DataParallel, and take other steps."""

    def four(args):
        args._n_gpu, args.distributed_state = 4, None
        return torch.device("cpu")

    devices = functools.cached_property(four)
    devices.__set_name__(TrainingArguments, "_setup_devices")
    monkeypatch.setattr(TrainingArguments, "_setup_devices", devices)
    args = arguments.training_arguments({"per_device_train_batch_size": 8}, tmp_path, seed=1, examples=24)
    assert (args.n_gpu, args.train_batch_size) == (1, 8)


def test_arguments_are_resolved_and_owned(tmp_path):
    train = {"num_train_epochs": 4.0, "per_device_train_batch_size": 10, "warmup_steps": Span.parse("5%")}
    args = arguments.training_arguments(train, tmp_path, seed=9, examples=1000)
    assert (args.warmup_steps, args.save_steps, args.logging_steps, args.save_total_limit) == (20, 40, 20, 2)
    assert (args.seed, args.output_dir, args.report_to) == (9, str(tmp_path), [])
    assert args.logging_nan_inf_filter is False and args.remove_unused_columns is False
    given = {"save_steps": Span.parse("1ep"), "eval_steps": Span.parse(7), "save_total_limit": 1}
    args = arguments.training_arguments(train | given, tmp_path, seed=9, examples=1000)
    assert (args.save_steps, args.eval_steps, args.save_total_limit) == (100, 7, checkpointing.KEPT)


def test_arguments_that_transformers_refuses(tmp_path):
    with pytest.raises(RecipeError) as caught:
        arguments.training_arguments({"lr_scheduler_type": "nonsense"}, tmp_path, seed=0, examples=10)
    assert str(caught.value).startswith(
        "train: transformers refuses these arguments: nonsense is not a valid SchedulerType"
    )
    assert "\n" not in str(caught.value)


def test_length_groups_depend_on_seed_and_epoch_alone():
    lengths = [3 + i * 13 % 29 for i in range(200)]

    def order(seed, epoch):
        sampler = trainer.LengthGroupedSampler(lengths, 8, seed)
        sampler.set_epoch(epoch)
        torch.rand(seed + epoch + 1)  # the global state must not matter
        assert len(sampler) == 200
        return list(sampler)

    assert order(1, 0) == order(1, 0) and order(1, 3) == order(1, 3)
    assert order(1, 0) != order(1, 1) and order(1, 0) != order(2, 0)
    assert sorted(order(1, 0)) == list(range(200))
    batches = [order(1, 0)[i : i + 8] for i in range(0, 200, 8)]
    within = sum(max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in batches) / len(batches)
    assert within < 5 and lengths[order(1, 0)[0]] == max(lengths)


def test_the_trainer_takes_the_order_of_seed_and_epoch(tmp_path):
    train = {"train_sampling_strategy": "group_by_length", "num_train_epochs": 2.0, "gradient_accumulation_steps": 2}
    built = toy(tmp_path, 24, **train)
    trainer.train(built, checkpointing.resumable(tmp_path))
    seen = [i for batch in built.model.seen for i in batch]
    lengths = [1 + i * 7 % 5 for i in range(24)]
    expected = []
    for epoch in range(2):
        sampler = trainer.LengthGroupedSampler(lengths, 8, built.args.seed)
        sampler.set_epoch(epoch)
        expected += list(sampler)
    assert seen == expected and expected[:24] != expected[24:]


def checkpoint(folder, step, **files):
    made = folder / f"checkpoint-{step}"
    made.mkdir(parents=True)
    for name, text in files.items():
        (made / name).write_text(text)
    (made / checkpointing.MARKER).write_text(json.dumps({name: len(text) for name, text in files.items()}))
    return made


def test_only_whole_checkpoints_count(tmp_path):
    whole = [checkpoint(tmp_path, step, weights="0123", state="01") for step in (5, 10, 9)]
    (checkpoint(tmp_path, 20, weights="0123") / checkpointing.MARKER).unlink()
    (checkpoint(tmp_path, 30, weights="0123", state="01") / "weights").write_text("01")
    (checkpoint(tmp_path, 40, weights="0123", state="01") / "state").unlink()
    (checkpoint(tmp_path, 50, weights="0123") / checkpointing.MARKER).write_text('{"weights": 4')
    (checkpoint(tmp_path, 55, weights="0123") / checkpointing.MARKER).write_text("[]")
    checkpoint(tmp_path, "best", weights="0123")
    checkpoint(tmp_path, "²", weights="0123")  # a digit, and no number
    (tmp_path / "checkpoint-60").write_text("a file")
    assert checkpointing.whole_checkpoints(tmp_path) == [whole[0], whole[2], whole[1]]
    assert checkpointing.whole_checkpoints(tmp_path / "none") == []


def test_saved_checkpoints_are_whole_and_half_ones_are_passed_over(tmp_path):
    train = {"save_strategy": "steps", "save_steps": 2, "max_steps": 7}
    first = toy(tmp_path, callbacks=[checkpointing.WholeCheckpoints()], **train)
    assert trainer.train(first, checkpointing.resumable(tmp_path)) == 0
    assert [c.name for c in checkpointing.whole_checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-7"]
    torch.save({}, tmp_path / "checkpoint-7" / "optimizer.pt")  # truncated
    again = toy(tmp_path, callbacks=[checkpointing.WholeCheckpoints()], **train)
    assert trainer.train(again, checkpointing.resumable(tmp_path)) == 6
    assert torch.equal(again.model.linear.weight, first.model.linear.weight)
    assert [c.name for c in checkpointing.whole_checkpoints(tmp_path)] == ["checkpoint-6", "checkpoint-7"]


@pytest.mark.parametrize("train", [{"max_steps": 7}, {"num_train_epochs": 1.5}, {"num_train_epochs": 1.0}])
def test_a_training_that_is_done_does_no_further_step(tmp_path, train):
    """24 examples in batches of 4: steps 7 and 9 are in the middle of an epoch."""
    ended = []

    class Ends(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            ended.append(state.global_step)

    def run():
        callbacks = [checkpointing.WholeCheckpoints(), Ends()]
        built = toy(tmp_path, callbacks=callbacks, save_strategy="steps", save_steps=5, **train)
        return built, trainer.train(built, checkpointing.resumable(tmp_path))

    first, _ = run()
    again, begun = run()
    assert begun == first.state.global_step == again.state.global_step and ended == [begun, begun]
    assert again.model.seen == [] and torch.equal(again.model.linear.weight, first.model.linear.weight)


@pytest.mark.parametrize(
    ("train", "sound", "step"),
    [
        ({"save_strategy": "steps", "save_steps": 2, "logging_steps": 1}, 2, 3),  # the loss shows it
        ({"save_strategy": "steps", "save_steps": 2, "logging_strategy": "no"}, 2, 4),  # the weights saved next do
        ({"save_strategy": "epoch", "logging_strategy": "no"}, 6, 12),
    ],
)
def test_a_model_with_nan_is_no_whole_checkpoint(tmp_path, train, sound, step):
    class Poison(TrainerCallback):
        def on_step_begin(self, args, state, control, model, **kwargs):
            if state.global_step == sound:
                model.linear.weight.data[0, 0] = math.nan

    callbacks = [checkpointing.WholeCheckpoints(), Poison()]
    with pytest.raises(OptkitError, match=f"the loss is NaN or infinite at step {step}: lower train.learning_rate"):
        trainer.train(toy(tmp_path, callbacks=callbacks, max_steps=18, **train), checkpointing.resumable(tmp_path))
    assert [c.name for c in checkpointing.whole_checkpoints(tmp_path)] == [f"checkpoint-{sound}"]


def test_watch_hears_steps_and_logs(tmp_path):
    heard = []
    watch = trainer.Watch(lambda step, total, logs: heard.append((step, total, sorted(logs)[:1])))
    trainer.train(toy(tmp_path, callbacks=[watch], max_steps=3, logging_steps=2), checkpointing.resumable(tmp_path))
    assert [entry[:2] for entry in heard if not entry[2]] == [(1, 3), (2, 3), (3, 3)]
    assert (2, 3, ["epoch"]) in heard


class ToyTask:
    answers = ("labels",)

    def collator(self, processor, training):
        assert not training
        return collate

    def outputs(self, found, batch):
        assert "labels" in batch
        return found.logits


def test_outputs_of_unequal_lengths_end_in_zeros():
    class Ragged(ToyTask):
        def outputs(self, found, batch):
            return batch["input_ids"][:, :1] + torch.zeros(len(batch["labels"]), batch["input_ids"].shape[1])

    data = toy_data(6)
    found = passes.predict(Toy(), data, Ragged(), None, batch_size=2)
    sizes = [len(ids) for ids in data["input_ids"]]
    assert found.shape == (6, max(sizes))
    for start in range(0, 6, 2):
        rows = np.argsort(sizes, kind="stable")[start : start + 2]
        width = max(sizes[row] for row in rows)
        for row in rows:
            assert (found[row, :width] == data["input_ids"][int(row)][0]).all() and not found[row, width:].any()


def test_predictions_come_in_the_order_of_the_examples():
    model = Toy()
    data, done = toy_data(11), []
    logits = passes.predict(
        model, data, ToyTask(), None, batch_size=4, tell=lambda n, total, _: done.append((n, total))
    )
    with torch.no_grad():
        expected = model.linear(torch.arange(11.0)[:, None] / 100).numpy()
    assert logits.dtype == "float32" and logits == pytest.approx(expected)
    assert done == [(4, 11), (8, 11), (11, 11)]
    assert sum(model.seen, []) != list(range(11))  # batched by length all the same


def test_predictions_are_computed_in_the_precision_asked_for():
    model, data = Toy(), toy_data(11)
    found = passes.predict(model, data, ToyTask(), None, batch_size=4, precision=torch.bfloat16)
    with torch.no_grad():
        linear = model.linear.to(torch.bfloat16)
        expected = linear(torch.arange(11.0, dtype=torch.bfloat16)[:, None] / 100).float().numpy()
    assert found.dtype == "float32" and found == pytest.approx(expected, rel=2**-7)
    assert (found == torch.from_numpy(found).to(torch.bfloat16).float().numpy()).all()


def test_timing_a_step_leaves_the_weights_alone(tmp_path):
    built = toy(tmp_path, gradient_accumulation_steps=2)

    class Loss(Toy):
        def forward(self, input_ids, labels):
            return type("Out", (), super().forward(input_ids, labels))()

    model = Loss()
    before = model.linear.weight.clone()
    args: TrainingArguments = built.args
    assert passes.time_steps(model, args, toy_data(24), collate, steps=3) > 0
    assert torch.equal(model.linear.weight, before) and len(model.seen) == 4
    rounded = Loss()
    seen, forward = [], rounded.linear.forward
    rounded.linear.forward = lambda values: seen.append(forward(values).dtype) or forward(values)
    passes.time_steps(rounded, toy(tmp_path, bf16=True, use_cpu=True).args, toy_data(24), collate, steps=1)
    assert seen == [torch.bfloat16] * 2
    beside = Loss()
    beside.forward = lambda input_ids: beside.seen.append(input_ids)
    assert passes.time_steps(model, args, toy_data(24), collate, steps=2, teacher=beside) > 0 and len(beside.seen) == 3


def test_several_processes_share_the_cpu_whatever_is_said(tmp_path, monkeypatch):
    """Each would believe that it trains alone, on all data."""
    monkeypatch.setattr(arguments, "shares_cpu", lambda: True)
    assert arguments.training_arguments({"use_cpu": False}, tmp_path, seed=0, examples=10).use_cpu


def test_bfloat16_trains_on_the_cpu_where_there_is_nothing_else(tmp_path):
    need("cpu-only")
    args = arguments.training_arguments({"bf16": True}, tmp_path, seed=0, examples=10)
    assert (args.bf16, args.use_cpu, args.device.type) == (True, True, "cpu")
