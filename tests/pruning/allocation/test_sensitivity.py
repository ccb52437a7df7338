"""Losses of single layers, computed another way, and models that are left as they were."""

from __future__ import annotations

import copy

import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning.allocation.sensitivity import measure, prune_now
from optkit.pruning.config import Magnitude, Movement, Random, Rule, Schedule
from optkit.pruning.targets import resolve_targets

LAYER = "bert.encoder.layer.1.intermediate.dense"


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (2, 3, 8), generator=generator)
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, 5:] = 0
    return [{"input_ids": each, "attention_mask": mask} for each in ids]


@pytest.fixture
def model(bert):
    return bert().eval()


def outputs(model, name, batches, real=True):
    """What a layer puts out for the real tokens, its bias taken off: float64 (tokens, out)."""
    layer, found = model.get_submodule(name), []
    handle = layer.register_forward_hook(lambda layer, args, output: found.append(output - layer.bias))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
    handle.remove()
    kept = [each[batch["attention_mask"].bool()] for each, batch in zip(found, batches)]
    return torch.cat(kept).double()


def loss(lost, dense):
    """What is lost over what is left of outputs (tokens, out), each by its own variance over the tokens."""
    share = float((lost.var(dim=0, unbiased=False) / dense.var(dim=0, unbiased=False)).clamp(max=1.0).mean())
    return share / (1 - share)


def test_the_loss_is_what_the_layers_outputs_lose_over_what_they_keep(model, batches):
    before = copy.deepcopy(model.state_dict())
    curves = measure(model, Rule(structure="1x4"), batches, (0.5, 0.9))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [curve.name for curve in curves] == list(resolve_targets(model, Rule()))
    [curve] = [curve for curve in curves if curve.name == LAYER]
    assert (curve.groups, curve.counts) == (512, (0, 256, 461))

    dense, weight = outputs(model, LAYER, batches), model.get_submodule(LAYER).weight
    order = weight.detach().abs().view(64, 8, 4).sum(-1).flatten().argsort(stable=True)
    for count, found in zip(curve.counts, curve.losses):
        with torch.no_grad():
            weight.view(-1, 4)[order[:count]] = 0.0
        assert found == pytest.approx(loss(outputs(model, LAYER, batches) - dense, dense), rel=1e-4, abs=1e-6)
    assert curve.losses[1] > 0.05


@pytest.mark.parametrize(("structure", "last"), [("head", "attention.output.dense"), ("neuron", "output.dense")])
def test_of_heads_and_neurons_what_leaves_them_counts(model, batches, structure, last):
    rule = Rule(structure=structure, schedule=Schedule(to=0.5))
    curves = measure(model, rule, batches, (0.5,))
    assert [curve.groups for curve in curves] == ([2, 2] if structure == "head" else [64, 64])
    name = f"bert.encoder.layer.0.{last}"
    dense = outputs(model, name, batches)
    # The second rule of two that prune one layer: only the first block's groups go, those of least weight in all.
    pruned = copy.deepcopy(model)
    prune_now(pruned, [Rule(targets="bert.encoder.layer.0.*", structure=structure, schedule=Schedule(to=0.5))])
    with torch.no_grad():
        # Biases of what is gone would speak where the columns that read them are zero: they do not.
        error = loss(outputs(pruned, name, batches) - dense, dense)
    assert curves[0].losses[1] == pytest.approx(error, rel=1e-4)
    assert curves[0].losses[1] > 0.01


def test_layers_that_share_weights_are_measured_at_all_their_depths(batches):
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"vocab_size": 50, "embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(AlbertConfig(**sizes, num_hidden_layers=3, intermediate_size=64)).eval()
    curves = measure(model, Rule(), batches, (0.9,))
    name = curves[0].name
    layer, seen = model.get_submodule(name), []
    handle = layer.register_forward_pre_hook(lambda layer, args: seen.append(args[0]))
    with torch.no_grad():
        for batch in batches:
            model(**batch)
        handle.remove()
        tokens = torch.cat([x[batches[0]["attention_mask"].bool()] for x in seen]).double()
        weight = layer.weight.double()
        gone = weight.flatten().abs().argsort(stable=True)[: curves[0].counts[1]]
        lost = torch.zeros_like(weight).flatten().index_copy(0, gone, weight.flatten()[gone]).view_as(weight)
        error = loss(tokens @ lost.T, tokens @ weight.T)
    assert len(seen) == 6 and len(curves) == 6
    assert curves[0].losses[1] == pytest.approx(error, rel=1e-4)


def test_an_output_that_is_large_and_constant_hides_no_other(stack):
    model = stack((8, 8))
    weight = model.layers[0].weight
    with torch.no_grad():
        weight[0] = 0.0
        weight[0, 0] = 1000.0
    values = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    values[:, 0] = 1.0 + 1e-3 * values[:, 0]
    [curve] = measure(model, Rule(), [{"values": values}], (0.5, 0.9))
    # Seven of eight outputs lose what they would without the first one, which keeps all.
    assert curve.losses[1] > 0.05 and curve.losses[2] > 0.5


def test_a_layer_that_keeps_nothing_has_a_finite_loss(stack):
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    [curve] = measure(stack((8, 8)), Rule(structure="1x8"), [{"values": values}], (1.0,))
    assert curve.losses[1] == pytest.approx(999.0)


def test_a_criterion_that_watches_training_gives_way_to_magnitude(model, batches):
    scored = {
        criterion.name: measure(model, Rule(criterion=criterion), batches, (0.5,))
        for criterion in (Magnitude(), Movement(), Random(seed=1))
    }
    assert scored["movement"] == scored["magnitude"] != scored["random"]
    assert sum(c.losses[1] for c in scored["random"]) > sum(c.losses[1] for c in scored["magnitude"])


def test_a_model_of_tensors_only_is_measured_as_well(stack):
    model = stack((8, 8), (8, 8))
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    told = []
    [first, _] = measure(model, Rule(), [{"values": values}], (0.5,), lambda *done: told.append(done))
    weight = model.layers[0].weight.detach()
    gone = weight.abs() < weight.abs().flatten().sort().values[32]
    error = loss(values @ (weight * gone).T, values @ weight.T)
    assert first.losses == pytest.approx((0.0, error), rel=1e-4) and told == [(1, 2), (2, 2)]


def test_pruning_now_goes_as_far_as_the_rules_go_in_the_end(model):
    rules = [
        Rule(structure="neuron:4", schedule=Schedule(to=0.5), criterion=Movement()),
        Rule(structure="1x4", schedule=Schedule(to=0.75)),
    ]
    prune_now(model, rules)
    weights = [layer.weight.detach() for layer in resolve_targets(model, Rule()).values()]
    dead = sum(int((weight.view(-1, 4) == 0).all(1).sum()) for weight in weights)
    assert dead == round(0.75 * sum(weight.numel() for weight in weights) / 4)
    assert sum(int((layer.intermediate.dense.weight == 0).all(1).sum()) for layer in model.bert.encoder.layer) >= 64


def test_blocks_that_do_not_divide_are_refused(model, batches):
    with pytest.raises(PruningError, match="blocks of 1x5 do not divide"):
        measure(model, Rule(structure="1x5"), batches, (0.5,))


def test_a_layer_that_no_token_reaches_is_told():
    class Adapters(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.other, self.never = (torch.nn.Linear(8, 8) for _ in range(3))

        def forward(self, x):
            return self.used(x) + self.other(x[:0]).sum()

    rule = Rule(targets="*", exclude="never", criterion=Magnitude(), schedule=Schedule(to=0.5))
    with pytest.raises(PruningError, match="^rule 'weights': no token of the examples reaches other: exclude it$"):
        measure(Adapters(), rule, [{"x": torch.ones(2, 8)}], [0.5])
    rule = Rule(targets="never", criterion=Magnitude(), schedule=Schedule(to=0.5))
    with pytest.raises(PruningError, match="^rule 'weights': no token of the examples reaches never: exclude it$"):
        measure(Adapters(), rule, [{"x": torch.ones(2, 8)}], [0.5])
