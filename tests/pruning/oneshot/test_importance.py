"""How much outputs of layers matter, against gradients taken one prediction at a time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning.oneshot.importance import Importance, importances, margins, token_weights


def watched(model, name, ids):
    """The logits, and the outputs of the layer ``name`` on the way to them."""
    kept: list[torch.Tensor] = []
    hook = model.get_submodule(name).register_forward_hook(lambda module, args, output: kept.append(output))
    logits = model(input_ids=ids).logits
    hook.remove()
    return logits, kept[0]


def test_importance_is_the_squared_gradient_of_every_prediction_at_every_token(bert, batches):
    model, data = bert().eval(), batches(2)
    model.bert.embeddings.requires_grad_(False)
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    names = ["bert.encoder.layer.0.intermediate.dense", "bert.encoder.layer.1.attention.self.value"]
    found = importances(model, data, {name: model.get_submodule(name) for name in names})
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    for name in names:
        outputs, tokens = 0.0, []
        for batch in data:
            squares = []
            for row in range(8):
                length = int(batch["attention_mask"][row].sum())
                logits, output = watched(model, name, batch["input_ids"][row : row + 1, :length])
                gradient = torch.autograd.grad(logits[0, 1] - logits[0, 0], output)[0][0]
                squares.append(gradient.square())
            tokens.append(torch.cat(squares).sum(1))
            outputs = outputs + torch.cat(squares).sum(0)
        assert torch.allclose(found[name].outputs, outputs, rtol=1e-3, atol=outputs.max() * 1e-5)
        for ours, theirs in zip(found[name].tokens, tokens, strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-3, atol=theirs.max() * 1e-5)


def test_weights_of_tokens_are_half_even_and_one_on_average():
    first = Importance(torch.tensor([4.0, 4.0]), [torch.tensor([8.0, 0.0]), torch.tensor([0.0])])
    idle = Importance(torch.zeros(2), [torch.zeros(2), torch.zeros(1)])
    assert [w.tolist() for w in token_weights([first])] == [[2.0, 0.5], [0.5]]
    assert [w.tolist() for w in token_weights([first, first])] == [[2.0, 0.5], [0.5]]
    assert torch.cat(token_weights([first, idle])).tolist() == [1.25, 0.5, 0.5]


def test_factors_of_outputs_have_mean_one_and_none_is_lost():
    assert Importance(torch.tensor([3.0, 1.0, 0.0]), []).rows().tolist() == pytest.approx([2.25, 0.75, 0.001])
    assert Importance(torch.zeros(2), []).rows().tolist() == [1.0, 1.0]


def test_a_margin_is_the_best_class_over_all_others_together():
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]], requires_grad=True)
    total = margins(SimpleNamespace(items=lambda: [("logits", logits)]), {}, torch.Generator().manual_seed(0))
    total.backward()
    for row, best in zip(logits.grad, (1, 0), strict=True):
        sign = row[best]
        rest = (logits.detach()[0 if best else 1]).clone()
        rest[best] = -torch.inf
        assert abs(sign) == 1 and torch.allclose(row + sign * rest.softmax(0), sign * torch.eye(3)[best], atol=1e-6)


def test_predictions_for_padding_do_not_count():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    margins({"logits": logits}, {"attention_mask": mask}, torch.Generator().manual_seed(0)).backward()
    assert torch.equal(logits.grad.abs().sum(-1) > 0, mask.bool())


def test_models_without_logits_predict_their_states():
    states = torch.randn(2, 3, 4, requires_grad=True)
    margins({"last_hidden_state": states}, {}, torch.Generator().manual_seed(0)).backward()
    assert torch.equal(states.grad.abs(), torch.ones(2, 3, 4))
    with pytest.raises(PruningError, match="the model's output holds no tensor to take gradients of"):
        margins({"text": "none"}, {}, torch.Generator())
