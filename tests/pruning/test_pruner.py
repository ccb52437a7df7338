"""Rules on a whole model: heads and neurons, several criteria on one weight, bounds, shares, inputs."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning.config import Frozen, Magnitude, Movement, Obert, Rule, Schedule, SoftMovement, Taylor, Wanda
from optkit.pruning.masking import mask_of, raw_of
from optkit.pruning.pruner import Pruner

AT_ONCE = {"shape": "constant", "begin": 0}


def prune(model, *rules: Rule) -> Pruner:
    pruner = Pruner(model, rules)
    pruner.start(1, 1)
    pruner.update(0)
    return pruner


def layer_of(model, index: int):
    return model.bert.encoder.layer[index]


def test_a_head_goes_with_its_rows_of_query_key_and_value_and_its_columns_of_the_output(bert):
    model = bert(num_attention_heads=4, hidden_size=32)
    for index, weak in ((0, (1, 2)), (1, (0,))):
        attention = layer_of(model, index).attention
        for head in weak:
            for projection in (attention.self.query, attention.self.key, attention.self.value):
                projection.weight.data[8 * head : 8 * head + 8] *= 1e-3
            attention.output.dense.weight.data[:, 8 * head : 8 * head + 8] *= 1e-3
    pruner = prune(model, Rule(structure="head", schedule=Schedule(to=3 / 8, **AT_ONCE)))
    assert [(s.pruned, s.groups) for s in pruner.fold()] == [(3, 8)]
    for index, weak in ((0, (1, 2)), (1, (0,))):
        dead = torch.zeros(32, dtype=torch.bool)
        for head in weak:
            dead[8 * head : 8 * head + 8] = True
        attention = layer_of(model, index).attention
        for projection in (attention.self.query, attention.self.key, attention.self.value):
            assert torch.equal((projection.weight == 0), dead[:, None].expand(32, 32))
        assert torch.equal((attention.output.dense.weight == 0), dead.expand(32, 32))
        assert not bool((layer_of(model, index).intermediate.dense.weight == 0).any())


def test_neurons_go_in_both_weights_and_adjacent_ones_together(bert):
    for structure, together in (("neuron", 1), ("neuron:4", 4)):
        model = bert()
        pruner = prune(model, Rule(structure=structure, scope="local", schedule=Schedule(to=0.75, **AT_ONCE)))
        assert [(s.pruned, s.groups) for s in pruner.fold()] == [(96 // together, 128 // together)]
        for index in range(2):
            up, down = layer_of(model, index).intermediate.dense.weight, layer_of(model, index).output.dense.weight
            dead = (up == 0).all(dim=1)
            assert int(dead.sum()) == 48 and torch.equal(dead, (down == 0).all(dim=0))
            assert torch.equal(dead.view(-1, together).all(dim=1), dead.view(-1, together).any(dim=1))


def test_heads_and_neurons_first_and_blocks_in_what_remains(bert):
    model = bert(num_attention_heads=4, hidden_size=32)
    rules = [
        Rule(structure="head", schedule=Schedule(to=0.5, **AT_ONCE), name="heads"),
        Rule(structure="neuron:4", schedule=Schedule(to=0.5, **AT_ONCE), name="neurons"),
        Rule(structure="1x4", schedule=Schedule(to=0.8, **AT_ONCE), name="blocks"),
    ]
    states = prune(model, *rules).fold()
    assert [(s.name, s.pruned, s.groups) for s in states] == [
        ("heads", 4, 8),
        ("neurons", 16, 32),
        ("blocks", round(0.8 * 4096), 4096),
    ]
    weights = [m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layer." in n]
    for weight in weights:
        groups = (weight.view(weight.shape[0], -1, 4) == 0).sum(dim=2)
        assert set(groups.flatten().tolist()) <= {0, 4}


def test_blocks_that_cut_a_neuron_are_refused_with_the_way_out(bert):
    rules = [Rule(structure="neuron", name="n"), Rule(structure="1x4", name="b")]
    with pytest.raises(PruningError, match="blocks of 1x4 do not lie within a neuron; neuron:K takes K adjacent ones"):
        Pruner(bert(), rules)


def test_blocks_that_cut_a_head_are_refused(bert):
    with pytest.raises(PruningError, match="structures that nest, the coarser first"):
        Pruner(bert(num_attention_heads=8, hidden_size=48), [Rule(structure="head"), Rule(structure="1x4")])


def test_a_head_of_which_targets_hold_a_part_is_refused(bert):
    with pytest.raises(PruningError) as error:
        Pruner(bert(), [Rule(structure="head", targets="*.query", name="h")])
    first = "bert.encoder.layer.0.attention.self"
    assert str(error.value).split("; ")[0] == (
        f"rule 'h': a head of {first}.query has weights in {first}.key, too, which the targets leave out: add it"
    )
    with pytest.raises(PruningError, match="rule 'h': no neuron of the model is among its targets"):
        Pruner(bert(), [Rule(structure="neuron", targets="*.attention.*", name="h")])


def test_two_criteria_on_one_weight_keep_a_state_each_and_come_back_from_a_checkpoint(stack):
    model, other = stack((8, 8)), stack((8, 8), seed=1)
    later = {"shape": "constant", "begin": 1}
    rules = [
        Rule(structure="1x4", criterion=Movement(), schedule=Schedule(to=0.5, **later), name="blocks"),
        Rule(criterion=Taylor(), schedule=Schedule(to=0.75, **later), name="weights"),
    ]
    pruner, _ = Pruner(model, rules), Pruner(other, rules)
    pruner.start(1, 1)
    model(torch.linspace(-1, 1, 16).view(2, 8)).square().sum().backward()
    pruner.observe()
    pruner.update(1)
    state = model.state_dict()
    kept = ["weight", "weight_mask", "weight_movement_score", "weight_taylor_score"]
    assert sorted(state) == ["layers.0.bias", *(f"layers.0.{name}" for name in kept)]
    assert all(bool(state[f"layers.0.{name}"].any()) for name in kept)
    other.load_state_dict(state)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values()))
    assert int((~model.layers[0].parametrizations.weight[0].mask).sum()) == 48


def test_a_criterion_that_two_rules_share_sees_each_gradient_once(stack):
    model = stack((8, 8))
    movement = Movement(saliency=0.0)
    rules = [Rule(structure="1x4", criterion=movement, name="a"), Rule(criterion=movement, name="b")]
    pruner = Pruner(model, rules)
    raw = model.layers[0].parametrizations.weight.original
    raw.grad = torch.ones_like(raw)
    pruner.observe()
    assert torch.equal(model.layers[0].parametrizations.weight[0].state("movement")["score"], -raw.detach())


def test_it_watches_until_the_last_rule_that_shares_it_has_ended(stack):
    """Blocks before single weights, by the same scores: those are still learned when the blocks are done."""
    model, rules = stack((8, 8)), []
    for name, structure, end in (("blocks", "1x4", 2), ("weights", "element", 6)):
        schedule = Schedule(to=0.5, begin=1, end=end, every=1)
        rules.append(Rule(structure=structure, criterion=Movement(), schedule=schedule, name=name))
    pruner = Pruner(model, rules)
    pruner.start(8, 8)
    raw, kept, changed = raw_of(model.layers[0]), None, []
    for step in range(1, 9):
        raw.grad = torch.ones_like(raw)
        pruner.observe()
        pruner.update(step)
        score = mask_of(model.layers[0]).state("movement")["score"].clone()
        changed += [step] if kept is None or not torch.equal(score, kept) else []
        kept = score
    assert changed == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("criterion", [Movement(), Taylor(), Obert(block=4), SoftMovement()], ids=lambda c: c.name)
def test_a_weight_without_gradients_is_refused_where_they_decide(stack, criterion):
    rule = Rule(criterion=criterion, schedule=Schedule(to=0.5, begin=1, end=2))
    frozen = stack((8, 8), (8, 8))
    frozen.layers[0].requires_grad_(False)
    with pytest.raises(PruningError) as error:
        Pruner(frozen, [rule]).start(4, 4)
    assert str(error.value) == (
        f"rule 'weights': layers.0.weight is not trained (requires_grad is False), and {criterion.name} goes by its "
        "gradients: exclude it, train it, or take magnitude"
    )
    unused = stack((8, 8), (8, 8))
    pruner = Pruner(unused, [rule])
    pruner.start(4, 4)
    unused.layers[1](torch.ones(1, 8)).sum().backward()
    pruner.observe()
    with pytest.raises(PruningError) as error:
        pruner.update(2)
    assert str(error.value) == (
        f"rule 'weights': layers.0.weight got no gradient, and {criterion.name} goes by that: exclude it, or take magnitude"
    )


@pytest.mark.parametrize("criterion", [Magnitude(), Wanda(), Frozen()], ids=lambda c: c.name)
def test_criteria_that_do_not_go_by_gradients_prune_what_is_not_trained(stack, criterion):
    model = stack((8, 8)).requires_grad_(False)
    schedule = None if criterion == Frozen() else Schedule("constant", to=0.5, begin=1)
    pruner = Pruner(model, [Rule(criterion=criterion, schedule=schedule)])
    pruner.start(4, 4)
    model(torch.ones(1, 8))
    pruner.observe()
    pruner.update(1)
    assert [state.pruned for state in pruner.fold()] == [32 if schedule else 0]


def test_a_training_that_goes_on_behind_its_schedule_says_so_at_once(stack):
    model, rule = stack((8, 8)), Rule(schedule=Schedule(to=0.5, begin=1, end=6, every=1))
    first = Pruner(model, [rule])
    first.start(10, 10)
    for step in range(5):
        first.update(step)
    other = stack((8, 8))
    second = Pruner(other, [Rule(schedule=Schedule(to=0.5, begin=1, end=3, every=1))])
    second.start(6, 6, done=4)
    other.load_state_dict(model.state_dict())
    with pytest.raises(PruningError) as error:
        second.update(5)
    assert str(error.value) == (
        "rule 'weights': the training goes on at step 5 short of the target, and the schedule ends at step 3: train as "
        "long as before, or end the schedule later"
    )


def test_what_was_folded_is_told_so(stack):
    model = stack((8, 8))
    pruner = prune(model, Rule(schedule=Schedule(to=0.5, **AT_ONCE)))
    pruner.fold()
    assert pruner.at_target(1)
    for call in (pruner.fold, pruner.observe, pruner.sparsity, pruner.states, partial(pruner.update, 1)):
        with pytest.raises(PruningError) as error:
            call()
        said = "the masks were folded, and the model is plain: build another Pruner to prune further"
        assert str(error.value) == said


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_made_half_as_precise_keeps_what_criteria_added_up(stack, dtype):
    model = stack((8, 8))
    pruner = Pruner(model, [Rule(criterion=Taylor(), schedule=Schedule(to=0.5, begin=2, end=3))])
    pruner.start(4, 4)
    raw_of(model.layers[0]).grad = torch.full((8, 8), 1e-7)
    pruner.observe()
    mask = mask_of(model.layers[0])
    before = mask.state("taylor")["score"].clone()
    model.to(dtype)
    after = mask.state("taylor")["score"]
    assert after.dtype == torch.float32 and torch.equal(after, before) and bool((before > 0).any())
    assert (raw_of(model.layers[0]).dtype, mask.zero.dtype, mask.mask.dtype) == (dtype, dtype, torch.bool)


def test_a_step_that_overflows_anywhere_is_passed_over(stack):
    model = stack((8, 8), (8, 8))
    pruner = Pruner(model, [Rule(criterion=Taylor(), schedule=Schedule(to=0.5, begin=2, end=3))])
    pruner.start(4, 4)
    scores = [mask_of(layer).state("taylor")["score"] for layer in model.layers]
    for layer in model.layers:
        raw_of(layer).grad = torch.ones(8, 8)
    pruner.observe(skip_nonfinite=True)
    before = [score.clone() for score in scores]
    raw_of(model.layers[0]).grad[0, 0] = torch.inf
    raw_of(model.layers[1]).grad.zero_()  # what clipping by an infinite norm leaves
    pruner.observe(skip_nonfinite=True)
    assert all(torch.equal(score, own) for score, own in zip(scores, before)) and bool((before[1] > 0).all())


def test_groups_of_bfloat16_weights_are_ranked_by_exact_sums(stack):
    model, exact = stack((64, 768)), stack((64, 768))
    model.bfloat16()
    exact.load_state_dict(model.state_dict())
    for each in (model, exact):
        prune(each, Rule(structure="row", schedule=Schedule(to=0.5, **AT_ONCE))).fold()
    assert torch.equal(model.layers[0].weight != 0, exact.layers[0].weight != 0)


def test_shares_give_every_layer_its_own_sparsity_along_the_schedule(stack):
    model = stack((8, 16), (16, 8))
    shares = (("layers.0", 0.25), ("layers.1", 0.75))
    rule = Rule(shares=shares, schedule=Schedule(shape="linear", to=0.5, begin=0, end=2, every=1))
    pruner = Pruner(model, [rule])
    pruner.start(2, 2)
    counts = []
    for step in range(3):
        pruner.update(step)
        counts.append([int((layer.weight == 0).sum()) for layer in model.layers])
    assert counts == [[0, 0], [16, 48], [32, 96]]
    assert pruner.target(1) == pytest.approx(0.25) and pruner.sparsity() == pytest.approx(0.5)
    assert [(s.pruned, s.target) for s in pruner.fold()] == [(128, 0.5)]


def test_global_scope_compares_rows_of_different_lengths_by_their_mean(stack):
    model = stack((4, 8), (4, 4))
    model.layers[0].weight.data.fill_(1.0)
    model.layers[1].weight.data.fill_(1.5)
    prune(model, Rule(structure="row", schedule=Schedule(to=0.5, **AT_ONCE)))
    # By their sums, 8 and 6, the rows of the second layer would have gone.
    assert [int((layer.weight == 0).sum()) for layer in model.layers] == [32, 0]


def test_a_floor_grows_with_the_schedule_and_normalized_layers_share_alike(stack):
    for given, counts in (({}, [64, 0]), ({"floor": 0.25}, [48, 16]), ({"ceiling": 0.75}, [48, 16])):
        model = stack((8, 8), (8, 8))
        model.layers[1].weight.data *= 1000
        prune(model, Rule(schedule=Schedule(to=0.5, **AT_ONCE), **given))
        assert [int((layer.weight == 0).sum()) for layer in model.layers] == counts
    model = stack((8, 8), (8, 8))
    model.layers[1].weight.data = model.layers[0].weight.data * 1000
    prune(model, Rule(schedule=Schedule(to=0.5, **AT_ONCE), normalize=True))
    assert [int((layer.weight == 0).sum()) for layer in model.layers] == [32, 32]


@pytest.mark.parametrize(
    ("structure", "zeros", "kept"),
    [("2:4", [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]], 5), ("row", [[0, 0, 0, 0], [0, 1, 1, 1]], 4)],
)
def test_frozen_keeps_zeros_of_every_structure(stack, structure, zeros, kept):
    weight = torch.tensor(zeros, dtype=torch.float32)
    model = stack(tuple(weight.shape))
    model.layers[0].weight.data = weight
    Pruner(model, [Rule(criterion=Frozen(), structure=structure)])
    assert int((~model.layers[0].parametrizations.weight[0].mask).sum()) == kept


def test_magnitude_needs_no_state_and_no_gradients(stack):
    model = stack((4, 4))
    Pruner(model, [Rule(criterion=Magnitude())])
    assert sorted(model.state_dict()) == ["layers.0.bias", "layers.0.weight", "layers.0.weight_mask"]


def test_inputs_that_never_came_are_told(stack):
    model = stack((8, 8), (8, 8)).eval()  # as from_pretrained returns a model
    pruner = Pruner(model, Rule(criterion=Wanda(), schedule=Schedule(to=0.5, begin=1, end=2)))
    pruner.start(4, 4)
    model(torch.ones(1, 8)).sum().backward()
    pruner.observe()
    with pytest.raises(PruningError) as error:
        pruner.update(2)
    assert str(error.value) == (
        "rule 'weights': layers.0 got no input in training (a loop of your own has to call model.train()), and wanda "
        "goes by that: exclude it, or take magnitude"
    )


def test_a_loop_that_forgets_to_observe_is_told(stack):
    pruner = Pruner(stack((8, 8)), [Rule(criterion=Movement(), schedule=Schedule(to=0.5, begin=1, end=2))])
    pruner.start(4, 4)
    with pytest.raises(PruningError, match="layers.0.weight got no gradient, and movement goes by that"):
        pruner.update(2)


def test_a_layer_that_gets_zeros_where_others_do_not_is_told(stack):
    model = stack((8, 8), (8, 8))
    pruner = Pruner(model, [Rule(criterion=Movement(), schedule=Schedule(to=0.5, begin=1, end=2))])
    pruner.start(4, 4)
    model.layers[0](torch.zeros(0, 8)).sum().backward()  # called, and no token in it
    model.layers[1](torch.ones(1, 8)).sum().backward()
    pruner.observe()
    with pytest.raises(PruningError, match="layers.0.weight got gradients of zeros alone, and movement goes by that"):
        pruner.update(2)


def test_a_model_that_is_its_own_teacher_begins_with_gradients_of_zeros(stack):
    model = stack((8, 8), (8, 8))
    pruner = Pruner(model, [Rule(criterion=Obert(block=4), schedule=Schedule(to=0.5, begin=1, end=2))])
    pruner.start(4, 4)
    (0 * model(torch.ones(1, 8)).sum()).backward()
    pruner.observe()
    assert pruner.update(2) and pruner.sparsity() == 0.5


@pytest.mark.parametrize("criterion", [Movement(), Taylor(), Obert(block=4), SoftMovement()], ids=lambda c: c.name)
def test_a_weight_that_is_masked_as_a_whole_gets_zeros_and_is_no_fault(stack, criterion):
    model = stack((8, 8), (8, 8), (8, 8))
    model.layers[1].weight.data.zero_()
    model.layers[0].weight.data[:4] = 0.0
    rule = Rule(criterion=criterion, structure="row", schedule=Schedule(to=0.75, begin=1, end=4, every=1))
    pruner = Pruner(model, [rule])
    pruner.start(4, 4)
    for step in range(1, 5):
        sum(layer(torch.ones(1, 8)).sum() for layer in model.layers).backward()
        pruner.observe()
        pruner.update(step)
    assert pruner.sparsity() == 0.75 and not bool(mask_of(model.layers[1]).mask.any())


def test_what_was_seen_before_a_training_went_on_counts(stack):
    rule = Rule(criterion=Movement(), schedule=Schedule(to=0.5, begin=1, end=6, every=1))
    first, second = stack((8, 8), (8, 8)), stack((8, 8), (8, 8))
    pruner = Pruner(first, [rule])
    pruner.start(8, 8)
    first(torch.ones(1, 8)).sum().backward()
    pruner.observe()
    for step in (1, 2):
        pruner.update(step)
    later = Pruner(second, [rule])
    second.load_state_dict(first.state_dict())
    later.start(8, 8, done=2)
    later.update(2)
    second.zero_grad()
    second.layers[1](torch.ones(1, 8)).sum().backward()  # the other layer is passed over in this step
    later.observe()
    assert later.update(3) and later.sparsity() > pruner.sparsity()


def test_optimizers_that_go_by_weights_see_what_a_checkpoint_holds(stack):
    model = stack((8, 8))
    prune(model, Rule(criterion=Magnitude(), schedule=Schedule("constant", to=0.5, begin=0)))
    raw = raw_of(model.layers[0])
    assert torch.equal(raw, model.layers[0].weight) and int((raw == 0).sum()) == 32


def test_no_rules_have_no_target(stack):
    pruner = Pruner(stack((8, 8)), [])
    pruner.start(2, 2)
    assert pruner.target(1) == pruner.sparsity() == 0.0
