"""Simulated int8 in torch: the rounding against numpy, zeros, gradients, and that training for int8 pays."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from architectures import inputs_of, small_model
from torch import nn
from torch.nn.functional import mse_loss

from optkit.pruning.targets import linear_layers
from optkit.quantization.fake_quantization import FakeQuantization

NEVER = {"half_range": False, "smooth_quant": None}


def _one_layer(weight):
    model = nn.Sequential(nn.Linear(weight.shape[1], weight.shape[0], bias=False))
    model[0].weight.data = torch.from_numpy(weight)
    model.forward = lambda x: model[0](x)
    return model


@pytest.mark.parametrize(("half", "levels"), [(False, 127.0), (True, 63.5)])
def test_weights_and_inputs_are_rounded_as_int8_is(half, levels):
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(3, 8)).astype(np.float32), rng.normal(size=(5, 8)).astype(np.float32)
    weight[0, :4] = 0
    model = _one_layer(weight)
    simulated = FakeQuantization(model, [{"x": torch.from_numpy(inputs)}], half_range=half, smooth_quant=None)
    found = model(torch.from_numpy(2 * inputs)).detach().numpy()  # twice: what leaves the range is cut off

    scale = np.abs(weight).max(1, keepdims=True) / levels
    step = (inputs.max() - inputs.min()) / 255
    zero = round(float(-inputs.min() / step))
    integers = np.clip(np.round(2 * inputs / step) + zero, 0, 255) - zero
    assert found == pytest.approx((integers * step) @ (np.round(weight / scale) * scale).T, abs=1e-5)
    assert np.array_equal(model[0].weight.detach().numpy() == 0, np.round(weight / scale) == 0)
    simulated.fold()
    assert np.array_equal(model[0].weight.detach().numpy(), weight) and list(model.state_dict()) == ["0.weight"]


def test_smoothing_moves_outliers_from_inputs_to_weights():
    """With an input channel a hundred times the others the error falls by far; the product is the same in floats."""
    rng = np.random.default_rng(0)
    weight, inputs = rng.normal(size=(16, 8)).astype(np.float32), rng.normal(size=(64, 8)).astype(np.float32)
    inputs[:, 3] *= 100
    weight[:, 3] *= 0.01
    errors = {}
    for alpha in (None, 0.5):
        model = _one_layer(weight)
        FakeQuantization(model, [{"x": torch.from_numpy(inputs)}], half_range=False, smooth_quant=alpha)
        errors[alpha] = float(np.abs(model(torch.from_numpy(inputs)).detach().numpy() - inputs @ weight.T).mean())
    assert errors[0.5] < errors[None] / 5


def test_gradients_pass_the_rounding_and_not_what_is_pruned_or_cut_off():
    weight = np.array([[1.0, 0.0, 0.3]], np.float32)
    model = _one_layer(weight)
    FakeQuantization(model, [{"x": torch.tensor([[-1.0, 1.0, 1.0]])}], **NEVER)
    inputs = torch.tensor([[0.5, 0.5, 9.0]], requires_grad=True)
    model(inputs).sum().backward()
    grad = model[0].parametrizations.weight.original.grad
    assert grad[0, 1] == 0 and grad[0, 0] == pytest.approx(0.5, abs=0.01)
    assert grad[0, 2] == pytest.approx(1.0, abs=0.01)  # the input is cut to its range
    assert inputs.grad[0, 2] == 0 and inputs.grad[0, 0] == pytest.approx(1.0)


def test_training_for_int8_lowers_its_loss_and_keeps_every_zero():
    """A model with one large weight in each row, beside which int8 rounds the others coarsely."""
    torch.manual_seed(0)
    model = small_model("bert")
    with torch.no_grad():
        for layer in linear_layers(model).values():
            layer.weight[torch.rand_like(layer.weight) < 0.5] = 0
            rows = torch.arange(len(layer.weight))
            layer.weight[rows, rows % layer.in_features] = 5 * layer.weight.abs().max()
    reference = copy.deepcopy(model).eval()
    inputs = inputs_of(model)
    wanted = reference(**inputs).logits.detach()

    def int8_loss(of):
        of = copy.deepcopy(of).eval()
        FakeQuantization(of, [inputs], half_range=True, smooth_quant=None)
        with torch.no_grad():
            return float(mse_loss(of(**inputs).logits, wanted))

    before = int8_loss(model)
    simulated = FakeQuantization(model.eval(), [inputs], half_range=True, smooth_quant=None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        mse_loss(model(**inputs).logits, wanted).backward()
        optimizer.step()
    simulated.fold()
    assert int8_loss(model) < before / 2
    for name, layer in linear_layers(model).items():
        zero = reference.get_submodule(name).weight == 0
        assert zero.any() and not layer.weight[zero].any() and layer.weight[~zero].all()
    assert model.state_dict().keys() == reference.state_dict().keys()


def test_ignored_layers_and_layers_that_are_never_called_stay_as_they_are():
    model = small_model("bert")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    simulated = FakeQuantization(model, [inputs_of(model)], **NEVER, ignored=("*.query", "classifier"))
    assert not any(name.endswith(("query", "classifier")) for name in simulated.layers)
    simulated.fold()
    model.unused = nn.Linear(4, 4)
    FakeQuantization(model, [inputs_of(model)], **NEVER).fold()
    for name, tensor in before.items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_tied_weights_stay_tied():
    from transformers import BertConfig, BertForMaskedLM

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(**sizes, vocab_size=30)).eval()
    decoder, embedding = model.cls.predictions.decoder, model.get_input_embeddings()
    assert decoder.weight is embedding.weight
    inputs = {"input_ids": torch.arange(5, 15)[None]}
    simulated = FakeQuantization(model, [inputs], **NEVER)
    torch.optim.SGD(model.parameters(), lr=1.0).zero_grad()
    model(**inputs).logits.square().sum().backward()
    assert embedding.weight.grad.any()
    simulated.fold()
    assert decoder.weight is embedding.weight
