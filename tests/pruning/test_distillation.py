"""The distillation loss against its definition, and the Trainer that carries it."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import Trainer

from optkit.pruning import DistillationMixin, distillation_loss


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


@pytest.fixture(scope="module")
def teacher(bert):
    model = bert(seed=5)
    model.bert.pooler.dense.weight.data *= 20  # a teacher without opinions would teach nothing
    model.classifier.weight.data *= 30
    return model


@pytest.fixture
def distiller(bert, arguments, tmp_path):
    def build(data=None, *, teacher=None, weight=0.9, dropout=0.0, **given) -> Distiller:
        model = bert(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout)
        return Distiller(
            model=model,
            args=arguments(tmp_path, **{"max_steps": 4, "remove_unused_columns": False} | given),
            train_dataset=data,
            eval_dataset=data,
            teacher=teacher,
            temperature=3.0,
            distillation_weight=weight,
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


def test_the_teacher_is_frozen_and_without_dropout(distiller, bert):
    teacher = bert(seed=5).train()
    trainer = distiller(teacher=teacher)
    assert not trainer.teacher.training
    assert not any(p.requires_grad for p in trainer.teacher.parameters())
