"""Digests tell masks apart; who differs is named. What processes really exchange is tested in tests/distributed."""

from __future__ import annotations

import pytest
import torch

from optkit.errors import PruningError
from optkit.pruning import parallel


def test_a_digest_changes_with_any_place():
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(37, 13, generator=generator) > 0.5
    digests = {int(parallel.digest(mask))}
    for place in range(mask.numel()):
        other = mask.clone()
        other.view(-1)[place] ^= True
        digests.add(int(parallel.digest(other)))
    assert len(digests) == mask.numel() + 1
    # Where a weight stands counts, and not only how many there are.
    assert int(parallel.digest(mask.flip(0))) not in digests
    assert parallel.digest(mask.t().contiguous().t()) == parallel.digest(mask)


def test_numbers_are_averaged_in_buckets_of_one_kind(monkeypatch):
    """Of three processes the other two hold twice and three times as much."""
    monkeypatch.setattr(parallel, "_BUCKET", 8)
    monkeypatch.setattr(parallel, "processes", lambda: 3)
    sizes = []
    monkeypatch.setattr(parallel.dist, "all_reduce", lambda flat: (sizes.append(flat.numel()), flat.mul_(6)))
    tensors = [torch.full((2, 3), 1.0), torch.full((), 5.0), torch.ones(4, dtype=torch.float64), torch.full((20,), 2.0)]
    expected = [2 * tensor for tensor in tensors]
    parallel.average(tensors)
    assert sizes == [7, 4, 20]
    for ours, theirs in zip(tensors, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    parallel.average([])


@pytest.mark.parametrize(
    ("differs", "named"),
    [([], None), ([2], "rank 2 from the rest"), ([0, 3], "rank 0, 3 from the rest")],
)
def test_who_has_another_mask_is_named(differs, named, monkeypatch):
    masks = {("encoder", "layer.0"): torch.ones(4, 8, dtype=torch.bool), ("encoder", "layer.1"): torch.eye(4).bool()}

    def gather(found, ours):
        for rank, theirs in enumerate(found):
            theirs.copy_(ours)
            theirs[1] += rank in differs

    monkeypatch.setattr(parallel, "processes", lambda: 5)
    monkeypatch.setattr(parallel.dist, "all_gather", gather)
    if named is None:
        return parallel.check_equal(masks)
    with pytest.raises(PruningError) as error:
        parallel.check_equal(masks)
    assert str(error.value) == (
        f"rule 'encoder': the mask of layer.1 differs between processes ({named}): give all the same model, seed and "
        "rules, and let DDP average the gradients"
    )
