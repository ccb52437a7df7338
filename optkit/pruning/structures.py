"""Groups of weights: pool scores into R x C blocks and expand block masks back. Pure functions on tensors."""

from __future__ import annotations

from torch import Tensor

from optkit.pruning.config import Structure


def groups_shape(structure: Structure, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of blocks in a weight of ``shape`` (out, in).

    Raises:
        ValueError: if blocks do not tile the weight exactly.
    """
    rows, cols = shape
    if rows % structure.rows or cols % structure.cols:
        raise ValueError(f"blocks of {structure} do not divide a weight of {rows}x{cols}")
    return rows // structure.rows, cols // structure.cols


def _blocks(values: Tensor, structure: Structure) -> Tensor:
    """A view of ``values`` (out, in) as (out/R, R, in/C, C)."""
    rows, cols = groups_shape(structure, tuple(values.shape))
    return values.view(rows, structure.rows, cols, structure.cols)


def pool(scores: Tensor, structure: Structure) -> Tensor:
    """Sums ``scores`` (out, in) within each block: (out/R, in/C)."""
    if structure == Structure():
        return scores
    return _blocks(scores, structure).sum(dim=(1, 3))


def alive(mask: Tensor, structure: Structure) -> Tensor:
    """Which blocks of ``mask`` (out, in; True keeps) hold at least one weight: bool (out/R, in/C)."""
    if structure == Structure():
        return mask
    return _blocks(mask, structure).any(dim=3).any(dim=1)


def expand(keep: Tensor, structure: Structure) -> Tensor:
    """A block mask (out/R, in/C) as a weight mask (out, in)."""
    if structure == Structure():
        return keep
    return keep.repeat_interleave(structure.rows, dim=0).repeat_interleave(structure.cols, dim=1)
