"""``permute`` on whole models: what rules ask for, what is refused, and that pruning keeps more afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
import transformers
from architectures import ARCHITECTURES, inputs_of, logits_of, small_model

from optkit.errors import PruningError
from optkit.pruning import Frozen, Obert, Permutation, Pruner, Reconstruction, Rule, Schedule, Wanda, one_shot, permute
from optkit.pruning.layouts import layouts
from optkit.pruning.permutation.permute import permutation_problems

HALF = Schedule(to=0.5)


def kept_share(model, rule):
    """Of the absolute weights that ``rule`` matches, the share that pruning by magnitude leaves."""
    pruned = copy.deepcopy(model)
    one_shot(pruned, rule, [inputs_of(model)])
    sums = [
        sum(
            float(p.detach().abs().sum())
            for name, p in each.named_parameters()
            if name.endswith("weight") and ".layer." in name
        )
        for each in (pruned, model)
    ]
    return sums[0] / sums[1]


def linear_only(rule_targets="encoder_linear", **options):
    return Rule(rule_targets, schedule=HALF, **options)


@pytest.mark.parametrize("structure", ["4x4", "16x4", "16x1", "1x4", "2:4"])
@pytest.mark.parametrize("scope", ["local", "global"])
def test_more_of_the_scores_stays_and_the_outputs_do(structure, scope):
    model = small_model("bert")
    rule = linear_only(structure=structure, scope=scope, permute="all")
    wanted, before = logits_of(model), kept_share(model, rule)
    found = permute(model, rule)
    assert torch.allclose(logits_of(model), wanted, rtol=1e-4, atol=1e-4)
    told_before, told_after = found.kept["weights"]
    assert told_after > told_before + 0.01
    # LayerNorms within the layers are kept whole, so what pruning leaves of all moves by less.
    assert kept_share(model, rule) > before + 0.008


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_permuted_as_far_as_it_allows(name):
    model = small_model(name)
    wanted = logits_of(model)
    found = permute(model, linear_only(structure="4x4", permute="all"))
    assert found.orders["hidden"].shape == (32,)
    assert torch.allclose(logits_of(model), wanted, rtol=1e-3, atol=1e-3)
    again = small_model(name)
    found.apply(again)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_only_what_a_rule_names_is_reordered():
    model = small_model("bert")
    found = permute(model, linear_only(structure="4x4", permute="neurons"))
    assert set(found.orders) == {f"bert.encoder.layer.{i}.neurons" for i in range(2)}
    found = permute(small_model("bert"), linear_only(structure="4x4", permute=["head_features"]))
    assert set(found.orders) == {f"bert.encoder.layer.{i}.{name}" for i in range(2) for name in ("query", "value")}
    # Features stay within the heads, of which there are four.
    for order in found.orders.values():
        assert torch.equal(order // 8, torch.arange(32) // 8)


def test_heads_move_as_a_whole_where_a_block_spans_several():
    model = small_model("bert")
    for layer in layouts(model):  # heads that belong together are apart
        for role in ("query", "key", "value"):
            weight = model.get_submodule(layer.heads[role].layer).weight.data
            weight.copy_(weight * torch.tensor([5.0, 0.1, 5.0, 0.1]).repeat_interleave(8)[:, None])
    rule = Rule("*attention.self*", structure="16x1", schedule=HALF, permute="heads")
    wanted = logits_of(model)
    found = permute(model, rule)
    assert torch.allclose(logits_of(model), wanted, rtol=1e-4, atol=1e-4)
    before, after = found.kept["weights"]
    assert after > 0.95 and before < 0.8
    for order in found.orders.values():
        assert torch.equal(order % 8, torch.arange(32) % 8)


def test_groups_of_neurons_gather_the_weak_ones():
    model = small_model("bert")
    for layer in layouts(model):
        weak = torch.arange(48) % 2 == 0
        for role, dim in (("up", 0), ("down", 1)):
            weight = model.get_submodule(layer.neurons[role].layer).weight.data
            weight.copy_(weight * torch.where(weak, 0.1, 1.0).unsqueeze(1 - dim))
    found = permute(model, linear_only(structure="neuron:4", permute="neurons"))
    before, after = found.kept["weights"]
    assert before < 0.6 and after > 0.85


def test_weights_count_by_the_criterion_where_there_are_batches():
    batches = [inputs_of(small_model("bert")) | {"labels": torch.tensor([0, 1, 0])}]
    orders = []
    for criterion in (Wanda(), Obert(block=4), Reconstruction()):
        model = small_model("bert")
        weights = {name: p.clone() for name, p in model.named_parameters()}
        wanted = logits_of(model)
        rule = linear_only(structure="4x4", criterion=criterion, permute="all")
        found = permute(model, rule, batches=batches)
        assert torch.allclose(logits_of(model), wanted, rtol=1e-4, atol=1e-4)
        assert found.kept["weights"][1] > found.kept["weights"][0]
        assert set(weights) == {name for name, _ in model.named_parameters()}
        orders.append(found.orders["hidden"].tolist())
        one_shot(model, rule, batches)
    assert len({tuple(order) for order in orders}) == 3
    by_magnitude = permute(small_model("bert"), linear_only(structure="4x4", permute="all"))
    assert by_magnitude.orders["hidden"].tolist() not in orders


def test_the_same_seed_gives_the_same_weights():
    models = [small_model("bert") for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        permute(model, linear_only(structure="4x4", permute="all"), seed=seed)
    same, other = (
        all(torch.equal(a, b) for a, b in zip(models[0].parameters(), model.parameters(), strict=True))
        for model in models[1:]
    )
    assert same and not other


def test_orders_are_saved_and_read(tmp_path):
    model = small_model("bert")
    found = permute(model, linear_only(structure="4x4", permute="all"))
    found.save(tmp_path / "orders.safetensors")
    again = small_model("bert")
    read = Permutation.load(tmp_path / "orders.safetensors")
    read.apply(again)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    for name, order in read.orders.items():
        assert torch.equal(order[read.inverse(name)], torch.arange(len(order)))
    with pytest.raises(PruningError, match=r"has no features bert.encoder.layer.0"):
        Permutation({"bert.encoder.layer.0.neurons": torch.arange(48)}).apply(small_model("distilbert"))


@pytest.mark.parametrize(
    ("name", "rules", "text"),
    [
        ("mpnet", [Rule(structure="4x4", permute="heads")], "heads: all layers share one bias of relative positions"),
        (
            "bert",
            [
                Rule("*attention*", name="held", criterion=Frozen(), structure="1x4"),
                Rule("*intermediate*", structure="4x4", permute="hidden"),
            ],
            r"rule 'held' keeps blocks of zeros in bert.encoder.layer.0.attention.self.query.weight",
        ),
        ("bert", [Rule("nothing", structure="4x4", permute="all")], "'nothing' matches no linear layer"),
    ],
)
def test_what_would_do_harm_is_refused(name, rules, text):
    model = small_model(name)
    weights = [p.clone() for p in model.parameters()]
    with pytest.raises(PruningError, match=text):
        permute(model, rules)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_a_model_whose_layout_is_not_known_is_refused_in_one_line():
    config = transformers.T5Config(
        vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4, decoder_start_token_id=0
    )
    model = transformers.T5EncoderModel(config)
    rule = Rule("*DenseReluDense.w*", structure="4x4", permute="all")
    (found,) = permutation_problems(model, [rule])[0]
    assert found[0] == 0 and found[1].startswith("where heads and neurons lie is not known for models of type 't5'")


def test_a_model_with_masks_is_refused():
    model, rule = small_model("bert"), linear_only(structure="4x4", permute="all")
    found = permute(copy.deepcopy(model), rule)
    Pruner(model, [rule])
    with pytest.raises(
        PruningError, match=r"has a mask already: fold the earlier masks, or take them off with Pruner.remove"
    ):
        permute(model, rule)
    with pytest.raises(PruningError, match="has masks already: permute it before it is pruned"):
        found.apply(model)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"structure": "4x4", "permute": "columns"}, "unknown permutation 'columns': write all, or some of hidden"),
        ({"structure": "element", "permute": "all"}, "groups of element stay the same in any order"),
        ({"structure": "head", "permute": "all"}, "groups of head stay the same in any order"),
        ({"structure": "4x4", "criterion": Frozen(), "permute": "all"}, "frozen keeps zeros where they are"),
    ],
)
def test_rules_that_no_order_helps_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        Rule(**options)
