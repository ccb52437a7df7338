"""What layers are compared by, and what a layer is fitted to."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optkit.pruning import Reconstruction, Rule, Schedule, one_shot
from optkit.pruning.oneshot.layerwise import marginal


def test_losses_of_groups_that_go_together_add_up_to_more_than_their_sum():
    losses = torch.tensor([4.0, 1.0, 3.0, 2.0, -0.5])
    found = marginal(losses)
    ordered = found[losses.argsort()]
    # 0, 1, 2, 3, 4 in ascending order; half of the next group counts as gone.
    wanted = [total * (1 - (place + 0.5) / 5) ** -0.3 for place, total in enumerate([0, 1, 3, 6, 10])]
    assert ordered.cumsum(0).tolist() == pytest.approx(wanted)
    assert ordered.tolist() == sorted(ordered.tolist())


class Two(nn.Module):
    """Two linear layers, of which the first has no bias."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8, bias=False), nn.Linear(8, 4)

    def forward(self, values):
        return {"logits": self.second(torch.relu(self.first(values)))}


def data():
    generator = torch.Generator().manual_seed(0)
    values = 1 + torch.randn(256, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    return values, [{"values": part} for part in values.split(64)]


def test_later_layers_make_up_for_what_earlier_ones_lost():
    torch.manual_seed(0)
    dense = Two()
    values, batches = data()
    with torch.no_grad():
        wanted = dense(values)["logits"]
        model = copy.deepcopy(dense)
        rules = [
            Rule(criterion=Reconstruction(1e-4), targets=("first",), schedule=Schedule(to=0.5), name="first"),
            Rule(criterion=Reconstruction(1e-4), targets=("second",), schedule=Schedule(to=0.0), name="second"),
        ]
        one_shot(model, rules[:1], batches)
        alone = float((model(**{"values": values})["logits"] - wanted).square().mean())
        model = copy.deepcopy(dense)
        one_shot(model, rules, batches)
        both = float((model(values)["logits"] - wanted).square().mean())
        # Nothing is pruned in the second layer, which is then a regression onto the dense outputs.
        hidden = torch.cat([torch.relu(model.first(values)), torch.ones(256, 1)], dim=1)
        best = hidden @ torch.linalg.lstsq(hidden, wanted).solution
        assert int((model.second.weight == 0).sum()) == 0 and int((model.first.weight == 0).sum()) == 32
    assert both < 0.8 * alone
    assert both < 1.05 * float((best - wanted).square().mean())
