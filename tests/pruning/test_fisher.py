"""Block Fisher matrices against their definitions, and the quadratic model against a dense solver."""

from __future__ import annotations

import itertools

import pytest
import torch

from optkit.pruning import fisher


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def dense_blocks(gradients: list[torch.Tensor], block: tuple[int, int], momentum: float) -> torch.Tensor:
    """The same average (B, B, n) block by block, from the definition; short last blocks are filled up with zeros."""
    (rows, cols), (high, wide) = gradients[0].shape, block
    found = []
    for top, left in itertools.product(range(0, rows, high), range(0, cols, wide)):
        average = torch.zeros(high * wide, high * wide, dtype=torch.float64)
        for gradient in gradients:
            piece = torch.zeros(high * wide, dtype=torch.float64)
            for row, col in itertools.product(range(high), range(wide)):
                if top + row < rows and left + col < cols:
                    piece[row * wide + col] = gradient[top + row, left + col].double()
            average = momentum * average + (1 - momentum) * torch.outer(piece, piece)
        found.append(average)
    return torch.stack(found, dim=2)


@pytest.mark.parametrize(
    ("shape", "block"),
    [((3, 8), (1, 4)), ((2, 10), (1, 4)), ((5, 3), (1, 8)), ((2, 4), (1, 1)), ((6, 8), (2, 4)), ((5, 7), (4, 2))],
)
def test_accumulates_outer_products_of_adjacent_weights(generator, shape, block):
    gradients = [torch.randn(shape, generator=generator) for _ in range(5)]
    packed = fisher.empty(shape, block, torch.device("cpu"))
    for gradient in gradients:
        fisher.accumulate(packed, gradient, block, momentum=0.7)
    expected = dense_blocks(gradients, block, 0.7)
    size = block[0] * block[1]
    assert packed.shape == (size * (size + 1) // 2, expected.shape[2]) and packed.dtype == torch.float32
    torch.testing.assert_close(fisher.unpack(packed).double(), expected, rtol=1e-5, atol=1e-7)
    found = fisher.diagonal(packed).t().double()
    torch.testing.assert_close(found, expected.diagonal(), rtol=1e-5, atol=1e-7)


def test_half_precision_gradients_are_squared_in_float32():
    packed = fisher.empty((1, 2), (1, 2), torch.device("cpu"))
    fisher.accumulate(packed, torch.tensor([[1e-5, 2e-5]], dtype=torch.bfloat16), (1, 2), momentum=0.0)
    torch.testing.assert_close(packed[:, 0], torch.tensor([1e-10, 2e-10, 4e-10]), rtol=2e-2, atol=0.0)


def test_the_average_of_a_pruned_weight_never_becomes_subnormal():
    packed = fisher.empty((1, 2), (1, 2), torch.device("cpu"))
    for step in range(1200):
        fisher.accumulate(packed, torch.tensor([[1e-6 if step < 9 else 0.0, 1e-6]]), (1, 2), momentum=0.9)
    assert float(packed.abs().min()) > torch.finfo(torch.float32).tiny
    assert packed[:, 0].tolist() == [pytest.approx(0, abs=1e-20)] * 2 + [pytest.approx(1e-12)]


def test_blocks_go_back_to_where_they_came_from(generator):
    values = torch.randn(3, 10, generator=generator)
    blocks = fisher.to_blocks(values, (1, 4))
    assert torch.equal(blocks[:, 1], values[0, 4:8]) and torch.equal(blocks[:2, 5], values[1, 8:])
    assert torch.equal(fisher.from_blocks(blocks, (3, 10), (1, 4)), values)
    blocks = fisher.to_blocks(values, (2, 4))
    assert torch.equal(blocks[:, 1], values[:2, 4:8].flatten()) and torch.equal(blocks[:4, 4], values[2, 4:8])
    assert torch.equal(fisher.from_blocks(blocks, (3, 10), (2, 4)), values)


@pytest.mark.parametrize(
    ("block", "tile", "expected"),
    [
        ((1, 4), (1, 2), [[0, 1], [2, 3]]),
        ((2, 4), (2, 2), [[0, 1, 4, 5], [2, 3, 6, 7]]),
        ((2, 4), (1, 8), [[0, 1, 2, 3], [4, 5, 6, 7]]),  # whole rows of a weight of 6 x 8
        ((2, 4), (6, 1), [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ((2, 2), (3, 3), [[0], [1], [2], [3]]),  # 3 and 2 never end together before 6
        ((4, 1), (6, 1), [[0, 1, 2, 3]]),
    ],
)
def test_parts_are_the_largest_that_never_cross_a_fisher_block(block, tile, expected):
    assert fisher.parts(block, tile, (6, 8)).tolist() == expected


def quadratic(generator, block: int, ranks=(3, 40)) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices (B, B, n) of low and of full rank, and weights (B, n), in float64."""
    factors = [torch.randn(block, rank, generator=generator, dtype=torch.float64) for rank in ranks]
    matrices = torch.stack([f @ f.T / f.shape[1] for f in factors], dim=2)
    return matrices, torch.randn(block, len(ranks), generator=generator, dtype=torch.float64)


def damp(matrix: torch.Tensor, damping: float) -> torch.Tensor:
    return matrix + torch.diag(fisher.RIDGE * matrix.diagonal() + damping)


def cheapest(matrix: torch.Tensor, change: dict[int, float], free: list[int]) -> tuple[float, torch.Tensor]:
    """Minimum and argmin of d^T H d / 2 over the ``free`` entries of d, others given: least squares on H = L L^T."""
    root = torch.linalg.cholesky(matrix).T
    fixed = torch.zeros(len(matrix), dtype=matrix.dtype)
    for place, value in change.items():
        fixed[place] = value
    if free:
        fixed[free] = torch.linalg.lstsq(root[:, free], -(root @ fixed)[:, None]).solution[:, 0]
    return float((root @ fixed).square().sum() / 2), fixed


@pytest.mark.parametrize("tile", [(1, 1), (1, 2), (2, 2), (1, 4), (2, 1), (2, 4)])
def test_saliency_is_the_least_rise_of_the_loss_over_all_ways_to_make_up(generator, tile):
    parts = fisher.parts((2, 4), tile, (6, 8))
    matrices, weights = quadratic(generator, 8)
    living = torch.tensor([[True] * 8, [True, False, True, True, False, False, True, True]]).T
    found = fisher.saliency(matrices, weights, living, 1e-2, parts)
    for n in range(2):
        for part in parts.tolist():
            removed = [i for i in part if living[i, n]]
            free = [i for i in range(8) if living[i, n] and i not in removed]
            loss, _ = cheapest(damp(matrices[..., n], 1e-2), {i: -float(weights[i, n]) for i in removed}, free)
            assert float(found[part, n].sum()) == pytest.approx(loss, rel=1e-9, abs=1e-14)
    assert not bool(found[~living].any())


def test_compensation_is_the_least_squares_solution_and_moves_free_weights_alone(generator):
    matrices, weights = quadratic(generator, 6)
    free = torch.tensor([[True, False, True, True, False, True], [False, True, False, True, True, False]]).T
    change = torch.where(free, 0.0, -weights)
    change[5, 1] = 0.0  # dead before, and to stay where it is
    found = fisher.compensation(matrices, change, free, 1e-2)
    for n in range(2):
        given = {i: float(change[i, n]) for i in range(6) if not free[i, n]}
        moved = cheapest(damp(matrices[..., n], 1e-2), given, [i for i in range(6) if free[i, n]])[1]
        torch.testing.assert_close(found[:, n], moved.where(free[:, n], 0.0), rtol=1e-8, atol=1e-10)
    assert not bool(found[~free].any())


def test_a_single_gradient_of_any_size_is_inverted_in_float32(generator):
    gradient = torch.randn(64, 16, generator=generator) * torch.logspace(-4, 4, 64)[:, None]
    packed = fisher.empty((64, 16), (1, 16), torch.device("cpu"))
    fisher.accumulate(packed, gradient, (1, 16), momentum=0.0)
    weights = torch.randn(16, 64, generator=generator)
    free = torch.rand(16, 64, generator=generator) > 0.5
    removed = torch.where(free, 0.0, -weights)
    matrices = fisher.unpack(packed)
    for function, given, part in (
        (fisher.saliency, (weights, free), (torch.arange(16).view(4, 4),)),
        (fisher.compensation, (removed, free), ()),
    ):
        single = function(matrices, *given, 1e-3, *part)
        double = function(matrices.double(), *(g.double() if g.is_floating_point() else g for g in given), 1e-3, *part)
        if part:
            single, double = (values.view(4, 4, 64).sum(1) for values in (single, double))
            assert float(single.min()) >= 0.0
        # The ridge holds the condition to about 1e4 * B, and float32 keeps 7 digits.
        error = (single - double).abs().amax(0) / double.abs().amax(0)
        assert float(error.max()) < 0.1 and float(error.median()) < 1e-3
