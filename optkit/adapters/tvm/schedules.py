"""Schedules for whatever a tuning has not found one for: loops in parallel, vectors, and products in registers.

Reductions and products with one row have rules in TVM's dlight; for CPUs there are none for the two kinds here.
"""

from __future__ import annotations

from typing import Any

import tvm
from tvm import s_tir, tirx
from tvm.s_tir import dlight
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.dlight.analysis import normalize_prim_func
from tvm.s_tir.dlight.base import try_inline


class Elementwise(dlight.base.ScheduleRule):
    """Computes each output in one pass, all of them in parallel, those beside each other in a vector.

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
        if blocks is None:
            return None
        blocks = try_inline(schedule, blocks)
        if not all(block.is_injective() for block in blocks):
            return None
        for block in blocks:
            _spread(schedule, schedule.get_loops(block.block_rv), self._width)
        return schedule


def schedule_product(module: Any, width: int) -> Any:
    """A schedule of a product of matrices: a tile of outputs is kept in registers over the whole sum, and a factor that
    is constant is stored in the order in which it is read. None where ``module`` is no product.

    What is computed of each output after the sum, such as with a bias, is computed of the tile.

    Args:
        module: one function, ``main``; its attribute ``layout_free_buffers`` names the factors that are constant.
        width: float32 numbers of a vector.
    """
    schedule = s_tir.Schedule(module)
    blocks = normalize_prim_func(schedule)
    sums = [block for block in blocks or () if block.is_reduction()]
    if len(sums) != 1 or not sums[0].dom_kind().endswith("SSR"):
        return None
    product, at = sums[0].block_rv, blocks.index(sums[0])
    for block in (
        *blocks[:at],
        *blocks[at + 1 : -1],
    ):  # what is computed of the factors, and of the outputs, on the way
        schedule.compute_inline(block.block_rv)
    *outer, row, column, inner = schedule.get_loops(product)
    lanes = _divisor(schedule.get(column).extent, width)
    rows, vectors = _tile(int(schedule.get(row).extent), int(schedule.get(column).extent) // lanes, width)
    row, tile_row = schedule.split(row, [None, rows])
    column, vector, lane = schedule.split(column, [None, vectors, lanes])
    # All rows are multiplied by some columns before the next columns are read from memory.
    schedule.reorder(*outer, column, row, inner, tile_row, vector, lane)
    tile = schedule.fuse(*outer, column, row)
    schedule.parallel(tile)
    last = blocks[-1].block_rv
    if at < len(blocks) - 1 and _compute_at(schedule, last, tile):
        schedule.set_scope(product, 0, "local")
    else:
        if at < len(blocks) - 1:
            _spread(schedule, schedule.get_loops(last), width)
        last = schedule.cache_write(product, 0, "local")
        schedule.reverse_compute_at(last, tile)
    _unroll(schedule, schedule.get_loops(last)[1:], lanes)
    for loop in (tile_row, vector):
        schedule.unroll(loop)
    schedule.vectorize(lane)
    first = schedule.decompose_reduction(product, inner)
    for loop in schedule.get_loops(first)[1:-1]:
        schedule.unroll(loop)
    schedule.enter_postproc()  # what a search that goes on from here does of itself
    ms.postproc.RewriteLayout().apply(schedule)
    return schedule


def _compute_at(schedule: Any, block: Any, loop: Any) -> bool:
    """Computes ``block`` within ``loop``, unless it has another order of outputs, as of a reshape."""
    try:
        schedule.reverse_compute_at(block, loop)
    except Exception:  # TVM's errors have many classes
        return False
    return True


def schedule_products(module: Any, width: int) -> Any:
    """``module`` with every product of matrices scheduled that has no schedule yet."""
    for variable, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and not function.attrs.get("tirx.is_scheduled", False):
            schedule = schedule_product(tvm.IRModule({"main": function.with_attr("global_symbol", "main")}), width)
            if schedule is not None:
                scheduled = schedule.mod["main"].without_attr("global_symbol").with_attr("tirx.is_scheduled", True)
                module.update_func(variable, scheduled)
    return module


def _tile(rows: int, vectors: int, width: int) -> tuple[int, int]:
    """Rows and vectors of the tile whose sums fit into registers and that is multiplied with the fewest loads: vectors
    of the columns count twice, as they come from a cache that is farther away.
    """
    sums = 24 if width == 16 else 12  # of the 32, or 16, registers of x86-64: the others are for the factors
    sizes = [
        (height, count)
        for height in range(1, sums + 1)
        for count in range(1, sums // height + 1)
        if not (rows % height or vectors % count)
    ]
    return max(sizes, key=lambda size: size[0] * size[1] / (size[0] + 2 * size[1]))


def _spread(schedule: Any, loops: list[Any], width: int) -> None:
    if not loops:
        return
    lanes = _divisor(schedule.get(loops[-1]).extent, width)
    *_, last = loops
    if lanes > 1:
        last, within = schedule.split(last, [None, lanes])
        schedule.vectorize(within)
    schedule.parallel(schedule.fuse(*loops[:-1], last))


def _unroll(schedule: Any, loops: list[Any], width: int) -> None:
    """Unrolls ``loops``, the innermost in vectors."""
    *outer, last = loops
    vector, lane = schedule.split(last, [None, _divisor(schedule.get(last).extent, width)])
    schedule.vectorize(lane)
    for loop in (*outer, vector):
        schedule.unroll(loop)


def _divisor(extent: Any, most: int) -> int:
    return max(size for size in range(1, most + 1) if int(extent) % size == 0)


def rules(width: int) -> list[Any]:
    """The rules to apply to what is no product, in their order."""
    return [dlight.cpu.GEMV(), dlight.cpu.Reduction(), Elementwise(width)]
