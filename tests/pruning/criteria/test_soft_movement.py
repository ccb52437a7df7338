"""Soft movement: scores of groups step by step, who returns, where the controller lands, what a checkpoint holds."""

from __future__ import annotations

import math

import pytest
import torch
from optimizer_steps import finish_step

from optkit.errors import PruningError
from optkit.pruning.config import Magnitude, Rule, Schedule, SoftMovement
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner


def soft(**parameters):
    return build(SoftMovement(**parameters))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


ALL = torch.ones(8, dtype=torch.bool)


@pytest.mark.parametrize(("threshold", "head_start"), [(0.5, 20.0), (0.1, 1.0)])
def test_scores_start_above_the_threshold_by_magnitude(threshold, head_start):
    criterion = soft(threshold=threshold, head_start=head_start)
    scores = criterion.group_score(criterion.group_state(torch.tensor([3.0, 0.5, 8.0, 0.5])))
    start = math.log(threshold / (1 - threshold))
    assert scores.tolist() == pytest.approx([start + magnitude / 3 for magnitude in (3.0, 0.5, 8.0, 0.5)], abs=1e-6)


@pytest.mark.parametrize("momentum", [1.0, 0.8])
@pytest.mark.parametrize("saliency", [0.0, 2.0])
@pytest.mark.parametrize("head_start", [0.0, 5.0])
def test_a_score_moves_against_its_gradient_and_the_penalty(momentum, saliency, head_start):
    criterion = soft(momentum=momentum, saliency=saliency, head_start=head_start)
    state = criterion.group_state(torch.tensor([1.0, 3.0]))
    state["penalty"].fill_(0.3)
    alive = [True, False]
    head, steps, moved, size, fallen = head_start, 0.0, [0.0, 0.0], 0.0, [0.0, 0.0]

    def scores() -> list[float]:
        gained = [m * steps / size for m in moved]
        return [(head * start + g) / (head + steps) - f for start, g, f in zip((0.5, 1.5), gained, fallen)]

    for products in [[2.0, -1.0], [4.0, 1.0], [-2.0, -7.0]]:
        sizes = [abs(p) + 0.5 for p in products]
        criterion.observe_groups(state, torch.tensor(products), torch.tensor(sizes), torch.tensor(alive))
        gains = [saliency * size * a - p for p, size, a in zip(products, sizes, alive)]
        head, steps = head * momentum, steps * momentum + 1
        moved = [m * momentum + g for m, g in zip(moved, gains)]
        size = size * momentum + sum(map(abs, gains)) / 2
        shares = [sigmoid(score) for score in scores()]
        fallen = [f + 0.3 * share * (1 - share) for f, share in zip(fallen, shares)]
    assert criterion.group_score(state).tolist() == pytest.approx(scores(), abs=1e-5)


def test_gradients_of_any_size_move_scores_alike():
    criterion, scores = soft(), []
    for scale in (1.0, 1e-12, 1e12):
        state = criterion.group_state(torch.ones(8))
        generator = torch.Generator().manual_seed(0)
        for _ in range(5):
            products = scale * torch.randn(8, generator=generator)
            criterion.observe_groups(state, products, products.abs(), ALL)
        scores.append(criterion.group_score(state))
    torch.testing.assert_close(scores[1], scores[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(scores[2], scores[0], rtol=1e-4, atol=1e-6)


def test_small_gradients_of_the_first_steps_count_for_little():
    criterion = soft(head_start=0.0, saliency=0.0)
    state = criterion.group_state(torch.ones(2))
    for products in [[1e-3, -1e-3]] * 10 + [[-1.0, 1.0]]:
        criterion.observe_groups(state, torch.tensor(products), torch.ones(2), ALL[:2])
    assert criterion.group_score(state).tolist() == pytest.approx([0.98, -0.98], abs=1e-3)


def test_gradients_of_zero_leave_the_order_of_magnitude():
    criterion = soft()
    state = criterion.group_state(torch.arange(8.0))
    for _ in range(10):
        criterion.observe_groups(state, torch.zeros(8), torch.zeros(8), ALL)
    scores = criterion.group_score(state)
    assert scores.tolist() == pytest.approx([20 / 30 * n / 3.5 for n in range(8)])


def test_the_gradient_of_a_group_is_the_sum_over_its_weights_masked_ones_too(stack):
    model = stack((4, 8), (2, 4))
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), structure="1x4")])
    weights = model.layers[0].parametrizations.weight
    weights[0].mask[1:3] = False
    raw = weights.original.detach().clone()
    effective = raw.where(weights[0].mask, 0.0).requires_grad_()
    values = torch.linspace(-1, 1, 24).view(3, 8)
    hidden = torch.tanh(torch.nn.functional.linear(values, effective, model.layers[0].bias.detach()))
    last = model.layers[1]
    out = torch.nn.functional.linear(hidden, last.weight.detach(), last.bias.detach())
    torch.tanh(out).square().sum().backward()
    model(values).square().sum().backward()
    pruner.observe()
    products = (raw * effective.grad).view(8, 4).sum(1)
    assert bool(products[2:6].any())
    sizes = (raw * effective.grad).abs().view(8, 4).sum(1)
    expected = torch.where(weights[0].mask[:, ::4].flatten(), 2 * sizes, 0.0) - products
    torch.testing.assert_close(weights[0].state("soft_movement")["moved"], expected, rtol=1e-4, atol=1e-6)


def train(model, pruner, steps, first: int = 1, optimizer=None, seen=None):
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(first, steps + 1):
        torch.manual_seed(step)
        model(torch.randn(16, 32)).sub(torch.randn(16, 32)).square().mean().backward()
        if finish_step(pruner, optimizer, step) and seen is not None:
            alive = [layer.parametrizations.weight[0].mask.clone() for layer in model.layers]
            seen.append((pruner.target(step), pruner.sparsity(), alive))
    return optimizer


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("shape", ["cubic", "linear", "stepwise"])
def test_the_share_of_pruned_groups_follows_the_schedule_and_is_exact_at_its_end(stack, scope, shape):
    model = stack((64, 32), (32, 64))
    schedule = Schedule(shape, to=0.9, begin=20, end=120, every=5)
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), scope=scope, schedule=schedule)])
    pruner.start(125, 125)
    seen = []
    train(model, pruner, 125, seen=seen)
    assert max(abs(target - sparsity) for target, sparsity, _ in seen) <= 0.01
    assert pruner.fold()[0].pruned == (round(0.9 * 4096) if scope == "global" else 2 * round(0.9 * 2048))


def test_a_group_returns_when_the_loss_wants_it_back_and_not_after_the_end(stack):
    model = stack((1, 2))
    model.layers[0].weight.data.fill_(1.0)
    criterion = SoftMovement(momentum=0.5, saliency=0.0, head_start=0.0)
    schedule = Schedule("linear", initial=0.5, to=0.5, begin=2, end=6, every=2)
    pruner = Pruner(model, [Rule(criterion=criterion, schedule=schedule)])
    pruner.start(10, 10)
    kept = []
    for step in range(1, 11):
        direction = 1.0 if step in (1, 2, 7, 8, 9, 10) else -1.0
        model.layers[0](torch.tensor([[direction, -direction]])).sum().backward()
        pruner.observe()
        model.zero_grad()
        pruner.update(step)
        kept.append(model.layers[0].parametrizations.weight[0].mask[0].tolist())
    first, second = [True, False], [False, True]
    assert kept == [[True, True]] + [second] * 2 + [first] * 7


def test_the_controller_alone_finds_the_share_when_scores_drift_by_themselves():
    """No counting here: what the threshold leaves, under gradients that push all scores up, then all down."""
    criterion = soft(momentum=0.9, saliency=0.0)
    generator = torch.Generator().manual_seed(0)
    state = criterion.group_state(torch.rand(2000, generator=generator))
    tastes = torch.randn(2000, generator=generator)
    for drift in (-0.5, 0.5):
        before = state["fallen"].mean().item()
        for step in range(400):
            alive = criterion.group_score(state) >= 0
            products = tastes + 0.1 * torch.randn(2000, generator=generator) + drift
            criterion.observe_groups(state, products, products.abs(), alive)
            if step % 10 == 9:
                keeps = criterion.choose([state], 0.6)
        assert keeps is not None
        assert abs(int((~keeps[0]).sum()) / 2000 - 0.6) <= 0.01
        assert (state["fallen"].mean().item() - before) * drift < 0  # a penalty where scores rise, else a reward


def test_groups_are_counted_out_while_the_threshold_is_far_off():
    criterion = soft()
    state = criterion.group_state(torch.arange(100.0))
    criterion.observe_groups(state, torch.zeros(100), torch.zeros(100), torch.ones(100, dtype=torch.bool))
    assert criterion.choose([state], 0.5) is None
    assert criterion.choose([state], 0.0) is not None


def test_masks_stay_as_they_are_after_the_end(stack):
    model = stack((32, 32))
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), schedule=Schedule(to=0.5, begin=2, end=10, every=2))])
    pruner.start(30, 30)
    optimizer = train(model, pruner, 10)
    mask = model.layers[0].parametrizations.weight[0].mask.clone()
    train(model, pruner, 30, first=11, optimizer=optimizer)
    assert torch.equal(model.layers[0].parametrizations.weight[0].mask, mask) and int(mask.sum()) == 512


def test_bounds_hold_before_the_end_too(stack):
    model = stack((64, 32), (32, 64))
    model.layers[0].weight.data *= 10
    schedule = Schedule(to=0.6, begin=4, end=40, every=4)
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), schedule=schedule, floor=0.5, ceiling=0.7)])
    pruner.start(40, 40)
    seen = []
    train(model, pruner, 40, seen=seen)
    for target, sparsity, alive in seen:
        assert sparsity == pytest.approx(target, abs=1 / 4096)
        assert all(min(0.5, target) - 1e-3 <= 1 - float(a.float().mean()) <= 0.7 for a in alive)


def test_a_checkpoint_holds_the_controller(stack):
    pruner = Pruner(model := stack((32, 32)), [Rule(criterion=SoftMovement())])
    pruner.start(100, 100)
    train(model, pruner, 50)
    state = model.state_dict()
    names = ("start", "head", "moved", "size", "steps", "fallen", "since", "penalty", "integral")
    assert {name for name in state if "soft" in name} == {f"layers.0.weight_soft_movement_{name}" for name in names}
    assert float(state["layers.0.weight_soft_movement_penalty"]) != 0
    assert int((state["layers.0.weight_raw"] == 0).sum()) == 0


def test_another_rule_on_its_weights_is_refused(stack):
    rules = [Rule(criterion=Magnitude(), structure="1x4", name="blocks"), Rule(criterion=SoftMovement(), name="inside")]
    with pytest.raises(PruningError) as error:
        Pruner(stack((8, 8)), rules)
    assert str(error.value) == (
        "rules 'blocks' and 'inside' both claim layers.0.weight: give them separate targets, as soft_movement lets "
        "weights return"
    )


def test_diverged_gradients_are_an_error(stack):
    model = stack((8, 8))
    pruner = Pruner(model, [Rule(criterion=SoftMovement(), schedule=Schedule(to=0.5, begin=1, end=9, every=2))])
    pruner.start(10, 10)
    weight = model.layers[0].parametrizations.weight
    model(torch.full((1, 8), torch.nan)).sum().backward()
    pruner.observe()
    with pytest.raises(PruningError, match="scores hold NaN: training has diverged"):
        pruner.update(1)
    assert bool(weight[0].mask.all())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"saliency": -1.0}, "saliency must be at least 0, got -1.0"),
        ({"momentum": 0.0}, "momentum must be above 0 and at most 1, got 0.0"),
        ({"head_start": -1.0}, "head_start must be at least 0, got -1.0"),
        ({"threshold": 1.0}, "threshold must be above 0 and below 1, got 1.0"),
        ({"threshold": float("nan")}, "threshold must be above 0 and below 1, got nan"),
    ],
)
def test_parameters_outside_their_ranges_are_refused(given, message):
    with pytest.raises(ValueError) as error:
        SoftMovement(**given)
    assert str(error.value) == message
