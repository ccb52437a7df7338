"""The learning rate that rewinds: its values, where it does so, and that a resumed run follows it."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer

from optkit.errors import PruningError
from optkit.pruning import Frozen, PruningCallback, Rule, Schedule, rewind_steps, rewinding_lr
from optkit.pruning.config import Span
from optkit.pruning.learning_rate import rewound


def test_it_decays_between_rewinds_and_to_the_end():
    values = [rewound(step, rewinds=[4, 6], total=10, floor=0.2) for step in range(11)]
    assert values == pytest.approx([1, 0.8, 0.6, 0.4, 1, 0.6, 1, 0.8, 0.6, 0.4, 0.2])


def test_the_first_cycle_warms_up():
    values = [rewound(step, rewinds=[6], total=8, warmup=2) for step in range(9)]
    assert values == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25, 1, 0.5, 0])


def test_without_rewinds_it_is_transformers_linear_schedule():
    from transformers import get_linear_schedule_with_warmup

    optimizers = [torch.optim.SGD([torch.zeros(1)], lr=0.3) for _ in range(2)]
    ours = rewinding_lr(optimizers[0], [], 9, warmup=3)
    theirs = get_linear_schedule_with_warmup(optimizers[1], 3, 9)
    for _ in range(9):
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr())
        for optimizer, schedule in zip(optimizers, (ours, theirs)):
            optimizer.step()
            schedule.step()


STEPWISE = Schedule("stepwise", begin=2, end=14, jumps=3)


def test_it_rewinds_where_masks_take_more():
    assert rewind_steps("jumps", [Rule(schedule=STEPWISE)], 20, 5) == [6, 10, 14]
    # The first of a schedule that begins above zero is a jump, too; frozen zeros have no say.
    begun = Schedule("stepwise", initial=0.2, begin=2, end=14, jumps=3)
    assert rewind_steps("jumps", [Rule(criterion=Frozen()), Rule(schedule=begun)], 20, 5) == [2, 6, 10, 14]
    assert rewind_steps(Span.parse("1ep"), [], 20, 6) == [6, 12, 18]
    assert rewind_steps(Span.parse("50%"), [Rule()], 20, 6) == [10]
    assert rewind_steps("2ep", [Rule(schedule=STEPWISE)], 20, 6) == [12]
    with pytest.raises(ValueError, match="'jump' is not a part of training"):
        rewind_steps("jump", [Rule(schedule=STEPWISE)], 20, 6)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([], "no rule has a schedule: give the time between two rewinds"),
        ([Rule(criterion=Frozen())], "no rule has a schedule"),
        ([Rule(schedule=STEPWISE), Rule(name="b")], "the schedule of rule 'b' is cubic: make it stepwise"),
        (
            [Rule(schedule=Schedule("stepwise", begin=2, end=15, jumps=3)), Rule(schedule=STEPWISE)],  # of one name
            "rules 'weights' and 'weights' jump at different steps",
        ),
        (
            [
                Rule(schedule=STEPWISE, name="a"),
                Rule(schedule=Schedule("stepwise", begin=2, end=15, jumps=3), name="b"),
            ],
            "rules 'a' and 'b' jump at different steps: give them the same begin, end and jumps",
        ),
    ],
)
def test_rules_without_common_jumps_are_refused(rules, said):
    with pytest.raises(PruningError, match=said):
        rewind_steps("jumps", rules, 20, 5)


def test_a_warm_up_must_end_before_the_first_rewind():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    with pytest.raises(PruningError, match="the warm-up of 4 steps does not end before .* rewound at step 4"):
        rewinding_lr(optimizer, [0, 4], 9, warmup=4)
    rewinding_lr(optimizer, [9], 9, warmup=4)


def test_a_trainer_of_ones_own_takes_it_and_resumes(bert, rows, arguments, tmp_path):
    rule = Rule(schedule=Schedule("stepwise", to=0.5, begin=0, end=6, jumps=3))

    def run(**given) -> tuple[dict[str, torch.Tensor], list[float]]:
        model = bert()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        schedule = rewinding_lr(optimizer, rewind_steps("jumps", [rule], 10, 4), 10, floor=0.5)
        pruning = PruningCallback(rule)
        trainer = Trainer(
            model=model,
            args=arguments(tmp_path, save_strategy="steps", save_steps=3, save_total_limit=None),
            train_dataset=rows(16),
            optimizers=(optimizer, schedule),
            callbacks=[pruning],
        )
        trainer.train(**given)
        pruning.fold()
        rates = [log["learning_rate"] for log in trainer.state.log_history if "loss" in log]
        return model.state_dict(), rates

    whole, rates = run()
    # As logged after the step, from which the next one is taken.
    assert rates == pytest.approx([1e-3 * rewound(step, rewinds=[2, 4, 6], total=10, floor=0.5) for step in range(10)])
    resumed, again = run(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole) and rates == again
