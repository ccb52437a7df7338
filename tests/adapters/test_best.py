"""The best model at the target sparsity: which one it is, what is kept for it, and that a resume chooses the same."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from architectures import small_model
from transformers import TrainerCallback

from optkit.adapters import arguments, checkpointing, trainer
from optkit.adapters.best import BestAtTarget
from optkit.errors import OptkitError
from optkit.pruning import Magnitude, PruningCallback, Rule, Schedule

TARGET, STEPS = 4, 12
#: Accuracy after so many steps; the best before the target must not count, and of 8 and 10 the lower loss does.
SCORES = {2: 1.0, 4: 0.5, 6: 0.7, 8: 0.9, 10: 0.9, 12: 0.6}


def rows(count: int, seed: int = 0) -> list[dict]:
    ids = torch.randint(3, 60, (count, 8), generator=torch.Generator().manual_seed(seed))
    return [{"input_ids": row, "labels": i % 2} for i, row in enumerate(ids)]


@pytest.fixture
def training(tmp_path):
    def build(scores=SCORES, callbacks=(), **train):
        given = {
            "max_steps": STEPS,
            "eval_steps": 2,
            "save_steps": 3,
            "per_device_train_batch_size": 4,
            "use_cpu": True,
        }
        args = arguments.training_arguments(given | {"hold_out": 0.1} | train, tmp_path, seed=1, examples=16)
        pruning = PruningCallback(Rule(criterion=Magnitude(), schedule=Schedule(to=0.5, begin=0, end=TARGET, every=2)))
        best = BestAtTarget("accuracy", lambda step: pruning.pruner.at_target(step))
        built = trainer.build(
            small_model("bert"),
            args,
            train_dataset=rows(16),
            eval_dataset=rows(8, seed=1),
            collator=None,
            callbacks=[pruning, checkpointing.WholeCheckpoints(), best, *callbacks],
            compute_metrics=lambda prediction: {"accuracy": scores[built.state.global_step]},
        )
        return built, pruning, best

    return build


class Weights(TrainerCallback):
    """Remembers the classifier after each step."""

    def __init__(self):
        self.after = {}

    def on_step_end(self, args, state, control, model, **kwargs):
        self.after[state.global_step] = model.classifier.weight.detach().clone()


def evaluations(built) -> dict[int, float]:
    return {log["step"]: log["eval_loss"] for log in built.state.log_history if "eval_loss" in log}


def test_the_best_at_the_target_is_the_result(training, tmp_path):
    weights = Weights()
    built, pruning, best = training(callbacks=[weights])
    trainer.train(built, None)
    losses = evaluations(built)
    assert list(losses) == [4, 6, 8, 10, 12]
    chosen = min((8, 10), key=losses.get)
    assert (best.best.step, best.best.score, best.best.loss) == (chosen, 0.9, losses[chosen])
    assert torch.equal(built.model.classifier.weight, weights.after[chosen])
    assert not torch.equal(weights.after[chosen], weights.after[STEPS])
    (state,) = pruning.fold()
    assert state.pruned == round(0.5 * state.groups)
    zeros = sum(int((p == 0).sum()) for n, p in built.model.named_parameters() if ".layer." in n and p.ndim == 2)
    assert zeros == state.pruned


def test_the_last_step_is_evaluated_and_may_be_the_best(training):
    built, _, best = training({5: 0.5, 10: 0.5, 12: 0.8}, eval_steps=5)
    trainer.train(built, None)
    assert list(evaluations(built)) == [5, 10, 12] and best.best.step == 12


def test_evaluation_by_epochs_is_held_back_as_well(training):
    built, _, best = training(eval_strategy="epoch", eval_steps=None, per_device_train_batch_size=8)
    trainer.train(built, None)
    assert list(evaluations(built)) == [4, 6, 8, 10, 12] and best.best.step in (8, 10)


def test_a_model_with_an_infinite_loss_is_never_the_best(training):
    built, _, best = training({**SCORES, 8: math.nan, 10: 0.1})
    trainer.train(built, None)
    assert best.best.step == 6


def test_a_resumed_run_chooses_as_the_whole_one(training, tmp_path):
    class Stop(TrainerCallback):
        """Ends the process, as far as the Trainer can see, with the best of step 8 written and checkpoint 9 not."""

        def on_evaluate(self, args, state, control, **kwargs):
            if state.global_step == 8:
                raise KeyboardInterrupt

    rising = {4: 0.5, 6: 0.7, 8: 0.9, 10: 0.8, 12: 0.6}
    whole, _, best = training(rising)
    trainer.train(whole, None)
    expected, chosen = whole.model.state_dict(), best.best
    for left in tmp_path.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert chosen.step == 8

    killed, _, _ = training(rising, callbacks=[Stop()])
    with pytest.raises(KeyboardInterrupt):
        trainer.train(killed, None)
    # 4 is needed by nobody: the oldest whole checkpoint is of step 3, and 6 beat it before the one of step 6 was saved.
    assert sorted(file.name for file in tmp_path.glob("best-*")) == [
        "best-4.safetensors",
        "best-6.safetensors",
        "best-8.safetensors",
    ]
    resumed, _, best = training(rising)
    trainer.train(resumed, checkpointing.resumable(tmp_path))
    assert best.best == chosen and evaluations(resumed) == evaluations(whole)
    state = resumed.model.state_dict()
    assert state.keys() == expected.keys() and all(torch.equal(state[name], expected[name]) for name in state)
    assert [file.name for file in tmp_path.glob("best-*")] == ["best-8.safetensors"]


def test_only_weights_and_masks_are_written(training, tmp_path):
    from safetensors import safe_open

    built, _, best = training()
    trainer.train(built, None)
    with safe_open(tmp_path / f"best-{best.best.step}.safetensors", framework="pt") as file:
        names = set(file.keys())
    plain = {name for name, _ in built.model.named_parameters() if "parametrizations" not in name}
    masked = {name for name in built.model.state_dict() if name.endswith((".weight", ".weight_mask"))}
    assert names == plain | masked


def test_a_file_of_another_model_is_refused(training, tmp_path):
    from safetensors.torch import save_file

    built, _, _ = training({step: float(step == 4) for step in SCORES})
    facts = {"step": "4", "score": "1.0", "loss": "0.0"}

    class Replace(TrainerCallback):
        def on_evaluate(self, args, state, control, **kwargs):
            if state.global_step == STEPS:
                for file in tmp_path.glob("best-*"):
                    save_file({"other.weight": torch.zeros(1)}, file, metadata=facts)

    built.add_callback(Replace())
    with pytest.raises(OptkitError, match=r"best-\d+.safetensors: not a model of this training, first other.weight"):
        trainer.train(built, None)
