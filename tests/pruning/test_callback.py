"""The callback under a real transformers.Trainer: masks follow the schedule, resume is bitwise, misuse is one line."""

from __future__ import annotations

import math
import subprocess
import sys

import accelerate.state
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from optkit.errors import PruningError
from optkit.pruning import PruningCallback
from optkit.pruning.config import Frozen, Magnitude, Movement, Random, Rule, Schedule, SoftMovement, Taylor, Wanda

#: Every second step from 2 to 8: 0.6 - 0.6 * (1 - progress)^3.
SCHEDULE = Schedule(to=0.6, begin=2, end=8, every=2)
TARGETS = {2: 0.0, 4: 0.6 - 0.6 * (2 / 3) ** 3, 6: 0.6 - 0.6 / 27, 8: 0.6}
#: 4 matrices of 32x32 and 2 of 64x32 in each of 2 layers.
WEIGHTS = 2 * (4 * 32 * 32 + 2 * 64 * 32)


def held(table: dict, step: int) -> float:
    return max((target for at, target in table.items() if at <= step), default=0.0)


def evaluated_every(steps: int) -> dict[str, object]:
    """TrainingArguments of a training that is evaluated and saved every few steps."""
    return {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": steps, "save_steps": steps}


class Recorder(TrainerCallback):
    """Counts the zeros of the encoder's weights after every step."""

    def __init__(self):
        self.zeros: dict[int, int] = {}

    def on_step_end(self, args, state, control, model, **kwargs):
        layers = [m for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layer." in n]
        self.zeros[state.global_step] = sum(int((layer.weight == 0).sum()) for layer in layers)


@pytest.fixture
def trainer(bert, rows, arguments, tmp_path):
    """``trainer(rules, ...)``: a Trainer on 24 random examples, with its PruningCallback as ``.pruning``."""

    def build(rules, *, model=None, callbacks=(), folder="out", **given) -> Trainer:
        pruning = PruningCallback(rules)
        made = Trainer(
            model=bert() if model is None else model,
            args=arguments(tmp_path / folder, **given),
            train_dataset=rows(24),
            eval_dataset=rows(8, seed=1),
            callbacks=[pruning, *callbacks],
        )
        made.pruning = pruning
        return made

    return build


def test_masks_follow_the_schedule_and_logs_tell(trainer):
    recorder = Recorder()
    made = trainer(Rule(structure="1x4", schedule=SCHEDULE), callbacks=[recorder])
    made.train()
    assert recorder.zeros == {step: 4 * round(held(TARGETS, step) * WEIGHTS / 4) for step in range(1, 11)}
    logs = {log["step"]: log for log in made.state.log_history if "loss" in log}
    for step in range(1, 11):
        assert logs[step]["sparsity"] == recorder.zeros[step] / WEIGHTS
        assert logs[step]["target_sparsity"] == pytest.approx(held(TARGETS, step), abs=1e-12)
    assert [state.pruned for state in made.pruning.fold()] == [round(0.6 * WEIGHTS / 4)]
    assert not any(parametrize.is_parametrized(m) for m in made.model.modules())
    assert type(made.model.bert.encoder.layer[0].output.dense) is nn.Linear


def test_accumulated_batches_are_one_step(trainer):
    recorder = Recorder()
    made = trainer(
        Rule(criterion=Movement(), schedule=SCHEDULE),
        callbacks=[recorder],
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
    )
    made.train()
    assert recorder.zeros == {step: round(held(TARGETS, step) * WEIGHTS) for step in range(1, 11)}


def nested() -> list[Rule]:
    return [
        Rule(structure="1x4", schedule=SCHEDULE),
        Rule(schedule=Schedule(to=0.7, begin=3, end=9, every=3), name="fine"),
    ]


RULES = {
    "magnitude": lambda: Rule(criterion=Magnitude(), structure="1x4", schedule=SCHEDULE),
    "movement": lambda: Rule(criterion=Movement(), structure="4x1", scope="local", schedule=SCHEDULE),
    "movement, forgetting": lambda: Rule(criterion=Movement(momentum=0.7), schedule=SCHEDULE),
    "frozen": lambda: Rule(criterion=Frozen()),
    "magnitude, regrowing": lambda: Rule(criterion=Magnitude(), schedule=SCHEDULE, regrow=True),
    "movement, regrowing": lambda: Rule(criterion=Movement(), structure="1x4", schedule=SCHEDULE, regrow=True),
    "taylor": lambda: Rule(
        criterion=Taylor(), structure="1x4", schedule=Schedule("exponential", to=0.6, begin=2, every=2)
    ),
    "taylor, regrowing": lambda: Rule(criterion=Taylor(momentum=0.5), schedule=SCHEDULE, regrow=True),
    "random": lambda: Rule(criterion=Random(seed=5), structure="1x4", schedule=Schedule("stepwise", to=0.6, begin=2)),
    "soft movement": lambda: Rule(criterion=SoftMovement(), structure="1x4", schedule=SCHEDULE),
    "wanda": lambda: Rule(criterion=Wanda(), structure="1x4", scope="local", schedule=SCHEDULE),
    "nested": nested,
}


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
def test_a_resumed_run_ends_bitwise_where_the_uninterrupted_one_does(trainer, bert, rules, tmp_path):
    def start() -> nn.Module:
        model = bert()
        for layer in model.bert.encoder.layer:
            layer.output.dense.weight.data[:, ::2] = 0
        return model

    saving = {"save_strategy": "steps", "save_steps": 5}
    whole = trainer(rules(), model=start(), folder="whole", **saving)
    whole.train()
    resumed = trainer(rules(), model=start(), folder="resumed", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-5"))
    assert resumed.state.global_step == 10
    for made in (whole, resumed):
        made.pruning.fold()
    ours, theirs = resumed.model.state_dict(), whole.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert any(not torch.equal(theirs[name], tensor) for name, tensor in start().state_dict().items())


def test_a_checkpoint_of_the_trainer_loads_plainly(trainer, tmp_path):
    made = trainer(Rule(schedule=SCHEDULE), save_strategy="steps", save_steps=5)
    made.train()
    plain = type(made.model).from_pretrained(tmp_path / "out" / "checkpoint-5")
    zeros = sum(int((p == 0).sum()) for n, p in plain.named_parameters() if ".layer." in n and p.ndim == 2)
    assert zeros == round(TARGETS[4] * WEIGHTS)


@pytest.mark.parametrize(
    ("given", "end"),
    [
        ({"max_steps": 10}, 6),
        ({"max_steps": 13}, 6),
        ({"max_steps": -1, "num_train_epochs": 1.5}, 6),
        ({"max_steps": -1, "num_train_epochs": 2, "gradient_accumulation_steps": 4}, 2),
    ],
)
def test_an_epoch_is_what_the_trainer_counts_as_one(trainer, given, end):
    recorder = Recorder()
    schedule = Schedule(shape="constant", to=0.5, begin="1ep")
    made = trainer(Rule(schedule=schedule), callbacks=[recorder], **given)
    made.train()
    assert [recorder.zeros[step] for step in (end - 1, end)] == [0, WEIGHTS // 2]


@pytest.mark.parametrize("greater_is_better", [True, False])
def test_evaluations_before_the_target_are_never_the_best(trainer, tmp_path, greater_is_better):
    """The metric gets worse from step to step, so the first evaluation would win were it not gated."""
    sign = -1 if greater_is_better else 1
    made = trainer(
        Rule(schedule=SCHEDULE),
        **evaluated_every(2),
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=greater_is_better,
    )
    made.compute_metrics = lambda _: {"score": sign * made.state.global_step}
    made.train()
    assert (made.state.best_global_step, made.state.best_metric) == (8, sign * 8)
    assert made.state.best_model_checkpoint == str(tmp_path / "out" / "checkpoint-8")
    assert made.pruning.fold()[0].pruned == round(0.6 * WEIGHTS)
    logged = [log["eval_score"] for log in made.state.log_history if "eval_score" in log]
    assert logged == [sign * step for step in (2, 4, 6, 8, 10)]


def test_the_last_step_is_evaluated_so_that_one_evaluation_is_at_the_target(trainer):
    made = trainer(
        Rule(schedule=SCHEDULE),
        **evaluated_every(6),
        load_best_model_at_end=True,
    )
    made.train()
    assert made.state.best_global_step == 10 and math.isfinite(made.state.best_metric)
    assert made.pruning.fold()[0].pruned == round(0.6 * WEIGHTS)


def test_patience_begins_at_the_target(trainer):
    """The metric is the same at every step: of two evaluations at the target the second is one too many."""
    made = trainer(
        Rule(schedule=SCHEDULE),
        callbacks=[EarlyStoppingCallback(early_stopping_patience=1)],
        max_steps=20,
        **evaluated_every(2),
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
    )
    made.compute_metrics = lambda _: {"score": 1.0}
    made.train()
    assert (made.state.global_step, made.state.best_global_step) == (10, 8)


def test_a_training_that_is_stopped_before_the_target_is_an_error(trainer):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 4

    made = trainer(Rule(schedule=SCHEDULE), callbacks=[Stop()])
    with pytest.raises(PruningError) as error:
        made.train()
    assert str(error.value) == (
        "training stopped at step 4, before the target sparsity was reached: let it go on, or end the schedule sooner"
    )


def test_a_learning_rate_that_waits_for_progress_sees_the_metric_itself(trainer):
    """It would fall at each evaluation before the target if those counted as infinitely bad."""
    rates = {}
    for best in (False, True):
        made = trainer(
            Rule(schedule=SCHEDULE),
            folder=f"best-{best}",
            **evaluated_every(1),
            lr_scheduler_type="reduce_lr_on_plateau",
            lr_scheduler_kwargs={"patience": 0, "mode": "max"},
            load_best_model_at_end=best,
            metric_for_best_model="score",
            greater_is_better=True,
        )
        made.compute_metrics = lambda _, made=made: {"score": float(made.state.global_step)}
        made.train()
        rates[best] = made.optimizer.param_groups[0]["lr"]
    assert rates[True] == rates[False] == made.args.learning_rate


def test_only_models_at_the_target_are_kept_as_the_best(trainer, tmp_path):
    made = trainer(
        Rule(schedule=SCHEDULE),
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="best",
        save_total_limit=1,
        metric_for_best_model="score",
        greater_is_better=False,
    )
    made.compute_metrics = lambda _: {"score": made.state.global_step}
    made.train()
    assert made.state.best_model_checkpoint == str(tmp_path / "out" / "checkpoint-8")
    assert [path.name for path in (tmp_path / "out").glob("checkpoint-*")] == ["checkpoint-8"]


@pytest.fixture
def fresh_accelerate():
    """accelerate keeps the precision of the first Trainer of a process for all others."""
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("clipping", [1.0, 0.0])
def test_criteria_see_gradients_without_the_loss_scale(trainer, fresh_accelerate, clipping):
    """The Trainer takes the scale off when it clips, and where it does not."""
    seen = {}
    for scale in (1.0, 4096.0):
        rule = Rule(criterion=Taylor(momentum=0.0), schedule=SCHEDULE)
        made = trainer(rule, folder=str(scale), max_grad_norm=clipping, max_steps=8, fp16=True)
        # What accelerate makes of fp16 on a GPU; on a CPU it leaves both out.
        made.accelerator.native_amp = True
        made.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        made.train()
        mask = made.model.bert.encoder.layer[0].output.dense.parametrizations.weight[0]
        seen[scale] = float(mask.state("taylor")["score"].sum())
    assert seen[1.0] > 0 and seen[4096.0] == pytest.approx(seen[1.0], rel=0.2)  # float16 rounds small gradients away


@pytest.mark.parametrize("rule", [Rule(criterion=Wanda(), schedule=SCHEDULE), Rule(regrow=True, schedule=SCHEDULE)])
def test_copies_on_several_gpus_in_one_process_are_refused(trainer, arguments, monkeypatch, rule):
    monkeypatch.setattr("transformers.TrainingArguments.n_gpu", 2)
    with pytest.raises(
        PruningError, match="copies of the model on several GPUs hide what .* start the training with tor"
    ):
        trainer(rule)


def test_a_schedule_that_ends_after_training_is_an_error_before_the_first_step(trainer):
    recorder = Recorder()
    made = trainer(Rule(schedule=Schedule(begin=1, end=11)), callbacks=[recorder])
    with pytest.raises(PruningError, match="the schedule ends at step 11, after the training's last step 10"):
        made.train()
    assert recorder.zeros == {}


def test_a_callback_that_is_added_later_is_an_error(bert, rows, arguments, tmp_path):
    made = Trainer(model=bert(), args=arguments(tmp_path), train_dataset=rows(8))
    made.add_callback(PruningCallback(Rule(schedule=SCHEDULE)))
    with pytest.raises(PruningError) as error:
        made.train()
    assert str(error.value) == (
        "PruningCallback came too late: pass it as Trainer(..., callbacks=[...]), not by add_callback"
    )


def test_a_callback_that_is_added_later_says_so_when_evaluating_first(bert, rows, arguments, tmp_path):
    args = arguments(tmp_path, eval_strategy="steps", save_strategy="steps", load_best_model_at_end=True)
    made = Trainer(model=bert(), args=args, train_dataset=rows(8), eval_dataset=rows(8))
    made.add_callback(PruningCallback(Rule(schedule=SCHEDULE)))
    with pytest.raises(PruningError, match="PruningCallback came too late"):
        made.evaluate()


def test_model_init_is_an_error(bert, rows, arguments, tmp_path):
    made = Trainer(
        model_init=lambda: bert(),
        args=arguments(tmp_path),
        train_dataset=rows(8),
        callbacks=[PruningCallback(Rule(schedule=SCHEDULE))],
    )
    with pytest.raises(PruningError) as error:
        made.train()
    assert str(error.value) == (
        "the Trainer replaced the model after masks were attached: pass model=, not model_init="
    )


def test_weights_that_are_split_over_processes_are_an_error(trainer, bert, monkeypatch):
    class Sharded:
        distributed_type = accelerate.state.DistributedType.FSDP

    made = trainer(Rule(schedule=SCHEDULE))
    monkeypatch.setattr(accelerate.state, "AcceleratorState", Sharded)
    with pytest.raises(PruningError) as error:
        made.pruning.on_init_end(made.args, made.state, made.control, model=bert())
    assert str(error.value) == (
        "masks are made of whole weights, which FSDP splits over processes: train by DDP, which torchrun starts by itself"
    )


def test_a_rule_that_cannot_work_is_an_error_while_the_trainer_is_built(trainer):
    with pytest.raises(PruningError, match="'decoder' matches no linear layer"):
        trainer(Rule(targets="decoder"))


def test_a_folded_model_goes_on_as_any_other(trainer, tmp_path):
    made = trainer(Rule(schedule=SCHEDULE))
    made.train()
    made.pruning.fold()
    assert made.evaluate()["eval_loss"] > 0
    made.save_model(str(tmp_path / "saved"))
    saved = type(made.model).from_pretrained(tmp_path / "saved").state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in made.model.state_dict().items())


LOOP = """
import sys
for name in ("openvino", "pydantic", "nncf", "datasets", "optimum", "evaluate", "ruamel", "typer", "rich"):
    sys.modules[name] = None
import torch
from torch import nn
from optkit.pruning import Movement, Pruner, PruningCallback, Rule, Schedule

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x):
        return self.layers[1](torch.relu(self.layers[0](x)))

torch.manual_seed(0)
model, data = Model(), torch.randn(12, 4, 8)
rule = Rule(criterion=Movement(), structure="1x4", schedule=Schedule(to=0.75, begin=1, end=8, every=2))
pruner = Pruner(model, [rule])
pruner.start(total_steps=12, steps_per_epoch=12)
pruner.update(0)
optimizer = torch.optim.AdamW(model.parameters())
for step, batch in enumerate(data, start=1):
    (model(batch) - batch).square().mean().backward()
    pruner.observe()
    optimizer.step()
    optimizer.zero_grad()
    pruner.update(step)
print(pruner.fold()[0].pruned, sum(int((layer.weight == 0).sum()) for layer in model.layers))
"""


@pytest.mark.slow
def test_pruning_alone_needs_only_torch_and_transformers_and_works_in_a_plain_loop():
    done = subprocess.run([sys.executable, "-c", LOOP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["24", "96"]


def test_writing_a_rule_loads_no_torch():
    code = "import sys; from optkit.pruning import Rule, Schedule; Rule(schedule=Schedule()); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


STEPS = Schedule(to=0.6, begin=2, end=8, every=2)
SHARES = Schedule(to=0.6, begin="20%", end="80%", every="20%")


@pytest.mark.parametrize("schedule", [STEPS, SHARES], ids=["steps", "shares"])
@pytest.mark.parametrize(
    ("given", "total"),
    [({"max_steps": 20}, 20), ({"max_steps": 9}, 9), ({"max_steps": -1, "num_train_epochs": 4}, 24)],
)
def test_a_training_of_another_length_goes_on_with_the_schedule_as_it_was_placed(
    trainer, tmp_path, schedule, given, total
):
    rule = Rule(structure="1x4", schedule=schedule)
    saving = {"save_strategy": "steps", "save_steps": 4}
    whole = trainer(rule, **saving)
    whole.train()
    placed = [(bound.steps.begin, bound.steps.end, bound.steps.every) for bound in whole.pruning.pruner.bound]
    assert placed == [(2, 8, 2)]
    recorder = Recorder()
    made = trainer(rule, callbacks=[recorder], folder="again", **given)
    said = f"began with 10 optimizer steps and goes on with {total}; schedules stay where they were placed: "
    with pytest.warns(UserWarning, match=said + "'weights' from step 2 to 8"):
        made.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert made.state.global_step == total
    expected = {step: 4 * round(held(TARGETS, step) * WEIGHTS / 4) for step in range(5, total + 1)}
    assert recorder.zeros == expected


@pytest.mark.parametrize("schedule", [STEPS, SHARES], ids=["steps", "shares"])
def test_a_training_that_became_too_short_for_its_schedule_is_refused_with_both_lengths(trainer, tmp_path, schedule):
    rule = Rule(structure="1x4", schedule=schedule)
    trainer(rule, save_strategy="steps", save_steps=4).train()
    said = (
        "began with 10 optimizer steps and goes on with 6, too few for its schedules, 'weights' from step 2 to 8: train"
    )
    with pytest.raises(PruningError, match=said):
        trainer(rule, folder="again", max_steps=6).train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))


def test_another_schedule_is_placed_anew_when_a_training_goes_on(trainer, tmp_path):
    trainer(Rule(structure="1x4", schedule=STEPS), save_strategy="steps", save_steps=4).train()
    later = Rule(structure="1x4", schedule=Schedule(to=0.7, begin=2, end=9, every=1))
    made = trainer(later, folder="again")
    made.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-4"))
    assert made.pruning.fold()[0].end == 9
