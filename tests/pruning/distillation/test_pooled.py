"""Sentences held against a teacher's: the pooled states, their losses, and a Trainer that carries them."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from transformers import T5Config, Trainer

from optkit.errors import PruningError
from optkit.pruning import DistillationMixin, PooledDistillation
from optkit.pruning.distillation.pooled import PROJECTIONS, PooledMatcher, pool, pooled_pairs, similarity_loss


class Distiller(DistillationMixin, Trainer):
    pass


def test_states_are_averaged_over_real_tokens():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[5.0, 7.0], [100.0, 100.0]]])
    assert pool(states, torch.tensor([[1, 1], [1, 0]])).tolist() == [[2.0, 4.0], [5.0, 7.0]]
    assert pool(states, None).tolist() == [[2.0, 4.0], [52.5, 53.5]]


def test_likeness_of_sentences_against_its_definition():
    student, teacher = torch.randn(5, 3, generator=torch.manual_seed(0)), torch.randn(5, 8)
    grams = [normalize(states @ states.t(), dim=1) for states in (student, teacher)]
    expected = sum(float((grams[0][i] - grams[1][i]).square().sum()) for i in range(5)) / 5
    assert float(similarity_loss(student, teacher)) == pytest.approx(expected, rel=1e-5) and expected > 0.1
    turn, _ = torch.linalg.qr(torch.randn(8, 8))
    assert float(similarity_loss(teacher, 3.0 * teacher @ turn)) == pytest.approx(0.0, abs=1e-5)


def test_wrong_settings_are_refused(bert):
    for given, said in (({"weight": 0}, "weight of pooled must be above 0"), ({"of": "maps"}, "got 'maps'")):
        with pytest.raises(ValueError, match=said):
            PooledDistillation(**given)
    config = bert().config
    with pytest.raises(PruningError, match="the student has no layer 3"):
        pooled_pairs(PooledDistillation(layers=[3]), config, config)
    with pytest.raises(PruningError, match=r"the teacher \(t5\) has no single stack of hidden states"):
        pooled_pairs(PooledDistillation(), config, T5Config())


@pytest.fixture(scope="module")
def wide(bert):
    return bert(seed=5, hidden_size=48, num_hidden_layers=3).eval()


@pytest.fixture
def data(rows, wide):
    """Rows with the logits and the pooled states of the layers 1 and 3 of ``wide``, in another vocabulary's order."""
    found = []
    for row in rows(16):
        with torch.no_grad():
            asked = wide(input_ids=49 - row["input_ids"][None], output_hidden_states=True)
        states = torch.cat([pool(asked.hidden_states[i], None) for i in (1, 3)], dim=1)[0]
        found.append(row | {"teacher_logits": asked.logits[0], "teacher_states": states})
    return found


@pytest.fixture
def distiller(bert, arguments, tmp_path, data, wide):
    def build(of="states", weight=2.0, **given) -> Distiller:
        options = {"max_steps": 6, "remove_unused_columns": False, "save_strategy": "steps", "save_steps": 3}
        return Distiller(
            model=bert(hidden_dropout_prob=0.1),
            args=arguments(tmp_path, **options | {"save_total_limit": None} | given),
            train_dataset=data,
            distillation_weight=0.5,
            pooled=PooledDistillation(weight, {1: 1, 2: 3}, of),
            pooled_teacher=wide.config,
        )

    return build


@pytest.mark.parametrize("of", ["relations", "states"])
def test_the_term_is_added_by_its_weight(distiller, data, of):
    losses = {}
    for weight in (1.0, 3.0):
        trainer = distiller(of, weight)
        model = trainer.model.train()
        if of == "states":
            for projection in getattr(model, PROJECTIONS).values():
                torch.nn.init.eye_(projection.weight)
        torch.manual_seed(0)
        losses[weight] = float(trainer.compute_loss(model, trainer.data_collator(data[:6])).detach())
    torch.manual_seed(0)
    outputs = model(input_ids=torch.stack([row["input_ids"] for row in data[:6]]), output_hidden_states=True)
    theirs = torch.stack([row["teacher_states"] for row in data[:6]]).chunk(2, dim=1)
    expected = 0.0
    for i, states in zip((1, 2), theirs, strict=True):
        ours = pool(outputs.hidden_states[i], None).detach()
        if of == "relations":
            expected += float(similarity_loss(ours, states)) / 2
        else:
            padded = torch.nn.functional.pad(10.0 * ours, (0, 16))
            expected += float((padded - states).square().mean()) / 2
    assert (losses[3.0] - losses[1.0]) / 2 == pytest.approx(expected, rel=1e-4) and expected > 1e-3


def test_a_resumed_run_ends_as_the_whole_one_and_plain(distiller, bert, tmp_path):
    def run(**given):
        trainer = distiller()
        assert any(name.startswith(PROJECTIONS) for name in trainer.model.state_dict())
        trainer.train(**given)
        return trainer.model.state_dict()

    whole, resumed = run(), run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert whole.keys() == resumed.keys() == bert().state_dict().keys()
    assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []


def test_relations_need_nothing_on_the_student(distiller, bert, wide, data):
    trainer = distiller("relations")
    assert trainer.model.state_dict().keys() == bert().state_dict().keys()
    trainer.train()
    assert trainer.state.global_step == 6
    student = bert()
    PooledMatcher(student, wide.config, PooledDistillation(of="states")).remove()
    assert student.state_dict().keys() == bert().state_dict().keys()
    with pytest.raises(PruningError, match="give the config of their model, pooled_teacher"):
        Distiller(model=bert(), args=trainer.args, train_dataset=data, pooled=PooledDistillation())
