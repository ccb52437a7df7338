"""Moments gathered batch by batch against those of all tokens at once."""

from __future__ import annotations

import torch

from optkit.pruning.oneshot.moments import Moments


def test_moments_are_those_of_all_tokens_however_far_from_zero_they_lie():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 6, generator=generator) + torch.tensor([0.0, 0, 0, 0, 500, -2000])
    y, weights = x + torch.randn(300, 6, generator=generator), torch.rand(300, generator=generator) + 0.1
    found = Moments()
    for batch in zip(x.split(70), y.split(70), weights.split(70), strict=True):
        found.add(*batch)
    found.finish()
    x, y, share = x.double(), y.double(), (weights / weights.sum()).double()
    mean, dense = share @ x, share @ y
    assert torch.allclose(found.mean.double(), mean, rtol=1e-5, atol=1e-4)
    assert torch.allclose(found.dense_mean.double(), dense, rtol=1e-5, atol=1e-4)
    for central, at, other in ((True, mean, dense), (False, 0.0, 0.0)):
        second, cross = ((x - at).t() * share) @ (x - at), ((x - at).t() * share) @ (y - other)
        assert torch.allclose(found.covariance(central=central).double(), second, rtol=1e-4, atol=1e-3)
        assert torch.allclose(found.cross(central=central).double(), cross, rtol=1e-4, atol=1e-3)
