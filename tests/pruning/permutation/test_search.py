"""Orders found for blocks: planted structure is found again, and nothing is ever lost."""

from __future__ import annotations

import itertools

import pytest
import torch

from optkit.pruning.permutation.search import Term, exchange, improve


def planted(rows, cols, kept, seed):
    """Scores (rows, cols) of which the 4x4 blocks in every ``kept``-th place hold all that counts, rows shuffled."""
    generator = torch.Generator().manual_seed(seed)
    large = torch.rand(rows // 4, cols // 4, generator=generator) < 1 / kept
    scores = large.repeat_interleave(4, 0).repeat_interleave(4, 1) + 0.01 * torch.rand(rows, cols, generator=generator)
    return scores, scores[torch.randperm(rows, generator=generator)], int(large.sum())


def kept_by_hand(scores, size, count):
    """The sum of the ``count`` best blocks of ``size`` rows of already pooled scores (rows, columns)."""
    sums = [scores[i : i + size, j].sum() for i in range(0, len(scores), size) for j in range(scores.shape[1])]
    return float(torch.stack(sums).sort(descending=True).values[:count].sum())


def test_shuffled_rows_of_blocks_are_found_again():
    whole, scores, count = planted(64, 48, 3, seed=0)
    pooled = scores.unflatten(1, (-1, 4)).sum(dim=2)
    threshold = torch.tensor(8.0)  # half a block of ones
    term = Term(pooled[None].clone(), 4, 0, threshold.expand(12))
    (order,) = improve([term], torch.Generator().manual_seed(0))
    best = kept_by_hand(whole.unflatten(1, (-1, 4)).sum(dim=2), 4, count)
    assert torch.equal(order.sort().values, torch.arange(64))
    assert kept_by_hand(pooled[order], 4, count) > 0.95 * best > 1.5 * 0.95 * kept_by_hand(pooled, 4, count)
    assert torch.equal(term.values[0], pooled[order])


def test_columns_for_two_of_four_are_found_again():
    generator = torch.Generator().manual_seed(1)
    # In the order of before each four holds two large scores in every row; shuffled, some rows of some fours hold more.
    large = torch.zeros(16, 32)
    for row, four in itertools.product(range(16), range(8)):
        large[row, 4 * four + torch.randperm(4, generator=generator)[:2]] = 1.0
    shuffled = large[:, torch.randperm(32, generator=generator)]
    term = Term(shuffled.t()[None].contiguous(), 4, 2)
    before = float(term.worth())
    (order,) = improve([term], torch.Generator().manual_seed(0))
    found = shuffled[:, order].unflatten(1, (-1, 4)).sort(dim=2).values[:, :, 2:].sum()
    assert float(found) == float(term.worth()) > before
    assert float(found) > before + 0.5 * (float(large.sum()) - before)


def test_blocks_of_two_sizes_share_an_order():
    generator = torch.Generator().manual_seed(2)
    coarse, fine = torch.rand(1, 32, 9, generator=generator), torch.rand(1, 32, 7, generator=generator)
    terms = [
        Term(coarse.clone(), 16, 0, torch.tensor(8.2).expand(9)),
        Term(fine.clone(), 4, 0, torch.tensor(2.2).expand(7)),
    ]
    before = float(sum(term.worth() for term in terms))
    (order,) = improve(terms, torch.Generator().manual_seed(0))
    after = sum(
        float((values[0, order].unflatten(0, (-1, size)).sum(dim=1) - least).clamp(min=0.0).sum())
        for values, size, least in ((coarse, 16, 8.2), (fine, 4, 2.2))
    )
    assert after > before
    assert after == pytest.approx(float(sum(term.worth() for term in terms)), rel=1e-5)


def test_features_stay_within_their_parts():
    generator = torch.Generator().manual_seed(3)
    term = Term(torch.rand(3, 16, 5, generator=generator), 4, 0, torch.tensor(2.3).expand(5))
    order = improve([term], torch.Generator().manual_seed(0))
    assert torch.equal(order.sort(dim=1).values, torch.arange(16).expand(3, -1))


@pytest.mark.parametrize("features", [4, 16])
def test_what_is_one_block_or_already_best_keeps_its_order(features):
    values = torch.zeros(1, features, 3)
    term = Term(values, features if features == 4 else 4, 0, torch.tensor(1.0).expand(3))
    order = improve([term], torch.Generator().manual_seed(0))
    assert float(term.worth()) == 0.0
    assert torch.equal(order.sort(dim=1).values, torch.arange(features)[None])


def test_the_same_seed_gives_the_same_order():
    values = torch.rand(1, 64, 20, generator=torch.Generator().manual_seed(4))
    orders = [
        improve([Term(values.clone(), 4, 0, torch.tensor(2.2).expand(20))], torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    assert torch.equal(*orders)


def test_no_exchange_of_two_improves_an_assignment():
    worth = torch.rand(2, 9, 9, generator=torch.Generator().manual_seed(6))
    chosen = exchange(worth)
    for part in range(2):
        place = chosen[part].tolist()
        assert sorted(place) == list(range(9))
        value = sum(float(worth[part, unit, slot]) for slot, unit in enumerate(place))
        assert value > float(worth[part].diagonal().sum())
        for a, b in itertools.combinations(range(9), 2):
            other = place.copy()
            other[a], other[b] = other[b], other[a]
            assert sum(float(worth[part, unit, slot]) for slot, unit in enumerate(other)) <= value + 1e-5


def test_what_a_place_needs_makes_the_gain_exact():
    """Half the distance is the gain, up to what a feature or a place has by itself: as putting features there says."""
    generator = torch.Generator().manual_seed(7)
    for kept, threshold in ((0, torch.tensor(1.4).expand(6)), (1, None), (2, None), (3, None)):
        term = Term(torch.rand(1, 12, 6, generator=generator), 4, kept, threshold)
        places = torch.tensor([[1, 5, 9]])
        distance = torch.cdist(term.values[:, places[0]], term.needed(places), p=1.0)[0] / 2
        before = float(term.worth())
        for a, b in ((0, 1), (0, 2), (1, 2)):
            gain = distance[a, b] + distance[b, a] - distance[a, a] - distance[b, b]
            order = torch.arange(12)
            order[places[0, a]], order[places[0, b]] = places[0, b].clone(), places[0, a].clone()
            after = float(Term(term.values[:, order], 4, kept, threshold).worth())
            assert after - before == pytest.approx(float(gain), abs=1e-4)
