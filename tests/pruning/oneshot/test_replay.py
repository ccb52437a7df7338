"""What the layers of a model see stage by stage, against whole forward passes."""

from __future__ import annotations

import pytest
import torch
from architectures import ARCHITECTURES, inputs_of, small_model
from torch import nn

from optkit.errors import PruningError
from optkit.pruning.oneshot.replay import Replay, without_padding
from optkit.pruning.targets import linear_layers, longest_list


def watched(model):
    prefix = longest_list(model)
    layers = {name: layer for name, layer in linear_layers(model).items() if name.startswith(prefix)}
    return layers, list(model.get_submodule(prefix))


def seen(model, name, batch):
    """What the layer ``name`` is given in a whole forward pass, call by call."""
    found = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda module, args: found.append(args[0]))
    with torch.inference_mode():
        model(**{key: value for key, value in batch.items() if key != "labels"})
    hook.remove()
    return torch.cat([without_padding(values, batch) for values in found])


def test_padding_is_left_out_where_it_is_known():
    values, mask = torch.arange(12.0).view(2, 3, 2), torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert without_padding(values, {"attention_mask": mask}).tolist() == [[0, 1], [2, 3], [6, 7]]
    assert without_padding(values, {}).shape == (6, 2)
    assert without_padding(values.view(6, 2), {"attention_mask": mask}).shape == (6, 2)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_layers_see_what_they_see_in_whole_passes_though_earlier_ones_change(name):
    model, reference = small_model(name), small_model(name)
    batches = [inputs_of(model), {key: value[:1] for key, value in inputs_of(model).items()}]
    layers, repeated = watched(model)
    replay = Replay(model, batches, layers, repeated)
    assert sorted(name for stage in replay.stages for name in stage) == sorted(layers)
    for stage in replay.stages:
        got = list(replay.inputs(stage))
        for layer in stage:
            for batch, values in zip(batches, got, strict=True):
                assert torch.allclose(values, seen(reference, layer, batch), rtol=0, atol=1e-5)
        for layer in stage:
            for changed in (model, reference):
                changed.get_submodule(layer).weight.data *= 0.5
    replay.close()
    with torch.inference_mode():
        assert torch.allclose(model(**batches[0]).logits, reference(**batches[0]).logits, rtol=0, atol=1e-5)


def test_query_key_and_value_are_one_stage(bert, batches):
    model = bert().eval()
    replay = Replay(model, batches(1), *watched(model))
    ends = [[name.split(".layer.")[1] for name in stage] for stage in replay.stages[:4]]
    assert ends == [
        ["0.attention.self.query", "0.attention.self.key", "0.attention.self.value"],
        ["0.attention.output.dense"],
        ["0.intermediate.dense"],
        ["0.output.dense"],
    ]


def test_a_finished_layer_is_not_run_again(bert, batches):
    model, count = bert(num_hidden_layers=3).eval(), [0, 0, 0]
    layers, repeated = watched(model)
    for place, layer in enumerate(repeated):

        def hook(module, args, place=place):
            count[place] += 1

        layer.attention.register_forward_pre_hook(hook)
    replay = Replay(model, batches(2), layers, repeated)
    for stage in replay.stages:
        list(replay.inputs(stage))
    # Once to find the order; then for both batches at each of four stages and to go past the layer.
    assert count == [1 + 2 * 4 + 2, 1 + 2 * 4 + 2, 1 + 2 * 4]
    replay.close()
    assert "forward" not in vars(repeated[0])


def test_a_forward_that_was_put_over_a_layers_own_comes_back(bert, batches):
    model = bert(num_hidden_layers=3).eval()
    layers, repeated = watched(model)
    own = repeated[0].forward
    repeated[0].forward = put = lambda *args, **kwargs: own(*args, **kwargs)
    replay = Replay(model, batches(2), layers, repeated)
    for stage in replay.stages:
        list(replay.inputs(stage))
    assert repeated[0].forward is not put
    replay.close()
    assert repeated[0].forward is put


def test_a_layer_that_is_never_called_is_refused(stack):
    model = stack((4, 4), (4, 4))
    model.idle = nn.Linear(4, 4)
    model.forward = lambda values: model.layers[0](values)
    with pytest.raises(PruningError, match=r"idle takes no part in the model's forward pass: exclude it"):
        Replay(model, [{"values": torch.ones(1, 4)}], {"idle": model.idle})
