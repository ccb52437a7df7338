"""The mean of the last weights: its values, its zeros, its part in checkpoints, and what it cannot go with."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from transformers import Trainer, TrainerCallback

from optkit.errors import PruningError
from optkit.pruning import PruningCallback, WeightAverage
from optkit.pruning.averaging import FILE
from optkit.pruning.config import Rule, Schedule

RULE = Rule(structure="1x4", schedule=Schedule(to=0.6, begin=1, end=4, every=1))
STEPS = 10


class Recorder(TrainerCallback):
    """The model's weights after every step."""

    def __init__(self):
        self.states: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model, **kwargs):
        self.states[state.global_step] = {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.fixture
def trained(bert, rows, arguments, tmp_path):
    """``trained(last, ...)``: the trainer, its average and recorder, after ten steps."""

    def train(last, folder="out", resume=None, **given):
        model, average, recorder, pruning = bert(), WeightAverage(last), Recorder(), PruningCallback(RULE)
        model.bert.embeddings.requires_grad_(False)
        trainer = Trainer(
            model=model,
            args=arguments(tmp_path / folder, save_strategy="steps", save_steps=4, save_total_limit=None, **given),
            train_dataset=rows(24),
            eval_dataset=rows(8),
            callbacks=[pruning, average, recorder],
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer, average, recorder, pruning

    return train


@pytest.mark.parametrize(("last", "first"), [("40%", 7), (1, 10), ("0.5ep", 8)])
def test_the_result_is_the_mean_of_the_last_weights(trained, last, first):
    trainer, average, recorder, pruning = trained(last)
    states = [recorder.states[step] for step in range(first, STEPS + 1)]
    assert average.steps == len(states)
    for name, parameter in trainer.model.named_parameters():
        wanted = torch.stack([state[name] for state in states]).double().mean(0)
        assert torch.allclose(parameter.double(), wanted, rtol=1e-5, atol=1e-7), name
        if "embeddings" in name:
            assert torch.equal(parameter, states[0][name])
    assert any(not torch.equal(p, states[-1][n]) for n, p in trainer.model.named_parameters()) == (len(states) > 1)
    layer = trainer.model.bert.encoder.layer[0].output.dense
    mask = layer.parametrizations.weight[0].mask.clone()
    pruning.fold()
    assert torch.equal(layer.weight == 0, ~mask)


def test_a_resumed_training_ends_bitwise_where_the_whole_one_ends(trained, tmp_path):
    whole = trained("40%")[0].model.state_dict()
    with safe_open(tmp_path / "out" / "checkpoint-8" / FILE, framework="pt") as opened:
        assert opened.metadata() == {"steps": "2"}
    assert not (tmp_path / "out" / "checkpoint-4" / FILE).exists()
    for step in (4, 8):
        trainer, average, *_ = trained("40%", resume=str(tmp_path / "out" / f"checkpoint-{step}"))
        resumed = trainer.model.state_dict()
        assert average.steps == 4 and whole.keys() == resumed.keys()
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []

    (tmp_path / "out" / "checkpoint-8" / FILE).unlink()
    with pytest.raises(PruningError, match=f"{FILE}: not found, and the mean of the weights goes on from it"):
        trained("40%", resume=str(tmp_path / "out" / "checkpoint-8"))


def test_the_best_model_and_the_mean_exclude_each_other(trained):
    options = {"eval_strategy": "steps", "eval_steps": 4, "load_best_model_at_end": True}
    with pytest.raises(PruningError, match="turn load_best_model_at_end off"):
        trained("40%", **options)
