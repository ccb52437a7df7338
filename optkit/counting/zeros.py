"""The one place that counts zeros: how many weights of an array are exactly zero, and in which structure they come.

All of it is numpy alone, on weights of shape (out, in).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np

BLOCKS = (
    *("1x4", "2x4", "4x4", "8x4", "16x4", "32x4"),
    *("4x1", "8x1", "16x1", "32x1", "1x8", "8x8", "16x16", "32x32"),
)
DENSE = "dense"

# Zeros that nobody put there, as a share of the weights that survive: a float is hardly ever exactly 0, but some
# weights round to 0 in int8, more where outliers stretch a row's scale: 23 % in one FFN layer of MiniLM, half range.
NATURAL_FLOAT = 0.001
NATURAL_INTEGER = 0.25

# M of N:M, the smallest first; in fewer groups than these N:M may be chance.
_GROUPS = (2, 4, 8, 16)
_EVIDENCE = 64


def count(array: np.ndarray) -> tuple[int, int]:
    """Zeros and size of ``array``, of any shape and number type; -0.0 is a zero.

    Raises:
        ValueError: if a number is NaN.
    """
    if array.dtype.kind == "f" and (nans := int(np.isnan(array).sum())):
        raise ValueError(f"{nans} of {array.size} weights are NaN")
    return array.size - int(np.count_nonzero(array)), array.size


def live_blocks(live: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """Which ``rows`` x ``cols`` blocks of ``live``, bool (out, in), hold a True: bool (out/rows, in/cols).

    Raises:
        ValueError: if the blocks do not tile the array.
    """
    height, width = live.shape
    if height % rows or width % cols:
        raise ValueError(f"blocks of {rows}x{cols} do not divide a weight of {height}x{width}")
    # In halves: numpy joins two arrays several times as fast as it reduces short axes.
    while rows % 2 == 0:
        live, rows = live[0::2] | live[1::2], rows // 2
    while cols % 2 == 0:
        live, cols = live[:, 0::2] | live[:, 1::2], cols // 2
    return (
        live.reshape(len(live) // rows, rows, live.shape[1] // cols, cols).any(axis=(1, 3)) if rows * cols > 1 else live
    )


def block_sparsity(array: np.ndarray, rows: int, cols: int) -> float:
    """Share of all-zero blocks of ``rows`` outputs x ``cols`` inputs in ``array`` (out, in).

    Raises:
        ValueError: if the blocks do not tile the array.
    """
    return _sparsity(array != 0, rows, cols)


def _sparsity(nonzero: np.ndarray, rows: int, cols: int) -> float:
    live = live_blocks(nonzero, rows, cols)
    return 1.0 - int(np.count_nonzero(live)) / live.size


def block_densities(array: np.ndarray, cols: int, heights: Sequence[int]) -> dict[int, float]:
    """Share of the blocks of ``array`` (out, in) that hold a non-zero, by their height.

    Args:
        cols: inputs of a block; the last block of an output may reach beyond the inputs.
        heights: outputs of a block, each a multiple of the one before; the last blocks may reach beyond the outputs.

    Returns:
        1 for each height where there are no blocks.
    """
    live, found = live_blocks(_padded(array != 0, 1, cols), 1, cols), {}
    before = 1
    for height in heights:
        step, before = height // before, height
        live = live_blocks(_padded(live, step, 1), step, 1)
        found[height] = int(np.count_nonzero(live)) / live.size if live.size else 1.0
    return found


def _padded(array: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """``array`` with zeros up to a multiple of ``rows`` and ``cols``."""
    missing = [-size % step for size, step in zip(array.shape, (rows, cols), strict=True)]
    return np.pad(array, [(0, size) for size in missing]) if any(missing) else array


def _parse(name: str, shape: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of one group of a structure in a weight of ``shape`` (out, in)."""
    whole = {"element": (1, 1), "row": (1, shape[1]), "column": (shape[0], 1)}
    return whole[name] if name in whole else tuple(int(part) for part in name.split("x"))


def block_shares(array: np.ndarray, extra: Iterable[str] = ()) -> dict[str, float]:
    """``block_sparsity`` of ``array`` (out, in) for ``row``, ``column``, and each of ``BLOCKS`` and ``extra`` (``RxC``)
    that tiles it.
    """
    names = dict.fromkeys(("row", "column", *BLOCKS, *(block for block in extra if block != "element")))
    shapes, nonzero = {name: _parse(name, array.shape) for name in names}, array != 0
    return {
        name: _sparsity(nonzero, rows, cols)
        for name, (rows, cols) in shapes.items()
        if array.shape[0] % rows == 0 and array.shape[1] % cols == 0
    }


def detect_structure(array: np.ndarray, shares: Mapping[str, float]) -> str:
    """What explains the zeros of ``array`` (out, in): ``dense``, one of ``shares``, ``N:M`` or ``element``.

    A group explains them if the weights outside its all-zero groups hold no zeros but natural ones. Were zeros
    scattered in smaller groups, groups that are partly zero would show it, however many are wholly zero by chance.
    Several may fit, as where rows are zero by the dozen. Then rows and columns, which can be taken out, come before
    blocks, the larger block before the smaller, and N:M, which only says how many of M adjacent inputs are zero, last.

    Args:
        shares: as ``block_shares`` gives them, or a choice of those.
    """
    zeros, size = count(array)
    natural = _natural(array)
    if zeros <= natural * size:
        return DENSE
    areas = {name: prod(_parse(name, array.shape)) for name in shares}

    def explains(name: str) -> bool:
        inside = round(shares[name] * (size // areas[name])) * areas[name]
        return 2 * inside >= zeros and zeros - inside <= natural * (size - inside)

    fitting = [name for name in shares if explains(name)]
    best = max(fitting, key=lambda name: (name in ("row", "column"), areas[name]), default=None)
    return best or _fixed_share(array, natural) or "element"


def _natural(array: np.ndarray) -> float:
    return NATURAL_FLOAT if array.dtype.kind == "f" else NATURAL_INTEGER


def _fixed_share(array: np.ndarray, natural: float) -> str | None:
    """The N:M that ``array`` keeps, with the smallest M: of M adjacent inputs never more than N are non-zero, and
    always N but for natural zeros.

    The second half tells it from single weights so sparse that no M happen to have more. Integers have many natural
    zeros, and N above half of M would be found where there are no others.
    """
    live = (array != 0).astype(np.uint8)
    for size in _GROUPS:
        if live.shape[1] % 2 or live.size < 2 * _EVIDENCE:
            return None
        live = live[:, 0::2] + live[:, 1::2]  # non-zeros of each ``size`` adjacent inputs
        kept = int(live.max())
        most = size - 1 if natural == NATURAL_FLOAT else size // 2
        if 0 < kept <= most and int(live.sum(dtype=np.int64)) >= (1 - natural) * kept * live.size:
            return f"{kept}:{size}"
    return None
