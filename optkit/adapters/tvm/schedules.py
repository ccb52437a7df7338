"""Schedules for whatever a tuning has not found one for: loops in parallel, vectors, and products in registers.

They are rules of TVM's dlight. Reductions and products with one row have rules there; these two have none for CPUs.
"""

from __future__ import annotations

from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir.dlight.analysis import normalize_prim_func
from tvm.s_tir.dlight.base import try_inline

#: Rows and vectors of a product that are kept in registers.
_ROWS, _VECTORS = 8, 2


class _Rule(dlight.base.ScheduleRule):
    """A rule for functions of plain loops.

    Args:
        width: float32 numbers of a vector.
    """

    def __init__(self, width: int):
        self._width = width

    def apply(self, func: Any, target: Any, _: bool) -> Any:
        if not isinstance(func, tirx.PrimFunc):
            return None
        schedule = s_tir.Schedule(func)
        blocks = normalize_prim_func(schedule)
        return None if blocks is None else self._schedule(schedule, blocks)

    def _schedule(self, schedule: Any, blocks: list[Any]) -> Any:
        """``schedule`` with the loops of its ``blocks`` changed; None where the rule is not for them."""
        raise NotImplementedError


class Elementwise(_Rule):
    """Computes each output in one pass, all of them in parallel, those beside each other in a vector."""

    def _schedule(self, schedule: Any, blocks: list[Any]) -> Any:
        blocks = try_inline(schedule, blocks)
        if not all(block.is_injective() for block in blocks):
            return None
        for block in blocks:
            _spread(schedule, schedule.get_loops(block.block_rv), self._width)
        return schedule


class Product(_Rule):
    """Products of matrices: a tile of outputs is kept in registers over the whole sum."""

    def _schedule(self, schedule: Any, blocks: list[Any]) -> Any:
        sums = [block for block in blocks if block.is_reduction()]
        if len(sums) != 1 or not sums[0].dom_kind().endswith("SSR"):
            return None
        product, at = sums[0].block_rv, blocks.index(sums[0])
        followed = at < len(blocks) - 1
        for block in blocks[:at]:  # what is computed of the factors on the way
            schedule.compute_inline(block.block_rv)
        for block in blocks[at + 1 : -1]:
            schedule.compute_inline(block.block_rv)
        *outer, row, column, inner = schedule.get_loops(product)
        rows = _divisor(schedule.get(row).extent, _ROWS)
        lanes = _divisor(schedule.get(column).extent, self._width)
        vectors = _divisor(int(schedule.get(column).extent) // lanes, _VECTORS)
        row, tile_row = schedule.split(row, [None, rows])
        column, vector, lane = schedule.split(column, [None, vectors, lanes])
        schedule.reorder(*outer, row, column, inner, tile_row, vector, lane)
        whole = schedule.fuse(*outer, row, column)
        schedule.parallel(whole)
        if followed:
            last = blocks[-1].block_rv
            *outer, row, column = schedule.get_loops(last)
            row, tile_row = schedule.split(row, [None, rows])
            column, across = schedule.split(column, [None, vectors * lanes])
            schedule.reorder(*outer, row, column, tile_row, across)
            schedule.parallel(schedule.fuse(*outer, row, column))
            _, within = schedule.split(across, [None, lanes])
            schedule.vectorize(within)
        write = schedule.cache_write(product, 0, "local")
        schedule.reverse_compute_at(write, whole)
        schedule.vectorize(schedule.split(schedule.get_loops(write)[-1], [None, lanes])[1])
        for loop in schedule.get_loops(product)[-3:-1] if followed else (tile_row, vector):
            schedule.unroll(loop)
        schedule.vectorize(lane)
        first = schedule.decompose_reduction(product, inner)
        for loop in schedule.get_loops(first)[1:-1]:
            schedule.unroll(loop)
        return schedule


def _spread(schedule: Any, loops: list[Any], width: int) -> None:
    if not loops:
        return
    lanes = _divisor(schedule.get(loops[-1]).extent, width)
    *_, last = loops
    if lanes > 1:
        last, within = schedule.split(last, [None, lanes])
        schedule.vectorize(within)
    schedule.parallel(schedule.fuse(*loops[:-1], last))


def _divisor(extent: Any, most: int) -> int:
    return max(size for size in range(1, most + 1) if int(extent) % size == 0)


def rules(width: int) -> list[Any]:
    """The rules to apply, in their order."""
    return [Product(width), dlight.cpu.GEMV(), dlight.cpu.Reduction(), Elementwise(width)]
