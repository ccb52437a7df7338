"""One-shot pruning as a whole: counts, zeros, order of rules, sameness, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of, small_model
from torch import nn
from torch.nn.utils import parametrize

from optkit.errors import PruningError
from optkit.pruning import (
    FisherSearch,
    Frozen,
    Magnitude,
    Movement,
    Obert,
    Pruner,
    Random,
    Reconstruction,
    Rule,
    Schedule,
    SoftMovement,
    Taylor,
    Wanda,
    one_shot,
)
from optkit.pruning.targets import resolve_targets

PLAIN = [Magnitude(), Wanda(), Taylor(), Obert(block=4), Random()]


def rule(criterion, structure="1x4", to=0.5, **more) -> Rule:
    return Rule(criterion=criterion, structure=structure, schedule=Schedule(to=to), **more)


def encoder(model) -> dict[str, nn.Linear]:
    return resolve_targets(model, Rule())


def dead_blocks(weight: torch.Tensor, rows: int, cols: int) -> int:
    blocks = weight.unflatten(1, (-1, cols)).unflatten(0, (-1, rows))
    return int((blocks == 0).all(dim=3).all(dim=1).sum())


@pytest.mark.parametrize("structure", ["element", "1x4", "4x1", "2x2", "row", "column", "2:4"])
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("criterion", [Reconstruction(), *PLAIN], ids=lambda criterion: criterion.name)
def test_exactly_the_groups_asked_for_are_zero(bert, batches, criterion, structure, scope):
    model = bert(num_hidden_layers=1)
    model.train()
    (state,) = one_shot(model, rule(criterion, structure, 0.3, scope=scope), batches(2))
    layers = list(encoder(model).values())
    assert model.training and not any(parametrize.is_parametrized(layer) for layer in model.modules())
    assert state.target == 0.3
    zeros = [layer.weight[layer.weight == 0] for layer in layers]
    assert not any(bool(torch.signbit(values).any()) for values in zeros)
    shapes = {"element": (1, 1), "row": (1, 0), "column": (0, 1)}
    if structure == "2:4":
        kept = [(layer.weight != 0).view(-1, 4).sum(1) for layer in layers]
        # At most 2 of 4 in the groups that are pruned: 0.6 of them make 30 % zeros.
        counts = [(int((k <= 2).sum()), k.numel()) for k in kept]
        assert all(set(k.tolist()) <= {2, 4} for k in kept)
        share = 0.6
    else:
        rows, cols = shapes.get(structure) or map(int, structure.split("x"))
        counts, share = [], 0.3
        for layer in layers:
            high, wide = rows or layer.out_features, cols or layer.in_features
            counts.append((dead_blocks(layer.weight, high, wide), layer.weight.numel() // (high * wide)))
    if scope == "local":
        assert [dead for dead, _ in counts] == [round(share * groups) for _, groups in counts]
    assert (state.pruned, state.groups) == tuple(map(sum, zip(*counts)))
    if scope == "global":
        assert state.pruned == round(share * state.groups)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_reconstructed(name):
    model = small_model(name)
    dense, batches = copy.deepcopy(model), [inputs_of(model)]
    (state,) = one_shot(model, rule(Reconstruction()), batches)
    assert state.pruned == round(0.5 * state.groups)
    by_size = copy.deepcopy(dense)
    one_shot(by_size, rule(Magnitude()), batches)
    with torch.no_grad():
        wanted, ours, theirs = (m(**batches[0]).logits for m in (dense, model, by_size))
    assert (ours - wanted).square().sum() < 0.5 * (theirs - wanted).square().sum()


def test_it_does_the_same_each_time_and_leaves_random_state_alone(bert, batches):
    rules = [rule(FisherSearch(), "head"), rule(FisherSearch(), "neuron:4", 0.25), rule(Reconstruction(), to=0.6)]
    ends = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        model = bert()
        one_shot(model, rules, batches())
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_later_rules_see_what_earlier_ones_left(bert, batches):
    model, partial = bert(), bert()
    coarse = [rule(FisherSearch(), "head", name="heads"), rule(FisherSearch(), "neuron:4", 0.25, name="neurons")]
    one_shot(partial, coarse, batches())
    gone = {name: layer.weight == 0 for name, layer in encoder(partial).items()}
    states = one_shot(model, [*coarse, rule(Reconstruction(), to=0.6, name="blocks")], batches())
    assert [(s.name, s.pruned, s.groups) for s in states] == [
        ("heads", 2, 4),
        ("neurons", 8, 32),
        ("blocks", 2458, 4096),
    ]
    for name, layer in encoder(model).items():
        assert bool((layer.weight[gone[name]] == 0).all())
    assert sum(dead_blocks(layer.weight, 1, 4) for layer in encoder(model).values()) == 2458


@pytest.mark.parametrize("criterion", [Taylor(), Obert(block=4)], ids=lambda c: c.name)
def test_rules_that_nest_and_share_a_criterion_each_see_the_batches(bert, batches, criterion):
    """Of heads and neurons nothing goes, so that blocks have to fall as they do alone."""
    alone, nested = bert(), bert()
    blocks = rule(criterion, name="blocks")
    one_shot(alone, blocks, batches())
    one_shot(nested, [rule(criterion, "head", 0.0), rule(criterion, "neuron:4", 0.0, name="n"), blocks], batches())
    for name, layer in encoder(alone).items():
        assert torch.equal(layer.weight == 0, encoder(nested)[name].weight == 0)


@pytest.mark.parametrize("criterion", [Taylor(), Obert(block=4)], ids=lambda c: c.name)
def test_a_model_that_is_not_trained_is_pruned_all_the_same(bert, batches, criterion):
    trained, frozen = bert(), bert().requires_grad_(False)
    for model in (trained, frozen):
        one_shot(model, rule(criterion), batches())
    assert all(torch.equal(a, b) for a, b in zip(trained.state_dict().values(), frozen.state_dict().values()))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_a_layer_that_gets_no_gradient_is_refused(bert, batches):
    model = bert()
    model.bert.encoder.layer.append(copy.deepcopy(model.bert.encoder.layer[1]))
    first, second, _ = model.bert.encoder.layer
    model.bert.encoder.forward = lambda states, *args, **kwargs: model.bert.encoder.__class__.forward(
        model.bert.encoder, states, *args, **kwargs
    )
    second.forward = lambda states, *args, **kwargs: states.detach()
    with pytest.raises(PruningError) as error:
        one_shot(model, rule(Taylor()), batches())
    assert "attention.self.query.weight got no gradient, and taylor goes by that" in str(error.value)


def test_global_scope_spares_the_layers_that_matter_and_keeps_to_bounds(bert, batches):
    model = bert()
    model.bert.encoder.layer[1].output.dense.weight.data *= 1e-3
    found = {}
    for name, bounds in {"free": {}, "bounded": {"floor": 0.4375, "ceiling": 0.5625}}.items():
        pruned = copy.deepcopy(model)
        one_shot(pruned, rule(Reconstruction(), **bounds), batches())
        found[name] = {n: float((layer.weight == 0).float().mean()) for n, layer in encoder(pruned).items()}
    assert found["free"]["bert.encoder.layer.1.output.dense"] > 0.95
    assert min(found["bounded"].values()) >= 0.4375 and max(found["bounded"].values()) <= 0.5625


def test_shares_of_an_allocation_are_kept_to(bert, batches):
    model = bert()
    shares = {name: 0.25 if "attention" in name else 0.75 for name in encoder(model)}
    one_shot(model, rule(Reconstruction(), shares=tuple(shares.items())), batches())
    for name, layer in encoder(model).items():
        assert dead_blocks(layer.weight, 1, 4) == shares[name] * layer.weight.numel() / 4


def test_zeros_that_are_there_are_kept_by_frozen(bert, batches):
    model = bert()
    one_shot(model, rule(Magnitude(), "element"), batches(1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    (state,) = one_shot(model, Rule(criterion=Frozen()), batches(1))
    assert state.pruned == round(0.5 * state.groups)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_wanda_sees_all_inputs_alike_and_needs_no_labels(bert, batches):
    model, dense = bert(num_hidden_layers=1), bert(num_hidden_layers=1).eval()
    unlabelled = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches(3)]
    one_shot(model, rule(Wanda(), "element", scope="local"), unlabelled)
    seen = []
    hook = dense.bert.encoder.layer[0].intermediate.dense.register_forward_pre_hook(
        lambda m, args: seen.append(args[0])
    )
    for batch in unlabelled:
        dense(**batch)
    hook.remove()
    tokens = torch.cat([x[b["attention_mask"].bool()] for x, b in zip(seen, unlabelled, strict=True)])
    score = dense.bert.encoder.layer[0].intermediate.dense.weight.abs() * tokens.square().mean(0).sqrt()
    lowest = score.flatten().argsort()[: score.numel() // 2]
    gone = model.bert.encoder.layer[0].intermediate.dense.weight.flatten() == 0
    assert bool(gone[lowest].all()) and int(gone.sum()) == len(lowest)


def test_progress_is_told_rule_by_rule(bert, batches):
    told = []
    rules = [rule(FisherSearch(), "head", name="heads"), rule(Reconstruction(), name="blocks")]
    one_shot(bert(), rules, batches(1), on_progress=lambda *now: told.append(now))
    assert [now for now in told if now[0] == "heads"] == [("heads", 1, 2), ("heads", 2, 2)]
    assert [now for now in told if now[0] == "blocks"] == [("blocks", i, 24) for i in range(1, 25)]


@pytest.mark.parametrize(
    ("refused", "said"),
    [
        (Movement(), "movement has to watch training: write `train`, or use one of magnitude, taylor, wanda,"),
        (SoftMovement(), "soft_movement has to watch training"),
    ],
)
def test_what_needs_training_is_refused(bert, batches, refused, said):
    with pytest.raises(PruningError, match=f"rule 'weights': {said}"):
        one_shot(bert(), rule(refused), batches(1))


def test_bad_arguments_are_refused(bert, batches):
    unlabelled = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches(1)]
    with pytest.raises(
        PruningError, match="'weights': weights return in training only: write `train`, or take regrow off"
    ):
        one_shot(bert(), rule(Magnitude(), regrow=True), batches(1))
    with pytest.raises(PruningError, match="there are no calibration batches: pass at least one"):
        one_shot(bert(), rule(Reconstruction()), [])
    with pytest.raises(
        PruningError, match="taylor needs a loss, and the model gives none: put `labels` into every batch"
    ):
        one_shot(bert(), rule(Taylor()), unlabelled)


def test_one_shot_criteria_are_refused_in_training_and_with_other_structures(bert):
    pruner = Pruner(bert(), [rule(Reconstruction())])
    with pytest.raises(
        PruningError, match="reconstruction prunes in one shot, and this is training: leave `train` out"
    ):
        pruner.start(10, 10)
    with pytest.raises(ValueError, match="reconstruction chooses within a layer, and a head spans several: use fisher"):
        rule(Reconstruction(), "head")
    with pytest.raises(
        ValueError, match="fisher chooses heads or neurons, not 1x4: use reconstruction, or structure: head"
    ):
        rule(FisherSearch())
    for criterion in (Reconstruction, FisherSearch):
        with pytest.raises(ValueError, match="damping must be above 0, got 0.0"):
            criterion(damping=0.0)


def test_answers_that_are_positions_give_a_loss_too(bert, batches):
    from transformers import BertForQuestionAnswering

    torch.manual_seed(0)
    model = BertForQuestionAnswering(bert(num_hidden_layers=1).config)
    places = {"start_positions": torch.tensor([1, 2]), "end_positions": torch.tensor([2, 2])}
    calibration = [{k: v[:2] for k, v in batch.items() if k != "labels"} | places for batch in batches(2)]
    (taylor,) = one_shot(copy.deepcopy(model), rule(Taylor()), calibration)
    (fisher,) = one_shot(model, rule(FisherSearch(), "head"), calibration)
    assert taylor.pruned * 2 == taylor.groups and fisher.pruned * 2 == fisher.groups


def test_gradients_of_the_loss_decide_and_a_loss_may_be_given(bert, batches):
    """A model's own loss and the same one from outside choose alike; other labels choose otherwise."""
    given, model = batches(2), bert(num_hidden_layers=1)

    def zeros(made, loss=None):
        pruned = copy.deepcopy(model)
        one_shot(pruned, rule(Taylor(), "element"), made, loss=loss)
        return torch.cat([layer.weight.flatten() == 0 for layer in encoder(pruned).values()])

    own = zeros(given)
    outside = zeros(given, lambda found, batch: nn.functional.cross_entropy(found.logits, batch["labels"]))
    assert torch.equal(own, outside)
    other = zeros([{**batch, "labels": torch.arange(8) // 4} for batch in given])
    assert not torch.equal(own, other) and own.sum() == other.sum()


@pytest.mark.parametrize("criterion", [Taylor(), Reconstruction()], ids=lambda c: c.name)
def test_a_model_is_as_it_was_where_one_shot_fails(bert, batches, criterion):
    model, done = bert().train(), []
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def fail(*progress):
        done.append(progress)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one_shot(model, rule(criterion), batches(), on_progress=fail)
    after = model.state_dict()
    assert model.training and before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    with pytest.raises(PruningError, match="matches no"):
        one_shot(model, rule(criterion, targets="nothing*"), batches())
    assert model.training
    one_shot(model, rule(criterion), batches())  # no mask is in the way


@pytest.mark.parametrize("criterion", [Wanda(), Reconstruction()], ids=lambda c: c.name)
def test_layers_that_no_token_reaches_are_told(criterion):
    class Bypassed(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            return self.used(x) + self.unused(x[:0]).sum()

    with pytest.raises(PruningError, match="unused"):
        one_shot(Bypassed(), rule(criterion, targets="*"), [{"x": torch.ones(2, 8)}])


def test_one_batch_needs_no_list(bert, batches):
    (state,) = one_shot(bert(), rule(Wanda()), batches()[0])
    assert state.pruned == state.groups // 2
