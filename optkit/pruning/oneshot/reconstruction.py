"""Which weights of one linear layer to keep, and what values make up for the rest: pure functions on tensors.

Its outputs on calibration data are to change least: min ||(W - V) X||^2 over V with the wanted number of zeros. As in
SparseGPT (Frantar & Alistarh 2023, https://arxiv.org/abs/2301.00774) and OBC (Frantar & Alistarh 2022,
https://arxiv.org/abs/2208.11580) all that matters of the inputs X is the Hessian H = X X^T. Both of them choose
greedily and never return to a choice. ALPS (Meng et al. 2024, https://arxiv.org/abs/2406.07831) leaves about half of
their error and is faster: the alternating direction method of multipliers moves between the unconstrained solution and
the nearest matrix with zeros in the right number, until both agree; conjugate gradients then solve for the weights that
stay. What is nearest depends on sums of squares over groups alone, so any structure will do.

In the dtype and on the device of the weights. Memory: four matrices of H's size (in, in), ten of W's (out, in).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: Rounds of the method of multipliers. Its penalty begins where weights still change places, and grows until none does.
_ROUNDS, _PENALTY, _GROWTH = 30, 0.1, 1.1
#: Steps of conjugate gradients: the residual is then far below what is lost by pruning.
_STEPS = 20


def damp(covariance: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """``covariance`` (in, in) with a ridge added to its diagonal, and the ridge: ``damping`` times the mean of it."""
    ridge = (damping * covariance.diagonal().mean()).clamp(min=torch.finfo(covariance.dtype).eps)
    return covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device), ridge


def best_dense(weight: Tensor, hessian: Tensor, cross: Tensor, ridge: Tensor) -> Tensor:
    """The dense weights (out, in) whose outputs on the pruned model's inputs come nearest to those of ``weight`` on the
    dense model's: they make up for what was lost before this layer. The ridge holds them near ``weight``.

    Args:
        hessian: damped covariance (in, in) of the pruned model's inputs.
        cross: covariance (in, in) of the pruned model's inputs with the dense model's.
    """
    wanted = weight @ cross.t() + ridge * weight
    return torch.cholesky_solve(wanted.t(), torch.linalg.cholesky(hessian)).t()


def choose(weight: Tensor, hessian: Tensor, nearest: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Chooses which weights stay.

    Args:
        weight: (out, in), the best values without zeros.
        hessian: (in, in), positive definite.
        nearest: given squares (out, in), the mask of the wanted structure and sparsity with the greatest sum.

    Returns:
        a mask (out, in), True where a weight stays, and values (out, in) to begin ``refit`` with.
    """
    scale = hessian.diagonal().sqrt()  # in units in which every input has variance 1
    eigenvalues, vectors = torch.linalg.eigh(hessian / torch.outer(scale, scale))
    target = weight * scale
    linear = (target @ vectors * eigenvalues) @ vectors.t()
    sparse, dual, penalty = target, torch.zeros_like(target), _PENALTY
    keep = torch.ones_like(target, dtype=torch.bool)
    for _ in range(_ROUNDS):
        dense = ((linear + penalty * (sparse - dual)) @ vectors / (eigenvalues + penalty)) @ vectors.t()
        dual += dense
        keep = nearest(dual.square())
        sparse = dual.where(keep, 0.0)
        dual -= sparse
        penalty *= _GROWTH
    return keep, sparse / scale


def refit(weight: Tensor, hessian: Tensor, keep: Tensor, start: Tensor) -> Tensor:
    """The values V (out, in), 0.0 outside ``keep``, that minimise tr((W - V) H (W - V)^T).

    By conjugate gradients within the mask, all rows at once, preconditioned by the diagonal of H.

    Args:
        start: (out, in), values to begin with.
    """
    values, diagonal = start.where(keep, 0.0), hessian.diagonal()
    residual = ((weight - values) @ hessian).where(keep, 0.0)
    direction = ahead = residual / diagonal
    energy = (residual * ahead).sum(dim=1, keepdim=True)
    for _ in range(_STEPS):
        image = (direction @ hessian).where(keep, 0.0)
        length = _ratio(energy, (direction * image).sum(dim=1, keepdim=True))
        values = values + length * direction
        residual = residual - length * image
        ahead = residual / diagonal
        before, energy = energy, (residual * ahead).sum(dim=1, keepdim=True)
        direction = ahead + _ratio(energy, before) * direction
    return values


def saliency(weight: Tensor, hessian: Tensor, run: int) -> Tensor:
    """What each weight adds to the loss of removing ``run`` adjacent inputs of its row together, the rest refitted.

    The loss of a block B is w_B^T ((H^-1)_BB)^-1 w_B (OBS: Hassibi & Stork 1993), and its weights' shares add up to it.

    Args:
        weight: (out, in).
        hessian: (in, in), positive definite.
        run: divides in.
    """
    count = len(hessian) // run
    if count == 1:
        return weight * (weight @ hessian)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    blocks = torch.linalg.inv(torch.stack([b[:, i * run : (i + 1) * run] for i, b in enumerate(inverse.split(run))]))
    return (weight.unflatten(1, (count, run)).unsqueeze(-2) @ blocks).flatten(1) * weight


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """``above`` / ``below``, 0.0 where nothing is left to divide by."""
    return torch.where(below > 0, above / below, 0.0)
