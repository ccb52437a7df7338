"""Losses of single layers, computed another way, and models that are left as they were."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import kl_div

from optkit.errors import PruningError
from optkit.pruning import sensitivity
from optkit.pruning.config import Magnitude, Movement, Random, Rule, Schedule
from optkit.pruning.sensitivity import difference, measure, prune_now
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
    model = bert().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)  # so that the outputs differ from each other
    return model


def test_the_loss_is_the_divergence_from_the_dense_model(model, batches):
    before = copy.deepcopy(model.state_dict())
    curves = measure(model, Rule(structure="1x4"), batches, (0.5, 0.9))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [curve.name for curve in curves] == list(resolve_targets(model, Rule()))
    [curve] = [curve for curve in curves if curve.name == LAYER]
    assert (curve.groups, curve.counts) == (512, (0, 256, 461))

    weight = model.get_submodule(LAYER).weight
    blocks = weight.detach().abs().view(64, 8, 4).sum(-1)
    with torch.no_grad():
        dense = torch.cat([model(**batch).logits for batch in batches])
        lowest = blocks.flatten().argsort(stable=True)[:256]
        weight.view(-1, 4)[lowest] = 0.0
        found = torch.cat([model(**batch).logits for batch in batches])
    logs = [logits.double().log_softmax(-1) for logits in (found, dense)]
    wanted = kl_div(*logs, log_target=True, reduction="batchmean")
    assert curve.losses[1] == pytest.approx(float(wanted), rel=1e-4) and curve.losses[1] > 1e-6


@pytest.mark.parametrize("structure", ["element", "row", "2:4", "head", "neuron"])
def test_blocks_that_are_not_computed_again_change_nothing(model, batches, monkeypatch, structure):
    rule = Rule(structure=structure, schedule=Schedule(to=0.5))
    calls = []
    handle = model.bert.encoder.layer[0].attention.self.query.register_forward_hook(lambda *_: calls.append(1))
    found = measure(model, rule, batches, (0.25, 0.5))
    few = len(calls)
    handle.remove()
    monkeypatch.setattr(sensitivity, "_block_of", lambda *_: 0)
    handle = model.bert.encoder.layer[0].attention.self.query.register_forward_hook(lambda *_: calls.append(1))
    assert measure(model, rule, batches, (0.25, 0.5)) == found
    handle.remove()
    # Heads and neurons are two sites only.
    assert few <= (1.0 if rule.structure.spans_layers else 0.7) * (len(calls) - few)
    assert any(curve.losses[-1] > 0 for curve in found)


def test_layers_that_share_weights_are_measured_at_all_their_depths(batches):
    from transformers import AlbertConfig, AlbertForSequenceClassification

    sizes = {"vocab_size": 50, "embedding_size": 16, "hidden_size": 32, "num_attention_heads": 2}
    torch.manual_seed(0)
    model = AlbertForSequenceClassification(AlbertConfig(**sizes, num_hidden_layers=3, intermediate_size=64)).eval()
    curves = measure(model, Rule(), batches, (0.9,))
    assert len(curves) == 6 and all(curve.losses[-1] > 0 for curve in curves)


def test_a_criterion_that_watches_training_gives_way_to_magnitude(model, batches):
    scored = {
        criterion.name: measure(model, Rule(criterion=criterion), batches, (0.5,))
        for criterion in (Magnitude(), Movement(), Random(seed=1))
    }
    assert scored["movement"] == scored["magnitude"] != scored["random"]


def test_squared_error_where_there_are_no_classes():
    found, wanted = torch.tensor([[1.0], [4.0]]), torch.tensor([[1.0], [2.0]])
    assert difference(found, wanted, logits=True) == (4.0, 5.0)
    logits = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    assert difference(logits, logits, logits=True) == (0.0, 2.0)


def test_a_model_of_tensors_only_is_compared_by_its_output(stack):
    model = stack((8, 8), (8, 8))
    values = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    [first, second] = measure(model, Rule(), [{"values": values}], (0.5,))
    with torch.no_grad():
        dense = model(values)
        weight = model.layers[1].weight
        weight.view(-1)[weight.abs().flatten().argsort()[:32]] = 0.0
        wanted = (model(values) - dense).square().sum() / dense.square().sum()
    assert second.losses[1] == pytest.approx(float(wanted), rel=1e-5) and first.losses[1] > 0


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
