"""The table of layouts against the models themselves: what it calls a head or a neuron is one."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of, small_model, zero
from torch import nn

from optkit.errors import PruningError
from optkit.pruning import Pruner, Rule, Schedule
from optkit.pruning.layouts import LAYOUTS, layouts


@torch.no_grad()
def outputs_of(model, inputs, layer):
    """What the layer ``layer`` of the model puts into the residual stream, and what comes out at the end."""
    seen = []
    hook = model.get_submodule(layer).register_forward_hook(lambda module, args, output: seen.append(args[0].clone()))
    logits = model(**inputs).logits
    hook.remove()
    return seen, logits


def test_every_known_model_type_is_verified_here():
    kinds = {small_model(name).config.model_type for name in ARCHITECTURES}
    assert kinds == set(LAYOUTS)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_group_is_what_the_output_projection_reads(name):
    """Of what goes into the projection, zeroing the rows of group g changes the columns of g and no others.

    So rows and columns belong together; and since a projection is linear, a group whose columns are zero adds nothing.
    """
    inputs = inputs_of(small_model(name))
    for kind in ("heads", "neurons"):
        count = getattr(layouts(small_model(name))[0], kind).count
        assert count == {"heads": 4, "neurons": 48}[kind]
        before = small_model(name)
        group = getattr(layouts(before)[0], kind)
        end = group.members[-1]
        (wanted, *_), _ = outputs_of(before, inputs, end.layer)
        for member in group.members[:-1]:
            changed = small_model(name)
            zero(changed, group, [2], roles=[member.role])
            (found, *_), _ = outputs_of(changed, inputs, end.layer)
            differs = (found != wanted).flatten(0, -2).any(dim=0).view(count, end.size).any(dim=1)
            assert differs.nonzero().flatten().tolist() == [2], (kind, member)
        # With its columns zero, nothing of the group is seen any more.
        closed, without = small_model(name), small_model(name)
        zero(closed, group, [2], roles=[end.role])
        zero(without, group, [2])
        assert torch.equal(closed(**inputs).logits, without(**inputs).logits)
        assert not torch.equal(closed(**inputs).logits, before(**inputs).logits)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_members_of_all_groups_are_all_weights_of_their_layers(name):
    with torch.device("meta"):
        model = small_model(name)
    found = layouts(model)
    assert len(found) == (1 if name == "albert" else 2)
    held = {layer: 0 for layer in dict(model.named_modules())}
    for group in (group for layout in found for group in (layout.heads, layout.neurons)):
        for member in group.members:
            shape = model.get_submodule(member.layer).weight.shape
            held[member.layer] += group.count * member.size * shape[1 - member.axis]
        assert isinstance(model.get_submodule(group.activation), nn.Module)
    inside = {
        f"{prefix}.{name}": layer.weight.numel()
        for prefix in (layout.prefix for layout in found)
        for name, layer in model.get_submodule(prefix).named_modules()
        if isinstance(layer, nn.Linear)
    }
    assert {name: count for name, count in held.items() if count} == inside


def test_masked_weights_and_bare_models_have_the_same_layout():
    model = small_model("bert")
    plain = layouts(model)
    pruner = Pruner(model, [Rule(schedule=Schedule("constant", to=0.5, begin=0, end=0))])
    assert layouts(model) == plain
    pruner.start(1, 1)
    pruner.update(0)
    assert [layout.prefix for layout in layouts(model.bert)] == ["encoder.layer.0", "encoder.layer.1"]


def test_unknown_models_are_one_clear_line(stack):
    with pytest.raises(
        PruningError, match="not known for Stack, which has no config.model_type; known are albert, bert"
    ):
        layouts(stack((4, 4)))
    model = small_model("bert")
    model.config.model_type = "gpt2"
    with pytest.raises(
        PruningError, match="not known for models of type 'gpt2'; known are albert, bert, .*xlm-roberta$"
    ):
        layouts(model)
    model.config.model_type = "vit"
    with pytest.raises(PruningError, match="no layer of BertForSequenceClassification has the module names"):
        layouts(model)
