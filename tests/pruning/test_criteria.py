"""What criteria see: movement's sum, Taylor's average, gradients of masked weights, random order, zeros that stay."""

from __future__ import annotations

import pytest
import torch
from optimizer_steps import finish_step
from torch.nn.functional import linear
from torch.nn.utils import clip_grad_norm_

from optkit.pruning.config import Frozen, Magnitude, Movement, Random, Rule, Schedule, Taylor
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner

BATCHES = torch.linspace(-1, 2, 4 * 2 * 5 * 6).view(4, 2, 5, 6)  # steps, accumulated batches, examples, inputs


def moved(score: torch.Tensor, change: torch.Tensor, momentum: float) -> torch.Tensor:
    return momentum * score - change


def moved_or_felt(score: torch.Tensor, change: torch.Tensor, momentum: float) -> torch.Tensor:
    return momentum * score - change + 2.0 * change.abs()


def felt(score: torch.Tensor, change: torch.Tensor, momentum: float) -> torch.Tensor:
    return momentum * score + (1 - momentum) * change.abs()


def reference_scores(model, masks, accumulate, *, momentum: float, max_norm: float, regrow: bool) -> list[torch.Tensor]:
    """Scores of a two-layer tanh network after four SGD steps, from its definition.

    ``masks`` holds the masks in force at each step; ``accumulate(score, w * dL/dw, momentum)`` is the criterion's
    definition, `moved` or `felt`. Clipping takes the norm over what reaches the parameters.
    """
    weights = [layer.weight.detach().clone().requires_grad_() for layer in model.layers]
    biases = [layer.bias.detach().clone().requires_grad_() for layer in model.layers]
    scores = [torch.zeros_like(w) for w in weights]
    for step, batches in enumerate(BATCHES):
        effective_gradients = [torch.zeros_like(w) for w in weights]
        for values in batches:
            effective = [w * m for w, m in zip(weights, masks[step])]
            for tensor in effective:
                tensor.retain_grad()
            for w, b in zip(effective, biases):
                values = torch.tanh(linear(values, w, b))
            (values.square().sum() / len(batches)).backward()
            for total, tensor in zip(effective_gradients, effective):
                total += tensor.grad
        norm = torch.stack([p.grad.norm() for p in [*weights, *biases]]).norm()
        scale = min(1.0, max_norm / (float(norm) + 1e-6))
        with torch.no_grad():
            for w, mask, score, gradient in zip(weights, masks[step], scores, effective_gradients):
                seen = gradient * scale if regrow else gradient * mask * scale
                score.copy_(accumulate(score, w * seen, momentum))
            for p in [*weights, *biases]:
                p -= 0.1 * p.grad * scale
                p.grad = None
    return scores


@pytest.mark.parametrize("regrow", [False, True])
@pytest.mark.parametrize(
    ("criterion", "accumulate"),
    [
        (Movement(1.0, saliency=0.0), moved),
        (Movement(0.5, saliency=0.0), moved),
        (Movement(0.5, saliency=2.0), moved_or_felt),
        (Taylor(0.0), felt),
        (Taylor(0.5), felt),
        (Taylor(), felt),
    ],
)
@pytest.mark.parametrize("max_norm", [1e9, 0.3])
def test_scores_accumulate_weight_times_clipped_gradient(stack, regrow, criterion, accumulate, max_norm):
    model, untouched = stack((8, 6), (4, 8)), stack((8, 6), (4, 8))
    schedule = Schedule(shape="linear", to=0.8, begin=1, end=4, every=1)
    pruner = Pruner(model, [Rule(criterion=criterion, schedule=schedule, regrow=regrow)])
    pruner.start(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    masks, norms = [], []
    for step, batches in enumerate(BATCHES, start=1):
        masks.append([layer.parametrizations.weight[0].mask.clone() for layer in model.layers])
        for values in batches:
            (model(values).square().sum() / len(batches)).backward()
        norms.append(float(clip_grad_norm_(model.parameters(), max_norm)))
        finish_step(pruner, optimizer, step)
    assert min(norms) > 0.3  # else nothing was clipped, and the case proves nothing
    momentum = criterion.momentum
    expected = reference_scores(untouched, masks, accumulate, momentum=momentum, max_norm=max_norm, regrow=regrow)
    for layer, scores in zip(model.layers, expected):
        mask = layer.parametrizations.weight[0]
        torch.testing.assert_close(
            mask.state(criterion.name)["score"], scores, rtol=1e-4, atol=1e-6
        )  # two orders of summation in float32
    assert pruner.states()[0].pruned == round(0.8 * 80)


def test_the_gradient_of_a_wholly_masked_weight_is_clipped_like_all_others(stack):
    model = stack((4, 6), (4, 6))
    pruner = Pruner(model, [Rule(criterion=Movement(saliency=0.0), regrow=True)])
    first, second = (layer.parametrizations.weight for layer in model.layers)
    second[0].mask.fill_(False)
    values = BATCHES[0, 0]
    (model.layers[0](values) + model.layers[1](values)).square().sum().backward()
    norm = float(clip_grad_norm_(model.parameters(), 0.3))
    assert norm > 3.0 and not bool(second.original.grad.any())
    pruner.observe()
    with torch.no_grad():
        out = linear(values, first.original, model.layers[0].bias + model.layers[1].bias)
        gradient = 2 * out.T @ values * 0.3 / norm
    for weight in (first, second):
        torch.testing.assert_close(
            weight[0].state("movement")["score"], -weight.original.detach() * gradient, rtol=1e-4, atol=1e-7
        )


def test_a_layer_used_twice_collects_both_gradients(stack):
    model = stack((6, 6))
    model.layers.append(model.layers[0])
    pruner = Pruner(model, [Rule(criterion=Movement(saliency=0.0), regrow=True)])
    weights = model.layers[0].parametrizations.weight
    weights[0].mask[0] = False
    model(BATCHES[0, 0]).square().sum().backward()
    pruner.observe()
    effective = torch.where(weights[0].mask, weights.original.detach(), 0.0).requires_grad_()
    bias = model.layers[0].bias.detach()
    torch.tanh(linear(torch.tanh(linear(BATCHES[0, 0], effective, bias)), effective, bias)).square().sum().backward()
    assert bool(effective.grad[0].any())
    torch.testing.assert_close(
        weights[0].state("movement")["score"], -weights.original.detach() * effective.grad, rtol=1e-5, atol=1e-7
    )


def test_steps_that_a_loss_scaler_skips_leave_no_trace(stack):
    model = stack((6, 6))
    pruner = Pruner(model, [Rule(criterion=Movement(saliency=0.0))])
    raw, mask = model.layers[0].parametrizations.weight.original, model.layers[0].parametrizations.weight[0]
    raw.grad = torch.full_like(raw, torch.inf)
    pruner.observe(skip_nonfinite=True)
    assert not bool(mask.state("movement")["score"].any())
    raw.grad = torch.full_like(raw, 2.0)
    pruner.observe(skip_nonfinite=True)
    assert torch.equal(mask.state("movement")["score"], -2.0 * raw.detach())


def test_taylor_without_momentum_at_step_one_is_snip(stack):
    model, untouched = stack((8, 6), (4, 8)), stack((8, 6), (4, 8))
    rule = Rule(criterion=Taylor(momentum=0.0), schedule=Schedule(shape="constant", to=0.75, begin=1))
    pruner = Pruner(model, [rule])
    pruner.start(4, 4)
    for network in (model, untouched):
        network(BATCHES[0, 0]).square().sum().backward()
    pruner.observe()
    pruner.update(1)
    sensitivity = torch.cat([(layer.weight * layer.weight.grad).abs().flatten() for layer in untouched.layers])
    kept = torch.cat([layer.parametrizations.weight[0].mask.flatten() for layer in model.layers])
    assert torch.equal(torch.nonzero(kept).flatten(), sensitivity.topk(20).indices.sort().values)


@pytest.mark.parametrize(("criterion", "kept"), [(Movement(saliency=0.0), [False, True]), (Taylor(), [True, False])])
def test_opposite_changes_in_a_block_cancel_for_movement_and_add_up_for_taylor(stack, criterion, kept):
    model = stack((1, 8))
    rule = Rule(criterion=criterion, structure="1x4", schedule=Schedule(shape="constant", to=0.5, begin=1))
    pruner = Pruner(model, [rule])
    pruner.start(1, 1)
    weight = model.layers[0].parametrizations.weight
    weight.original.data = torch.tensor([[1.0, 1, 1, 1, 1, 1, 1, 1]])
    weight.original.grad = torch.tensor([[5.0, -5, 0, 0, -1, -1, -1, -1]])
    pruner.observe()
    pruner.update(1)
    assert weight[0].mask[0, ::4].tolist() == kept


def test_taylor_takes_half_precision_and_shows_divergence():
    state, weight = {"score": torch.zeros(1, 3)}, torch.tensor([[3e-5, 1.0, 2.0]], dtype=torch.float16)
    gradient = torch.tensor([[3e-5, torch.nan, -1.5]], dtype=torch.float16)
    build(Taylor()).observe(state, weight, gradient)
    # The first product is 0 in float16.
    assert state["score"][0, 0] == pytest.approx(0.1 * 9e-10, rel=1e-2) and state["score"][0, 2] == pytest.approx(0.3)
    assert bool(state["score"][0, 1].isnan())


def test_the_average_of_a_masked_weight_ends_at_zero_and_not_among_subnormal_numbers():
    criterion, state = build(Taylor()), {"score": torch.full((1, 2), 1e-6)}
    for _ in range(800):
        criterion.observe(state, torch.ones(1, 2), torch.tensor([[0.0, 1.0]]))
    assert state["score"][0].tolist() == [0.0, pytest.approx(1.0)]


def random_scores(shape: tuple[int, int], seed: int = 0, index: int = 0) -> torch.Tensor:
    return build(Random(seed)).score(torch.zeros(shape), {}, index)


def test_random_scores_are_a_function_of_seed_and_layer_alone():
    state = torch.random.get_rng_state()
    made = [random_scores((32, 64), seed, index) for seed in (0, 1) for index in (0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(random_scores((32, 64), 1, 0), made[2]) and made[0].dtype == torch.float32
    for i, scores in enumerate(made):
        assert 0.0 <= float(scores.min()) and float(scores.max()) < 1.0
        assert abs(float(scores.mean()) - 0.5) < 0.02  # three standard errors of 2048 uniform numbers
        # Of 2048 pairs that are independent the correlation stays within 0.07, three standard errors.
        others = [float(torch.corrcoef(torch.stack([scores.flatten(), o.flatten()]))[0, 1]) for o in made[:i]]
        assert all(abs(correlation) < 0.07 for correlation in others)


@pytest.mark.parametrize("structure", ["element", "1x4"])
def test_random_prunes_the_same_weights_of_any_model_in_one_order(stack, structure):
    schedule = Schedule(shape="linear", to=0.9, begin=0, end=3, every=1)
    rule = Rule(criterion=Random(), structure=structure, schedule=schedule)
    masks = []
    for seed in (0, 1):
        model = stack((32, 32), (32, 32), seed=seed)
        pruner = Pruner(model, [rule])
        pruner.start(3, 3)
        for step in range(3):
            pruner.update(step)
        masks.append(torch.stack([layer.parametrizations.weight[0].mask for layer in model.layers]))
    assert torch.equal(*masks)
    at_once = Pruner(model := stack((32, 32), (32, 32)), [rule])
    at_once.start(3, 3)
    at_once.update(2)
    assert torch.equal(torch.stack([layer.parametrizations.weight[0].mask for layer in model.layers]), masks[0])
    # 60 % of each layer, within three standard errors of its 256 blocks, and not the same 60 %.
    assert all(abs(float(mask.float().mean()) - 0.4) < 0.1 for mask in masks[0])
    assert not torch.equal(*masks[0])


@pytest.mark.parametrize("regrow", [False, True])
def test_a_weight_returns_only_where_the_rule_says_so(stack, regrow):
    model = stack((1, 8))
    model.layers[0].weight.data = torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8]])
    schedule = Schedule(shape="linear", initial=0.25, to=0.5, begin=1, end=2, every=1)
    pruner = Pruner(model, [Rule(criterion=Magnitude(), regrow=regrow, schedule=schedule)])
    pruner.start(2, 2)
    pruner.update(1)
    raw, mask = model.layers[0].parametrizations.weight.original, model.layers[0].parametrizations.weight[0]
    assert mask.mask.tolist() == [[False] * 2 + [True] * 6]
    raw.data[0, 0] = 9.0
    pruner.update(2)
    kept = [0, 5, 6, 7] if regrow else [4, 5, 6, 7]
    assert torch.nonzero(mask.mask[0]).flatten().tolist() == kept
    pruner.fold()
    folded = [9, 0, 0, 0, 0, 6, 7, 8] if regrow else [0, 0, 0, 0, 5, 6, 7, 8]
    assert model.layers[0].weight.tolist() == [folded]


def test_the_raw_weights_of_a_regrowing_rule_are_in_its_checkpoints(stack):
    rule = Rule(regrow=True, schedule=Schedule(shape="constant", to=0.5, begin=0))
    model, other = stack((4, 4)), stack((4, 4), seed=1)
    pruner, _ = Pruner(model, [rule]), Pruner(other, [rule])
    pruner.start(1, 1)
    pruner.update(0)
    state = model.state_dict()
    assert sorted(state) == ["layers.0.bias", "layers.0.weight", "layers.0.weight_mask", "layers.0.weight_raw"]
    assert int((state["layers.0.weight"] == 0).sum()) == 8
    other.load_state_dict(state)
    raw = [m.layers[0].parametrizations.weight.original for m in (model, other)]
    assert torch.equal(*raw) and int((raw[1] == 0).sum()) == 0


@pytest.mark.parametrize(("structure", "kept_dead"), [("element", 11), ("1x4", 8), ("2x4", 8), ("4x1", 0)])
def test_frozen_keeps_exactly_the_groups_that_are_zero(stack, structure, kept_dead):
    model = stack((4, 8))
    weight = model.layers[0].weight.data
    weight[:2, :4] = 0
    weight[3, 5:] = torch.tensor([0.0, -0.0, 0.0])
    pruner = Pruner(model, [Rule(criterion=Frozen(), structure=structure)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(3):
        (model(torch.linspace(-1, 1, 16).view(2, 8)) - 1).square().sum().backward()
        pruner.observe()
        optimizer.step()
        optimizer.zero_grad()
    pruner.fold()
    assert int((model.layers[0].weight == 0).sum()) == kept_dead
    assert not bool(torch.signbit(model.layers[0].weight[model.layers[0].weight == 0]).any())


@pytest.mark.parametrize("regrow", [False, True])
def test_nothing_is_watched_once_no_mask_will_change(stack, regrow):
    """Also where a training goes on behind the end of its schedule."""
    criterion = Movement(saliency=0.0)
    states = []
    for steps, done in ((4, 0), (2, 0), (0, 2)):
        model = stack((8, 6), (4, 8))
        pruner = Pruner(model, [Rule(criterion=criterion, schedule=Schedule(to=0.5, begin=1, end=2), regrow=regrow)])
        pruner.start(4, 4, done=done)
        for step in range(1, steps + 1):
            model(BATCHES[step - 1, 0]).square().sum().backward()
            pruner.observe()
            pruner.update(step)
        masks = [layer.parametrizations.weight[0] for layer in model.layers]
        states.append([mask.state("movement")["score"].clone() for mask in masks])
        if done:
            model(BATCHES[0, 0]).square().sum().backward()
            pruner.observe()
            assert not any(mask.state("movement")["score"].any() for mask in masks)
            assert not any(mask.collects and mask.gradient.any() for mask in masks)
    assert all(torch.equal(long, short) and short.any() for long, short in zip(*states[:2]))
