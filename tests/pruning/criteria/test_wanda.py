"""Weight times input norm: what is averaged over tokens, passes and steps, and what is left out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from optkit.pruning.config import Rule, Schedule, Wanda
from optkit.pruning.criteria import build
from optkit.pruning.pruner import Pruner


def root_mean_square(criterion, state) -> torch.Tensor:
    ones = torch.ones(1, state["square"].numel())
    return criterion.score(ones, state, 0)[0]


def test_a_step_counts_by_its_tokens_and_fades_with_momentum():
    criterion, state = build(Wanda(momentum=0.5)), {"square": torch.zeros(2), "tokens": torch.zeros(())}
    steps = [
        [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 4.0]])],
        [torch.tensor([[2.0, 2.0]] * 4)],
        [torch.tensor([[0.0, 6.0], [5.0, 0.0]])],
    ]
    for passes in steps:
        for inputs in passes:
            criterion.observe_inputs(state, inputs, len(inputs))
        criterion.observe(state, None, None)
    weights = torch.tensor([0.25] * 3 + [0.5] * 4 + [1.0] * 2)
    tokens = torch.cat([inputs for passes in steps for inputs in passes])
    expected = ((weights[:, None] * tokens**2).sum(0) / weights.sum()).sqrt()
    torch.testing.assert_close(root_mean_square(criterion, state), expected)


def test_scores_are_absolute_weights_times_the_norm_of_their_inputs():
    criterion = build(Wanda())
    state = criterion.state(torch.empty(2, 3))
    criterion.observe_inputs(state, torch.tensor([[1.0, -2.0, 0.0], [1.0, 2.0, 0.0]]), 2)
    weight = torch.tensor([[3.0, -1.0, 9.0], [-0.5, 0.5, -9.0]], dtype=torch.bfloat16)
    # A norm of two numbers is a root, which is squared again: its last bit depends on the CPU.
    torch.testing.assert_close(
        criterion.score(weight, state, 0).float(), torch.tensor([[3.0, 2.0, 0.0], [0.5, 1.0, 0.0]])
    )


def test_half_precision_inputs_do_not_overflow():
    criterion = build(Wanda())
    state = criterion.state(torch.empty(1, 2))
    criterion.observe_inputs(state, torch.full((300, 2), 6e4, dtype=torch.float16), 300)
    torch.testing.assert_close(root_mean_square(criterion, state), torch.full((2,), 6e4), rtol=1e-3, atol=0.0)


def test_inputs_in_double_precision():
    criterion = build(Wanda())
    state = criterion.state(torch.empty(1, 2))
    criterion.observe_inputs(state, torch.full((300, 2), 3.0, dtype=torch.float64), 300)
    torch.testing.assert_close(root_mean_square(criterion, state), torch.full((2,), 3.0))


def test_a_layer_that_no_token_reached_scores_zero():
    criterion = build(Wanda())
    state = criterion.state(torch.empty(2, 2))
    assert criterion.score(torch.ones(2, 2), state, 0).tolist() == [[0.0, 0.0]] * 2


class Twice(nn.Module):
    """A layer that is used twice in a pass, as ALBERT's are; the second time on twice its first input."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.layers[0](values) + self.layers[0](2 * values)


def test_all_uses_and_passes_of_a_step_count_and_padding_and_evaluation_do_not():
    model = Twice()
    pruner = Pruner(model, [Rule(criterion=Wanda(momentum=0.5))])
    state = model.layers[0].parametrizations.weight[0].state("wanda")
    generator = torch.Generator().manual_seed(0)
    batches = [torch.randn(2, 4, 3, generator=generator) for _ in range(3)]
    padding = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    seen = []
    for values in batches:
        model(values, attention_mask=padding).sum().backward()
        seen += [values[padding.bool()], 2 * values[padding.bool()]]
    model.eval()(100 * batches[0])
    model.train()
    square = torch.cat(seen).square()
    assert float(state["tokens"]) == 3 * 2 * 6
    torch.testing.assert_close(state["square"], square.sum(0))
    pruner.observe()
    assert float(state["tokens"]) == 3 * 6


def test_padding_does_not_count_where_a_model_is_wrapped(bert):
    """As sentence-transformers wraps one: inputs come in one dict, and the mask goes on by name."""

    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.auto_model = bert()

        def forward(self, features):
            return self.auto_model(**features)

    model = Wrapped().train()
    Pruner(model, Rule(targets="*.query", criterion=Wanda(momentum=0.5)))
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    model({"input_ids": torch.full((2, 4), 5), "attention_mask": mask})
    queries = [module for name, module in model.named_modules() if name.endswith(".query")]
    assert queries and all(float(q.parametrizations.weight[0].state("wanda")["tokens"]) == 6 for q in queries)


def test_padding_does_not_count_where_a_wrapper_hands_it_on_by_place(bert):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert()

        def forward(self, input_ids, attention_mask=None):
            return self.bert(input_ids, attention_mask)

    model = Wrapped().train()
    Pruner(model, Rule(targets="*.query", criterion=Wanda(momentum=0.5)))
    (query, *_) = [module for name, module in model.named_modules() if name.endswith(".query")]
    tokens = query.parametrizations.weight[0].state("wanda")["tokens"]
    ids = torch.full((2, 4), 5)
    model(input_ids=ids, attention_mask=torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]))
    assert float(tokens) == 6
    model(input_ids=ids)  # a mask of another batch is forgotten
    assert float(tokens) == 6 + 8


@pytest.mark.parametrize("scope", ["global", "local"])
def test_it_prunes_small_inputs_where_magnitude_sees_no_difference(stack, scope):
    model = stack((4, 8))
    model.layers[0].weight.data.copy_(torch.linspace(1.0, 1.01, 32).view(4, 8))
    pruner = Pruner(
        model, [Rule(criterion=Wanda(), scope=scope, schedule=Schedule("constant", to=0.5, begin=1), structure="2:4")]
    )
    pruner.start(2, 2)
    model(torch.tensor([[1.0, 0.1, 1.0, 0.1, 0.1, 1.0, 1.0, 0.1]])).sum().backward()
    pruner.observe()
    pruner.update(1)
    kept = [True, False, True, False, False, True, True, False]
    assert model.layers[0].parametrizations.weight[0].mask.tolist() == [kept] * 4


@pytest.mark.parametrize("momentum", [1.0, 0.0, -0.1, float("nan")])
def test_a_momentum_outside_its_range_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum must be above 0 and below 1"):
        Wanda(momentum=momentum)
