"""Groups of weights: pool scores into groups, and turn the groups that stay into masks. Pure functions on tensors.

A *site* is what shares one set of groups: one weight for elements, blocks, rows, columns and N:M; the projections of
one attention layer for heads, and those of one feed-forward layer for neurons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from optkit.pruning.config import Structure


def groups_shape(structure: Structure, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of blocks in a weight of ``shape`` (out, in).

    Raises:
        ValueError: if blocks do not tile the weight exactly.
    """
    (rows, cols), (block_rows, block_cols) = shape, structure.block(shape)
    if rows % block_rows or cols % block_cols:
        groups = f"groups of {structure}" if structure.kind == "n:m" else f"blocks of {structure}"
        raise ValueError(f"{groups} do not divide a weight of {rows}x{cols}")
    return rows // block_rows, cols // block_cols


def _blocks(values: Tensor, structure: Structure) -> Tensor:
    """``values`` (out, in) as (out/R, R, in/C, C)."""
    rows, cols = groups_shape(structure, tuple(values.shape))
    return values.reshape(rows, values.shape[0] // rows, cols, values.shape[1] // cols)


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


def expand(keep: Tensor, structure: Structure, shape: tuple[int, int]) -> Tensor:
    """A block mask (out/R, in/C) as a mask of a weight of ``shape`` (out, in)."""
    if structure == Structure():
        return keep
    rows, cols = structure.block(shape)
    return keep.repeat_interleave(rows, dim=0).repeat_interleave(cols, dim=1)


class Grid(Protocol):
    """How the weights of one site divide into groups. Sequences hold one tensor (out, in) for each weight of the site;
    ``living`` is True where a weight is not pruned.
    """

    count: int  #: groups
    size: int  #: weights of one group
    tiles: list[tuple[int, int]]  #: for each weight, adjacent (outputs, inputs) that are removed together

    def pool(self, scores: Sequence[Tensor], living: Sequence[Tensor]) -> Tensor:
        """The importance of each group (groups,): the summed scores of the living weights that its pruning removes."""

    def total(self, values: Sequence[Tensor]) -> Tensor:
        """Sums (groups,) over all weights of each group."""

    def alive(self, living: Sequence[Tensor]) -> Tensor:
        """Which groups are still to be pruned: bool (groups,)."""

    def spread(self, keep: Tensor) -> list[Tensor]:
        """Bool tensors (out, in), True where a weight's group is in ``keep`` (groups,)."""

    def masks(self, keep: Tensor, scores: Sequence[Tensor], living: Sequence[Tensor]) -> list[Tensor]:
        """Masks that prune every group but those of ``keep`` (groups,)."""


class Blocks:
    """Elements, blocks, rows or columns of a weight of ``shape`` (out, in)."""

    def __init__(self, structure: Structure, shape: tuple[int, int]):
        self.structure, self.shape, self._grid = structure, shape, groups_shape(structure, shape)
        self.count = prod(self._grid)
        self.size = prod(shape) // self.count
        self.tiles = [structure.block(shape)]

    def pool(self, scores: Sequence[Tensor], living: Sequence[Tensor]) -> Tensor:
        return self.total([scores[0].where(living[0], 0.0)])

    def total(self, values: Sequence[Tensor]) -> Tensor:
        return pool(values[0], self.structure).reshape(-1)

    def alive(self, living: Sequence[Tensor]) -> Tensor:
        return alive(living[0], self.structure).reshape(-1)

    def spread(self, keep: Tensor) -> list[Tensor]:
        return [expand(keep.view(self._grid), self.structure, self.shape)]

    def masks(self, keep: Tensor, scores: Sequence[Tensor], living: Sequence[Tensor]) -> list[Tensor]:
        return self.spread(keep)


class SemiStructured:
    """N:M: of M adjacent inputs of an output the N with the highest scores stay (Mishra et al. 2021,
    https://arxiv.org/abs/2104.08378). A group is pruned once it holds no more than N weights.
    """

    def __init__(self, structure: Structure, shape: tuple[int, int]):
        rows, cols = groups_shape(structure, shape)
        self.kept, self.shape = structure.kept, shape
        self.count, self.size = rows * cols, structure.cols
        self.tiles = [(1, 1)]  # which weights of a group go is not known beforehand

    def _rank(self, scores: Tensor, living: Tensor) -> tuple[Tensor, Tensor]:
        """Scores in ascending order within each group, and where they stood; the dead go first, then low indices."""
        # Finite, so that a living -inf stays above the dead.
        lifted = scores.float().clamp(min=torch.finfo(torch.float32).min).where(living, -torch.inf)
        return lifted.reshape(self.count, self.size).sort(dim=1, stable=True)

    def pool(self, scores: Sequence[Tensor], living: Sequence[Tensor]) -> Tensor:
        removed = self._rank(scores[0], living[0])[0][:, : self.size - self.kept]
        return removed.where(removed != -torch.inf, 0.0).sum(dim=1)

    def total(self, values: Sequence[Tensor]) -> Tensor:
        return values[0].reshape(self.count, self.size).sum(dim=1)

    def alive(self, living: Sequence[Tensor]) -> Tensor:
        return living[0].reshape(self.count, self.size).sum(dim=1) > self.kept

    def spread(self, keep: Tensor) -> list[Tensor]:
        return [keep[:, None].expand(self.count, self.size).reshape(self.shape)]

    def masks(self, keep: Tensor, scores: Sequence[Tensor], living: Sequence[Tensor]) -> list[Tensor]:
        order = self._rank(scores[0], living[0])[1]
        best = torch.zeros_like(order, dtype=torch.bool).scatter(1, order[:, self.size - self.kept :], True)
        return [(best | keep[:, None]).reshape(self.shape)]


@dataclass(frozen=True)
class Slices:
    """Group g of a weight is its rows (``axis`` 0) or columns (1) from ``offset`` + g * ``size`` on, ``size`` of them.

    ``weight`` is the place of the weight among those of its site.
    """

    weight: int
    axis: int
    offset: int
    size: int

    def of(self, values: Tensor, count: int) -> Tensor:
        """A view of ``values`` (out, in) as (groups, rows or columns of one, the other dimension)."""
        part = values.narrow(self.axis, self.offset, count * self.size)
        return part.unflatten(self.axis, (count, self.size)).movedim(self.axis, 0).flatten(1)


class GroupedAcrossLayers:
    """Heads or neurons: ``count`` groups, each a slice of several weights of the given ``shapes`` (out, in)."""

    def __init__(self, shapes: Sequence[tuple[int, int]], slices: Sequence[Slices], count: int):
        self.shapes, self.slices, self.count = list(shapes), list(slices), count
        self.size = sum(s.size * shapes[s.weight][1 - s.axis] for s in slices)
        tiles = {s.weight: (shapes[s.weight][0], s.size) if s.axis else (s.size, shapes[s.weight][1]) for s in slices}
        self.tiles = [tiles[weight] for weight in range(len(self.shapes))]

    def pool(self, scores: Sequence[Tensor], living: Sequence[Tensor]) -> Tensor:
        return self.total([score.where(alive, 0.0) for score, alive in zip(scores, living, strict=True)])

    def total(self, values: Sequence[Tensor]) -> Tensor:
        return torch.stack([s.of(values[s.weight], self.count).sum(dim=1) for s in self.slices]).sum(dim=0)

    def alive(self, living: Sequence[Tensor]) -> Tensor:
        return torch.stack([s.of(living[s.weight], self.count).any(dim=1) for s in self.slices]).any(dim=0)

    def spread(self, keep: Tensor) -> list[Tensor]:
        masks = [torch.ones(shape, dtype=torch.bool, device=keep.device) for shape in self.shapes]
        for s in self.slices:
            part = masks[s.weight].narrow(s.axis, s.offset, self.count * s.size)
            kept = keep.repeat_interleave(s.size)
            part &= kept[:, None] if s.axis == 0 else kept
        return masks

    def masks(self, keep: Tensor, scores: Sequence[Tensor], living: Sequence[Tensor]) -> list[Tensor]:
        return self.spread(keep)


def grid_of(structure: Structure, shape: tuple[int, int]) -> Grid:
    """The groups of one weight of ``shape`` (out, in), for structures that do not span layers.

    Raises:
        ValueError: if the groups do not tile the weight exactly.
    """
    return SemiStructured(structure, shape) if structure.kind == "n:m" else Blocks(structure, shape)
