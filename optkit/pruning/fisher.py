"""The empirical Fisher matrix in small blocks, as a stand-in for the Hessian of the loss. Pure functions on tensors.

A weight (out, in) is cut into Fisher blocks of R adjacent outputs x C adjacent inputs, B = R * C weights numbered row
after row, n = ceil(out / R) * ceil(in / C) of them; what a last block lacks is filled up with zeros. Blocks lie along
the last dimension everywhere, so that all of them are worked on at once: values are (B, n), matrices (B, B, n). What is
kept is the upper triangle of the symmetric matrices, row after row: (B * (B + 1) / 2, n).

WoodFisher (Singh & Alistarh 2020, https://arxiv.org/abs/2004.14340) and oBERT (Kurtic et al. 2022,
https://arxiv.org/abs/2203.07259) keep the inverse instead, updated gradient by gradient. The matrix itself is cheaper
to keep, forgets old gradients evenly, and can be restricted to the weights that are left before it is inverted.
"""

from __future__ import annotations

from math import gcd, isqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

#: Share of its own that is added to each diagonal entry. With fewer gradients than B a matrix is singular; this bounds
#: its condition by 1e4 * B, which leaves float32 some digits.
RIDGE = 1e-4
_OFFSET = 1e-15


#: Outputs and inputs of a Fisher block: R, C.
Block = tuple[int, int]


def to_blocks(values: Tensor, block: Block) -> Tensor:
    """``values`` (out, in) as (B, n) of the same dtype."""
    rows, cols = block
    values = pad(values, (0, -values.shape[1] % cols, 0, -values.shape[0] % rows))
    blocks = values.reshape(values.shape[0] // rows, rows, values.shape[1] // cols, cols)
    return blocks.permute(1, 3, 0, 2).reshape(rows * cols, -1).contiguous()


def from_blocks(values: Tensor, shape: tuple[int, int], block: Block) -> Tensor:
    """``values`` (B, n) as (out, in) = ``shape``."""
    rows, cols = block
    down, across = -(-shape[0] // rows), -(-shape[1] // cols)
    blocks = values.view(rows, cols, down, across).permute(2, 0, 3, 1)
    return blocks.reshape(down * rows, across * cols)[: shape[0], : shape[1]]


def empty(shape: tuple[int, int], block: Block, device: torch.device) -> Tensor:
    """The Fisher of a weight of ``shape`` (out, in) before any gradient: float32 zeros (B * (B + 1) / 2, n)."""
    (rows, cols), entries = block, block[0] * block[1]
    return torch.zeros(entries * (entries + 1) // 2, -(-shape[0] // rows) * -(-shape[1] // cols), device=device)


def parts(block: Block, tile: tuple[int, int], shape: tuple[int, int]) -> Tensor:
    """Which weights of a Fisher block go together, when tiles of a weight of ``shape`` (out, in) are removed.

    Returns:
        places (parts, weights of one) among the B of a block. A ``tile`` that crosses Fisher blocks is divided into the
        largest parts that never do.
    """
    whole = tuple(b if t >= s else gcd(t, b) for t, b, s in zip(tile, block, shape, strict=True))
    places = torch.arange(block[0] * block[1]).view(block[0] // whole[0], whole[0], block[1] // whole[1], whole[1])
    return places.transpose(1, 2).reshape(-1, whole[0] * whole[1])


def accumulate(fisher: Tensor, gradient: Tensor, block: Block, momentum: float) -> None:
    """Moving average of the outer products of gradients: fisher = momentum * fisher + (1 - momentum) * g g^T.

    Args:
        fisher: (B * (B + 1) / 2, n), changed in place.
        gradient: (out, in).
    """
    # The average of a pruned weight, whose gradient is 0, would decay into subnormal numbers, with which many CPUs
    # compute slowly; no gradient that matters feels the offset.
    entries = to_blocks(gradient, block).to(fisher.dtype) + _OFFSET
    for i, row in enumerate(_rows(fisher)):
        row.mul_(momentum).addcmul_(entries[i], entries[i:], value=1.0 - momentum)


def diagonal(fisher: Tensor) -> Tensor:
    """The diagonals (B, n) of ``fisher`` (B * (B + 1) / 2, n)."""
    return torch.stack([row[0] for row in _rows(fisher)])


def unpack(fisher: Tensor) -> Tensor:
    """Full matrices (B, B, n) from triangles (B * (B + 1) / 2, n)."""
    rows = _rows(fisher)
    full = fisher.new_empty(len(rows), len(rows), fisher.shape[1])
    for i, row in enumerate(rows):
        full[i, i:] = row
        full[i:, i] = row
    return full


def _rows(fisher: Tensor) -> tuple[Tensor, ...]:
    """Views (B - i, n) of row i of the triangle: entries (i, i) to (i, B - 1)."""
    return fisher.split(list(range(isqrt(2 * len(fisher)), 0, -1)))


def saliency(matrices: Tensor, weights: Tensor, living: Tensor, damping: float, parts: Tensor) -> Tensor:
    """What the removal of each part raises the loss by in the quadratic model, when the other weights make up for it.

    That is w_Q^T ((F^-1)_QQ)^-1 w_Q / 2 for a part Q, F being the Fisher of the block's living weights.

    Args:
        matrices: (B, B, n), symmetric and positive semidefinite.
        weights: (B, n); dead ones count as 0.
        living: bool (B, n); dead weights stay at zero and can make up for nothing.
        damping: what is added to the diagonal, beside ``RIDGE`` of itself.
        parts: places (parts, weights of one) of what is removed together; every one of the B is in one part.

    Returns:
        (B, n), each weight's share of its part's saliency, which is their sum: one share may be below zero, the sum
        over a part not.
    """
    weights = weights.where(living, 0.0)
    matrices = _restrict(matrices, living, damping)
    if len(parts) == 1:
        return weights * (matrices * weights).sum(dim=1) / 2.0
    inverse = _invert(matrices)
    if len(parts) == len(weights):
        return weights.square() / (2.0 * inverse.diagonal().t())
    places = parts.t().to(weights.device)  # the weights of a part first, where ``_invert`` wants them
    inner = inverse[places[:, None], places[None]]
    removed = weights[places]
    shares = removed * (_invert(inner) * removed).sum(dim=1) / 2.0
    return torch.empty_like(weights).index_copy(0, places.flatten(), shares.flatten(0, 1))


def compensation(matrices: Tensor, change: Tensor, free: Tensor, damping: float) -> Tensor:
    """How the free weights move to make up for ``change`` of others: to the minimum of the quadratic model.

    With F_AA of the free weights and F_AP to the changed ones it is -F_AA^-1 F_AP change_P, all of a block at once.

    Args:
        matrices: (B, B, n), symmetric and positive semidefinite.
        change: (B, n), 0 where a weight is free or stays as it is.
        free: bool (B, n).
        damping: what is added to the diagonal, beside ``RIDGE`` of itself.

    Returns:
        (B, n), 0 where a weight is not free.
    """
    pull = (matrices * change).sum(dim=1).where(free, 0.0)
    return -(_invert(_restrict(matrices, free, damping)) * pull).sum(dim=1)


def _restrict(matrices: Tensor, living: Tensor, damping: float) -> Tensor:
    """Damped matrices (B, B, n), with rows and columns of the identity for weights that are not ``living`` (B, n)."""
    inside = living.to(matrices.dtype)
    matrices = matrices * inside[:, None] * inside
    entries = matrices.diagonal().t()
    entries.mul_(1.0 + RIDGE).add_(damping)
    entries.masked_fill_(~living, 1.0)
    return matrices


def _invert(matrices: Tensor) -> Tensor:
    """Inverts positive definite matrices (B, B, ...) in place, by Gauss-Jordan elimination, which needs no pivoting
    there. torch.linalg takes matrices of this size one by one, and three times as long.
    """
    for k in range(matrices.shape[0]):
        inverted = matrices[k, k].reciprocal()
        row = matrices[k] * inverted
        column = matrices[:, k].clone()
        matrices.addcmul_(column[:, None], row[None], value=-1.0)
        matrices[k] = row
        matrices[:, k] = -column * inverted
        matrices[k, k] = inverted
    return matrices
