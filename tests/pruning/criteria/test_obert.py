"""The second-order criterion: against a dense solver, against magnitude where the loss is quadratic, and under a Pruner."""

from __future__ import annotations

import itertools

import pytest
import torch
from optimizer_steps import finish_step

from optkit.errors import PruningError
from optkit.pruning import fisher
from optkit.pruning.config import Magnitude, Obert, Rule, Schedule, Structure
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner

DAMPING = 1e-2


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def watched(generator, shape, block: int | str, steps: int = 30, scale: float = 1.0):
    """A criterion that has seen ``steps`` random gradients, and what it knows."""
    criterion = build(Obert(block=block, damping=DAMPING, momentum=0.9))
    state = criterion.state(torch.empty(shape))
    for _ in range(steps):
        criterion.observe(state, None, scale * torch.randn(shape, generator=generator))
    return criterion, state


def dense(state, shape, block: tuple[int, int], living: torch.Tensor) -> torch.Tensor:
    """The damped Fisher of all weights of one layer as one matrix, float64 (weights, weights)."""
    (rows, cols), (high, wide) = shape, block
    blocks = fisher.unpack(state["fisher"]).double()
    full = torch.zeros(rows * cols, rows * cols, dtype=torch.float64)
    for n, (top, left) in enumerate(itertools.product(range(0, rows, high), range(0, cols, wide))):
        inside = [(r, c) for r, c in itertools.product(range(high), range(wide)) if top + r < rows and left + c < cols]
        own = torch.tensor([r * wide + c for r, c in inside])
        places = torch.tensor([(top + r) * cols + left + c for r, c in inside])
        full[places[:, None], places] = blocks[own[:, None], own, n]
    own = full.diagonal()
    return full + torch.diag(fisher.RIDGE * own + DAMPING * own[living.flatten()].mean())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "block"), [((3, 10), (1, 4)), ((4, 16), (1, 16)), ((2, 5), (1, 8)), ((5, 6), (2, 4)), ((8, 4), (4, 4))]
)
def test_what_stays_moves_to_the_minimum_and_what_was_pruned_has_no_say(generator, shape, block, dtype):
    criterion, state = watched(generator, shape, "{}x{}".format(*block))
    weight = torch.randn(shape, generator=generator).to(dtype)
    before, keep = (torch.rand(shape, generator=generator) > share for share in (0.3, 0.5))
    assert bool((keep & ~before).any()) and bool((before & ~keep).any())  # some return, some go
    raw, free = weight.clone(), before & keep
    raw[~before & ~keep] = 1e4
    criterion.after_mask(raw, state, before, keep)
    assert torch.equal(raw[~free], torch.where(~before & ~keep, 1e4, weight.float()).to(dtype)[~free])

    change = (weight * keep - weight * before).double().flatten()
    matrix, a = dense(state, shape, block, free), torch.nonzero(free.flatten()).flatten()
    moved = -torch.linalg.solve(matrix[a][:, a], (matrix @ change)[a])
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(raw[free].double(), weight[free].double() + moved, rtol=tolerance, atol=tolerance)


def test_scores_of_a_group_add_up_to_the_least_rise_of_the_loss(generator):
    shape, block = (3, 16), 8
    criterion, state = watched(generator, shape, block)
    weight = torch.randn(shape, generator=generator)
    weight[0, 3:9] = 0.0  # pruned
    living = weight != 0
    matrix, flat = dense(state, shape, (1, block), living), weight.double().flatten()
    lively = torch.nonzero(living.flatten()).flatten()
    for run in (1, 2, 4, 8, 16):
        scores = criterion.score_jointly(weight, state, 0, (1, run)).double().flatten()
        part = min(run, block)
        for start in range(0, 48, part):
            q = lively[(lively >= start) & (lively < start + part)]
            inverse = torch.linalg.inv(matrix[lively][:, lively])
            among = torch.isin(lively, q)
            cost = flat[q] @ torch.linalg.solve(inverse[among][:, among], flat[q]) / 2
            assert float(scores[start : start + part].sum()) == pytest.approx(float(cost), rel=1e-3, abs=1e-12)
        assert not bool(scores[~living.flatten()].any())
    assert torch.equal(criterion.score(weight, state, 0), criterion.score_jointly(weight, state, 0, (1, 1)))


def test_blocks_of_several_rows_are_judged_as_one(generator):
    """Each 2x2 group of a 4x8 weight within Fisher blocks of 2x4, against the dense solver."""
    shape = (4, 8)
    criterion, state = watched(generator, shape, "2x4")
    weight = torch.randn(shape, generator=generator)
    weight[:2, 2:4] = 0.0  # pruned
    living = weight != 0
    matrix, flat = dense(state, shape, (2, 4), living), weight.double().flatten()
    lively = torch.nonzero(living.flatten()).flatten()
    inverse = torch.linalg.inv(matrix[lively][:, lively])
    scores = criterion.score_jointly(weight, state, 0, (2, 2)).double()
    for top, left in itertools.product(range(0, 4, 2), range(0, 8, 2)):
        places = [row * 8 + col for row in (top, top + 1) for col in (left, left + 1)]
        among = torch.isin(lively, torch.tensor(places))
        q = lively[among]
        cost = flat[q] @ torch.linalg.solve(inverse[among][:, among], flat[q]) / 2 if len(q) else 0.0
        assert float(scores[top : top + 2, left : left + 2].sum()) == pytest.approx(float(cost), rel=1e-3, abs=1e-12)
    apart = criterion.score_jointly(weight, state, 0, (1, 2))
    assert not torch.allclose(apart.double(), scores, rtol=1e-3)


def test_runs_that_do_not_fit_a_fisher_block_are_judged_in_the_largest_parts_that_do(generator):
    criterion, state = watched(generator, (2, 24), 16)
    weight = torch.randn(2, 24, generator=generator)
    scores = {run: criterion.score_jointly(weight, state, 0, (1, run)) for run in (1, 2, 3, 6, 24)}
    assert torch.equal(scores[3], scores[1]) and torch.equal(scores[6], scores[2])
    # All of a row: w^T F w / 2 in every block, with nothing left to make up for it.
    matrix, flat = dense(state, (2, 24), (1, 16), weight != 0), weight.double().flatten()
    expected = (flat * (matrix @ flat) / 2).view(2, 24)
    torch.testing.assert_close(scores[24].double(), expected, rtol=1e-4, atol=1e-6)


def test_damping_follows_the_size_of_the_gradients(generator):
    weight = torch.randn(4, 8, generator=generator)
    keep = torch.rand(4, 8, generator=generator) > 0.5
    scores, moved = [], []
    for scale in (1.0, 2.0**-20):
        criterion, state = watched(torch.Generator().manual_seed(1), (4, 8), 8, scale=scale)
        scores.append(criterion.score_jointly(weight, state, 0, (1, 4)) / scale**2)
        moved.append(weight.clone())
        criterion.after_mask(moved[-1], state, torch.ones_like(keep), keep)
    torch.testing.assert_close(*scores, rtol=1e-4, atol=0.0)
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("structure", ["element", "1x4", "4x1", "2:4", "column"])
def test_where_the_loss_is_quadratic_it_beats_magnitude_and_its_own_choice_without_the_update(stack, structure):
    """Linear regression at its optimum: the Fisher of squared errors is the Hessian, up to a factor."""
    generator = torch.Generator().manual_seed(2)
    mixing = torch.randn(16, 16, generator=generator) * torch.logspace(-1.0, 0.5, 16)
    rises, schedule = {}, Schedule("constant", to=0.5, begin=1)
    for criterion in (Magnitude(), Obert(momentum=0.99)):
        model = stack((8, 16))
        layer = model.layers[0]
        optimum = layer.weight.detach().clone()
        pruner = Pruner(model, [Rule(criterion=criterion, structure=structure, schedule=schedule)])
        pruner.start(1, 1)
        generator = torch.Generator().manual_seed(3)
        for _ in range(400):
            inputs = torch.randn(1, 16, generator=generator) @ mixing
            noise = torch.randn(1, 8, generator=generator)
            (((inputs @ (layer.weight - optimum).T) + noise).square().sum() / 2).backward()
            pruner.observe()
            model.zero_grad()
        pruner.update(1)
        mask = layer.parametrizations.weight[0].mask
        assert int((~mask).sum()) == 64
        rise = lambda weight: float(((weight - optimum) @ mixing.T).square().sum())  # noqa: B023, E731
        rises[criterion.name] = rise(layer.weight.detach())
        rises[f"{criterion.name} alone"] = rise(optimum * mask)
    print(rises)
    assert rises["obert"] < 0.8 * rises["obert alone"] and rises["obert"] < 0.6 * rises["magnitude"]


def test_a_block_whose_weights_cancel_goes_first_though_each_is_dear(stack):
    model = stack((1, 8))
    rule = Rule(criterion=Obert(block=8), structure="1x4", schedule=Schedule("constant", to=0.5, begin=1))
    pruner = Pruner(model, [rule])
    pruner.start(1, 1)
    weight = model.layers[0].parametrizations.weight
    weight.original.data = torch.tensor([[3.0, -3, 3, -3, 1, 1, 1, 1]])
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        first, second = torch.randn(2, generator=generator)
        weight.original.grad = torch.tensor([[first, first, first, first, second, second, second, second]])
        pruner.observe()
    pruner.update(1)
    assert weight[0].mask[0].tolist() == [False] * 4 + [True] * 4


@pytest.mark.parametrize("structure", ["element", "1x4", "4x4", "column", "2:4"])
@pytest.mark.parametrize("scope", ["global", "local"])
def test_a_state_dict_continues_bit_for_bit(stack, structure, scope):
    to = min(0.75, Structure.parse(structure).max_sparsity)
    schedule = Schedule("linear", 0.0, to, begin=1, end=8, every=2)
    rule = Rule(criterion=Obert(block=8), structure=structure, scope=scope, schedule=schedule)

    def train(steps: range, *saved: dict) -> list[dict]:
        model = stack((8, 8), (4, 8), seed=len(saved))
        pruner = Pruner(model, [rule])
        pruner.start(8, 8)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)
        for part, state in zip((model, optimizer), saved):
            part.load_state_dict(state)
        for step in steps:
            values = torch.linspace(-1, 2, 5 * 8).view(5, 8) * torch.cos(torch.tensor(float(step)))
            (model(values) - 0.3).square().sum().backward()
            finish_step(pruner, optimizer, step)
        if steps.stop > 8:
            pruner.check_reached()
        return [model.state_dict(), optimizer.state_dict()]

    through, resumed = train(range(1, 9))[0], train(range(5, 9), *train(range(1, 5)))[0]
    assert through.keys() == resumed.keys() and "layers.0.weight_obert_fisher" in through
    assert all(torch.equal(through[name], resumed[name]) for name in through)
    assert all(bool(torch.isfinite(value).all()) for value in through.values())


@pytest.mark.parametrize("block", [16, "4x4", "2x8"])
def test_its_memory_is_what_it_says(block):
    state = build(Obert(block=block)).state(torch.empty(24, 64))
    assert sum(t.numel() * t.element_size() for t in state.values()) == 34 * 24 * 64


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_gradients_that_diverged_are_one_clear_line(value):
    criterion = build(Obert(block=4))
    state = criterion.state(torch.empty(2, 4))
    criterion.observe(state, None, torch.full((2, 4), value))
    with pytest.raises(PruningError, match="obert: gradients held NaN or infinite values: lower the learning rate"):
        criterion.score(torch.ones(2, 4), state, 0)


def test_a_layer_that_saw_no_gradient_scores_nothing_and_moves_nothing():
    criterion = build(Obert(block=4))
    state, weight = criterion.state(torch.empty(2, 4)), torch.ones(2, 4)
    assert float(criterion.score(weight, state, 0).abs().max()) < 1e-37
    keep = torch.tensor([[True, False, True, False]] * 2)
    criterion.after_mask(weight, state, torch.ones_like(keep), keep)
    assert torch.equal(weight, torch.ones(2, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"block": 0}, "block must hold between 1 and 128 weights, got 0"),
        ({"block": 129}, "block must hold between 1 and 128 weights, got 129"),
        ({"block": "16x16"}, "block must hold between 1 and 128 weights, got 16x16"),
        ({"block": "4 by 4"}, "block must be a number of inputs or RxC, such as 16 or 4x16, got 4 by 4"),
        ({"block": -4}, "block must be a number of inputs or RxC, such as 16 or 4x16, got -4"),
        ({"damping": 0.0}, "damping must be above 0, got 0.0"),
        ({"damping": float("nan")}, "damping must be above 0, got nan"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
    ],
)
def test_parameters_out_of_range_are_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Obert(**given)
