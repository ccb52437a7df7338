"""Compaction: what leaves, that outputs stay, that blocks stay whole, and what is refused."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES, emptied, inputs_of, logits_of, small_model
from torch import nn

from optkit.errors import PruningError
from optkit.pruning import Pruner, Rule, Schedule, compact
from optkit.pruning.layouts import layouts

HEADS, NEURONS = 4, 48  # of each layer


def linear_weights(model):
    return sum(layer.weight.numel() for layer in model.modules() if isinstance(layer, nn.Linear))


@pytest.mark.parametrize("name", ARCHITECTURES)
class TestOutputsStay:
    def check(self, model, heads, neurons):
        """Compacts; ``heads`` and ``neurons`` are left in the whole model. Returns what compaction says."""
        before, weights = logits_of(model), linear_weights(model)
        done = compact(model)
        assert torch.allclose(logits_of(model), before, rtol=0, atol=1e-5)
        if model.config.model_type == "albert":  # one layer that runs twice
            heads, neurons = heads[:1], neurons[:1]
        assert done.counts()["heads"] == [sum(heads), HEADS * len(heads)]
        assert done.counts()["neurons"] == [sum(neurons), NEURONS * len(neurons)]
        now = {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        assert all(tuple(now[name].weight.shape) != shape for name, shape in done.reduced.items())
        assert all((now[n].out_features, now[n].in_features) == tuple(now[n].weight.shape) for n in done.reduced)
        gone = sum(a * b for a, b in done.removed.values())
        gone += sum(a * b - now[name].weight.numel() for name, (a, b) in done.reduced.items())
        assert linear_weights(model) == weights - gone
        return done

    def test_without_some_heads_and_neurons(self, name):
        model = emptied(name, [(0, 2), (3,)], [range(5, 20), (1, 47)])
        done = self.check(model, (2, 3), (33, 46))
        assert [left.heads for left in done.layers.values()] == [(1, 3), (0, 1, 2)][: len(done.layers)]

    def test_with_constants_to_fold(self, name):
        """Rows of the value and of the way up are zero, columns are not: biases make constants."""
        model = emptied(name, [(1, 3), (0,)], [range(3, 40), (0, 9)], roles=("value", "up", "gate"))
        self.check(model, (2, 3), (11, 46))

    def test_without_all_heads_of_a_layer(self, name):
        done = self.check(emptied(name, heads=[range(HEADS), ()]), (0, HEADS), (NEURONS, NEURONS))
        assert done.counts()["layers"][0] == done.counts()["layers"][1] and not done.reduced

    def test_without_all_neurons_of_a_layer(self, name):
        self.check(emptied(name, neurons=[range(NEURONS), ()]), (HEADS, HEADS), (0, NEURONS))

    def test_without_anything_in_any_layer(self, name):
        model = emptied(name, [range(HEADS)] * 2, [range(NEURONS)] * 2)
        self.check(model, (0, 0), (0, 0))
        assert torch.equal(logits_of(model).sum(dim=1).isnan(), torch.zeros(3, dtype=torch.bool))


def test_whole_layers_leave_models_that_only_add(monkeypatch):
    """Layers 1 and 2 of ViT add their biases; of ModernBERT nothing. BERT normalises, and keeps its layers."""
    lost = {"heads": [(), range(HEADS), range(HEADS), (0,)], "neurons": [(), range(NEURONS), range(NEURONS), (0,)]}
    for name, layers in (("vit", 2), ("modernbert", 3), ("modernbert-biased", 3), ("bert", 4)):
        model = emptied(name, **lost, num_hidden_layers=4)
        before = logits_of(model)
        done = compact(model)
        assert torch.allclose(logits_of(model), before, rtol=0, atol=1e-5)
        assert done.counts()["layers"] == [layers, 4]
        assert model.config.num_hidden_layers == layers == len(layouts(model))
        assert done.counts()["heads"] == [7, 16] and done.counts()["neurons"] == [95, 192]
        kept = list(done.layers.values())
        assert (len(kept[0].heads), len(kept[-1].heads)) == (4, 3)
        if name.startswith("modernbert"):  # its third layer is the only other one of its kind of attention
            assert list(done.dropped) == ["model.layers.2"] or list(done.dropped) == ["model.layers.1"]
            assert sorted(set(model.config.layer_types)) == ["full_attention", "sliding_attention"]
            assert model.config.layer_types == [layer.attention_type for layer in model.model.layers]


def test_a_gate_alone_does_not_make_a_neuron_constant():
    """up * gate: with biases, zero rows of one of the two leave the other; without, the product is zero."""
    rows = {"neurons": [range(3, 40), ()], "roles": ("gate",)}
    for name, left in (("modernbert", 11), ("modernbert-biased", NEURONS)):
        model = emptied(name, **rows)
        before = logits_of(model)
        done = compact(model)
        assert next(iter(done.layers.values())).neurons == left
        assert torch.allclose(logits_of(model), before, rtol=0, atol=1e-5)


def test_a_constant_without_a_bias_to_go_to_stays():
    model = emptied("bert", heads=[(1,), ()], roles=("value",))
    output = model.bert.encoder.layer[0].attention.output.dense
    output.bias = None
    before = logits_of(model)
    assert not compact(model).changed
    assert torch.equal(logits_of(model), before)


def test_nothing_empty_changes_nothing():
    model = small_model("bert")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    done = compact(model)
    assert not done.changed and done.counts() == {"heads": [8, 8], "neurons": [96, 96], "layers": [2, 2]}
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_blocks_stay_whole():
    """1x4 blocks along the way down: of runs of four neurons only those go of which all four are empty."""
    blocks = Rule(structure="1x4", targets="*output.dense", schedule=Schedule("constant", to=0.5, begin=0, end=0))
    lost = [(*range(8, 16), 17, 18, 19), range(3)]
    for rules, left in (((blocks,), (40, 48)), ((), (37, 45))):
        model = emptied("bert", neurons=lost)
        done = compact(model, rules)
        assert [remains.neurons for remains in done.layers.values()] == list(left)
    kept = torch.tensor([i for i in range(NEURONS) if not 8 <= i < 16])
    original = emptied("bert", neurons=lost).bert.encoder.layer[0].output.dense.weight
    model = emptied("bert", neurons=lost)
    compact(model, (blocks,))
    assert torch.equal(model.bert.encoder.layer[0].output.dense.weight, original[:, kept])


def test_after_pruning_heads_neurons_and_blocks():
    """The rules of a hybrid recipe: what they emptied leaves, the blocks in what remains stay as many."""
    at_once = lambda to: Schedule("constant", to=to, begin=0, end=0)  # noqa: E731
    rules = [
        Rule(structure="head", name="heads", schedule=at_once(0.5)),
        Rule(structure="neuron:4", name="neurons", schedule=at_once(0.5)),
        Rule(structure="1x4", name="blocks", schedule=at_once(0.7)),
    ]
    model = small_model("bert")
    pruner = Pruner(model, rules)
    with pytest.raises(PruningError, match="query has a parametrization: fold its masks before"):
        compact(model)
    pruner.start(1, 1)
    pruner.update(0)
    pruner.fold()
    before = logits_of(model)
    zeros = sum(
        int((layer.weight == 0).sum()) for layer in model.bert.encoder.modules() if isinstance(layer, nn.Linear)
    )
    done = compact(model, rules)
    assert torch.allclose(logits_of(model), before, rtol=0, atol=1e-5)
    assert done.counts()["heads"][0] <= 4 and done.counts()["neurons"][0] <= 48
    weights = [layer.weight for layer in model.bert.encoder.modules() if isinstance(layer, nn.Linear)]
    assert (
        sum(int((w == 0).sum()) for w in weights) + 14336 - sum(w.numel() for w in weights)
        == zeros
        == 4 * round(0.7 * 14336 / 4)
    )
    for weight in weights:
        groups = (weight != 0).view(len(weight), -1, 4)
        assert torch.equal(groups.any(dim=2), groups.all(dim=2))


def test_a_compacted_model_trains():
    model = emptied("mpnet", [(0, 2), range(HEADS)], [range(5, 20), range(NEURONS)])
    compact(model)
    model.train()
    model(**inputs_of(model), labels=torch.tensor([0, 1, 0])).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    first, second = layouts(model)
    assert (first.heads.count, first.neurons.count, second.heads, second.neurons) == (2, 33, None, None)
    with pytest.raises(PruningError, match="the model was compacted before: prune all there is to prune"):
        compact(model)


def test_decoders_are_refused():
    model = small_model("bert")
    model.config.is_decoder = True
    with pytest.raises(PruningError, match="compaction is for encoders, and this model is a decoder"):
        compact(model)
