"""The distillation loss against its definition, and the Trainer that carries it."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import Trainer, TrainingArguments

from optkit.errors import PruningError
from optkit.pruning import (
    AttentionDistillation,
    DistillationMixin,
    HiddenDistillation,
    Magnitude,
    PruningCallback,
    Rule,
    Schedule,
    distillation_loss,
)
from optkit.pruning.distillation.matching import PROJECTIONS, StateMatcher
from optkit.pruning.distillation.mixin import output_loss, over_all_rows

#: What the installed transformers calls it.
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)


class Distiller(DistillationMixin, Trainer):
    pass


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.5])
def test_the_loss_is_the_softened_divergence_averaged_over_the_batch(temperature):
    student, teacher = [[0.3, -1.2, 2.0], [0.0, 0.5, 0.1]], [[1.5, -0.5, 0.2], [-3.0, 4.0, 0.0]]
    expected = 0.0
    for ours, theirs in zip(student, teacher):
        p, q = softmax([v / temperature for v in theirs]), softmax([v / temperature for v in ours])
        expected += sum(a * math.log(a / b) for a, b in zip(p, q)) * temperature**2 / len(student)
    loss = distillation_loss(torch.tensor(student), torch.tensor(teacher), temperature)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_equal_logits_cost_nothing_whatever_their_offset():
    logits = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    assert float(distillation_loss(logits, logits + 7.0, 2.0)) == pytest.approx(0.0, abs=1e-6)


def divergence(teacher: list[float], student: list[float], temperature: float) -> float:
    p, q = softmax([v / temperature for v in teacher]), softmax([v / temperature for v in student])
    return sum(a * math.log(a / b) for a, b in zip(p, q)) * temperature**2


def test_tokens_count_within_their_example_and_padding_does_not():
    student, teacher = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    each = [[divergence(t.tolist(), s.tolist(), 2.0) for s, t in zip(*rows)] for rows in zip(student, teacher)]
    expected = (sum(each[0]) / 3 + each[1][0]) / 2
    found = output_loss({"logits": student}, {"logits": teacher}, 2.0, mask=mask)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_labels_that_do_not_exclude_each_other_are_compared_one_by_one():
    student, teacher = [[0.3, -1.2, 2.0], [0.0, 0.5, 0.1]], [[1.5, -0.5, 0.2], [-3.0, 4.0, 0.0]]
    expected = sum(divergence([t, 0.0], [s, 0.0], 3.0) for pair in zip(student, teacher) for s, t in zip(*pair)) / 2
    outputs = ({"logits": torch.tensor(logits)} for logits in (student, teacher))
    found = output_loss(*outputs, 3.0, problem="multi_label_classification")
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_scores_are_compared_by_their_squares_at_any_temperature():
    student, teacher = {"logits": torch.tensor([[1.0], [2.0]])}, {"logits": torch.tensor([[1.5], [4.0]])}
    assert float(output_loss(student, teacher, 7.0, problem="regression")) == pytest.approx((0.25 + 4) / 2)


def test_answers_neither_begin_nor_end_in_padding():
    names, mask = ("start_logits", "end_logits"), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    student, teacher = ({name: torch.randn(2, 4) for name in names} for _ in range(2))
    expected = sum(
        divergence(teacher[name][row][:length].tolist(), student[name][row][:length].tolist(), 2.0)
        for name in names
        for row, length in enumerate((4, 2))
    )
    assert float(output_loss(student, teacher, 2.0, mask=mask)) == pytest.approx(expected / 4, rel=1e-4)


@pytest.mark.parametrize("temperature", [0.01, 0.3, 8.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_padding_costs_nothing_at_any_temperature(temperature, kind):
    names, mask = ("start_logits", "end_logits"), torch.tensor([[1, 1, 1, 0]])
    student, teacher = ({name: 0.01 * torch.randn(1, 4).to(kind) for name in names} for _ in range(2))
    alone = [{name: logits[:, :3] for name, logits in own.items()} for own in (student, teacher)]
    found, expected = output_loss(student, teacher, temperature, mask=mask), output_loss(*alone, temperature)
    assert float(found) == pytest.approx(float(expected), rel=2e-2, abs=1e-6) and found.isfinite()


def test_outputs_without_logits_are_refused():
    states = {"last_hidden_state": torch.zeros(1, 2, 3)}
    with pytest.raises(PruningError, match="puts out no logits to compare"):
        output_loss(states, states, 2.0)


@pytest.fixture(scope="module")
def teacher(bert):
    model = bert(seed=5)
    model.bert.pooler.dense.weight.data *= 20  # a teacher without opinions would teach nothing
    model.classifier.weight.data *= 30
    return model


@pytest.fixture
def distiller(bert, arguments, tmp_path):
    def build(
        data=None, *, teacher=None, weight=0.9, dropout=0.0, hidden=None, attention=None, callbacks=(), **given
    ) -> Distiller:
        model = bert(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
        return Distiller(
            model=model,
            args=arguments(tmp_path, **{"max_steps": 4, "remove_unused_columns": False} | given),
            train_dataset=data,
            eval_dataset=data,
            teacher=teacher,
            temperature=3.0,
            distillation_weight=weight,
            hidden=hidden,
            attention=attention,
            callbacks=list(callbacks),
        )

    return build


def with_logits(data: list[dict], teacher) -> list[dict]:
    with torch.no_grad():
        return [row | {"teacher_logits": teacher.eval()(input_ids=row["input_ids"][None]).logits[0]} for row in data]


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    return trainer.model.state_dict()


def gap(ours: Trainer, theirs: Trainer) -> float:
    return max(float((tensor - state(theirs)[name]).abs().max()) for name, tensor in state(ours).items())


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.9, 1.0])
def test_both_losses_are_weighed(distiller, rows, teacher, weight):
    trainer = distiller(teacher=teacher, weight=weight)
    batch = trainer.data_collator(rows(6))
    loss = trainer.compute_loss(trainer.model.train(), dict(batch))
    outputs = trainer.model(**batch)
    with torch.no_grad():
        soft = distillation_loss(
            outputs.logits, teacher(**{k: v for k, v in batch.items() if k != "labels"}).logits, 3.0
        )
    assert float(soft) > 0.1
    expected = (1 - weight) * float(outputs.loss.detach()) + weight * float(soft)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)


def test_logits_that_come_with_the_data_train_as_the_teacher_does(distiller, rows, teacher):
    data = rows(16)
    running, given, alone = distiller(data, teacher=teacher), distiller(with_logits(data, teacher)), distiller(data)
    for trainer in (running, given, alone):
        trainer.train()
    # The teacher sees rows of one batch together or one by one: float32 sums differ in their last digits.
    assert gap(running, given) < 1e-4
    assert gap(running, alone) > 1e-3


def test_evaluation_is_left_as_it_is(distiller, rows, teacher):
    data = rows(8)
    plain = distiller(data).evaluate()["eval_loss"]
    assert distiller(data, teacher=teacher).evaluate()["eval_loss"] == plain
    assert distiller(with_logits(data, teacher)).evaluate()["eval_loss"] == plain


def test_prediction_gives_the_students_logits_alone(distiller, rows, teacher):
    data = rows(8)
    predicted = distiller(data, teacher=teacher).predict(with_logits(data, teacher)).predictions
    assert predicted.shape == (8, 2)
    assert (predicted == distiller(data).predict(data).predictions).all()


def test_unlabelled_rows_with_logits_can_be_predicted(distiller, rows, teacher):
    data = rows(8)
    bare = [{k: v for k, v in row.items() if k != "labels"} for row in with_logits(data, teacher)]
    assert (distiller().predict(bare).predictions == distiller().predict(data).predictions).all()


def test_accumulated_batches_train_as_one_large_batch(distiller, rows, teacher):
    """SGD, so that a gradient that is twice as large shows."""
    data = with_logits(rows(16), teacher)
    given = {"optim": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    large = distiller(data, per_device_train_batch_size=8, **given)
    small = distiller(data, per_device_train_batch_size=2, gradient_accumulation_steps=4, **given)
    for trainer in (large, small):
        trainer.train()
    start = distiller(data)
    assert gap(large, start) > 1e-2
    assert gap(large, small) < 1e-4
    losses = [[log["loss"] for log in t.state.log_history if "loss" in log] for t in (large, small)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("taught", [True, False])
def test_accumulated_batches_with_a_loss_of_the_users_train_as_one_large_batch(distiller, rows, teacher, taught):
    def own(outputs, labels, num_items_in_batch=None):
        return torch.nn.functional.cross_entropy(outputs.logits, labels)

    data = with_logits(rows(16), teacher) if taught else rows(16)
    given = {"optim": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}
    large = distiller(data, per_device_train_batch_size=8, **given)
    small = distiller(data, per_device_train_batch_size=2, gradient_accumulation_steps=4, **given)
    for trainer in (large, small):
        trainer.compute_loss_func = own
        trainer.train()
    assert gap(large, small) < 1e-4


def test_models_without_a_config_are_taught(distiller, arguments, tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 2)

        def forward(self, x, labels=None):
            logits = self.linear(x)
            found = {"logits": logits}
            return found if labels is None else {"loss": torch.nn.functional.cross_entropy(logits, labels)} | found

    data = [{"x": torch.randn(3), "labels": i % 2} for i in range(8)]
    trainer = Distiller(
        model=Plain(),
        args=arguments(tmp_path, max_steps=2, remove_unused_columns=False),
        train_dataset=data,
        teacher=Plain(),
    )
    assert trainer.train().training_loss > 0


def test_the_teacher_is_frozen_and_without_dropout(distiller, bert):
    teacher = bert(seed=5).train()
    trainer = distiller(teacher=teacher)
    assert not trainer.teacher.training
    assert not any(p.requires_grad for p in trainer.teacher.parameters())


@pytest.fixture(scope="module")
def wide(bert):
    """A teacher of another width and depth."""
    return bert(seed=6, hidden_size=48, num_hidden_layers=4, num_attention_heads=4)


HIDDEN, RELATIONS = HiddenDistillation(weight=0.5), AttentionDistillation(weight=2.0, layers="auto")


def test_hidden_states_and_attention_are_added(distiller, rows, wide):
    trainer = distiller(teacher=wide, hidden=HIDDEN, attention=RELATIONS)
    batch = trainer.data_collator(rows(6))
    batch["attention_mask"][:3, 5:] = 0
    model = trainer.model.train()
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    plain = distiller(teacher=wide).compute_loss(model, dict(batch))
    matcher: StateMatcher = trainer.states
    matcher.watch(True)
    ours = model(**batch, output_hidden_states=True)
    with torch.no_grad():
        theirs = wide(**{k: v for k, v in batch.items() if k != "labels"}, output_hidden_states=True)
    extra = float(matcher.loss(ours, theirs, batch["attention_mask"]).detach())
    assert extra > 0.1 and float(loss.detach()) == pytest.approx(float(plain.detach()) + extra, rel=1e-5)
    assert [states.shape[-1] for states in outputs.hidden_states] == [32, 48, 48]


def test_evaluation_asks_for_no_states(distiller, rows, wide):
    data = rows(8)
    trainer = distiller(data, teacher=wide, hidden=HIDDEN, attention=RELATIONS)
    predicted = trainer.predict(data).predictions
    assert predicted.shape == (8, 2) and (predicted == distiller(data).predict(data).predictions).all()
    assert trainer.evaluate()["eval_loss"] == distiller(data).evaluate()["eval_loss"]


def test_rows_without_a_label_are_the_teachers_alone(distiller, rows, teacher):
    data = with_logits(rows(6), teacher)
    mixed = [row | {"labels": -100 if i % 3 else row["labels"]} for i, row in enumerate(data)]
    trainer = distiller(weight=0.25)
    model = trainer.model.train()
    losses = [trainer.compute_loss(model, trainer.data_collator([dict(row) for row in d])) for d in (data, mixed)]
    batch = trainer.data_collator([{k: row[k] for k in ("input_ids", "attention_mask", "labels")} for row in data])
    logits = model(**batch).logits
    each = torch.nn.functional.cross_entropy(logits, batch["labels"], reduction="none")
    # Two of six have labels: four sixths of the task loss are nothing, the teacher's part stays.
    assert float((losses[0] - losses[1]).detach()) == pytest.approx(
        0.75 * float((each.mean() - each[[0, 3]].sum() / 6).detach()), rel=1e-4
    )


def test_a_batch_without_any_label_has_a_loss_and_a_gradient(distiller, rows, teacher):
    bare = [row | {"labels": -100} for row in with_logits(rows(6), teacher)]
    trainer = distiller(weight=0.25)
    model = trainer.model.train()
    loss = trainer.compute_loss(model, trainer.data_collator(bare))
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert torch.isfinite(loss.detach()) and all(torch.isfinite(g).all() for g in gradients)
    assert any(bool(g.any()) for g in gradients)


def test_the_share_of_labelled_rows():
    loss = torch.tensor(2.0)
    assert float(over_all_rows(loss, torch.tensor([0, 1, -100, -100]))) == 1.0
    assert float(over_all_rows(loss, torch.tensor([[-100, 1], [-100, -100]]))) == 1.0
    assert float(over_all_rows(torch.tensor(math.nan), torch.tensor([-100]))) == 0.0
    assert over_all_rows(loss, None) is loss and over_all_rows(loss, torch.tensor([0.5])) is loss


def test_accumulated_batches_of_states_and_bare_rows_train_as_one_large_batch(distiller, rows, wide):
    data = [row | {"labels": -100 if i % 2 else row["labels"]} for i, row in enumerate(rows(16))]
    for i, row in enumerate(data):
        row["attention_mask"] = (torch.arange(8) < 4 + i % 5).long()
    given = {"optim": "sgd", "learning_rate": 0.1, "weight_decay": 0.0, "max_grad_norm": 0.0}
    given |= {"teacher": wide, "hidden": HIDDEN, "attention": RELATIONS}
    large = distiller(data, per_device_train_batch_size=8, **given)
    small = distiller(data, per_device_train_batch_size=2, gradient_accumulation_steps=4, **given)
    for trainer in (large, small):
        trainer.train()
    assert gap(large, distiller(data)) > 1e-2
    assert gap(large, small) < 1e-4


def test_training_ends_with_a_plain_model_and_only_once(distiller, rows, wide):
    data = rows(16)
    trainer = distiller(data, teacher=wide, hidden=HIDDEN)
    assert any(name.startswith(PROJECTIONS) for name in state(trainer))
    trainer.train()
    assert state(trainer).keys() == state(distiller(data)).keys()
    with pytest.raises(PruningError, match="let go when training ended: build another Trainer"):
        trainer.train()


def test_a_resumed_run_with_projections_and_masks_ends_as_the_whole_one(distiller, rows, wide, tmp_path):
    def run(**given):
        pruning = PruningCallback(Rule(criterion=Magnitude(), schedule=Schedule(to=0.5, begin=1, end=6, every=1)))
        options = {"save_strategy": "steps", "save_steps": 3, "max_steps": 8, "save_total_limit": None}
        trainer = distiller(
            rows(16), teacher=wide, dropout=0.1, hidden=HIDDEN, attention=RELATIONS, callbacks=[pruning], **options
        )
        trainer.train(**given)
        pruning.fold()
        return state(trainer)

    whole = run()
    resumed = run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("given", [{"bf16": True}, {CHECKPOINTING: True}])
def test_states_under_mixed_precision_and_gradient_checkpointing(given, distiller, rows, wide):
    data = rows(16)
    options = {"teacher": wide, "hidden": HIDDEN, "attention": RELATIONS, "optim": "sgd", "learning_rate": 0.1}
    trainer, plain = distiller(data, **options, **given), distiller(data, **options)
    start = state(distiller(data))
    for each in (trainer, plain):
        each.train()
    moved = max(float((tensor - start[name]).abs().max()) for name, tensor in state(plain).items())
    assert gap(trainer, plain) < 0.05 * moved


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"hidden": HIDDEN}, "hidden states and attention are compared batch by batch: give a teacher"),
        (
            {"teacher": True, "attention": AttentionDistillation(of="maps")},
            "attention: the student has 2 attention heads and the teacher 4, so their maps do not compare",
        ),
        (
            {"teacher": True, "attention": RELATIONS, f"{CHECKPOINTING}_kwargs": {"use_reentrant": True}},
            "attention: reentrant gradient checkpointing hides layers",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(given, said, distiller, wide):
    with pytest.raises(PruningError, match=said):
        distiller(**given | ({"teacher": wide} if "teacher" in given else {}))
